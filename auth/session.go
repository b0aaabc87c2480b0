package auth

import (
	"context"
	"fmt"
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

// NewLogin makes a code that [Service.Login] exchanges once, within [LoginLife],
// for a session with the rights of the identity.
func (s *Service) NewLogin(ctx context.Context, id Identity) (code string, expires time.Time, err error) {
	expires = s.now().Add(LoginLife)
	code, _, err = s.issue(ctx, meta.Token{Name: "login link", Kind: meta.TokenLogin, Scope: id.Scope, Owner: id.User, ExpiresAt: expires})
	return code, expires, err
}

// Login exchanges a login code for a session. Of many callers with one code
// exactly one succeeds.
func (s *Service) Login(ctx context.Context, code string) (Session, error) {
	t, err := s.check(ctx, code, meta.TokenLogin)
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
	return s.newSession(ctx, t)
}

func (s *Service) newSession(ctx context.Context, from meta.Token) (Session, error) {
	secret, t, err := s.issue(ctx, meta.Token{
		Name: "browser", Kind: meta.TokenSession, Scope: from.Scope, Owner: from.Owner, ExpiresAt: s.now().Add(SessionLife),
	})
	if err != nil {
		return Session{}, err
	}
	return Session{Secret: secret, Expires: t.ExpiresAt, Identity: identity(t)}, nil
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
	if now.Sub(t.CreatedAt) < rotateAfter || !t.RevokedAt.IsZero() {
		return nil, nil
	}
	first, err := s.tokens.Revoke(ctx, t.ID, now.Add(rotateGrace))
	if err != nil {
		return nil, fmt.Errorf("replace session: %w", err)
	}
	if !first {
		return nil, nil
	}
	n, err := s.newSession(ctx, t)
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
	return s.Revoke(ctx, t.ID)
}
