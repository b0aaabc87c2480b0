package gateway

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/auth"
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

// authenticate returns who sent r. A request with an
// Authorization header is judged by it alone.
func (g *Gateway) authenticate(r *http.Request) (auth.Identity, error) {
	secret := bearer(r)
	if secret == "" && r.Header.Get("Authorization") == "" {
		c, err := r.Cookie(g.sessionCookie())
		if err != nil {
			return auth.Identity{}, holt.Errorf(holt.KindUnauthorized,
				"this needs a token: send it as \"Authorization: Bearer TOKEN\", or open a login link in the browser")
		}
		if !origin.Allowed(r) {
			return auth.Identity{}, holt.Errorf(holt.KindForbidden, "a page of another origin made this request: only Holt's own pages may use its session")
		}
		secret = c.Value
	}
	if secret == "" || len(secret) > 256 {
		return auth.Identity{}, holt.Errorf(holt.KindUnauthorized, "the Authorization header holds no token: send it as \"Bearer TOKEN\"")
	}
	t, err := g.cfg.Auth.Authenticate(r.Context(), secret)
	if err != nil {
		return auth.Identity{}, err
	}
	if rec, ok := r.Context().Value(keyRecord).(*record); ok {
		rec.token = t.TokenID
	}
	return t, nil
}

// renew gives a browser a fresh session in place of one that is in use for long.
func (g *Gateway) renew(w http.ResponseWriter, r *http.Request, id auth.Identity) {
	if id.Kind != meta.TokenSession || time.Until(id.Expires) > auth.SessionLife-24*time.Hour {
		return
	}
	c, err := r.Cookie(g.sessionCookie())
	if err != nil {
		return
	}
	s, err := g.cfg.Auth.Rotate(r.Context(), c.Value)
	if err != nil {
		g.log.Warn("renew session", "err", err) // the old one still works
	} else if s != nil {
		http.SetCookie(w, g.cookie(s.Secret, s.Expires))
	}
}

// guarded lets only requests of somebody through. What they may do is checked for
// each operation.
func (g *Gateway) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := g.authenticate(r)
		if err != nil {
			writeProblem(w, r, err)
			return
		}
		g.renew(w, r, id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), keyAccess, access{Identity: id})))
	})
}

// caller returns who sent the guarded request.
func caller(ctx context.Context) auth.Identity { return permitted(ctx).Identity }
