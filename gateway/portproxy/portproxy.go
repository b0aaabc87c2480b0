// Package portproxy serves the ports on which programs in workspaces listen,
// each as an origin of its own: http://PORT--NAME.DOMAIN. HTTP of every kind
// passes: streams, server-sent events, WebSockets.
//
// What such a program sends is active content and hostile, so it never shares an
// origin, a cookie or a header with Holt's own pages. A browser gets in with a
// cookie of the port's origin alone, which it receives from the main origin in a
// redirect with a code that works once; a program gets in with an API token as
// bearer, which the port does not get to see.
//
// Only package gateway imports this package.
package portproxy

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/gateway/origin"
)

// Machine is one running machine, held open for a request.
type Machine struct {
	// ID is unique to the machine: connections to one are not used for another.
	ID string
	// Dial opens a byte stream to a port on the machine's loopback. The error
	// of a port on which nothing listens has any kind but KindUnauthorized.
	Dial func(ctx context.Context, port uint16) (net.Conn, error)
	// Context is that of the request; it ends when the right to the port is lost.
	Context context.Context
	// Close ends the hold.
	Close func()
}

// Credential is what a request shows: one of the two.
type Credential struct {
	Pass   string // of the cookie, as [Proxy.Handoff] was given it
	Bearer string // an API token
}

// Config is everything a proxy needs; all fields are required.
type Config struct {
	Domain    string   // suffix of the host names, without a leading dot
	PublicURL *url.URL // of the main origin; forwarded ports share its scheme and port
	Key       []byte   // signs cookies
	Log       *slog.Logger

	// Enter checks the right of who sent r to the workspace of that name, wakes it
	// and holds its machine. KindUnauthorized means that the credential is worth
	// nothing any more: a browser may try to get a fresh one.
	Enter func(r *http.Request, name string, c Credential) (Machine, error)
	// Track runs a request, so that the owner can wait for its end.
	Track func(func())
}

// Proxy is the handler for the hosts of forwarded ports.
type Proxy struct {
	cfg       Config
	codes     *codes
	transport *http.Transport
}

// New returns a proxy. It starts nothing; Close drops its idle connections.
func New(cfg Config) *Proxy {
	return &Proxy{cfg: cfg, codes: newCodes(), transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			t := ctx.Value(targetKey{}).(target)
			return t.machine.Dial(ctx, t.port)
		},
		DisableCompression:     true,
		MaxIdleConnsPerHost:    8,
		MaxIdleConns:           256,
		IdleConnTimeout:        10 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
	}}
}

// Close drops idle connections.
func (p *Proxy) Close() { p.transport.CloseIdleConnections() }

// targetKey carries a request's target to the transport's dialer.
type targetKey struct{}

type target struct {
	machine Machine
	port    uint16
}

// place is a forwarded port: what its host name says.
type place struct {
	port uint16
	name string
}

// label returns the first label of the host name.
func (t place) label() string { return strconv.Itoa(int(t.port)) + "--" + t.name }

// Match reports whether a Host header is that of a forwarded port, or is meant
// to be one.
func (p *Proxy) Match(host string) bool {
	label, ok := p.labelOf(host)
	return ok && strings.Contains(label, "--")
}

// labelOf returns what stands before the domain.
func (p *Proxy) labelOf(host string) (string, bool) {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.CutSuffix(strings.ToLower(strings.TrimSuffix(host, ".")), "."+p.cfg.Domain)
}

// parse reads a Host header.
func (p *Proxy) parse(host string) (place, error) {
	label, _ := p.labelOf(host)
	num, name, _ := strings.Cut(label, "--")
	return parsePlace(num, name)
}

func parsePlace(num, name string) (place, error) {
	port, err := strconv.ParseUint(num, 10, 16)
	if err != nil || port == 0 || strconv.FormatUint(port, 10) != num {
		return place{}, holt.Invalidf("port", "%q is not a port: a forwarded address is PORT--NAME with a port from 1 to 65535", num)
	}
	if err := holt.CheckName(name); err != nil {
		return place{}, err
	}
	return place{port: uint16(port), name: name}, nil
}

// URL returns the address of a port of the workspace of that name.
func (p *Proxy) URL(name string, port uint16) string {
	return p.base(place{port: port, name: name}).String()
}

