// Package auth says who is calling: it makes, checks and revokes tokens, login
// links and browser sessions. It knows nothing of HTTP; the gateway takes the
// strings out of headers and cookies.
//
// A secret is a prefix that tells its use, and 256 random bits. What is stored
// is its SHA-256: with that much entropy nothing can be guessed from the hash,
// so a deliberately slow hash, which protects short passwords, would only cost
// time on every request. The row is found by the hash; the time this takes tells
// nothing about the secret, since nobody can steer the bits of a hash. The
// comparison afterwards is in constant time all the same.
//
//	holt_…   API tokens     until they expire or are revoked
//	holtl_…  login codes    once, within 15 minutes, for a session
//	holts_…  sessions       30 days; replaced by a fresh one each day of use
//
// Every refusal is KindUnauthorized with a text that says what to do; a token
// without the needed scope is KindForbidden.
package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

const (
	prefixAPI     = "holt_"
	prefixLogin   = "holtl_"
	prefixSession = "holts_"
	secretLength  = 52 // characters of holt.NewSecret
)

// How long things live.
const (
	LoginLife   = 15 * time.Minute
	SessionLife = 30 * 24 * time.Hour

	rotateAfter = 24 * time.Hour     // then a session in use gets a new secret
	rotateGrace = time.Minute        // and requests under way may still use the old one
	touchEvery  = time.Minute        // LastUsedAt is this exact
	purgeAfter  = 7 * 24 * time.Hour // dead tokens stay this long, for their error text
)

// Config is what a [Service] needs.
type Config struct {
	Tokens meta.Tokens
	Now    func() time.Time // nil means time.Now
}

// Service makes and checks secrets. Its methods may be called concurrently.
type Service struct {
	tokens meta.Tokens
	now    func() time.Time
}

// New returns a service on the given store.
func New(cfg Config) *Service {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Service{tokens: cfg.Tokens, now: cfg.Now}
}

// Identity is who calls, and what they may do.
type Identity struct {
	User    holt.UserID
	Scope   meta.Scope
	Kind    meta.TokenKind
	TokenID string    // of the token or session used
	Expires time.Time // zero: never
}

// Allow returns a KindForbidden error unless the identity has the scope; admin
// includes read.
func (id Identity) Allow(need meta.Scope) error {
	if id.Scope == meta.ScopeAdmin || id.Scope == need && need != "" {
		return nil
	}
	return holt.Errorf(holt.KindForbidden, "this token may only look: use one with the scope %s", need)
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
	if now := s.now(); now.Sub(t.LastUsedAt) >= touchEvery {
		if err := s.tokens.Touch(ctx, t.ID, now); err != nil {
			return Identity{}, fmt.Errorf("note use of token: %w", err)
		}
	}
	return identity(t), nil
}

func identity(t meta.Token) Identity {
	return Identity{User: t.Owner, Scope: t.Scope, Kind: t.Kind, TokenID: t.ID, Expires: t.ExpiresAt}
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

var prefixes = map[meta.TokenKind]string{meta.TokenAPI: prefixAPI, meta.TokenLogin: prefixLogin, meta.TokenSession: prefixSession}

// alive returns why a known token is no longer good. A time of revocation in the
// future is the grace of a session that was replaced.
func (s *Service) alive(t meta.Token) error {
	const layout = "2006-01-02 15:04 UTC"
	now := s.now()
	again := map[meta.TokenKind]string{
		meta.TokenAPI:     "make a new one with: holt token create",
		meta.TokenLogin:   "make a new link with: holt open",
		meta.TokenSession: "log in again",
	}[t.Kind]
	what := map[meta.TokenKind]string{meta.TokenAPI: "token", meta.TokenLogin: "login link", meta.TokenSession: "session"}[t.Kind]
	switch {
	case !t.RevokedAt.IsZero() && !now.Before(t.RevokedAt) && t.Kind == meta.TokenLogin:
		return holt.Errorf(holt.KindUnauthorized, "this login link was used already: %s", again)
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

// Purge removes tokens that have been expired or revoked for a week and returns
// how many.
func (s *Service) Purge(ctx context.Context) (int, error) {
	return s.tokens.Purge(ctx, s.now().Add(-purgeAfter))
}
