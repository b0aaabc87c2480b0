package gateway

import (
	"cmp"
	"context"
	"net/http"
	"net/url"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/auth"
	"github.com/holt-ide/holt/gateway/origin"
	"github.com/holt-ide/holt/meta"
)

// welcomeView is the page behind a reset code: for the first user of a server,
// who chooses a name too, and for whoever chooses a new password.
func welcomeView(code string, u meta.User, fresh bool, named string) doorView {
	v := doorView{Action: "/welcome", Code: code, Password: true, Fresh: true}
	if fresh {
		v.Title, v.Name, v.Named, v.Button = "Welcome", true, named, "Create account"
		v.Intro = "This server is new. Choose a name and a password: this account may do everything here, and invite others."
		return v
	}
	v.Title, v.Button = "Choose a new password", "Save and sign in"
	v.Intro = "For the account " + u.Name + ". Browsers in which it is signed in now are signed out."
	return v
}

// over is the page of a link that does not work any more.
func over(title string) doorView {
	return doorView{Title: title, Hint: "If you have an account already, sign in at", Command: "/login"}
}

func (g *Gateway) showWelcome(w http.ResponseWriter, r *http.Request) {
	code := codeOf(r.URL.Query().Get("code"))
	u, fresh, err := g.cfg.Auth.ResetOf(r.Context(), code)
	if err != nil {
		g.refuse(r.Context(), w, over("This link does not work"), err)
		return
	}
	showDoor(w, http.StatusOK, welcomeView(code, u, fresh, ""))
}

func (g *Gateway) welcome(w http.ResponseWriter, r *http.Request) {
	if status, problem := form(w, r, origin.Same(r)); status != 0 {
		v := over("This link does not work")
		v.Problem = problem
		showDoor(w, status, v)
		return
	}
	ctx, code := r.Context(), codeOf(r.PostForm.Get("code"))
	u, fresh, err := g.cfg.Auth.ResetOf(ctx, code)
	if err != nil {
		g.refuse(ctx, w, over("This link does not work"), err)
		g.audit(r, auth.Identity{}, "choose-password")
		return
	}
	note(ctx, string(u.ID), u.Name, "")
	name := r.PostForm.Get("name")
	s, err := g.cfg.Auth.Reset(ctx, code, name, r.PostForm.Get("password"), g.browserOf(r))
	if err != nil {
		g.refuse(ctx, w, welcomeView(code, u, fresh, name), err)
		return
	}
	g.lost(u.ID, "")
	g.signedIn(w, r, s, "choose-password", "/")
}

// inviteView is the page behind an invitation, for somebody who is signed in as
// id, or as nobody.
func (g *Gateway) inviteView(ctx context.Context, secret string, i meta.Invitation, id auth.Identity, named string) (doorView, error) {
	names, err := g.names(ctx)
	if err != nil {
		return doorView{}, err
	}
	v := doorView{Action: "/invite", Code: secret}
	from := cmp.Or(names(i.CreatedBy), "Somebody")
	if i.Workspace == "" {
		v.Title, v.Intro = "You are invited", from+" invites you to this server. Choose a name and a password."
	} else {
		ws, err := g.cfg.Workspaces.Get(ctx, string(i.Workspace))
		if err != nil {
			return v, err
		}
		may := map[meta.WorkspaceRole]string{meta.WorkspaceViewer: "to look at", meta.WorkspaceEditor: "to work in"}[i.WorkspaceRole]
		v.Title, v.Intro = "You are invited", from+" shares the workspace "+ws.Name+" with you, "+may+" it."
		if id.User != "" {
			v.Button, v.Hint = "Accept as "+id.Name, "You are signed in as "+id.Name+"."
			return v, nil
		}
		if i.Role == "" {
			v.Action, v.Title = "", "Sign in to accept"
			v.Providers = []provider{{Name: "your account", URL: backTo(secret)}}
			return v, nil
		}
		v.Intro += " Choose a name and a password, or sign in if you have an account."
		v.Providers = []provider{{Name: "your account", URL: backTo(secret)}}
	}
	v.Name, v.Password, v.Fresh, v.Named, v.Button = true, true, true, named, "Create account"
	v.Providers = append(v.Providers, g.invited(secret)...)
	return v, nil
}

