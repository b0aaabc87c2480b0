package auth

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"regexp"
	"strings"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// maxUserName bounds the name of a user, in characters.
const maxUserName = 32

var userNameRE = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$`)

// CheckUserName returns a name as it is stored, or why it cannot name a user.
// Upper and lower case are the same.
func CheckUserName(name string) (string, error) {
	name = strings.ToLower(strings.TrimSpace(name))
	switch {
	case name == "":
		return "", holt.Invalid("name", "choose a name to sign in with")
	case len(name) > maxUserName:
		return "", &holt.Error{Kind: holt.KindInvalid, Field: "name", Limit: fmt.Sprint(maxUserName), Text: fmt.Sprintf("a name has at most %d characters", maxUserName)}
	case !userNameRE.MatchString(name) || strings.HasPrefix(name, "us-"):
		return "", holt.Invalid("name", "a name has only letters a-z, digits, dots, hyphens and underscores, and begins and ends with a letter or digit")
	}
	return name, nil
}

func checkEmail(s string) error {
	if s == "" {
		return nil
	}
	if a, err := mail.ParseAddress(s); err != nil || a.Address != s || len(s) > 254 {
		return holt.Invalidf("email", "%.100q is not an e-mail address", s)
	}
	return nil
}

// PasswordLogin signs a user in. Whether the name or the password was wrong, the
// answer and the time it takes are the same. Too many failures are a [Throttled].
func (s *Service) PasswordLogin(ctx context.Context, name, password string, b Browser) (Session, error) {
	wrong := holt.Errorf(holt.KindUnauthorized, "the name or the password is wrong")
	account, err := CheckUserName(name)
	if err != nil || len(password) > MaxPassword {
		account = "?" // no user has this name, and all of them count as one account
	}
	if err := s.throttle.try(account, b.Address, s.now()); err != nil {
		return Session{}, err
	}
	u, err := s.users.ByName(ctx, account)
	if err != nil && !holt.IsKind(err, holt.KindNotFound) {
		return Session{}, fmt.Errorf("find user: %w", err)
	}
	if len(password) > MaxPassword {
		password = ""
	}
	ok, stale, err := s.hasher.verify(ctx, u.Password, password)
	if err != nil {
		return Session{}, err
	}
	if !ok {
		return Session{}, wrong
	}
	s.throttle.forgive(account, b.Address)
	if err := enabled(u); err != nil {
		return Session{}, err
	}
	if stale {
		if err := s.rehash(ctx, u, password); err != nil {
			return Session{}, err
		}
	}
	return s.begin(ctx, u, meta.ScopeAdmin, b)
}

// rehash stores the password under the present cost, unless it was changed
// meanwhile.
func (s *Service) rehash(ctx context.Context, u meta.User, password string) error {
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	_, err = s.users.Update(ctx, u.ID, func(now *meta.User) error {
		if now.Password == u.Password {
			now.Password = hash
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store password: %w", err)
	}
	return nil
}

// SetPassword changes the caller's own password and ends their other sessions.
// The present one is needed if there is one, and throttled as at a login.
func (s *Service) SetPassword(ctx context.Context, id Identity, current, fresh string, address string) error {
	u, err := s.users.Get(ctx, id.User)
	if err != nil {
		return err
	}
	if u.Password != "" {
		if err := s.throttle.try(u.Name, address, s.now()); err != nil {
			return err
		}
		ok, _, err := s.hasher.verify(ctx, u.Password, current[:min(len(current), MaxPassword)])
		if err != nil {
			return err
		}
		if !ok {
			return holt.Invalid("current", "this is not your present password")
		}
		s.throttle.forgive(u.Name, address)
	}
	if err := checkPassword(u.Name, fresh); err != nil {
		return err
	}
	hash, err := s.hasher.hash(ctx, fresh)
	if err != nil {
		return err
	}
	_, err = s.users.Update(ctx, u.ID, func(now *meta.User) error {
		if now.Password != u.Password {
			return holt.Errorf(holt.KindConflict, "the password was changed at the same moment: try again")
		}
		now.Password = hash
		return nil
	})
	if err != nil {
		return err
	}
	return s.EndSessions(ctx, u.ID, id.TokenID)
}

// NewReset makes a code with which a user chooses a password, once, within
// [ResetLife]. Earlier ones of the same user end.
func (s *Service) NewReset(ctx context.Context, user holt.UserID) (code string, t meta.Token, err error) {
	if err := s.tokens.RevokeOf(ctx, user, meta.TokenReset, s.now(), ""); err != nil {
		return "", t, err
	}
	return s.issue(ctx, meta.Token{Name: "reset link", Kind: meta.TokenReset, Scope: meta.ScopeAdmin, Owner: user, ExpiresAt: s.now().Add(ResetLife)})
}

// Setup makes the code with which the first user takes a server over: a reset
// code for the first admin. It returns "" when that account has a way to sign in.
func (s *Service) Setup(ctx context.Context, first holt.UserID) (code string, err error) {
	u, err := s.admin(ctx, first)
	if err != nil {
		return "", err
	}
	fresh, err := s.fresh(ctx, u)
	if err != nil || !fresh {
		return "", err
	}
	code, _, err = s.NewReset(ctx, u.ID)
	return code, err
}

// fresh reports whether nobody can sign in to an account yet.
func (s *Service) fresh(ctx context.Context, u meta.User) (bool, error) {
	if u.Password != "" {
		return false, nil
	}
	ids, err := s.users.Identities(ctx, u.ID)
	return err == nil && len(ids) == 0, err
}

// ResetOf returns whose password a reset code is for, and whether they may
// choose their name too because nobody has signed in to the account yet.
func (s *Service) ResetOf(ctx context.Context, code string) (u meta.User, fresh bool, err error) {
	t, err := s.check(ctx, code, meta.TokenReset)
	if err != nil {
		return u, false, err
	}
	if u, err = s.holder(ctx, t); err != nil {
		return u, false, err
	}
	fresh, err = s.fresh(ctx, u)
	return u, fresh, err
}

// Reset uses a reset code up: it stores the password, and the name if the account
// is fresh, ends all sessions of the user and begins a new one.
func (s *Service) Reset(ctx context.Context, code, name, password string, b Browser) (Session, error) {
	t, err := s.check(ctx, code, meta.TokenReset)
	if err != nil {
		return Session{}, err
	}
	u, fresh, err := s.ResetOf(ctx, code)
	if err != nil {
		return Session{}, err
	}
	if !fresh {
		name = u.Name
	}
	if name, err = s.freeName(ctx, name, u.ID); err != nil {
		return Session{}, err
	}
	if err := checkPassword(name, password); err != nil {
		return Session{}, err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return Session{}, err
	}
	// From here on a failure costs the code: an admin can make another one.
	first, err := s.tokens.Revoke(ctx, t.ID, s.now())
	if err != nil {
		return Session{}, fmt.Errorf("use reset code: %w", err)
	}
	if !first {
		return Session{}, holt.Errorf(holt.KindUnauthorized, "this link was used already: sign in, or ask an admin of this server for a new one")
	}
	if u, err = s.users.Update(ctx, u.ID, func(u *meta.User) error { u.Name, u.Password = name, hash; return nil }); err != nil {
		return Session{}, err
	}
	if err := s.EndSessions(ctx, u.ID, ""); err != nil {
		return Session{}, err
	}
	return s.begin(ctx, u, meta.ScopeAdmin, b)
}

// freeName returns name as it is stored, if nobody but the user itself has it.
func (s *Service) freeName(ctx context.Context, name string, itself holt.UserID) (string, error) {
	name, err := CheckUserName(name)
	if err != nil {
		return "", err
	}
	u, err := s.users.ByName(ctx, name)
	switch {
	case err == nil && u.ID != itself:
		return "", meta.ErrUserTaken
	case err != nil && !holt.IsKind(err, holt.KindNotFound):
		return "", err
	}
	return name, nil
}

// Users returns all users, by name.
func (s *Service) Users(ctx context.Context) ([]meta.User, error) { return s.users.List(ctx) }

// User returns the user of that name or ID, or a KindNotFound error.
func (s *Service) User(ctx context.Context, nameOrID string) (meta.User, error) {
	u, err := s.users.Get(ctx, holt.UserID(nameOrID))
	if holt.IsKind(err, holt.KindNotFound) {
		u, err = s.users.ByName(ctx, strings.ToLower(nameOrID))
	}
	if holt.IsKind(err, holt.KindNotFound) {
		return u, holt.Errorf(holt.KindNotFound, "there is no user %.100q", nameOrID)
	}
	return u, err
}

// Identities returns what else but a password signs a user in.
func (s *Service) Identities(ctx context.Context, id holt.UserID) ([]meta.Identity, error) {
	return s.users.Identities(ctx, id)
}

// UserChange says what of a user changes; nil fields stay.
type UserChange struct {
	Name     *string
	Email    *string
	Role     *meta.Role
	Disabled *bool
}

// Change changes a user. Disabling one ends all their sessions; their API tokens
// stay, and work again should the user be enabled again. The last enabled
// admin stays one, see [meta.ErrLastAdmin].
func (s *Service) Change(ctx context.Context, id holt.UserID, c UserChange) (meta.User, error) {
	if c.Name != nil {
		name, err := CheckUserName(*c.Name)
		if err != nil {
			return meta.User{}, err
		}
		c.Name = &name
	}
	if c.Email != nil {
		if err := checkEmail(*c.Email); err != nil {
			return meta.User{}, err
		}
	}
	if c.Role != nil {
		if err := checkRole(*c.Role); err != nil {
			return meta.User{}, err
		}
	}
	u, err := s.users.Update(ctx, id, func(u *meta.User) error {
		if c.Name != nil {
			u.Name = *c.Name
		}
		if c.Email != nil {
			u.Email = *c.Email
		}
		if c.Role != nil {
			u.Role = *c.Role
		}
		if c.Disabled != nil && *c.Disabled != !u.DisabledAt.IsZero() {
			u.DisabledAt = s.now()
			if !*c.Disabled {
				u.DisabledAt = time.Time{}
			}
		}
		return nil
	})
	if err != nil {
		return u, err
	}
	if !u.DisabledAt.IsZero() {
		return u, errors.Join(s.EndSessions(ctx, id, ""), s.tokens.RevokeOf(ctx, id, meta.TokenLogin, s.now(), ""),
			s.tokens.RevokeOf(ctx, id, meta.TokenReset, s.now(), ""))
	}
	return u, nil
}

func checkRole(r meta.Role) error {
	if r != meta.RoleAdmin && r != meta.RoleMember {
		return holt.Invalidf("role", "%q is not a role of users: use admin or member", string(r))
	}
	return nil
}

// Remove forgets a user with all their tokens. One who owns workspaces is
// KindConflict.
func (s *Service) Remove(ctx context.Context, id holt.UserID) error { return s.users.Remove(ctx, id) }
