// Package stand puts up a whole server on the loopback for tests: real metadata
// in SQLite, real lifecycle, real tokens, real gateway, and a real guest agent
// per workspace. Only the machines are scripted: an agent runs as part of the
// test, and a "frozen" one is an agent that nobody can reach until it is resumed.
package stand

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/api/client"
	"github.com/holt-ide/holt/auth"
	"github.com/holt-ide/holt/gateway"
	"github.com/holt-ide/holt/meta"
	metasql "github.com/holt-ide/holt/meta/sql"
	"github.com/holt-ide/holt/workspace"
)

// Stand is one server.
type Stand struct {
	URL     string // of the main origin
	Addr    string // host and port it listens on
	Admin   string // an API token of scope admin, of an admin
	Write   string // one of scope write
	Read    string // one of scope read
	Expired string // one that is over

	Store   *metasql.Store
	Auth    *auth.Service
	Manager *workspace.Manager
	Gateway *gateway.Gateway
	Node    *Node
}

// Owner is the user of all tokens.
const Owner holt.UserID = "owner"

// New starts a server that ends with the test. Edits change its configuration
// before that.
func New(t testing.TB, edit ...func(*gateway.Config)) *Stand {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	store, err := metasql.Open(ctx, "sqlite:"+filepath.Join(t.TempDir(), "holt.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	s := &Stand{Store: store, Auth: newAuth(store, nil), Node: newNode(t, log)}
	if err := store.Users().Create(ctx, meta.User{ID: Owner, Name: "root", Role: meta.RoleAdmin, CreatedAt: time.Now()}); err != nil {
		t.Fatal(err)
	}
	s.Manager, err = workspace.Open(ctx, workspace.Config{
		Store: store, Node: s.Node, NodeID: "node-1", Images: images{}, Log: log,
		Most: holt.Limits{CPUs: 8, Memory: 16 * holt.GiB, Disk: 100 * holt.GiB, Root: 100 * holt.GiB, Processes: 8192},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := s.Manager.Close(ctx); err != nil {
			t.Errorf("close manager: %v", err)
		}
	})
	s.makeTokens(ctx, t)
	s.serve(t, log, edit)
	return s
}

// newAuth returns accounts whose passwords cost little.
func newAuth(store *metasql.Store, now func() time.Time) *auth.Service {
	return auth.New(auth.Config{
		Users: store.Users(), Invitations: store.Invitations(), Tokens: store.Tokens(), Now: now, Cost: auth.Cost{Memory: 64, Passes: 1, Threads: 1},
	})
}

// User makes an account without a password and returns its ID.
func (s *Stand) User(t testing.TB, name string, role meta.Role) holt.UserID {
	t.Helper()
	id := holt.UserID("us-" + name)
	if err := s.Store.Users().Create(t.Context(), meta.User{ID: id, Name: name, Role: role, CreatedAt: time.Now()}); err != nil {
		t.Fatal(err)
	}
	return id
}

// Token makes an API token, of any workspace unless that is named.
func (s *Stand) Token(t testing.TB, user holt.UserID, scope meta.Scope, ws holt.WorkspaceID) string {
	t.Helper()
	secret, _, err := s.Auth.Create(t.Context(), auth.TokenRequest{Name: "stand", Scope: scope, Life: time.Hour, Owner: user, Workspace: ws})
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// As returns a client with a token.
func (s *Stand) As(t testing.TB, token string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{URL: s.URL, Token: token, Transport: s.transport(t)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *Stand) makeTokens(ctx context.Context, t testing.TB) {
	t.Helper()
	for _, k := range []struct {
		to    *string
		scope meta.Scope
		auth  *auth.Service
	}{
		{&s.Admin, meta.ScopeAdmin, s.Auth},
		{&s.Write, meta.ScopeWrite, s.Auth},
		{&s.Read, meta.ScopeRead, s.Auth},
		{&s.Expired, meta.ScopeAdmin, newAuth(s.Store, func() time.Time { return time.Now().Add(-2 * time.Hour) })},
	} {
		secret, _, err := k.auth.Create(ctx, auth.TokenRequest{Name: "stand", Scope: k.scope, Life: time.Hour, Owner: Owner})
		if err != nil {
			t.Fatal(err)
		}
		*k.to = secret
	}
}

func (s *Stand) serve(t testing.TB, log *slog.Logger, edit []func(*gateway.Config)) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Addr = ln.Addr().String()
	s.URL = "http://" + s.Addr
	cfg := gateway.Config{
		Workspaces: lifecycle{s.Manager}, Events: s.Store.Events(), Idempotency: s.Store.Idempotency(), Auth: s.Auth, Members: s.Store.Members(), Audit: s.Store.Audit(),
		Node: s.Node, Images: images{}, PublicURL: s.URL, Version: "test", NodeID: "node-1", Log: log,
	}
	for _, f := range edit {
		f(&cfg)
	}
	if s.Gateway, err = gateway.New(cfg); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Gateway.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Gateway.Shutdown(ctx); err != nil {
			t.Errorf("shut gateway down: %v", err)
		}
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

// Client returns a client with the admin token.
func (s *Stand) Client(t testing.TB) *client.Client {
	t.Helper()
	return s.As(t, s.Admin)
}

func (s *Stand) transport(t testing.TB) http.RoundTripper {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// Start makes a workspace and waits until it runs.
func (s *Stand) Start(t testing.TB, name string) api.Workspace {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c := s.Client(t)
	w, err := c.Create(ctx, api.CreateWorkspace{Name: name})
	if err == nil {
		w, err = c.Await(ctx, w, holt.Running, nil)
	}
	if err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	return w
}

// Do sends a request to the server and returns its answer, whose body the test
// ends with.
func (s *Stand) Do(t testing.TB, r *http.Request) *http.Response {
	t.Helper()
	r.URL.Scheme, r.URL.Host, r.RequestURI = "http", s.Addr, ""
	resp, err := s.transport(t).RoundTrip(r.WithContext(t.Context()))
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// Request returns a request for [Stand.Do] with a bearer token unless that is "".
func (s *Stand) Request(method, target, token string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	r.Host, r.Body = s.Addr, nil
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// lifecycle is the manager as the gateway sees it.
type lifecycle struct{ *workspace.Manager }

func (l lifecycle) Durability(ctx context.Context, id holt.WorkspaceID) (gateway.Durability, error) {
	d, err := l.Manager.Durability(ctx, id)
	return gateway.Durability(d), err
}

func (l lifecycle) Create(ctx context.Context, r gateway.CreateRequest) (meta.Workspace, error) {
	return l.Manager.Create(ctx, workspace.CreateRequest(r))
}

// images is a store with one image.
type images struct{}

var theImage = api.Image{
	ID: "sha256-" + "0000000000000000000000000000000000000000000000000000000000000001", Names: []string{"default"}, Bytes: 1 << 20,
	CreatedAt: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
}

func (images) Resolve(_ context.Context, ref string) (holt.ImageID, error) {
	if ref != "" && ref != "default" && ref != theImage.ID {
		return "", &holt.Error{Kind: holt.KindNotFound, Field: "image", Text: "there is no image \"" + ref + "\": see holt image ls, or get it with holt image pull"}
	}
	return holt.ImageID(theImage.ID), nil
}

func (images) List(context.Context) ([]api.Image, error) { return []api.Image{theImage}, nil }

func (images) Build(_ context.Context, req api.BuildImage, progress func(api.Progress)) (api.Image, error) {
	progress(api.Progress{Phase: "packages", Done: 1, Total: 2})
	if req.Recipe == "broken" {
		return api.Image{}, holt.Errorf(holt.KindNoSpace, "the disk is full: free some space and build again")
	}
	return theImage, nil
}

func (images) Load(_ context.Context, name string, archive io.Reader, size int64, progress func(api.Progress)) (api.Image, error) {
	n, err := io.Copy(io.Discard, archive)
	if err != nil {
		return api.Image{}, err
	}
	progress(api.Progress{Phase: "read", Done: n, Total: size, Bytes: true})
	img := theImage
	img.Names, img.Bytes = []string{name}, n
	return img, nil
}

func (images) Remove(_ context.Context, ref string) error {
	if ref == "default" {
		return holt.Errorf(holt.KindConflict, "image default is in use by demo: remove these first, with `holt rm`")
	}
	return &holt.Error{Kind: holt.KindNotFound, Field: "image", Text: "there is no image \"" + ref + "\": see holt image ls"}
}

func (images) Pull(_ context.Context, req api.PullImage, progress func(api.Progress)) (api.Image, error) {
	progress(api.Progress{Phase: "layers", Done: 1, Total: 1})
	img := theImage
	img.Source = req.Reference
	return img, nil
}

func (l lifecycle) Line(ctx context.Context, nameOrID string) ([]gateway.KeptSnapshot, string, error) {
	line, trouble, err := l.Manager.Line(ctx, nameOrID)
	list := make([]gateway.KeptSnapshot, len(line))
	for i, e := range line {
		list[i] = gateway.KeptSnapshot(e)
	}
	return list, trouble, err
}
