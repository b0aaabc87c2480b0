package portproxy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/holt-ide/holt"
)

// AuthPath is the route of the main origin that a browser without a port's
// cookie is sent to. It calls [Proxy.Handoff].
const AuthPath = "/port-auth"

const (
	// cookiePath is the route of a port's origin that takes the code.
	cookiePath = "/.holt/auth"
	cookieName = "holt_port"
	cookieLife = 12 * time.Hour
	codeLife   = time.Minute
	maxCodes   = 10_000
)

// redirect sends a browser to the main origin to show who it is.
func (p *Proxy) redirect(w http.ResponseWriter, r *http.Request, t place) {
	to := *p.cfg.PublicURL
	to.Path = AuthPath
	to.RawQuery = url.Values{"port": {strconv.Itoa(int(t.port))}, "workspace": {t.name}, "path": {r.URL.RequestURI()}}.Encode()
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, to.String(), http.StatusFound)
}

// Asked returns the name of the workspace that a request to [AuthPath] is about.
func Asked(r *http.Request) (name string, err error) {
	t, err := parsePlace(r.URL.Query().Get("port"), r.URL.Query().Get("workspace"))
	return t.name, err
}

// Handoff answers a request to [AuthPath] from a browser that is signed in: it
// sends it back to the port with a code, for which the port gives out a cookie with
// the pass. The caller has checked the session and the right. The only possible
// target is a forwarded port.
func (p *Proxy) Handoff(w http.ResponseWriter, r *http.Request, pass string) error {
	q := r.URL.Query()
	t, err := parsePlace(q.Get("port"), q.Get("workspace"))
	if err != nil {
		return err
	}
	code, err := p.codes.issue(t, pass, time.Now())
	if err != nil {
		return err
	}
	to := p.base(t)
	to.Path = cookiePath
	to.RawQuery = url.Values{"code": {code}, "path": {localPath(q.Get("path"))}}.Encode()
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, to.String(), http.StatusFound)
	return nil
}

// accept exchanges a code for the port's cookie.
func (p *Proxy) accept(w http.ResponseWriter, r *http.Request, t place) {
	q := r.URL.Query()
	pass, ok := p.codes.redeem(q.Get("code"), t, time.Now())
	if !ok {
		p.fail(w, r, t, holt.Errorf(holt.KindUnauthorized, "this link was used or is too old: open the port again from Holt's page"))
		return
	}
	ends := time.Now().Add(cookieLife)
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: p.sign(t, pass, ends), Path: "/", Expires: ends, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, Secure: p.cfg.PublicURL.Scheme == "https",
	})
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, localPath(q.Get("path")), http.StatusFound)
}

// localPath returns s if it is a path on the same host, else "/".
func localPath(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") || strings.ContainsAny(s, "\\\r\n\t") ||
		u.Path == cookiePath {
		return "/"
	}
	return s
}

// A cookie's value is pass, time of its end and MAC, separated by dots:
//
//	base64url(pass) "." unix seconds "." base64url(HMAC-SHA256(key, label "\x00" pass "\x00" seconds))
//
// It holds for one port of one workspace.
func (p *Proxy) sign(t place, pass string, ends time.Time) string {
	sec := strconv.FormatInt(ends.Unix(), 10)
	return enc(pass) + "." + sec + "." + enc(string(p.mac(t, pass, sec)))
}

func (p *Proxy) mac(t place, pass, sec string) []byte {
	m := hmac.New(sha256.New, p.cfg.Key)
	m.Write([]byte(t.label() + "\x00" + pass + "\x00" + sec))
	return m.Sum(nil)
}

// passOf returns the pass of a cookie that is good for t.
func (p *Proxy) passOf(value string, t place, now time.Time) (pass string, ok bool) {
	parts := strings.Split(value, ".")
	if len(value) > 512 || len(parts) != 3 {
		return "", false
	}
	raw, err1 := base64.RawURLEncoding.DecodeString(parts[0])
	got, err2 := base64.RawURLEncoding.DecodeString(parts[2])
	sec, err3 := strconv.ParseInt(parts[1], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return "", false
	}
	return string(raw), hmac.Equal(got, p.mac(t, string(raw), parts[1])) && now.Before(time.Unix(sec, 0))
}

func enc(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// codes holds the codes on their way through a browser. They live in memory: a
// restart makes the browser ask again.
type codes struct {
	mu   sync.Mutex
	open map[string]grant
}

type grant struct {
	place place
	pass  string
	ends  time.Time
}

func newCodes() *codes { return &codes{open: map[string]grant{}} }

func (c *codes) issue(t place, pass string, now time.Time) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= maxCodes {
		maps.DeleteFunc(c.open, func(_ string, g grant) bool { return now.After(g.ends) })
	}
	if len(c.open) >= maxCodes {
		return "", holt.Errorf(holt.KindLimit, "too many ports are being opened at once: try again in a minute")
	}
	code := holt.NewSecret()
	c.open[code] = grant{place: t, pass: pass, ends: now.Add(codeLife)}
	return code, nil
}

// redeem uses a code up.
func (c *codes) redeem(code string, t place, now time.Time) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g, ok := c.open[code]
	delete(c.open, code)
	return g.pass, ok && g.place == t && now.Before(g.ends)
}
