package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// External is who somebody is, as an identity provider says. Issuer and Subject
// together name the account for ever; an address may change hands, so that it opens
// no account that exists.
type External struct {
	Issuer   string
	Subject  string
	Email    string
	Verified bool   // the provider has checked the address
	Name     string // what they would like to be called, or ""
}

// ExternalLogin signs in whom an identity provider has named: the user of that
// account; else, with an invitation, a new user; else a new member if their
// checked address is in one of the domains. Anybody else is KindForbidden.
func (s *Service) ExternalLogin(ctx context.Context, x External, domains []string, invitation string, b Browser) (Session, error) {
	if x.Issuer == "" || x.Subject == "" {
		return Session{}, holt.Errorf(holt.KindUnauthorized, "the identity provider did not say who you are")
	}
	u, err := s.users.ByIdentity(ctx, x.Issuer, x.Subject)
	if err == nil {
		if err := enabled(u); err != nil {
			return Session{}, err
		}
		return s.begin(ctx, u, meta.ScopeAdmin, b)
	}
	if !holt.IsKind(err, holt.KindNotFound) {
		return Session{}, fmt.Errorf("find user: %w", err)
	}
	now := s.now()
	id := meta.Identity{Issuer: x.Issuer, Subject: x.Subject, CreatedAt: now}
	u = meta.User{ID: newUserID(), Role: meta.RoleMember, CreatedAt: now}
	if checkEmail(x.Email) == nil {
		u.Email = x.Email
	}
	create := func() error { return s.users.Create(ctx, u, id) }
	switch {
	case invitation != "":
		i, err := s.InvitationOf(ctx, invitation)
		if err != nil {
			return Session{}, err
		}
		if i.Role == "" {
			return Session{}, errNoAccount
		}
		u.Role = i.Role
		create = func() error { return s.invitations.Accept(ctx, i.ID, now, u, id) }
	case !x.Verified || !inDomains(x.Email, domains):
		return Session{}, errNoAccount
	}
	for n := 1; n <= 50; n++ {
		u.Name = nameFor(x, n)
		err := create()
		if err == nil {
			return s.begin(ctx, u, meta.ScopeAdmin, b)
		}
		if !errors.Is(err, meta.ErrUserTaken) {
			return Session{}, err
		}
	}
	return Session{}, holt.Errorf(holt.KindConflict, "no free name was found for you: ask an admin of this server")
}

var errNoAccount = holt.Errorf(holt.KindForbidden, "you have no account here: ask an admin of this server for an invitation")

// inDomains reports whether an address is in one of the domains.
func inDomains(email string, domains []string) bool {
	_, domain, ok := strings.Cut(strings.ToLower(email), "@")
	return ok && domain != "" && slices.ContainsFunc(domains, func(d string) bool { return strings.EqualFold(d, domain) })
}

// nameFor returns the n-th choice of a name.
func nameFor(x External, n int) string {
	local, _, _ := strings.Cut(x.Email, "@")
	for _, s := range []string{x.Name, local, "user"} {
		s = strings.Trim(strings.Map(func(r rune) rune {
			switch {
			case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
				return r
			case r == ' ', r == '@', r == '+':
				return '.'
			}
			return -1
		}, strings.ToLower(s)), "._-")
		s = strings.Trim(s[:min(len(s), maxUserName-3)], "._-")
		if n > 1 && s != "" {
			s = fmt.Sprintf("%s-%d", s, n)
		}
		if name, err := CheckUserName(s); err == nil {
			return name
		}
	}
	return fmt.Sprintf("user-%d", n)
}
