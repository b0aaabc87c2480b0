package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// Session is what a browser keeps in its cookie. The gateway sets it with
// HttpOnly, SameSite=Lax, Path=/ and, behind TLS, Secure.
type Session struct {
	Secret   string
	Expires  time.Time
	Identity Identity
}

// Browser is where a session begins.
type Browser struct {
	Agent   string // how it names itself
	Address string // where it is
}

// maxAgent bounds what is kept of a browser's name for itself, in bytes.
const maxAgent = 256

// NewLogin makes a code that [Service.Login] exchanges once, within [LoginLife],
// for a session with the rights of the identity.
func (s *Service) NewLogin(ctx context.Context, id Identity) (code string, expires time.Time, err error) {
	expires = s.now().Add(LoginLife)
	code, _, err = s.issue(ctx, meta.Token{Name: "login link", Kind: meta.TokenLogin, Scope: id.Scope, Owner: id.User, ExpiresAt: expires})
	return code, expires, err
}

// Login exchanges a login code for a session. Of many callers with one code
// exactly one succeeds.
func (s *Service) Login(ctx context.Context, code string, b Browser) (Session, error) {
	t, err := s.check(ctx, code, meta.TokenLogin)
	if err != nil {
		return Session{}, err
	}
	u, err := s.holder(ctx, t)
	if err != nil {
		return Session{}, err
	}
	first, err := s.tokens.Revoke(ctx, t.ID, s.now())
	if err != nil {
		return Session{}, fmt.Errorf("use login code: %w", err)
	}
	if !first {
		return Session{}, holt.Errorf(holt.KindUnauthorized, "this login link was used already: make a new link with: holt open")
	}
	return s.begin(ctx, u, t.Scope, b)
}

// begin signs u in.
func (s *Service) begin(ctx context.Context, u meta.User, scope meta.Scope, b Browser) (Session, error) {
	agent := strings.ToValidUTF8(b.Agent[:min(len(b.Agent), maxAgent)], "")
	return s.newSession(ctx, u, meta.Token{Scope: scope, Agent: agent, Address: b.Address, StartedAt: s.now()})
}

// newSession makes a session with the scope and the beginning of like.
func (s *Service) newSession(ctx context.Context, u meta.User, like meta.Token) (Session, error) {
	secret, t, err := s.issue(ctx, meta.Token{
		Name: "browser", Kind: meta.TokenSession, Scope: like.Scope, Owner: u.ID, Agent: like.Agent, Address: like.Address, StartedAt: like.StartedAt,
		ExpiresAt: s.now().Add(SessionLife),
	})
	if err != nil {
		return Session{}, err
	}
	return Session{Secret: secret, Expires: t.ExpiresAt, Identity: identity(t, u)}, nil
}

// Rotate returns a fresh session in place of one that is in use for a day, and
// nil while it is not time yet or when another request has just done it. The old
// secret works for a minute more, for requests that are under way.
func (s *Service) Rotate(ctx context.Context, secret string) (*Session, error) {
	t, err := s.check(ctx, secret, meta.TokenSession)
	if err != nil {
		return nil, err
	}
	now := s.now()
	if now.Sub(t.CreatedAt) < rotateAfter || !t.RevokedAt.IsZero() || !t.StartedAt.IsZero() && now.Sub(t.StartedAt) > SessionLongest {
		return nil, nil
	}
	u, err := s.holder(ctx, t)
	if err != nil {
		return nil, err
	}
	first, err := s.tokens.Revoke(ctx, t.ID, now.Add(rotateGrace))
	if err != nil {
		return nil, fmt.Errorf("replace session: %w", err)
	}
	if !first {
		return nil, nil
	}
	n, err := s.newSession(ctx, u, t)
	if err != nil {
		return nil, err
	}
	return &n, nil
}

// Logout ends the session at once. One that is not valid any more is not an
// error.
func (s *Service) Logout(ctx context.Context, secret string) error {
	t, err := s.check(ctx, secret, meta.TokenSession)
	if holt.IsKind(err, holt.KindUnauthorized) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = s.tokens.Revoke(ctx, t.ID, s.now())
	return err
}

// Sessions returns the sessions of a user that are not over, oldest first. One
// that was replaced a moment ago and still works is left out.
func (s *Service) Sessions(ctx context.Context, user holt.UserID) ([]meta.Token, error) {
	all, err := s.tokens.Of(ctx, user, meta.TokenSession)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(t meta.Token) bool { return !t.RevokedAt.IsZero() || s.alive(t) != nil }), nil
}

// EndSession ends one session of a user at once. An unknown one is KindNotFound.
func (s *Service) EndSession(ctx context.Context, user holt.UserID, id string) error {
	return s.revokeOf(ctx, user, meta.TokenSession, id)
}

// EndSessions ends all sessions of a user at once, but for the one of that ID.
func (s *Service) EndSessions(ctx context.Context, user holt.UserID, except string) error {
	return s.tokens.RevokeOf(ctx, user, meta.TokenSession, s.now(), except)
}
