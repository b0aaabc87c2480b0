// Package auth says who is calling: it keeps accounts and their passwords,
// invitations, API tokens, login links and browser sessions. It knows nothing of
// HTTP; the gateway takes the strings out of headers and cookies. What a caller may
// do with which workspace is the gateway's to decide.
//
// A secret is a prefix that tells its use, and 256 random bits. What is stored
// is its SHA-256: with that much entropy nothing can be guessed from the hash,
// so a deliberately slow hash, which protects passwords, would only cost
// time on every request. The row is found by the hash; the time this takes tells
// nothing about the secret, since nobody can steer the bits of a hash. The
// comparison afterwards is in constant time all the same.
//
//	holt_…   API tokens     until they expire or are revoked
//	holtl_…  login codes    once, within 15 minutes, for a session
//	holtr_…  reset codes    once, within a day, to choose a password
//	holti_…  invitations    once, within a week unless said otherwise, for an account
//	holts_…  sessions       30 days; replaced by a fresh one each day of use
//
// Passwords are hashed with Argon2id (RFC 9106), see [Cost]; only a few are
// computed at a time, since each takes a lot of memory. Wrong passwords are
// answered ever more slowly, see throttle.go.
//
// Every refusal is KindUnauthorized with a text that says what to do; a token
// without the needed scope is KindForbidden, and too many tries are a [Throttled].
package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

const (
	prefixAPI     = "holt_"
	prefixLogin   = "holtl_"
	prefixReset   = "holtr_"
	prefixInvite  = "holti_"
	prefixSession = "holts_"
	secretLength  = 52 // characters of holt.NewSecret
)

// How long things live.
const (
	LoginLife   = 15 * time.Minute
	ResetLife   = 24 * time.Hour
	SessionLife = 30 * 24 * time.Hour

	// SessionLongest is how long after a login its session is still replaced.
	SessionLongest = 180 * 24 * time.Hour

	rotateAfter = 24 * time.Hour     // then a session in use gets a new secret
	rotateGrace = time.Minute        // and requests under way may still use the old one
	touchEvery  = time.Minute        // LastUsedAt is this exact
	purgeAfter  = 7 * 24 * time.Hour // dead tokens stay this long, for their error text
)

// Config is what a [Service] needs. The stores are required.
type Config struct {
	Users       meta.Users
	Invitations meta.Invitations
	Tokens      meta.Tokens

	Now  func() time.Time // nil means time.Now
	Cost Cost             // of password hashes; the zero value means [DefaultCost]
}

// Service makes and checks secrets. Its methods may be called concurrently.
type Service struct {
	users       meta.Users
	invitations meta.Invitations
	tokens      meta.Tokens
	now         func() time.Time
	hasher      *hasher
	throttle    *throttle
}

// New returns a service on the given stores.
func New(cfg Config) *Service {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Service{
		users: cfg.Users, invitations: cfg.Invitations, tokens: cfg.Tokens, now: cfg.Now,
		hasher: newHasher(cfg.Cost), throttle: newThrottle(),
	}
}

// Identity is who calls, and what the token or session at hand allows.
type Identity struct {
	User      holt.UserID
	Name      string
	Role      meta.Role
	Scope     meta.Scope
	Workspace holt.WorkspaceID // the only one that the token opens; "" means all
	Kind      meta.TokenKind
	TokenID   string    // of the token or session used
	Expires   time.Time // zero: never
}

// Allow returns a KindForbidden error unless the identity has the scope: admin
// includes write, and write includes read.
func (id Identity) Allow(need meta.Scope) error {
	if have, want := rank(id.Scope), rank(need); want > 0 && have >= want {
		return nil
	}
	switch need {
	case meta.ScopeAdmin:
		return holt.Errorf(holt.KindForbidden, "this token has the scope %s and may not change accounts, tokens or rights: use one with the scope admin", id.Scope)
	case meta.ScopeWrite:
		return holt.Errorf(holt.KindForbidden, "this token may only look: changing or entering a workspace needs one with the scope write or admin")
	}
	return holt.Errorf(holt.KindForbidden, "this token does not allow that: use one with the scope %s", need)
}

func rank(s meta.Scope) int {
	switch s {
	case meta.ScopeRead:
		return 1
	case meta.ScopeWrite:
		return 2
	case meta.ScopeAdmin:
		return 3
	}
	return 0
}

// Authenticate returns who holds the API token or session secret.
func (s *Service) Authenticate(ctx context.Context, secret string) (Identity, error) {
	kind := meta.TokenAPI
	if strings.HasPrefix(secret, prefixSession) {
		kind = meta.TokenSession
	}
	t, err := s.check(ctx, secret, kind)
	if err != nil {
		return Identity{}, err
	}
	u, err := s.holder(ctx, t)
	if err != nil {
		return Identity{}, err
	}
	if now := s.now(); now.Sub(t.LastUsedAt) >= touchEvery {
		if err := errors.Join(s.tokens.Touch(ctx, t.ID, now), s.users.Seen(ctx, u.ID, now)); err != nil {
			return Identity{}, fmt.Errorf("note use of token: %w", err)
		}
	}
	return identity(t, u), nil
}

