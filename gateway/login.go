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
	"github.com/holt-ide/holt/gateway/origin"
	"github.com/holt-ide/holt/gateway/portproxy"
	"github.com/holt-ide/holt/meta"
)

// loginView is the page that asks for a name and a password.
func (g *Gateway) loginView(to, named string) doorView {
	return doorView{
		Title: "Sign in", Action: "/login", To: to, Name: true, Password: true, Named: named, Button: "Sign in", Providers: g.providers(to),
		Hint: "Forgotten your password? An admin of this server makes you a link to choose a new one. Whoever runs the server can use", Command: "holt open",
	}
}

// linkView is the page behind a login link. The link itself changes nothing, so
// that programs which look at links in advance do not use it up.
func linkView(code, to string) doorView {
	return doorView{
		Title: "Sign in", Intro: "This link signs this browser in, once.", Action: "/login", Code: code, To: to, Button: "Sign in", Press: true,
	}
}

// after is where a browser goes next: a page of ours, never another place.
func after(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") ||
		len(to) > 1024 || strings.HasPrefix(u.Path, "/login") || strings.HasPrefix(u.Path, "/logout") {
		return "/"
	}
	return to
}

// whereTo returns where a request wants to go after the login.
func whereTo(q url.Values) string {
	if name := q.Get("open"); holt.CheckName(name) == nil {
		return "/#" + name
	}
	return after(q.Get("to"))
}

func (g *Gateway) showLoginPage(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	to := whereTo(q)
	if code := codeOf(q.Get("code")); code != "" {
		showDoor(w, http.StatusOK, linkView(code, to))
		return
	}
	if id, err := g.authenticate(r); err == nil && id.Kind == meta.TokenSession {
		http.Redirect(w, r, to, http.StatusSeeOther)
		return
	}
	showDoor(w, http.StatusOK, g.loginView(to, ""))
}

// login signs a browser in, with the code of a login link or with a password.
func (g *Gateway) login(w http.ResponseWriter, r *http.Request) {
	if status, problem := form(w, r, origin.Same(r)); status != 0 {
		v := g.loginView("/", "")
		v.Problem = problem
		showDoor(w, status, v)
		return
	}
	to := whereTo(r.PostForm)
	var s auth.Session
	var err error
	action, v := "login", g.loginView(to, r.PostForm.Get("name"))
	if r.PostForm.Has("code") {
		action, v = "login-link", g.loginView(to, "")
		s, err = g.cfg.Auth.Login(r.Context(), codeOf(r.PostForm.Get("code")), g.browserOf(r))
	} else {
		// A name that nobody has may be a password, typed into the wrong field.
		if u, err := g.cfg.Auth.User(r.Context(), r.PostForm.Get("name")); err == nil {
			note(r.Context(), string(u.ID), u.Name, "")
		}
		s, err = g.cfg.Auth.PasswordLogin(r.Context(), r.PostForm.Get("name"), r.PostForm.Get("password"), g.browserOf(r))
	}
	if err != nil {
		g.refuse(r.Context(), w, v, err)
		g.audit(r, auth.Identity{}, action)
		return
	}
	g.signedIn(w, r, s, action, to)
}

// signedIn hands a browser its session.
func (g *Gateway) signedIn(w http.ResponseWriter, r *http.Request, s auth.Session, action, to string) {
	// Whoever was signed in here before is not any more.
	if c, err := r.Cookie(g.sessionCookie()); err == nil && len(c.Value) <= maxCode {
		if err := g.cfg.Auth.Logout(r.Context(), c.Value); err != nil {
			g.log.Warn("end the session before", "err", err)
		}
	}
	http.SetCookie(w, g.cookie(s.Secret, s.Expires))
	g.audit(r, s.Identity, action)
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// logout ends the session and forgets the cookie.
func (g *Gateway) logout(w http.ResponseWriter, r *http.Request) {
	if !origin.Same(r) {
		writeProblem(w, r, holt.Errorf(holt.KindForbidden, "a page of another origin made this request"))
		return
	}
	if c, err := r.Cookie(g.sessionCookie()); err == nil {
		id, _ := g.authenticate(r) // a session that is over ends all the same
		if err := g.cfg.Auth.Logout(r.Context(), c.Value); err != nil {
			writeProblem(w, r, err)
			return
		}
		if id.User != "" {
			g.lost(id.User, "")
			g.audit(r, id, "logout")
		}
	}
	http.SetCookie(w, g.cookie("", time.Unix(1, 0)))
	w.Header().Set("Clear-Site-Data", `"cache"`)
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

func (g *Gateway) cookie(value string, expires time.Time) *http.Cookie {
	return &http.Cookie{
		Name: g.sessionCookie(), Value: value, Path: "/", Expires: expires, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, Secure: g.public.Scheme == "https",
	}
}

// newLogin makes a link that signs a browser in with the caller's rights.
func (g *Gateway) newLogin(ctx context.Context, in *struct{ Body api.CreateLogin }) (*answer[api.Login], error) {
	q := url.Values{}
	if in.Body.Workspace != "" {
		a, err := g.permit(ctx, caller(ctx), rights["get-workspace"], in.Body.Workspace, "")
		if err != nil {
			return nil, err
		}
		q.Set("open", a.Workspace.Name)
	}
	code, expires, err := g.cfg.Auth.NewLogin(ctx, caller(ctx))
	if err != nil {
		return nil, err
	}
	q.Set("code", code)
	link := g.public.JoinPath("/login")
	link.RawQuery = q.Encode()
	return &answer[api.Login]{api.Login{URL: link.String(), ExpiresAt: expires}}, nil
}

// portAuth hands a signed-in browser over to the origin of a forwarded port.
func (g *Gateway) portAuth(w http.ResponseWriter, r *http.Request) {
	// A visit to the port's address was redirected here, so the request may come
	// from another site; it changes nothing, and answers only towards the port.
	var id auth.Identity
	c, err := r.Cookie(g.sessionCookie())
	if err == nil {
		id, err = g.cfg.Auth.Authenticate(r.Context(), c.Value)
	}
	if err != nil || id.Kind != meta.TokenSession {
		v := g.loginView(r.URL.RequestURI(), "")
		v.Intro = "This port is private. Sign in to see whether it is shared with you."
		showDoor(w, http.StatusUnauthorized, v)
		return
	}
	name, err := portproxy.Asked(r)
	if err == nil {
		_, err = g.permit(r.Context(), id, rights["port-view"], name, "")
	}
	if err != nil {
		g.refuse(r.Context(), w, doorView{Title: "This port cannot be opened", Hint: "You are signed in as " + id.Name + "."}, err)
		return
	}
	if err := g.ports.Handoff(w, r, passOf(id)); err != nil {
		writeProblem(w, r, err)
	}
}
