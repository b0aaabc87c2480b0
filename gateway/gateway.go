// Package gateway is the only door of a Holt server: the REST interface of
// package api, the login of browsers, the relay of sessions to guest agents,
// and, through its subpackage portproxy, the forwarded ports.
//
// It knows routes and rights, and neither lifecycles nor protocols: everything
// behind it comes as an interface declared here. Both sides are hostile: what
// browsers send is bounded and checked, and bytes of a guest never become active
// content of our own origin.
//
// Rights: every route but the ones for signing in needs a token, as
// "Authorization: Bearer" or in the session cookie. A cookie counts only for
// requests that our own pages made, see package origin. Who may use which route is
// written in rights.go and nowhere else; a right that is lost ends open streams
// too (live.go), and what changes something leaves a line in the audit log.
package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/auth"
	"github.com/holt-ide/holt/auth/oidc"
	"github.com/holt-ide/holt/gateway/portproxy"
	"github.com/holt-ide/holt/meta"
	guestwire "github.com/holt-ide/holt/wire/guest"
	hostwire "github.com/holt-ide/holt/wire/host"
)

// Workspaces is the lifecycle of workspaces, as package workspace offers it.
type Workspaces interface {
	// Create makes a row and returns at once.
	Create(ctx context.Context, req CreateRequest) (meta.Workspace, error)
	// Get returns the workspace of that name or ID.
	Get(ctx context.Context, nameOrID string) (meta.Workspace, error)
	// List returns one page and the cursor of the next.
	List(ctx context.Context, p meta.Page) ([]meta.Workspace, string, error)
	// SetGoal asks for a state.
	SetGoal(ctx context.Context, id holt.WorkspaceID, goal holt.Goal, reason string) (meta.Workspace, error)
	// Fork makes a row for a copy, of now or of a checkpoint, and returns at once.
	Fork(ctx context.Context, nameOrID, newName, from string) (meta.Workspace, error)
	// Checkpoint keeps a workspace as it is now and returns when that is done.
	Checkpoint(ctx context.Context, nameOrID, label string) (meta.Checkpoint, error)
	// Checkpoints lists what is kept.
	Checkpoints(ctx context.Context, nameOrID string) ([]meta.Checkpoint, error)
	// VerifyCheckpoint reads a checkpoint; KindCorrupt says what is damaged.
	VerifyCheckpoint(ctx context.Context, nameOrID, label string) (meta.Checkpoint, error)
	// RemoveCheckpoint removes one.
	RemoveCheckpoint(ctx context.Context, nameOrID, label string) error
	// Line lists the snapshots of a workspace, the latest first, and why one of them
	// is not durable yet, or "".
	Line(ctx context.Context, nameOrID string) ([]KeptSnapshot, string, error)
	// Stored lists what the store of snapshots has of an owner's.
	Stored(ctx context.Context, owner holt.UserID) ([]hostwire.StoredSnapshot, error)
	// Rollback asks for a workspace to go back to a checkpoint.
	Rollback(ctx context.Context, nameOrID, label string) (meta.Workspace, error)
	// Durability tells how far the files are on their way to the store.
	Durability(ctx context.Context, id holt.WorkspaceID) (Durability, error)
	// Sync returns when all that the files are now is in the store.
	Sync(ctx context.Context, nameOrID string) (meta.Revision, error)
	// Restore brings paths of a revision back; none means all. Paths are those of the volume.
	Restore(ctx context.Context, nameOrID string, number int64, paths []string, exact bool) (hostwire.RestoredFiles, error)
	// ForkRevision makes a row for a workspace with the files of a revision.
	ForkRevision(ctx context.Context, nameOrID, newName string, number int64) (meta.Workspace, error)
	// Delete starts a removal. A running workspace without force is KindConflict.
	Delete(ctx context.Context, id holt.WorkspaceID, force bool) error
	// Wait returns when until holds for the row, or with the row and ctx's error.
	Wait(ctx context.Context, id holt.WorkspaceID, until func(meta.Workspace) bool) (meta.Workspace, error)
	// Wake asks for RUNNING and returns once it is so.
	Wake(ctx context.Context, id holt.WorkspaceID) (meta.Workspace, error)
	// Watch yields events above since as they happen, until ctx ends. A reader
	// that is too slow gets an error and continues from the last Seq it saw.
	Watch(ctx context.Context, since int64) iter.Seq2[meta.Event, error]
	// Touch notes activity.
	Touch(id holt.WorkspaceID)
	// Tell adds a line to a workspace's log.
	Tell(ctx context.Context, id holt.WorkspaceID, name, text string) error
}