func (p *Proxy) base(t place) *url.URL {
	host := t.label() + "." + p.cfg.Domain
	if mp := p.cfg.PublicURL.Port(); mp != "" {
		host = net.JoinHostPort(host, mp)
	}
	return &url.URL{Scheme: p.cfg.PublicURL.Scheme, Host: host, Path: "/"}
}

// ServeHTTP answers a request whose host matches.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t, err := p.parse(r.Host)
	if err != nil {
		p.fail(w, r, t, err)
		return
	}
	if r.URL.Path == cookiePath {
		p.accept(w, r, t)
		return
	}
	c, err := p.credential(r, t)
	var m Machine
	if err == nil {
		m, err = p.cfg.Enter(r, t.name, c)
	}
	if err != nil {
		if holt.IsKind(err, holt.KindUnauthorized) && navigates(r) {
			p.redirect(w, r, t)
			return
		}
		p.fail(w, r, t, err)
		return
	}
	defer m.Close()
	// An Authorization header that was meant for us goes no further.
	p.cfg.Track(func() { p.forward(w, r.WithContext(m.Context), t, m, c.Bearer != "") })
}

// credential returns what r shows.
func (p *Proxy) credential(r *http.Request, t place) (Credential, error) {
	for _, c := range r.CookiesNamed(cookieName) {
		pass, ok := p.passOf(c.Value, t, time.Now())
		if !ok {
			continue
		}
		unsafe := r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions
		if (unsafe || r.Header.Get("Upgrade") != "") && !origin.Same(r) {
			return Credential{}, holt.Errorf(holt.KindForbidden, "a page of another origin made this request")
		}
		return Credential{Pass: pass}, nil
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if token = strings.TrimSpace(token); strings.EqualFold(scheme, "Bearer") && token != "" && len(token) <= 256 {
		return Credential{Bearer: token}, nil
	}
	return Credential{}, holt.Errorf(holt.KindUnauthorized, "this port is private: open it from Holt's page, or send a token as \"Authorization: Bearer TOKEN\"")
}

// forward passes one request on to the program that listens.
func (p *Proxy) forward(w http.ResponseWriter, r *http.Request, t place, m Machine, strip bool) {
	ctx := context.WithValue(r.Context(), targetKey{}, target{m, t.port})
	rp := &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetXForwarded()
			pr.Out.URL.Scheme, pr.Out.URL.Host = "http", m.ID+"."+strconv.Itoa(int(t.port))
			pr.Out.Host = pr.In.Host
			cleanRequest(pr.Out.Header, strip)
		},
		Transport:      p.transport,
		FlushInterval:  -1,
		ModifyResponse: func(resp *http.Response) error { cleanResponse(resp.Header); return nil },
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				p.unanswered(w, r, t, err)
			}
		},
		ErrorLog: slog.NewLogLogger(p.cfg.Log.Handler(), slog.LevelDebug),
	}
	rp.ServeHTTP(w, r.WithContext(ctx))
}

// cleanRequest takes out of a request what is ours.
func cleanRequest(h http.Header, strip bool) {
	if strip {
		h.Del("Authorization")
	}
	for name := range h {
		if strings.HasPrefix(name, "Holt-") {
			h.Del(name)
		}
	}
	cookies := (&http.Request{Header: http.Header{"Cookie": h["Cookie"]}}).Cookies()
	h.Del("Cookie")
	var kept []string
	for _, c := range cookies {
		if c.Name != cookieName && !strings.Contains(c.Name, "holt_session") {
			kept = append(kept, c.Name+"="+c.Value)
		}
	}
	if len(kept) > 0 {
		h.Set("Cookie", strings.Join(kept, "; "))
	}
}

// cleanResponse keeps a program from setting cookies for other hosts, ours
// among them, and from touching the cookie that let the browser in.
func cleanResponse(h http.Header) {
	lines := h["Set-Cookie"]
	delete(h, "Set-Cookie")
	for _, line := range lines {
		c, err := http.ParseSetCookie(line)
		if err != nil || c.Name == cookieName || strings.Contains(c.Name, "holt_session") {
			continue
		}
		var parts []string
		for part := range strings.SplitSeq(line, ";") {
			name, _, _ := strings.Cut(strings.TrimSpace(part), "=")
			if !strings.EqualFold(strings.TrimSpace(name), "Domain") {
				parts = append(parts, part)
			}
		}
		h.Add("Set-Cookie", strings.Join(parts, ";"))
	}
}
