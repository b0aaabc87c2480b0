package gateway

import (
	"context"
	"net/http"
	"strings"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/gateway/origin"
	"github.com/holt-ide/holt/meta"
)

// sessionCookie returns the cookie's name. On https the prefix makes browsers
// refuse a cookie of that name from any other host, forwarded ports included.
func (g *Gateway) sessionCookie() string {
	if g.public.Scheme == "https" {
		return "__Host-holt_session"
	}
	return "holt_session"
}

// bearer returns the token of an Authorization header, or "".
func bearer(r *http.Request) string {
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(secret)
}

// authenticate returns the token that r carries. A request with an
// Authorization header is judged by it alone.
func (g *Gateway) authenticate(r *http.Request) (meta.Token, error) {
	secret := bearer(r)
	if secret == "" && r.Header.Get("Authorization") == "" {
		c, err := r.Cookie(g.sessionCookie())
		if err != nil {
			return meta.Token{}, holt.Errorf(holt.KindUnauthorized,
				"this needs a token: send it as \"Authorization: Bearer TOKEN\", or open a login link in the browser")
		}
		if !origin.Allowed(r) {
			return meta.Token{}, holt.Errorf(holt.KindForbidden, "a page of another origin made this request: only Holt's own pages may use its session")
		}
		secret = c.Value
	}
	if secret == "" || len(secret) > 256 {
		return meta.Token{}, holt.Errorf(holt.KindUnauthorized, "the Authorization header holds no token: send it as \"Bearer TOKEN\"")
	}
	t, err := g.cfg.Tokens.Authenticate(r.Context(), secret)
	if err != nil {
		return meta.Token{}, err
	}
	if rec, ok := r.Context().Value(keyRecord).(*record); ok {
		rec.token = t.ID
	}
	return t, nil
}

// authorize is [Gateway.authenticate] and the rule of scopes. enter tells that
// the request enters a workspace.
func (g *Gateway) authorize(r *http.Request, enter bool) (meta.Token, error) {
	t, err := g.authenticate(r)
	if err != nil {
		return t, err
	}
	read := !enter && (r.Method == http.MethodGet || r.Method == http.MethodHead)
	if t.Scope == meta.ScopeAdmin || read && t.Scope == meta.ScopeRead {
		return t, nil
	}
	return t, holt.Errorf(holt.KindForbidden, "this token may only look: changing or entering a workspace needs one of scope admin")
}

// guarded lets only requests with rights through.
func (g *Gateway) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t, err := g.authorize(r, false)
		if err != nil {
			writeProblem(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), keyToken, t)))
	})
}

// tokenOf returns the token that the guarded request came with.
func tokenOf(ctx context.Context) meta.Token {
	t, _ := ctx.Value(keyToken).(meta.Token)
	return t
}