// CreateRequest asks for a workspace.
type CreateRequest struct {
	Name      string
	Image     string
	Git       string
	Limits    holt.Limits    // zero fields mean the default
	IdleAfter *time.Duration // nil: the default; 0: never
	Egress    holt.Egress    // "": the default
	Owner     holt.UserID
	Snapshot  holt.SnapshotID // of the store, to go on from; or ""
}

// Node reaches the guest agents of running sandboxes.
type Node interface {
	// Dial opens a byte stream to the guest agent.
	Dial(ctx context.Context, id holt.SandboxID) (net.Conn, error)
	// Secret returns the value of the agent's secret header.
	Secret(id holt.SandboxID) (string, error)
}

// Images lists, makes and removes images.
type Images interface {
	List(ctx context.Context) ([]api.Image, error)
	Build(ctx context.Context, req api.BuildImage, progress func(api.Progress)) (api.Image, error)
	Pull(ctx context.Context, req api.PullImage, progress func(api.Progress)) (api.Image, error)
	// Load makes an image of that name from an archive of size bytes, 0 if that is
	// not known. Content that is no such archive is KindInvalid.
	Load(ctx context.Context, name string, archive io.Reader, size int64, progress func(api.Progress)) (api.Image, error)
	// Remove removes a name, and its image with the last one; an ID means the
	// image with all its names. One that workspaces need is KindConflict.
	Remove(ctx context.Context, ref string) error
}

// Config is everything a gateway needs. The fields up to PublicURL are required.
type Config struct {
	Workspaces  Workspaces
	Events      meta.Events
	Idempotency meta.Idempotency
	Auth        *auth.Service
	Members     meta.Members
	Audit       meta.Audit
	Node        Node
	Images      Images

	// Revisions reads what was kept of files; nil if nothing is.
	Revisions Revisions

	// PublicURL is the address under which browsers reach the gateway, such as
	// http://localhost:7070.
	PublicURL string

	// PortDomain is the suffix of forwarded ports' host names: PORT--NAME.SUFFIX.
	// "" means localhost.
	PortDomain string
	// CookieKey signs the cookies of forwarded ports; with a key that lasts,
	// they outlive a restart. Empty means a random one.
	CookieKey []byte

	// Identity is an identity provider that people may sign in with; nil means
	// none. Who has no account yet gets one if their checked address is in one of
	// IdentityDomains, or with an invitation.
	Identity        *oidc.Provider
	IdentityDomains []string

	// TrustedProxies are the addresses of proxies in front whose X-Forwarded-For
	// tells where a request comes from.
	TrustedProxies []netip.Prefix

	Web     http.Handler // the pages; nil shows none
	Version string
	NodeID  holt.NodeID
	Log     *slog.Logger // nil means slog.Default

	// MaxRelays bounds the open relays and forwarded requests per workspace; 0
	// means 256.
	MaxRelays int
	// Heartbeat is the pause after which an idle event stream shows that it
	// lives; 0 means 15 s.
	Heartbeat time.Duration
}

// Gateway is an [http.Handler] and the server around it.
type Gateway struct {
	cfg    Config
	log    *slog.Logger
	public *url.URL
	mux    *http.ServeMux
	ports  *portproxy.Proxy
	relays *gauge
	live   *live
	table  []Route
	guests *http.Transport
	server *http.Server

	// stop ends all streams: relays, forwarded connections and event streams.
	stop context.CancelFunc
	// streams counts the connections taken over from the server, which its
	// Shutdown does not wait for.
	streams sync.WaitGroup
}