// Still returns nil while the identity, which Authenticate returned, is good: its
// token is neither over nor revoked, and its user is not disabled.
func (s *Service) Still(ctx context.Context, id Identity) (Identity, error) {
	all, err := s.tokens.Of(ctx, id.User, id.Kind)
	if err != nil {
		return Identity{}, err
	}
	for _, t := range all {
		if t.ID != id.TokenID {
			continue
		}
		// A session that was replaced by a fresh one lives on in that.
		if err := s.alive(t); err != nil && (t.Kind != meta.TokenSession || !replaced(t, all)) {
			return Identity{}, err
		}
		u, err := s.holder(ctx, t)
		return identity(t, u), err
	}
	return Identity{}, holt.Errorf(holt.KindUnauthorized, "this %s is over: sign in again", words[id.Kind])
}

// replaced reports whether a session has a living successor among all.
func replaced(t meta.Token, all []meta.Token) bool {
	for _, o := range all {
		if o.RevokedAt.IsZero() && o.StartedAt.Equal(t.StartedAt) && !o.StartedAt.IsZero() && o.CreatedAt.After(t.CreatedAt) {
			return true
		}
	}
	return false
}

func identity(t meta.Token, u meta.User) Identity {
	return Identity{
		User: u.ID, Name: u.Name, Role: u.Role, Scope: t.Scope, Workspace: t.Workspace, Kind: t.Kind, TokenID: t.ID, Expires: t.ExpiresAt,
	}
}

// holder returns the user of a token, who must be allowed in.
func (s *Service) holder(ctx context.Context, t meta.Token) (meta.User, error) {
	u, err := s.users.Get(ctx, t.Owner)
	if holt.IsKind(err, holt.KindNotFound) {
		return u, holt.Errorf(holt.KindUnauthorized, "the account of this %s was removed", words[t.Kind])
	}
	if err != nil {
		return u, fmt.Errorf("find user: %w", err)
	}
	return u, enabled(u)
}

func enabled(u meta.User) error {
	if u.DisabledAt.IsZero() {
		return nil
	}
	return holt.Errorf(holt.KindUnauthorized, "the account %s is disabled: ask an admin of this server to enable it", u.Name)
}

// words names kinds of token to people.
var words = map[meta.TokenKind]string{
	meta.TokenAPI: "token", meta.TokenLogin: "login link", meta.TokenReset: "link", meta.TokenSession: "session",
}

// check returns the live token of a secret.
func (s *Service) check(ctx context.Context, secret string, kind meta.TokenKind) (meta.Token, error) {
	if secret == "" {
		return meta.Token{}, holt.Errorf(holt.KindUnauthorized, "this needs a token: set HOLT_TOKEN, or log in with the link that holtd prints")
	}
	unknown := holt.Errorf(holt.KindUnauthorized, "this token is not known here: check that it is complete and for this server")
	if !strings.HasPrefix(secret, prefixes[kind]) || len(secret) != len(prefixes[kind])+secretLength {
		return meta.Token{}, unknown
	}
	hash := hashOf(secret)
	t, err := s.tokens.ByHash(ctx, hash)
	if holt.IsKind(err, holt.KindNotFound) {
		return meta.Token{}, unknown
	}
	if err != nil {
		return meta.Token{}, fmt.Errorf("find token: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(t.Hash), []byte(hash)) != 1 || t.Kind != kind {
		return meta.Token{}, unknown
	}
	return t, s.alive(t)
}

var prefixes = map[meta.TokenKind]string{
	meta.TokenAPI: prefixAPI, meta.TokenLogin: prefixLogin, meta.TokenReset: prefixReset, meta.TokenSession: prefixSession,
}

// alive returns why a known token is no longer good. A time of revocation in the
// future is the grace of a session that was replaced.
func (s *Service) alive(t meta.Token) error {
	const layout = "2006-01-02 15:04 UTC"
	now := s.now()
	again := map[meta.TokenKind]string{
		meta.TokenAPI:     "make a new one with: holt token create",
		meta.TokenLogin:   "make a new link with: holt open",
		meta.TokenReset:   "ask an admin of this server for a new one",
		meta.TokenSession: "log in again",
	}[t.Kind]
	what := words[t.Kind]
	switch {
	case !t.RevokedAt.IsZero() && !now.Before(t.RevokedAt) && (t.Kind == meta.TokenLogin || t.Kind == meta.TokenReset):
		return holt.Errorf(holt.KindUnauthorized, "this %s was used already: %s", what, again)
	case !t.RevokedAt.IsZero() && !now.Before(t.RevokedAt):
		return holt.Errorf(holt.KindUnauthorized, "this %s was revoked on %s: %s", what, t.RevokedAt.UTC().Format(layout), again)
	case !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt):
		return holt.Errorf(holt.KindUnauthorized, "this %s expired on %s: %s", what, t.ExpiresAt.UTC().Format(layout), again)
	}
	return nil
}

// issue stores a new token of t's kind, scope and life, and returns its secret.
func (s *Service) issue(ctx context.Context, t meta.Token) (string, meta.Token, error) {
	secret := prefixes[t.Kind] + holt.NewSecret()
	t.ID, t.Hash, t.CreatedAt = "tk-"+holt.NewID(), hashOf(secret), s.now()
	if err := s.tokens.Create(ctx, t); err != nil {
		return "", meta.Token{}, fmt.Errorf("store token: %w", err)
	}
	return secret, t, nil
}

func hashOf(secret string) string {
	h := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(h[:])
}

// Purge removes tokens and invitations that have been over for a week and returns
// how many.
func (s *Service) Purge(ctx context.Context) (int, error) {
	tokens, err := s.tokens.Purge(ctx, s.now().Add(-purgeAfter))
	if err != nil {
		return 0, err
	}
	invitations, err := s.invitations.Purge(ctx, s.now().Add(-purgeAfter))
	return tokens + invitations, err
}
