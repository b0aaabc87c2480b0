package gateway

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/auth"
	"github.com/holt-ide/holt/auth/oidc"
)

const (
	externalPath     = "/login/oidc"
	externalCallback = externalPath + "/callback"
	// externalTime is how long somebody may take at the identity provider.
	externalTime = 10 * time.Minute
)

// journey is a login at an identity provider that is under way. The browser keeps
// it in a cookie that we sign: nothing is stored, and whoever has no such cookie
// cannot finish a login that somebody else began.
type journey struct {
	oidc.Flow
	To     string `json:"t"`
	Invite string `json:"i,omitempty"`
	Ends   int64  `json:"e"` // unix seconds
}

func (g *Gateway) journeyCookie() string {
	if g.public.Scheme == "https" {
		return "__Host-holt_oidc"
	}
	return "holt_oidc"
}

func (g *Gateway) sealJourney(j journey) string {
	body, _ := json.Marshal(j) // strings and a number always encode
	text := base64.RawURLEncoding.EncodeToString(body)
	return text + "." + base64.RawURLEncoding.EncodeToString(g.journeyMAC(text))
}

func (g *Gateway) journeyMAC(text string) []byte {
	m := hmac.New(sha256.New, g.cfg.CookieKey)
	m.Write([]byte("oidc\x00" + text)) // the key signs the cookies of ports too
	return m.Sum(nil)
}

func (g *Gateway) openJourney(r *http.Request) (j journey, ok bool) {
	c, err := r.Cookie(g.journeyCookie())
	if err != nil || len(c.Value) > 4096 {
		return j, false
	}
	text, mac, _ := strings.Cut(c.Value, ".")
	got, err := base64.RawURLEncoding.DecodeString(mac)
	if err != nil || !hmac.Equal(got, g.journeyMAC(text)) {
		return j, false
	}
	body, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || json.Unmarshal(body, &j) != nil {
		return j, false
	}
	return j, time.Now().Unix() < j.Ends
}

func (g *Gateway) setJourney(w http.ResponseWriter, value string, life time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: g.journeyCookie(), Value: value, Path: "/", MaxAge: int(life.Seconds()), HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: g.public.Scheme == "https",
	})
}

// startExternal sends a browser to the identity provider.
func (g *Gateway) startExternal(w http.ResponseWriter, r *http.Request) {
	if g.cfg.Identity == nil {
		g.noRoute(w, r)
		return
	}
	q := r.URL.Query()
	to := after(q.Get("to"))
	at, flow, err := g.cfg.Identity.Start(r.Context(), g.public.JoinPath(externalCallback).String())
	if err != nil {
		g.refuse(r.Context(), w, g.loginView(to, ""), err)
		return
	}
	g.setJourney(w, g.sealJourney(journey{Flow: flow, To: to, Invite: codeOf(q.Get("invite")), Ends: time.Now().Add(externalTime).Unix()}), externalTime)
	http.Redirect(w, r, at, http.StatusFound)
}

// finishExternal takes the identity provider's answer.
func (g *Gateway) finishExternal(w http.ResponseWriter, r *http.Request) {
	if g.cfg.Identity == nil {
		g.noRoute(w, r)
		return
	}
	ctx := r.Context()
	j, ok := g.openJourney(r)
	g.setJourney(w, "", -time.Second)
	var s auth.Session
	var err error
	switch q := r.URL.Query(); {
	case !ok:
		err = holt.Errorf(holt.KindUnauthorized, "this login was not begun in this browser, or took too long: begin again")
	case q.Get("error") != "":
		err = holt.Errorf(holt.KindUnauthorized, "the identity provider did not let you in: begin again, or sign in with a password")
	default:
		s, err = g.external(ctx, r, j, q)
	}
	if err != nil {
		g.refuse(ctx, w, g.loginView(after(j.To), ""), err)
		g.audit(r, auth.Identity{}, "login-oidc")
		return
	}
	g.signedIn(w, r, s, "login-oidc", after(j.To))
}

func (g *Gateway) external(ctx context.Context, r *http.Request, j journey, q url.Values) (auth.Session, error) {
	x, err := g.cfg.Identity.Finish(ctx, g.public.JoinPath(externalCallback).String(), j.Flow, q.Get("state"), q.Get("code"))
	if err != nil {
		return auth.Session{}, err
	}
	note(ctx, "", x.Email, "account "+x.Subject+" of "+x.Issuer)
	return g.cfg.Auth.ExternalLogin(ctx, x, g.cfg.IdentityDomains, j.Invite, g.browserOf(r))
}

// providers returns the ways to sign in beside a password.
func (g *Gateway) providers(to string) []provider {
	if g.cfg.Identity == nil {
		return nil
	}
	return []provider{{Name: g.cfg.Identity.Name(), URL: externalPath + "?" + url.Values{"to": {to}}.Encode()}}
}

// invited returns the ways to accept an invitation beside a password.
func (g *Gateway) invited(secret string) []provider {
	if g.cfg.Identity == nil {
		return nil
	}
	return []provider{{Name: g.cfg.Identity.Name(), URL: externalPath + "?" + url.Values{"invite": {secret}}.Encode()}}
}