// New builds a gateway. It starts nothing.
func New(cfg Config) (*Gateway, error) {
	public, err := url.Parse(cfg.PublicURL)
	if err != nil || public.Host == "" {
		return nil, holt.Invalidf("public-url", "%q is not a URL such as http://localhost:7070", cfg.PublicURL)
	}
	if cfg.PortDomain == "" {
		cfg.PortDomain = "localhost"
	}
	if cfg.MaxRelays == 0 {
		cfg.MaxRelays = 256
	}
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = 15 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if len(cfg.CookieKey) == 0 {
		cfg.CookieKey = make([]byte, 32)
		rand.Read(cfg.CookieKey) // never fails since Go 1.24
	}
	ctx, stop := context.WithCancel(context.Background())
	g := &Gateway{cfg: cfg, log: cfg.Log, public: public, relays: newGauge(cfg.MaxRelays), live: newLive(), stop: stop}
	g.guests = g.newTransport()
	g.ports = portproxy.New(portproxy.Config{
		Domain: cfg.PortDomain, PublicURL: public, Key: cfg.CookieKey, Log: cfg.Log,
		Enter: g.enterPort, Track: g.track,
	})
	g.mux = g.routes()
	g.server = &http.Server{
		Handler:           g,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	return g, nil
}

func (g *Gateway) routes() *http.ServeMux {
	mux := http.NewServeMux()
	g.mountREST(mux)
	g.handle(mux, "GET /healthz", "health", g.health)
	g.handle(mux, "GET /login", "login-page", g.showLoginPage)
	g.handle(mux, "POST /login", "login", g.login)
	g.handle(mux, "GET /login.js", "login-script", loginScript)
	g.handle(mux, "GET "+externalPath, "external", g.startExternal)
	g.handle(mux, "GET "+externalCallback, "external", g.finishExternal)
	g.handle(mux, "POST /logout", "logout", g.logout)
	g.handle(mux, "GET /welcome", "welcome-page", g.showWelcome)
	g.handle(mux, "POST /welcome", "welcome", g.welcome)
	g.handle(mux, "GET /invite", "invite-page", g.showInvite)
	g.handle(mux, "POST /invite", "invite", g.acceptInvite)
	g.handle(mux, "GET "+portproxy.AuthPath, "port-auth", g.portAuth)
	g.handle(mux, "/w/{workspace}/v1/", "guest", g.relaySession)
	for _, r := range guestwire.Routes() {
		if r.Public {
			g.declare(r.Method, "/w/{workspace}"+r.Pattern, guestRight(r.Name))
		}
	}
	g.handle(mux, "GET /w/{workspace}/port/{port}", "port-tunnel", g.relayPort)
	g.handle(mux, "/w/", "no-route", g.noRoute)
	if g.cfg.Web != nil {
		g.handle(mux, "/", "pages", g.page)
	}
	return mux
}

// Route is one way in.
type Route struct {
	Method  string // "" for all
	Pattern string
	Right   string // its key in the table of rights
}

// Routes returns every way in but the forwarded ports, which are requests to
// other hosts.
func (g *Gateway) Routes() []Route { return slices.Clone(g.table) }

// declare notes a route and returns its right. A route without one is a mistake
// of ours.
func (g *Gateway) declare(method, pattern, key string) right {
	need, ok := rights[key]
	if !ok {
		panic("gateway: " + method + " " + pattern + " has no right " + key)
	}
	g.table = append(g.table, Route{Method: method, Pattern: pattern, Right: key})
	return need
}

// handle mounts a route beside the REST interface.
func (g *Gateway) handle(mux *http.ServeMux, pattern, key string, f http.HandlerFunc) {
	method, path, ok := strings.Cut(pattern, " ")
	if !ok {
		method, path = "", pattern
	}
	g.declare(method, path, key)
	mux.HandleFunc(pattern, f)
}

// Serve answers requests on ln until [Gateway.Shutdown], and returns nil then.
func (g *Gateway) Serve(ln net.Listener) error {
	if err := g.server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// Shutdown stops to accept, ends all streams, lets the requests under way finish
// until ctx ends, and then cuts them off. Machines do not notice.
func (g *Gateway) Shutdown(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- g.server.Shutdown(ctx) }()
	g.stop()
	err := <-done
	if err != nil {
		err = errors.Join(fmt.Errorf("shut down: %w", err), g.server.Close())
	}
	g.streams.Wait() // each ends because its context has ended
	g.guests.CloseIdleConnections()
	g.ports.Close()
	return err
}
