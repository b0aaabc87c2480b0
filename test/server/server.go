// Package server runs the real holtd, as a process with a data directory of its
// own, for end-to-end, fault, attack and bench programs, and drives it through
// the real command line client. Nothing in it is scripted.
package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt/test/bins"
)

// Server is one data directory and the holtd that serves it, when one does.
type Server struct {
	Dir   string // the data directory
	URL   string
	Token string

	// Flags are added at each start; Env is added to the environment, such as
	// HOLT_FAULT for a holtd with fault points.
	Flags []string
	Env   []string
	// Holtd is the executable: bin/holtd when empty.
	Holtd string

	cmd    *exec.Cmd
	exited chan struct{}
	log    syncBuffer
}

// New prepares a server without starting it. At the end of the test its
// machines are removed and everything it holds on the host is given back.
func New(t testing.TB, flags ...string) *Server {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("machines need root")
	}
	// Not t.TempDir: sandboxes, nobody to the host, must be able to pass through,
	// and the path must be short enough for sockets.
	dir, err := os.MkdirTemp("", "holt-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	s := &Server{Dir: filepath.Join(dir, "data"), Flags: append([]string{"--pool-size", "12g", "--idle-after", "0"}, flags...)}
	t.Cleanup(func() {
		s.Wipe(t)
		if t.Failed() {
			t.Logf("holtd said:\n%s", s.log.last(20000))
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Start starts a server and returns when it answers.
func Start(t testing.TB, flags ...string) *Server {
	t.Helper()
	s := New(t, flags...)
	s.Start(t)
	return s
}

// Start starts holtd and waits until it answers.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.Launch(t); err != nil {
		t.Fatalf("start holtd: %v\n%s", err, s.log.last(4000))
	}
}

// Launch is Start for a holtd that may fail: it returns the error when the
// process ends before it answers.
func (s *Server) Launch(t testing.TB) error {
	t.Helper()
	ready := filepath.Join(filepath.Dir(s.Dir), "ready")
	if err := os.Remove(ready); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	bin := s.Holtd
	if bin == "" {
		bin = bins.Path(t, "holtd")
	}
	args := append([]string{"--data-dir", s.Dir, "--listen", "127.0.0.1:0", "--ready-file", ready,
		"--runsc", bins.Path(t, "runsc"), "--guest", bins.Path(t, "holt-guest")}, s.Flags...)
	cmd := exec.Command(bin, args...)
	cmd.Env = append(os.Environ(), s.Env...)
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	// A test that is killed takes its server along; the sandboxes live on, as
	// they should.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.cmd, s.exited = cmd, make(chan struct{})
	go func() { _ = cmd.Wait(); close(s.exited) }() // how it ended is in ProcessState
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case <-s.exited:
			return fmt.Errorf("holtd ended: %v", cmd.ProcessState)
		default:
		}
		body, err := os.ReadFile(ready)
		if err != nil {
			continue
		}
		var r struct{ URL, Token string }
		if err := json.Unmarshal(body, &r); err != nil {
			t.Fatalf("ready file: %v: %s", err, body)
		}
		s.URL, s.Token = r.URL, r.Token
		return nil
	}
	return errors.New("holtd did not answer in time")
}

// Verb runs a verb of holtd, such as backup, on the data directory.
func (s *Server) Verb(t testing.TB, verb string, args ...string) Result {
	t.Helper()
	var out, words bytes.Buffer
	flags := append([]string{verb, "--data-dir", s.Dir}, s.Flags...)
	bin := s.Holtd
	if bin == "" {
		bin = bins.Path(t, "holtd")
	}
	cmd := exec.CommandContext(t.Context(), bin, append(flags, args...)...)
	cmd.Env = append(os.Environ(), s.Env...)
	cmd.Stdout, cmd.Stderr = &out, &words
	begin := time.Now()
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return Result{Stdout: out.String(), Stderr: words.String(), Code: cmd.ProcessState.ExitCode(), Took: time.Since(begin)}
}

// Log returns what holtd printed so far, over all starts.
func (s *Server) Log() string { return s.log.last(1 << 20) }

// Alive reports whether holtd runs.
func (s *Server) Alive() bool {
	if s.cmd == nil {
		return false
	}
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// Kill ends holtd as a crash would.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.end(t, unix.SIGKILL)
}

// Stop ends holtd politely. Machines run on.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.end(t, unix.SIGTERM)
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("holtd ended with code %d after SIGTERM\n%s", code, s.log.last(4000))
	}
}

func (s *Server) end(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if !s.Alive() {
		return
	}
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	select {
	case <-s.exited:
	case <-time.After(time.Minute):
		_ = s.cmd.Process.Signal(unix.SIGQUIT) // says where it stands
		<-s.exited
		t.Fatalf("holtd did not end after %v:\n%s", sig, s.log.last(40000))
	}
}

// AwaitExit waits until holtd has ended by itself, as one with a fault point does.
func (s *Server) AwaitExit(t testing.TB, within time.Duration) {
	t.Helper()
	select {
	case <-s.exited:
	case <-time.After(within):
		t.Fatalf("holtd still runs after %v", within)
	}
}

