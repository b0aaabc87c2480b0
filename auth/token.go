package auth

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// BootstrapName is the name of the token that the server makes for its first
// user.
const BootstrapName = "bootstrap"

// maxLife bounds how long a token may live that expires at all.
const maxLife = 10 * 365 * 24 * time.Hour

// TokenRequest asks for an API token.
type TokenRequest struct {
	Name  string        // 1 to 64 printable characters
	Scope meta.Scope    // "" means admin
	Life  time.Duration // 0 means until it is revoked
	Owner holt.UserID
}

// Create makes an API token and returns its secret, which cannot be read again.
func (s *Service) Create(ctx context.Context, r TokenRequest) (secret string, t meta.Token, err error) {
	name := strings.TrimSpace(r.Name)
	if name == "" || len(name) > 64 || strings.ContainsFunc(name, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return "", t, holt.Invalid("name", "a token needs a name of 1 to 64 printable characters that tells what it is for")
	}
	switch r.Scope {
	case "":
		r.Scope = meta.ScopeAdmin
	case meta.ScopeAdmin, meta.ScopeRead:
	default:
		return "", t, holt.Invalidf("scope", "%q is not a scope: use admin or read", string(r.Scope))
	}
	if r.Life < 0 || r.Life > maxLife {
		return "", t, holt.Invalid("expires", "a token lives at most 10 years, or until it is revoked")
	}
	t = meta.Token{Name: name, Kind: meta.TokenAPI, Scope: r.Scope, Owner: r.Owner}
	if r.Life > 0 {
		t.ExpiresAt = s.now().Add(r.Life)
	}
	return s.issue(ctx, t)
}

// List returns all API tokens that were not purged, oldest first.
func (s *Service) List(ctx context.Context) ([]meta.Token, error) {
	return s.tokens.List(ctx, meta.TokenAPI)
}

// Revoke ends a token or a session at once. One that is revoked already is not an
// error; an unknown ID is KindNotFound.
func (s *Service) Revoke(ctx context.Context, id string) error {
	_, err := s.tokens.Revoke(ctx, id, s.now())
	return err
}

// Bootstrap returns an admin token for the server's first user: have, when that
// is one that works, and otherwise a fresh one that replaces any earlier
// bootstrap token. The caller keeps the secret in a file that only it can read
// and passes the content of that file, or "", as have.
func (s *Service) Bootstrap(ctx context.Context, have string, owner holt.UserID) (secret string, err error) {
	have = strings.TrimSpace(have)
	t, err := s.check(ctx, have, meta.TokenAPI)
	if err == nil && t.Scope == meta.ScopeAdmin {
		return have, nil
	}
	if err != nil && !holt.IsKind(err, holt.KindUnauthorized) {
		return "", err
	}
	list, err := s.List(ctx)
	if err != nil {
		return "", err
	}
	for _, t := range list {
		if t.Name == BootstrapName && t.RevokedAt.IsZero() {
			if err := s.Revoke(ctx, t.ID); err != nil {
				return "", fmt.Errorf("revoke earlier bootstrap token: %w", err)
			}
		}
	}
	secret, _, err = s.Create(ctx, TokenRequest{Name: BootstrapName, Scope: meta.ScopeAdmin, Owner: owner})
	return secret, err
}
