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

// How long invitations live.
const (
	InviteLife    = 7 * 24 * time.Hour
	InviteLongest = 90 * 24 * time.Hour
)

// InviteRequest asks for an invitation.
type InviteRequest struct {
	Note string        // whom it is for; at most 100 printable characters
	Role meta.Role     // "" means member
	Life time.Duration // 0 means [InviteLife]

	Workspace     holt.WorkspaceID   // shared with who accepts; or ""
	WorkspaceRole meta.WorkspaceRole // viewer or editor, if there is a workspace
	NoAccount     bool               // only who has an account already can accept it

	By holt.UserID
}

// Invite makes an invitation and returns its secret, which cannot be read again.
func (s *Service) Invite(ctx context.Context, r InviteRequest) (secret string, i meta.Invitation, err error) {
	if r.Role == "" {
		r.Role = meta.RoleMember
	}
	if err := checkRole(r.Role); err != nil {
		return "", i, err
	}
	if r.NoAccount {
		r.Role = ""
	}
	note := strings.TrimSpace(r.Note)
	if len(note) > 100 || strings.ContainsFunc(note, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return "", i, holt.Invalid("note", "a note has at most 100 printable characters")
	}
	if r.Workspace != "" {
		if err := CheckShareRole(r.WorkspaceRole); err != nil {
			return "", i, err
		}
	}
	if r.Life == 0 {
		r.Life = InviteLife
	}
	if r.Life < 0 || r.Life > InviteLongest {
		return "", i, holt.Invalid("expires", "an invitation lives for some seconds, and for 90 days at most")
	}
	secret = prefixInvite + holt.NewSecret()
	now := s.now()
	i = meta.Invitation{
		ID: "in-" + holt.NewID(), Hash: hashOf(secret), Note: note, Role: r.Role, Workspace: r.Workspace, WorkspaceRole: r.WorkspaceRole,
		CreatedBy: r.By, CreatedAt: now, ExpiresAt: now.Add(r.Life),
	}
	if err := s.invitations.Create(ctx, i); err != nil {
		return "", i, fmt.Errorf("store invitation: %w", err)
	}
	return secret, i, nil
}

// CheckShareRole reports why a role cannot be given to whom a workspace is
// shared with.
func CheckShareRole(r meta.WorkspaceRole) error {
	if r != meta.WorkspaceViewer && r != meta.WorkspaceEditor {
		return holt.Invalidf("role", "%q is not a role in a workspace: use viewer or editor", string(r))
	}
	return nil
}

// InvitationOf returns the invitation of a secret, if it can be accepted.
func (s *Service) InvitationOf(ctx context.Context, secret string) (meta.Invitation, error) {
	unknown := holt.Errorf(holt.KindUnauthorized, "this invitation is not known here: check that the link is complete, or ask for a new one")
	if !strings.HasPrefix(secret, prefixInvite) || len(secret) != len(prefixInvite)+secretLength {
		return meta.Invitation{}, unknown
	}
	i, err := s.invitations.ByHash(ctx, hashOf(secret))
	switch {
	case holt.IsKind(err, holt.KindNotFound):
		return i, unknown
	case err != nil:
		return i, fmt.Errorf("find invitation: %w", err)
	case !i.UsedAt.IsZero() || !i.RevokedAt.IsZero():
		return i, meta.ErrInvitationUsed
	case !s.now().Before(i.ExpiresAt):
		return i, holt.Errorf(holt.KindUnauthorized, "this invitation expired on %s: ask for a new one", i.ExpiresAt.UTC().Format("2006-01-02 15:04 UTC"))
	}
	return i, nil
}

// Join accepts an invitation with a new account and signs it in.
func (s *Service) Join(ctx context.Context, secret, name, password string, b Browser) (Session, error) {
	i, err := s.InvitationOf(ctx, secret)
	if err != nil {
		return Session{}, err
	}
	if i.Role == "" {
		return Session{}, holt.Errorf(holt.KindForbidden, "this link is for people who have an account here: sign in, or ask an admin of this server for one")
	}
	if name, err = s.freeName(ctx, name, ""); err != nil {
		return Session{}, err
	}
	if err := checkPassword(name, password); err != nil {
		return Session{}, err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return Session{}, err
	}
	now := s.now()
	u := meta.User{ID: newUserID(), Name: name, Role: i.Role, Password: hash, CreatedAt: now}
	if err := s.invitations.Accept(ctx, i.ID, now, u); err != nil {
		return Session{}, err
	}
	return s.begin(ctx, u, meta.ScopeAdmin, b)
}

// JoinAs accepts an invitation as a user who exists, who gets its workspace. One
// without a workspace has nothing to give them: that is KindConflict.
func (s *Service) JoinAs(ctx context.Context, secret string, user holt.UserID) (meta.Invitation, error) {
	i, err := s.InvitationOf(ctx, secret)
	if err != nil {
		return i, err
	}
	if i.Workspace == "" {
		return i, holt.Errorf(holt.KindConflict, "you have an account here already: this invitation is for somebody who has none")
	}
	return i, s.invitations.AcceptAs(ctx, i.ID, s.now(), user)
}

// Invitations returns all invitations that were not purged, newest first.
func (s *Service) Invitations(ctx context.Context) ([]meta.Invitation, error) {
	return s.invitations.List(ctx)
}

// RevokeInvitation ends an invitation. A used one is KindConflict.
func (s *Service) RevokeInvitation(ctx context.Context, id string) error {
	_, err := s.invitations.Revoke(ctx, id, s.now())
	return err
}

func newUserID() holt.UserID { return holt.UserID("us-" + holt.NewID()) }