// Wipe removes every workspace and gives back what the server holds on the host.
func (s *Server) Wipe(t testing.TB) {
	t.Helper()
	if _, err := os.Stat(s.Dir); err != nil {
		return
	}
	if !s.Alive() {
		s.Env, s.Holtd = nil, ""
		if err := s.Launch(t); err != nil {
			t.Logf("wipe without holtd: %v", err)
		}
	}
	if s.Alive() {
		for _, w := range s.List(t) {
			if r := s.Holt(t, "rm", w.Name, "--force"); r.Code != 0 {
				t.Errorf("remove %s: %s", w.Name, r.Stderr)
			}
		}
		s.Stop(t)
	}
	for _, mount := range []string{"node/gvisor/root/null-netns", "node/pool"} {
		if err := unix.Unmount(filepath.Join(s.Dir, mount), unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			t.Errorf("unmount %s: %v", mount, err)
		}
	}
}

// Result is how a command ended.
type Result struct {
	Stdout, Stderr string
	Code           int
	Took           time.Duration
}

// Holt runs the command line client.
func (s *Server) Holt(t testing.TB, args ...string) Result {
	t.Helper()
	return s.HoltInput(t, nil, args...)
}

// HoltInput is Holt with standard input.
func (s *Server) HoltInput(t testing.TB, stdin io.Reader, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bins.Path(t, "holt"), args...)
	cmd.Env = append(os.Environ(), "HOLT_URL="+s.URL, "HOLT_TOKEN="+s.Token, "HOME="+filepath.Dir(s.Dir))
	var out, words bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &words
	begin := time.Now()
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("holt %s: %v", strings.Join(args, " "), err)
	}
	return Result{out.String(), words.String(), cmd.ProcessState.ExitCode(), time.Since(begin)}
}

// Must runs the client, fails the test if it fails, and returns its output
// without surrounding space.
func (s *Server) Must(t testing.TB, args ...string) string {
	t.Helper()
	r := s.Holt(t, args...)
	if r.Code != 0 {
		t.Fatalf("holt %s: exit code %d\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return strings.TrimSpace(r.Stdout)
}

// Sh runs a shell script in a workspace as its user; it must succeed.
func (s *Server) Sh(t testing.TB, name, script string) string {
	t.Helper()
	return s.Must(t, "exec", name, "--", "sh", "-c", script)
}

// Workspace is what the tests read of `holt show --json`.
type Workspace struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	State     string `json:"state"`
	Message   string `json:"message"`
	SandboxID string `json:"sandbox_id"`
	Trouble   string `json:"store_trouble"`
	Snapshots []Kept `json:"snapshots"` // only of Show; the latest first
	Snapshot  *struct {
		ID    string `json:"id"`
		Bytes int64  `json:"bytes"`
	} `json:"snapshot"`
}

// Kept is one of a workspace's snapshots.
type Kept struct {
	ID        string    `json:"id"`
	Label     string    `json:"label"`
	Current   bool      `json:"current"`
	On        []string  `json:"on"`
	Stored    int64     `json:"stored_bytes"`
	DurableAt time.Time `json:"durable_at"`
	Damage    string    `json:"damage"`
}

// AwaitDurable waits until the current snapshot of a suspended workspace is in the
// store, and returns it.
func (s *Server) AwaitDurable(t testing.TB, name string, within time.Duration) Kept {
	t.Helper()
	return s.AwaitKept(t, name, within, func(k Kept) bool { return k.Current && !k.DurableAt.IsZero() })
}

// AwaitKept waits for a snapshot of a workspace.
func (s *Server) AwaitKept(t testing.TB, name string, within time.Duration, want func(Kept) bool) Kept {
	t.Helper()
	var w Workspace
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		w = s.Show(t, name)
		if i := slices.IndexFunc(w.Snapshots, want); i >= 0 {
			return w.Snapshots[i]
		}
	}
	t.Fatalf("%s (%s) has no such snapshot after %v: %+v, trouble %q", name, w.State, within, w.Snapshots, w.Trouble)
	return Kept{}
}

// Show returns one workspace.
func (s *Server) Show(t testing.TB, name string) Workspace {
	t.Helper()
	var w Workspace
	if err := json.Unmarshal([]byte(s.Must(t, "show", name, "--json")), &w); err != nil {
		t.Fatalf("decode show: %v", err)
	}
	return w
}

// Unit returns the driver's name of a machine, under which its processes and
// cgroup are found.
func (s *Server) Unit(t testing.TB, sandbox string) string {
	t.Helper()
	body, err := os.ReadFile(filepath.Join(s.Dir, "node", "machines", sandbox+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var r struct{ Unit string }
	if err := json.Unmarshal(body, &r); err != nil {
		t.Fatal(err)
	}
	return r.Unit
}

// List returns all workspaces.
func (s *Server) List(t testing.TB) []Workspace {
	t.Helper()
	out := s.Must(t, "ls", "--json")
	var list []Workspace
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		var page struct{ Items []Workspace }
		if err := json.Unmarshal([]byte(out), &page); err != nil {
			t.Fatalf("decode ls: %v: %s", err, out)
		}
		list = page.Items
	}
	return list
}

// AwaitState waits until a workspace is in a state.
func (s *Server) AwaitState(t testing.TB, name, state string, within time.Duration) Workspace {
	t.Helper()
	var w Workspace
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if w = s.Show(t, name); w.State == state {
			return w
		}
	}
	t.Fatalf("%s is %s after %v, want %s: %s", name, w.State, within, state, w.Message)
	return w
}

// TinyImage makes the small test image known to the server under the name "tiny".
func (s *Server) TinyImage(t testing.TB) {
	t.Helper()
	s.Must(t, "image", "build", "tiny")
}

// syncBuffer collects output from several processes.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) last(n int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.buf.Bytes()
	return string(s[max(0, len(s)-n):])
}
