package gateway

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/auth"
	"github.com/holt-ide/holt/meta"
)

// registerPeople declares what admins do with accounts.
func (g *Gateway) registerPeople(rest *rest) {
	op(rest, "GET", "/users", "list-users", "List users", g.listUsers)
	op(rest, "GET", "/users/{user}", "get-user", "Show a user", g.getUser)
	op(rest, "PATCH", "/users/{user}", "update-user", "Change a user: name, role, disabled", g.updateUser)
	op(rest, "DELETE", "/users/{user}", "delete-user", "Remove a user who owns no workspaces", g.deleteUser)
	op(rest, "POST", "/users/{user}/reset", "reset-password", "Make a link with which a user chooses a password, once", g.resetPassword, answers(http.StatusCreated))
	op(rest, "GET", "/invitations", "list-invitations", "List invitations, newest first", g.listInvitations)
	op(rest, "POST", "/invitations", "create-invitation", "Make a link with which one person makes an account", g.createInvitation, answers(http.StatusCreated))
	op(rest, "DELETE", "/invitations/{id}", "revoke-invitation", "Take an invitation back", g.revokeInvitation)
}

// Whom is the input of operations on one user.
type Whom struct {
	User string `path:"user" doc:"Name or ID of the user" maxLength:"64"`
}

// toUser shows a user; owns tells how many workspaces each user has.
func (g *Gateway) toUser(ctx context.Context, u meta.User, owns map[holt.UserID]int) (api.User, error) {
	ids, err := g.cfg.Auth.Identities(ctx, u.ID)
	if err != nil {
		return api.User{}, err
	}
	ways := []string{}
	if u.Password != "" {
		ways = append(ways, "password")
	}
	for _, id := range ids {
		ways = append(ways, id.Issuer)
	}
	return api.User{
		ID: string(u.ID), Name: u.Name, Email: u.Email, Role: string(u.Role), Disabled: !u.DisabledAt.IsZero(), SignIn: ways,
		Workspaces: owns[u.ID], CreatedAt: u.CreatedAt, LastSeenAt: u.LastSeenAt,
	}, nil
}

// owns counts the workspaces of users; of one unless that is "".
func (g *Gateway) owns(ctx context.Context, user holt.UserID) (map[holt.UserID]int, error) {
	out := map[holt.UserID]int{}
	for cursor := ""; ; {
		rows, next, err := g.cfg.Workspaces.List(ctx, meta.Page{Cursor: cursor, Limit: meta.MaxPage, Owner: user})
		if err != nil {
			return nil, err
		}
		for _, w := range rows {
			out[w.Owner]++
		}
		if cursor = next; cursor == "" {
			return out, nil
		}
	}
}

func (g *Gateway) listUsers(ctx context.Context, _ *struct{}) (*answer[api.UserList], error) {
	all, err := g.cfg.Auth.Users(ctx)
	if err != nil {
		return nil, err
	}
	owns, err := g.owns(ctx, "")
	if err != nil {
		return nil, err
	}
	out := api.UserList{Items: make([]api.User, 0, len(all))}
	for _, u := range all {
		shown, err := g.toUser(ctx, u, owns)
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, shown)
	}
	return &answer[api.UserList]{out}, nil
}

