package gateway

import (
	"html/template"
	"net/http"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/gateway/origin"
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
<form method="post" action="/login" id="login"><input type="hidden" name="code" value="{{.Code}}"><button autofocus>Sign in</button></form>
<script src="/login.js" defer></script>
{{else}}<p>Open the login link that <code>holtd</code> printed when it started.</p>{{end}}
</main></body></html>
`))

type loginView struct{ Code, Problem string }

// showLoginPage shows the button that redeems a link. The link itself changes
// nothing, so that programs which look at links in advance do not use it up.
func (g *Gateway) showLoginPage(w http.ResponseWriter, r *http.Request) {
	code := r.URL.Query().Get("code")
	if len(code) > maxCode {
		code = ""
	}
	showLogin(w, http.StatusOK, loginView{Code: code})
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
	t, secret, err := g.cfg.Tokens.Redeem(r.Context(), code)
	if err != nil {
		p := problemOf(r.Context(), err)
		showLogin(w, p.Status, loginView{Problem: p.Detail})
		return
	}
	c := g.cookie(secret)
	c.Expires = t.ExpiresAt
	http.SetCookie(w, c)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// logout ends the session and forgets the cookie.
func (g *Gateway) logout(w http.ResponseWriter, r *http.Request) {
	t, err := g.authenticate(r)
	if err == nil {
		err = g.cfg.Tokens.Revoke(r.Context(), t.ID)
	}
	if err != nil && !holt.IsKind(err, holt.KindUnauthorized) {
		writeProblem(w, r, err)
		return
	}
	c := g.cookie("")
	c.Expires, c.MaxAge = time.Unix(1, 0), -1
	http.SetCookie(w, c)
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

func (g *Gateway) cookie(value string) *http.Cookie {
	return &http.Cookie{
		Name: g.sessionCookie(), Value: value, Path: "/", HttpOnly: true,
		SameSite: http.SameSiteLaxMode, Secure: g.public.Scheme == "https",
	}
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
	t, err := g.cfg.Tokens.Authenticate(r.Context(), c.Value)
	if err == nil && t.Scope != "admin" {
		err = holt.Errorf(holt.KindForbidden, "this session may only look: entering a workspace needs one of scope admin")
	}
	if err != nil {
		p := problemOf(r.Context(), err)
		showLogin(w, p.Status, loginView{Problem: p.Detail})
		return
	}
	if err := g.ports.Handoff(w, r, t.Owner); err != nil {
		writeProblem(w, r, err)
	}
}
