package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/meta"
	guestwire "github.com/holt-ide/holt/wire/guest"
)

// wakeTime is how long a request waits for a workspace to run.
const wakeTime = 2 * time.Minute

// relaySession passes a request on to a public route of a guest agent.
func (g *Gateway) relaySession(w http.ResponseWriter, r *http.Request) {
	_, path, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/w/"), "/")
	path = "/" + path
	route, ok := guestwire.Find(r.Method, path)
	if !ok || !route.Public {
		g.noRoute(w, r)
		return
	}
	g.enter(w, r, rights[guestRight(route.Name)], func(r *http.Request, ws meta.Workspace) error {
		if isUpgrade(r, "websocket") {
			return g.takeover(w, r, ws, path, "websocket")
		}
		return g.proxy(w, r, ws, path)
	})
}

// relayPort passes a raw byte stream on to a port inside a workspace.
func (g *Gateway) relayPort(w http.ResponseWriter, r *http.Request) {
	port, err := strconv.ParseUint(r.PathValue("port"), 10, 16)
	switch {
	case err != nil || port == 0:
		writeProblem(w, r, holt.Invalidf("port", "%q is not a port: use a number from 1 to 65535", r.PathValue("port")))
		return
	case !isUpgrade(r, api.UpgradeTCP):
		w.Header().Set("Upgrade", api.UpgradeTCP)
		writeProblem(w, r, &api.Problem{Status: http.StatusUpgradeRequired, Title: http.StatusText(http.StatusUpgradeRequired), Kind: string(holt.KindInvalid),
			Field: "Upgrade", Detail: "this is a raw byte stream: ask with Connection: Upgrade and Upgrade: " + api.UpgradeTCP + ", as holt port does"})
		return
	}
	g.enter(w, r, rights["port-tunnel"], func(r *http.Request, ws meta.Workspace) error {
		return g.takeover(w, r, ws, fmt.Sprintf("/v1/ports/%d/dial", port), guestwire.UpgradeTCP)
	})
}

// enter checks rights, wakes the workspace, counts the relay and calls serve
// with a running workspace and a request that ends when the right is lost. An
// error of serve is answered, so serve returns one only while nothing is written.
func (g *Gateway) enter(w http.ResponseWriter, r *http.Request, need right, serve func(*http.Request, meta.Workspace) error) {
	id, err := g.authenticate(r)
	if err != nil {
		writeProblem(w, r, err)
		return
	}
	a, err := g.permit(r.Context(), id, need, r.PathValue("workspace"), "")
	if err != nil {
		writeProblem(w, r, err)
		return
	}
	wake := r.Header.Get(api.HeaderWake) != api.NoWake && r.URL.Query().Get(api.QueryWake) != api.NoWake
	ctx, leave, err := g.admit(r.Context(), &a, wake)
	if err != nil {
		writeProblem(w, r, err)
		return
	}
	defer leave()
	if need.readers && a.readOnly() {
		r = readOnly(r)
	}
	if err := serve(r.WithContext(context.WithValue(ctx, keyAccess, a)), a.Workspace); err != nil {
		writeProblem(w, r, err)
	}
}

// readOnly returns the request of somebody who may look only: what the guest does
// with it changes nothing.
func readOnly(r *http.Request) *http.Request {
	r = r.Clone(r.Context())
	q := r.URL.Query()
	q.Set("readonly", "1")
	q.Del("create")
	r.URL.RawQuery = q.Encode()
	return r
}

// admit makes sure that the workspace of a runs, notes its row there, and counts
// one more relay into it until leave is called. The context ends when the right is
// lost.
func (g *Gateway) admit(ctx context.Context, a *access, wake bool) (held context.Context, leave func(), err error) {
	if a.Workspace, err = g.running(ctx, a.Workspace, wake); err != nil {
		return nil, nil, err
	}
	ws := a.Workspace.ID
	if err := g.relays.enter(ws); err != nil {
		return nil, nil, err
	}
	// An open relay counts as activity from its start to its end.
	held, release := g.hold(ctx, *a, func() { g.cfg.Workspaces.Touch(ws) })
	return held, func() {
		release()
		g.relays.leave(ws)
	}, nil
}