func (g *Gateway) oneUser(ctx context.Context, u meta.User) (*answer[api.User], error) {
	owns, err := g.owns(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	shown, err := g.toUser(ctx, u, owns)
	if err != nil {
		return nil, err
	}
	return &answer[api.User]{shown}, nil
}

// find returns the user of a request, whom its line in the audit log names.
func (g *Gateway) find(ctx context.Context, nameOrID string) (meta.User, error) {
	u, err := g.cfg.Auth.User(ctx, nameOrID)
	if err != nil {
		note(ctx, "", nameOrID, "")
		return u, err
	}
	note(ctx, string(u.ID), u.Name, "")
	return u, nil
}

func (g *Gateway) getUser(ctx context.Context, in *Whom) (*answer[api.User], error) {
	u, err := g.find(ctx, in.User)
	if err != nil {
		return nil, err
	}
	return g.oneUser(ctx, u)
}

func (g *Gateway) updateUser(ctx context.Context, in *struct {
	Whom
	Body api.UpdateUser
}) (*answer[api.User], error) {
	u, err := g.find(ctx, in.User)
	if err != nil {
		return nil, err
	}
	b := in.Body
	var did []string
	if b.Name != nil {
		did = append(did, "name "+*b.Name)
	}
	if b.Email != nil {
		did = append(did, "e-mail")
	}
	if b.Role != nil {
		did = append(did, "role "+*b.Role)
	}
	if b.Disabled != nil {
		did = append(did, map[bool]string{true: "disabled", false: "enabled"}[*b.Disabled])
	}
	note(ctx, "", "", strings.Join(did, ", "))
	if u, err = g.cfg.Auth.Change(ctx, u.ID, auth.UserChange{Name: b.Name, Email: b.Email, Role: (*meta.Role)(b.Role), Disabled: b.Disabled}); err != nil {
		return nil, err
	}
	g.lost(u.ID, "")
	return g.oneUser(ctx, u)
}

func (g *Gateway) deleteUser(ctx context.Context, in *Whom) (*struct{}, error) {
	u, err := g.find(ctx, in.User)
	if err != nil {
		return nil, err
	}
	if err := g.cfg.Auth.Remove(ctx, u.ID); err != nil {
		return nil, err
	}
	g.lost(u.ID, "")
	return nil, nil
}

func (g *Gateway) resetPassword(ctx context.Context, in *Whom) (*answer[api.ResetLink], error) {
	u, err := g.find(ctx, in.User)
	if err != nil {
		return nil, err
	}
	if !u.DisabledAt.IsZero() {
		return nil, holt.Errorf(holt.KindConflict, "%s is disabled: enable the account first", u.Name)
	}
	code, t, err := g.cfg.Auth.NewReset(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	return &answer[api.ResetLink]{api.ResetLink{URL: g.link("/welcome", code), ExpiresAt: t.ExpiresAt}}, nil
}

// link returns the address of one of our pages with a code.
func (g *Gateway) link(page, code string) string {
	u := g.public.JoinPath(page)
	u.RawQuery = url.Values{"code": {code}}.Encode()
	return u.String()
}

func (g *Gateway) listInvitations(ctx context.Context, _ *struct{}) (*answer[api.InvitationList], error) {
	all, err := g.cfg.Auth.Invitations(ctx)
	if err != nil {
		return nil, err
	}
	names, err := g.names(ctx)
	if err != nil {
		return nil, err
	}
	out := api.InvitationList{Items: make([]api.Invitation, 0, len(all))}
	for _, i := range all {
		out.Items = append(out.Items, toInvitation(i, names, time.Now()))
	}
	return &answer[api.InvitationList]{out}, nil
}

func (g *Gateway) createInvitation(ctx context.Context, in *struct{ Body api.CreateInvitation }) (*answer[api.NewInvitation], error) {
	life, err := seconds("expires_in_seconds", in.Body.ExpiresInSeconds)
	if err != nil {
		return nil, err
	}
	return g.invite(ctx, auth.InviteRequest{Note: in.Body.Note, Role: meta.Role(in.Body.Role), Life: life, By: caller(ctx).User})
}

func (g *Gateway) invite(ctx context.Context, req auth.InviteRequest) (*answer[api.NewInvitation], error) {
	secret, i, err := g.cfg.Auth.Invite(ctx, req)
	if err != nil {
		return nil, err
	}
	if i.Workspace == "" {
		note(ctx, i.ID, i.Note, "role "+string(i.Role))
	} else {
		note(ctx, "", "", "link for a "+string(i.WorkspaceRole))
	}
	names, err := g.names(ctx)
	if err != nil {
		return nil, err
	}
	return &answer[api.NewInvitation]{api.NewInvitation{Invitation: toInvitation(i, names, i.CreatedAt), URL: g.link("/invite", secret)}}, nil
}

func (g *Gateway) revokeInvitation(ctx context.Context, in *idInput) (*struct{}, error) {
	note(ctx, in.ID, "", "")
	return nil, g.cfg.Auth.RevokeInvitation(ctx, in.ID)
}
