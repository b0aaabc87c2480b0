package gateway

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/auth"
	"github.com/holt-ide/holt/meta"
)

// Names of the lines that tell of sharing in a workspace's log.
const (
	eventShared   = "shared"
	eventUnshared = "unshared"
)

// registerMembers declares how workspaces are shared.
func (g *Gateway) registerMembers(rest *rest) {
	const path = "/workspaces/{workspace}/members"
	op(rest, "GET", path, "list-members", "List who may use a workspace", g.listMembers)
	op(rest, "PUT", path+"/{user}", "set-member", "Share a workspace with a user, or change the user's role", g.setMember)
	op(rest, "DELETE", path+"/{user}", "remove-member", "End the sharing of a workspace with a user; members may leave by themselves", g.removeMember)
	op(rest, "POST", "/workspaces/{workspace}/links", "create-share-link", "Make a link that shares a workspace with one person", g.createShareLink, answers(http.StatusCreated))
	op(rest, "GET", "/workspaces/{workspace}/links", "list-share-links", "List the links that share a workspace, newest first", g.listShareLinks)
	op(rest, "DELETE", "/workspaces/{workspace}/links/{id}", "revoke-share-link", "Take back a link that nobody has used", g.revokeShareLink)
}

func (g *Gateway) listMembers(ctx context.Context, _ *Named) (*answer[api.MemberList], error) {
	w := target(ctx)
	list, err := g.cfg.Members.Of(ctx, w.ID)
	if err != nil {
		return nil, err
	}
	names, err := g.names(ctx)
	if err != nil {
		return nil, err
	}
	here := g.live.here(w.ID)
	out := api.MemberList{Items: []api.Member{{User: names(w.Owner), UserID: string(w.Owner), Role: string(meta.WorkspaceOwner), HereSince: here[w.Owner]}}}
	for _, m := range list {
		out.Items = append(out.Items, api.Member{User: names(m.User), UserID: string(m.User), Role: string(m.Role), AddedBy: names(m.AddedBy), AddedAt: m.AddedAt, HereSince: here[m.User]})
	}
	return &answer[api.MemberList]{out}, nil
}

func (g *Gateway) setMember(ctx context.Context, in *struct {
	Named
	Whom
	Body api.SetMember
}) (*answer[api.MemberList], error) {
	role := meta.WorkspaceRole(in.Body.Role)
	if err := auth.CheckShareRole(role); err != nil {
		return nil, err
	}
	w, who := target(ctx), caller(ctx)
	u, err := g.cfg.Auth.User(ctx, in.User)
	if err != nil {
		return nil, err
	}
	note(ctx, "", "", fmt.Sprintf("with %s as %s", u.Name, role))
	switch {
	case u.ID == w.Owner:
		return nil, holt.Errorf(holt.KindConflict, "%s owns %s and may do everything with it", u.Name, w.Name)
	case !u.DisabledAt.IsZero():
		return nil, holt.Errorf(holt.KindConflict, "the account %s is disabled", u.Name)
	}
	if err := g.cfg.Members.Set(ctx, meta.Member{Workspace: w.ID, User: u.ID, Role: role, AddedBy: who.User, AddedAt: time.Now()}); err != nil {
		return nil, err
	}
	g.lost(u.ID, w.ID)
	g.tell(ctx, w, eventShared, fmt.Sprintf("%s shared it with %s as %s", who.Name, u.Name, role))
	return g.listMembers(ctx, &in.Named)
}

func (g *Gateway) removeMember(ctx context.Context, in *struct {
	Named
	Whom
}) (*struct{}, error) {
	w, who := target(ctx), caller(ctx)
	u, err := g.cfg.Auth.User(ctx, in.User)
	if err != nil {
		return nil, err
	}
	note(ctx, "", "", "with "+u.Name)
	if u.ID == w.Owner {
		return nil, holt.Errorf(holt.KindConflict, "%s owns %s: an owner cannot leave it", u.Name, w.Name)
	}
	if err := g.cfg.Members.Remove(ctx, w.ID, u.ID); err != nil {
		return nil, err
	}
	g.lost(u.ID, w.ID)
	if u.ID == who.User {
		g.tell(ctx, w, eventUnshared, u.Name+" left it")
	} else {
		g.tell(ctx, w, eventUnshared, fmt.Sprintf("%s ended the sharing with %s", who.Name, u.Name))
	}
	return nil, nil
}

func (g *Gateway) createShareLink(ctx context.Context, in *struct {
	Named
	Body api.CreateShareLink
}) (*answer[api.NewInvitation], error) {
	life, err := seconds("expires_in_seconds", in.Body.ExpiresInSeconds)
	if err != nil {
		return nil, err
	}
	who := caller(ctx)
	return g.invite(ctx, auth.InviteRequest{
		Note: in.Body.Note, Life: life, By: who.User, Workspace: target(ctx).ID, WorkspaceRole: meta.WorkspaceRole(in.Body.Role),
		// Only an admin decides who gets an account.
		NoAccount: who.Role != meta.RoleAdmin,
	})
}

func (g *Gateway) listShareLinks(ctx context.Context, _ *Named) (*answer[api.InvitationList], error) {
	all, err := g.cfg.Auth.Invitations(ctx)
	if err != nil {
		return nil, err
	}
	names, err := g.names(ctx)
	if err != nil {
		return nil, err
	}
	out := api.InvitationList{Items: []api.Invitation{}}
	for _, i := range all {
		if i.Workspace == target(ctx).ID {
			out.Items = append(out.Items, toInvitation(i, names, time.Now()))
		}
	}
	return &answer[api.InvitationList]{out}, nil
}

func (g *Gateway) revokeShareLink(ctx context.Context, in *struct {
	Named
	ID string `path:"id" doc:"ID, as lists show it" maxLength:"64"`
}) (*struct{}, error) {
	all, err := g.cfg.Auth.Invitations(ctx)
	if err != nil {
		return nil, err
	}
	for _, i := range all {
		if i.ID == in.ID && i.Workspace == target(ctx).ID {
			note(ctx, "", "", "link for a "+string(i.WorkspaceRole))
			return nil, g.cfg.Auth.RevokeInvitation(ctx, i.ID)
		}
	}
	return nil, holt.Errorf(holt.KindNotFound, "there is no link %.64q to this workspace", in.ID)
}

// tell adds a line to a workspace's log, which its members see at once.
func (g *Gateway) tell(ctx context.Context, w meta.Workspace, name, text string) {
	if err := g.cfg.Workspaces.Tell(ctx, w.ID, name, text); err != nil {
		g.log.Warn("tell of sharing", "workspace", w.ID, "err", err) // the sharing is done
	}
}
