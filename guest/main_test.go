package guest_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/guest"
	"github.com/holt-ide/holt/guest/terminal"
	"github.com/holt-ide/holt/wire/guest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testSecret = "0123456789abcdef-secret"

// The user of the tests. No process or file of the machine belongs to it.
const testUID = 54321

// served is a real agent on a real listener.
type served struct {
	*guestwire.Client
	addr string
	dir  string // the workspace's directory
	home string
	cfg  guestwire.Config
}

type setting func(*guestwire.Config, *guest.Options)

// serve runs an agent as root for another user, or as the user itself when the
// tests do not run as root.
func serve(t *testing.T, set ...setting) *served {
	t.Helper()
	base, err := os.MkdirTemp("/tmp", "holt-guest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	s := &served{dir: filepath.Join(base, "workspace"), home: filepath.Join(base, "home")}
	uid, gid := testUID, testUID
	if os.Geteuid() != 0 {
		uid, gid = os.Geteuid(), os.Getegid()
	}
	for _, d := range []string{s.dir, s.home} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		os.Chown(d, uid, gid)
	}
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	s.cfg = guestwire.Config{
		Secret: testSecret, WorkspaceID: holt.NewWorkspaceID(), Name: "demo", User: "dev", UID: uid, GID: gid,
		Home: s.home, Dir: s.dir,
	}
	opt := guest.Options{Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin"}, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Terminal: terminal.Options{}}
	for _, f := range set {
		f(&s.cfg, &opt)
	}
	a, err := guest.New(s.cfg, opt)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Serve(ctx, ln) }()
	s.Client = s.client(testSecret)
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
		a.Close()
		s.CloseIdle()
	})
	return s
}

func (s *served) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", s.addr)
}

func (s *served) client(secret string) *guestwire.Client {
	return guestwire.NewDial(s.dial, func() string { return secret })
}

// within bounds a test that waits for events.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("still not so: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
