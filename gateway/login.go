package gateway

import (
	"context"
	"html/template"
	"net/http"
	"net/url"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/gateway/origin"
	"github.com/holt-ide/holt/meta"
)

// maxCode bounds a login code; real ones are shorter.
const maxCode = 256

var loginTemplate = template.Must(template.New("login").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in · Holt</title><style>
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}
body{margin:0;min-height:100vh;display:grid;place-items:center}
main{max-width:26rem;padding:2rem}
h1{font-size:1.4rem;margin:0 0 .5rem}
button{font:inherit;padding:.6rem 1.4rem;border:0;border-radius:.4rem;background:#2f6f4f;color:#fff;cursor:pointer}
code{font-size:.95em}
</style></head><body><main>
<h1>Holt</h1>
{{if .Problem}}<p role="alert">{{.Problem}}</p>{{end}}
{{if .Code}}<p>This link signs this browser in, once.</p>
<form method="post" action="/login" id="login"><input type="hidden" name="code" value="{{.Code}}"><input type="hidden" name="open" value="{{.Open}}"><button autofocus>Sign in</button></form>
<script src="/login.js" defer></script>
{{else}}<p>Open the login link that <code>holtd</code> printed, or make one with <code>holt open NAME</code>.</p>{{end}}
</main></body></html>
`))

type loginView struct{ Code, Open, Problem string }

// showLoginPage shows the button that redeems a link. The link itself changes
// nothing, so that programs which look at links in advance do not use it up.
func (g *Gateway) showLoginPage(w http.ResponseWriter, r *http.Request) {
	v := loginView{Code: r.URL.Query().Get("code"), Open: r.URL.Query().Get("open")}
	if len(v.Code) > maxCode || len(v.Open) > maxCode {
		v = loginView{}
	}
	showLogin(w, http.StatusOK, v)
}

func showLogin(w http.ResponseWriter, status int, v loginView) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", pageCSP)
	w.WriteHeader(status)
	_ = loginTemplate.Execute(w, v) // the browser is gone otherwise
}

// loginScript presses the button.
func loginScript(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	_, _ = w.Write([]byte("document.getElementById('login').submit()\n")) // the browser is gone otherwise
}

// login redeems the code of a login link for a session cookie.
func (g *Gateway) login(w http.ResponseWriter, r *http.Request) {
	if !origin.Same(r) {
		showLogin(w, http.StatusForbidden, loginView{Problem: "Another page sent this form. Open the login link itself."})
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	code := r.PostFormValue("code")
	if code == "" || len(code) > maxCode {
		showLogin(w, http.StatusBadRequest, loginView{Problem: "There is no login code in this request."})
		return
	}
	s, err := g.cfg.Tokens.Login(r.Context(), code)
	if err != nil {
		p := problemOf(r.Context(), err)
		showLogin(w, p.Status, loginView{Problem: p.Detail})
		return
	}
	http.SetCookie(w, g.cookie(s.Secret, s.Expires))
	to := "/"
	if name := r.PostFormValue("open"); holt.CheckName(name) == nil {
		to += "#" + name
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// logout ends the session and forgets the cookie.
func (g *Gateway) logout(w http.ResponseWriter, r *http.Request) {
	if !origin.Same(r) {
		writeProblem(w, r, holt.Errorf(holt.KindForbidden, "a page of another origin made this request"))
		return
	}
	if c, err := r.Cookie(g.sessionCookie()); err == nil {
		if err := g.cfg.Tokens.Logout(r.Context(), c.Value); err != nil {
			writeProblem(w, r, err)
			return
		}
	}
	http.SetCookie(w, g.cookie("", time.Unix(1, 0)))
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
		w, err := g.cfg.Workspaces.Get(ctx, in.Body.Workspace)
		if err != nil {
			return nil, err
		}
		q.Set("open", w.Name)
	}
	code, expires, err := g.cfg.Tokens.NewLogin(ctx, caller(ctx))
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
	c, err := r.Cookie(g.sessionCookie())
	if err != nil {
		showLogin(w, http.StatusUnauthorized, loginView{Problem: "Sign in first, then open the port's address again."})
		return
	}
	id, err := g.cfg.Tokens.Authenticate(r.Context(), c.Value)
	if err == nil {
		err = id.Allow(meta.ScopeAdmin)
	}
	if err != nil {
		p := problemOf(r.Context(), err)
		showLogin(w, p.Status, loginView{Problem: p.Detail})
		return
	}
	if err := g.ports.Handoff(w, r, id.User); err != nil {
		writeProblem(w, r, err)
	}
}