// backTo is the login that comes back to an invitation.
func backTo(secret string) string {
	return "/login?" + url.Values{"to": {"/invite?" + url.Values{"code": {secret}}.Encode()}}.Encode()
}

func (g *Gateway) showInvite(w http.ResponseWriter, r *http.Request) {
	ctx, secret := r.Context(), codeOf(r.URL.Query().Get("code"))
	i, err := g.cfg.Auth.InvitationOf(ctx, secret)
	var v doorView
	if err == nil {
		id, _ := g.authenticate(r) // nobody will do
		v, err = g.inviteView(ctx, secret, i, id, "")
	}
	if err != nil {
		g.refuse(ctx, w, over("This invitation does not work"), err)
		return
	}
	showDoor(w, http.StatusOK, v)
}

// acceptInvite makes an account, or gives a workspace to who has one.
func (g *Gateway) acceptInvite(w http.ResponseWriter, r *http.Request) {
	if status, problem := form(w, r, origin.Same(r)); status != 0 {
		v := over("This invitation does not work")
		v.Problem = problem
		showDoor(w, status, v)
		return
	}
	ctx, secret := r.Context(), codeOf(r.PostForm.Get("code"))
	i, err := g.cfg.Auth.InvitationOf(ctx, secret)
	if err != nil {
		g.refuse(ctx, w, over("This invitation does not work"), err)
		g.audit(r, auth.Identity{}, "accept-invitation")
		return
	}
	note(ctx, i.ID, i.Note, "")
	if id, err := g.authenticate(r); err == nil && !r.PostForm.Has("password") {
		g.acceptAs(w, r, secret, id)
		return
	}
	name := r.PostForm.Get("name")
	s, err := g.cfg.Auth.Join(ctx, secret, name, r.PostForm.Get("password"), g.browserOf(r))
	if err == nil {
		g.told(ctx, i, s.Identity.Name)
		g.signedIn(w, r, s, "accept-invitation", g.placeOf(ctx, i))
		return
	}
	v, e := g.inviteView(ctx, secret, i, auth.Identity{}, name)
	if e != nil || holt.IsKind(err, holt.KindUnauthorized) {
		v = over("This invitation does not work")
	}
	g.refuse(ctx, w, v, err)
}

// acceptAs gives the workspace of an invitation to who is signed in.
func (g *Gateway) acceptAs(w http.ResponseWriter, r *http.Request, secret string, id auth.Identity) {
	ctx := r.Context()
	defer g.audit(r, id, "accept-invitation")
	err := id.Allow(rights["accept-share"].scope)
	var i meta.Invitation
	if err == nil {
		i, err = g.cfg.Auth.JoinAs(ctx, secret, id.User)
	}
	if err != nil {
		g.refuse(ctx, w, over("This invitation cannot be accepted"), err)
		return
	}
	g.lost(id.User, i.Workspace)
	g.told(ctx, i, id.Name)
	http.Redirect(w, r, g.placeOf(ctx, i), http.StatusSeeOther)
}

// told tells the members of a workspace who came in.
func (g *Gateway) told(ctx context.Context, i meta.Invitation, name string) {
	if i.Workspace == "" {
		return
	}
	if err := g.cfg.Workspaces.Tell(ctx, i.Workspace, eventShared, name+" accepted an invitation as "+string(i.WorkspaceRole)); err != nil {
		g.log.Warn("tell of sharing", "workspace", i.Workspace, "err", err) // it is accepted
	}
}

// placeOf is where who accepted an invitation goes.
func (g *Gateway) placeOf(ctx context.Context, i meta.Invitation) string {
	if i.Workspace == "" {
		return "/"
	}
	ws, err := g.cfg.Workspaces.Get(ctx, string(i.Workspace))
	if err != nil {
		return "/"
	}
	return "/#" + ws.Name
}
