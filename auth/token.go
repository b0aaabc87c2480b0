package auth

import (
	"context"
	"fmt"
	"slices"
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

	Workspace holt.WorkspaceID // the only one that it opens; "" means all of its owner's
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
	case meta.ScopeAdmin, meta.ScopeWrite, meta.ScopeRead:
	default:
		return "", t, holt.Invalidf("scope", "%q is not a scope: use read, write or admin", string(r.Scope))
	}
	if r.Life < 0 || r.Life > maxLife {
		return "", t, holt.Invalid("expires", "a token lives at most 10 years, or until it is revoked")
	}
	t = meta.Token{Name: name, Kind: meta.TokenAPI, Scope: r.Scope, Owner: r.Owner, Workspace: r.Workspace}
	if r.Life > 0 {
		t.ExpiresAt = s.now().Add(r.Life)
	}
	return s.issue(ctx, t)
}

// List returns the API tokens of a user that were not purged, oldest first; of
// all users when owner is "".
func (s *Service) List(ctx context.Context, owner holt.UserID) ([]meta.Token, error) {
	if owner == "" {
		return s.tokens.List(ctx, meta.TokenAPI)
	}
	return s.tokens.Of(ctx, owner, meta.TokenAPI)
}

// Revoke ends an API token of a user at once, or of any user when owner is "". One
// that is revoked already is not an error; an unknown ID is KindNotFound.
func (s *Service) Revoke(ctx context.Context, owner holt.UserID, id string) error {
	return s.revokeOf(ctx, owner, meta.TokenAPI, id)
}

func (s *Service) revokeOf(ctx context.Context, owner holt.UserID, kind meta.TokenKind, id string) error {
	var all []meta.Token
	var err error
	if owner == "" {
		all, err = s.tokens.List(ctx, kind)
	} else {
		all, err = s.tokens.Of(ctx, owner, kind)
	}
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(t meta.Token) bool { return t.ID == id }) {
		return holt.Errorf(holt.KindNotFound, "there is no %s %q", words[kind], id)
	}
	_, err = s.tokens.Revoke(ctx, id, s.now())
	return err
}

// Bootstrap returns an admin token for whoever runs the server: have, when that
// is one that works, and otherwise a fresh one that replaces any earlier
// bootstrap token. The caller keeps the secret in a file that only it can read
// and passes the content of that file, or "", as have. On a server without
// users it makes the first one, an admin with the ID first, see [Service.Setup].
func (s *Service) Bootstrap(ctx context.Context, have string, first holt.UserID) (secret string, err error) {
	admin, err := s.admin(ctx, first)
	if err != nil {
		return "", err
	}
	have = strings.TrimSpace(have)
	id, err := s.Authenticate(ctx, have)
	if err == nil && id.Scope == meta.ScopeAdmin && id.Role == meta.RoleAdmin && id.Kind == meta.TokenAPI {
		return have, nil
	}
	if err != nil && !holt.IsKind(err, holt.KindUnauthorized) {
		return "", err
	}
	list, err := s.List(ctx, "")
	if err != nil {
		return "", err
	}
	for _, t := range list {
		if t.Name == BootstrapName && t.RevokedAt.IsZero() {
			if err := s.Revoke(ctx, "", t.ID); err != nil {
				return "", fmt.Errorf("revoke earlier bootstrap token: %w", err)
			}
		}
	}
	secret, _, err = s.Create(ctx, TokenRequest{Name: BootstrapName, Scope: meta.ScopeAdmin, Owner: admin.ID})
	return secret, err
}

// admin returns the user with the ID first if that one is an enabled admin, else
// the oldest enabled admin. Without any user it makes the first.
func (s *Service) admin(ctx context.Context, first holt.UserID) (meta.User, error) {
	all, err := s.users.List(ctx)
	if err != nil {
		return meta.User{}, err
	}
	if len(all) == 0 {
		u := meta.User{ID: first, Name: string(first), Role: meta.RoleAdmin, CreatedAt: s.now()}
		return u, s.users.Create(ctx, u)
	}
	all = slices.DeleteFunc(all, func(u meta.User) bool { return u.Role != meta.RoleAdmin || !u.DisabledAt.IsZero() })
	if len(all) == 0 {
		return meta.User{}, holt.Errorf(holt.KindCorrupt, "there are users and none of them is an enabled admin: restore the database from a backup")
	}
	return slices.MinFunc(all, func(a, b meta.User) int {
		if (a.ID == first) != (b.ID == first) {
			return map[bool]int{true: -1, false: 1}[a.ID == first]
		}
		return a.CreatedAt.Compare(b.CreatedAt)
	}), nil
}