// running returns the row of a workspace that runs. One that does not is woken,
// unless wake is false and nobody else wants it to run.
func (g *Gateway) running(ctx context.Context, ws meta.Workspace, wake bool) (meta.Workspace, error) {
	if ws.State == holt.Running {
		return ws, nil
	}
	if ws.State == holt.Deleting || ws.State == holt.Deleted {
		return ws, holt.Errorf(holt.KindNotFound, "workspace %s is deleted", ws.Name)
	}
	if !wake && (ws.Goal != holt.WantRunning || ws.State == holt.Failed) {
		return ws, holt.Errorf(holt.KindConflict, "workspace %s is %s", ws.Name, strings.ToLower(string(ws.State)))
	}
	ctx, cancel := context.WithTimeout(ctx, wakeTime)
	defer cancel()
	woken, err := g.cfg.Workspaces.Wake(ctx, ws.ID)
	if err != nil && errors.Is(err, context.DeadlineExceeded) {
		err = holt.Wrap(holt.KindTimeout, err, fmt.Sprintf("workspace %s did not come up in time: see holt logs %s", ws.Name, ws.Name))
	}
	return woken, err
}

// dial opens a byte stream to the agent of a sandbox.
func (g *Gateway) dial(ctx context.Context, id holt.SandboxID) (net.Conn, error) {
	conn, err := g.cfg.Node.Dial(ctx, id)
	if err != nil {
		return nil, holt.Wrap(holt.KindUnavailable, err, "the machine does not answer at this moment: try again")
	}
	return conn, nil
}

// guest returns a client for the agent of a sandbox.
func (g *Gateway) guest(id holt.SandboxID) *guestwire.Client {
	return guestwire.NewDial(
		func(ctx context.Context) (net.Conn, error) { return g.dial(ctx, id) },
		func() string {
			secret, err := g.cfg.Node.Secret(id)
			if err != nil {
				g.log.Warn("secret of sandbox", "sandbox", id, "err", err) // the agent will refuse
			}
			return secret
		})
}

// newTransport carries plain requests to agents. The host of a URL is the ID of
// the sandbox: connections are kept per machine, and a resumed machine is
// another one.
func (g *Gateway) newTransport() *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, fmt.Errorf("split address: %w", err)
			}
			return g.dial(ctx, holt.SandboxID(host))
		},
		DisableCompression:     true,
		MaxIdleConnsPerHost:    4,
		MaxIdleConns:           128,
		IdleConnTimeout:        15 * time.Second,
		ResponseHeaderTimeout:  2 * time.Minute,
		MaxResponseHeaderBytes: maxGuestHeader,
	}
}

// proxy passes one plain request to an agent.
func (g *Gateway) proxy(w http.ResponseWriter, r *http.Request, ws meta.Workspace, path string) error {
	secret, err := g.cfg.Node.Secret(ws.Sandbox)
	if err != nil {
		return holt.Wrap(holt.KindUnavailable, err, "the machine is changing at this moment: try again")
	}
	var failed error
	p := &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL = &url.URL{Scheme: "http", Host: string(ws.Sandbox), Path: path, RawQuery: guestQuery(pr.In.URL.Query())}
			pr.Out.Host = "guest"
			pr.Out.Header = guestHeader(pr.In, secret)
		},
		Transport:      quiet{g.guests},
		FlushInterval:  -1,
		ModifyResponse: func(resp *http.Response) error { resp.Header = safeHeader(resp.Header); return nil },
		ErrorHandler:   func(_ http.ResponseWriter, _ *http.Request, err error) { failed = err },
		ErrorLog:       slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
	// What our own pages allow themselves is not for the guest's bytes.
	for name := range safeHeader(nil) { // the answer brings its own
		w.Header().Del(name)
	}
	p.ServeHTTP(w, r)
	if failed != nil && r.Context().Err() != nil {
		return nil // nobody is left to answer
	}
	if failed != nil && holt.KindOf(failed) == holt.KindInternal {
		failed = holt.Wrap(holt.KindUnavailable, failed, "the connection to the machine broke: try again")
	}
	return failed
}

// quiet hides the values of the request's context, traces included, so that a
// guest's early hints do not reach our origin.
type quiet struct{ next http.RoundTripper }

func (q quiet) RoundTrip(r *http.Request) (*http.Response, error) {
	return q.next.RoundTrip(r.WithContext(valueless{r.Context()}))
}

type valueless struct{ context.Context }

func (valueless) Value(any) any { return nil }
