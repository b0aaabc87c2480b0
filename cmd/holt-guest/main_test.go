package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/wire/guest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(binDir)
		os.Exit(code)
	}))
}

var binDir string

var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "holt-guest-bin-")
	if err != nil {
		return "", err
	}
	binDir = dir
	path := filepath.Join(dir, "holt-guest")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w: %s", err, out)
	}
	return path, nil
})

func build(t *testing.T) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// The agent is copied into every sandbox and its memory into every snapshot.
func TestBinaryIsSmallAndStatic(t *testing.T) {
	path := build(t)
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st.Size() > 15<<20 {
		t.Errorf("holt-guest has %s, at most 15 MiB", holt.FormatSize(st.Size()))
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte("ld-linux")) {
		t.Error("holt-guest is linked dynamically")
	}
}

// What the agent links is what every sandbox carries.
func TestDependencies(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	allowed := []string{
		"github.com/holt-ide/holt", "github.com/holt-ide/holt/cmd/holt-guest", "github.com/holt-ide/holt/wire/guest", "github.com/holt-ide/holt/wire/status",
		"github.com/holt-ide/holt/guest", "github.com/holt-ide/holt/ydoc", "github.com/coder/websocket", "github.com/fsnotify/fsnotify", "golang.org/x/sys/unix",
	}
	for dep := range strings.Lines(string(out)) {
		dep = strings.TrimSpace(dep)
		ok := false
		for _, a := range allowed {
			ok = ok || dep == a || (strings.HasPrefix(dep, a+"/") && a != "github.com/holt-ide/holt")
		}
		if !ok {
			t.Errorf("holt-guest links %s", dep)
		}
	}
	std, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.Lines(string(std)) {
		switch dep = strings.TrimSpace(dep); dep {
		case "os/exec": // its Wait would race the reaper
			t.Errorf("holt-guest links %s", dep)
		case "database/sql", "html/template", "plugin":
			t.Errorf("holt-guest links %s", dep)
		}
	}
}

type running struct {
	*guestwire.Client
	cmd *exec.Cmd
	dir string
}

// start runs the real binary as an ordinary process.
func start(t *testing.T, set func(*guestwire.Config)) *running {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "holt-guest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	uid, gid := 54322, 54322
	if os.Geteuid() != 0 {
		uid, gid = os.Geteuid(), os.Getegid()
	}
	os.Chown(dir, uid, gid)
	cfg := guestwire.Config{Listen: "127.0.0.1:0", Secret: "0123456789abcdef-secret", WorkspaceID: holt.NewWorkspaceID(),
		Name: "demo", User: "dev", UID: uid, GID: gid, Home: dir, Dir: dir, Processes: 1024}
	if set != nil {
		set(&cfg)
	}
	b, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(build(t))
	cmd.Env = []string{"PATH=/usr/bin:/bin", "FROM_IMAGE=yes", guestwire.ConfigEnv + "=@" + file}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &running{cmd: cmd, dir: dir}
	addr := ""
	lines := bufio.NewScanner(stderr)
	for addr == "" && lines.Scan() {
		if m := regexp.MustCompile(`address=(\S+)`).FindStringSubmatch(lines.Text()); m != nil {
			addr = m[1]
		}
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for lines.Scan() {
		}
	}()
	r.Client = guestwire.NewDial(func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}, func() string { return cfg.Secret })
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-drained
		if err := cmd.Wait(); err != nil {
			t.Errorf("after SIGTERM: %v", err)
		}
		r.CloseIdle()
	})
	if addr == "" {
		t.Fatal("holt-guest does not serve")
	}
	return r
}

func (r *running) sh(t *testing.T, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	if _, err := r.Run(ctx, guestwire.Exec{Cmd: []string{"sh", "-c", script}}, nil, &out, &out); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out.String())
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not so: %s", what)
		}
	}
}

func TestChildrenInheritWhatTheyShould(t *testing.T) {
	r := start(t, nil)
	env := r.sh(t, "env")
	if strings.Contains(env, guestwire.ConfigEnv+"=") || strings.Contains(env, "secret") {
		t.Error("the secret is in the environment of a user process")
	}
	for _, want := range []string{"FROM_IMAGE=yes", "HOME=" + r.dir, "USER=dev", "HOLT=1"} {
		if !strings.Contains(env, want) {
			t.Errorf("%s is missing from %q", want, env)
		}
	}
	for _, set := range strings.Fields(r.sh(t, "grep -E '^Sig(Ign|Blk)' /proc/self/status | cut -f2")) {
		bits, err := strconv.ParseUint(set, 16, 64)
		// Signals 32 and 33 are the C library's own; who starts the test may ignore them.
		if bits &^= 3 << 31; err != nil || bits != 0 {
			t.Errorf("a child ignores or blocks the signals %x, %v", bits, err)
		}
	}
	if os.Geteuid() == 0 {
		if got := r.sh(t, "bash -c 'ulimit -u'; id -u; umask"); got != "1024\n54322\n0022" {
			t.Errorf("limit, user and umask: %q", got)
		}
		if got := r.sh(t, fmt.Sprintf("exec 2>&1; cat /proc/%d/environ; kill -9 %d; ls /proc/%d/task | xargs -n1 kill -9; echo done", r.cmd.Process.Pid, r.cmd.Process.Pid, r.cmd.Process.Pid)); !strings.HasSuffix(got, "done") || strings.Contains(got, "secret") {
			t.Errorf("the user reaches into the agent: %q", got)
		}
	}
	if fds := r.sh(t, "ls -l /proc/self/fd"); strings.Count(fds, " -> ") != 4 {
		t.Errorf("a child has other descriptors than 0, 1, 2 and that of ls: %s", fds)
	}
}

// children counts the children of pid, ended ones that nobody has collected too.
func children(pid int) int {
	n := 0
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		rest := string(b[bytes.LastIndexByte(b, ')')+1:])
		var st string
		var parent int
		fmt.Sscan(rest, &st, &parent)
		if parent == pid {
			n++
		}
	}
	return n
}

func TestOrphansAreReapedAndNoExitIsLost(t *testing.T) {
	r := start(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	const workers, each = 10, 100
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				want := (w + i) % 120
				// Each leaves an orphan behind that ends at about the same time.
				script := fmt.Sprintf("(true; (exit 9) &) & exit %d", want)
				exit, err := r.Run(ctx, guestwire.Exec{Cmd: []string{"sh", "-c", script}}, nil, nil, nil)
				if err != nil || exit.Code != want {
					t.Errorf("exit %+v, %v; want %d", exit, err, want)
					return
				}
			}
		})
	}
	wg.Wait()
	eventually(t, "all orphans are collected", func() bool { return children(r.cmd.Process.Pid) == 0 })
	r.sh(t, "setsid sh -c 'sleep 0.1; exit 3' >/dev/null 2>&1 & ")
	eventually(t, "a late orphan has come and gone", func() bool { return children(r.cmd.Process.Pid) == 0 })
}

func TestForkBombIsContainedAndNamed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to limit another user")
	}
	r := start(t, func(c *guestwire.Config) { c.Processes = 64 })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	session, err := r.Exec(ctx, guestwire.Exec{Cmd: []string{"bash", "-c", "bomb() { bomb | bomb & sleep 1000; }; bomb"}})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Abort()
	named := fmt.Errorf("named")
	err = r.Events(ctx, 0, func(e guestwire.Event) error {
		if e.Name == guestwire.EventProcessLimit {
			t.Log(e.Text)
			return named
		}
		return nil
	})
	if !errors.Is(err, named) {
		t.Fatalf("no %s event: %v", guestwire.EventProcessLimit, err)
	}
	if _, err := r.Health(ctx); err != nil {
		t.Errorf("the agent does not answer: %v", err)
	}
	if err := r.Shutdown(ctx, 0); err != nil {
		t.Error(err)
	}
	if got := r.sh(t, "echo again"); got != "again" {
		t.Errorf("after the bomb: %q", got)
	}
}

func TestRefusesToStart(t *testing.T) {
	path := build(t)
	for name, c := range map[string]struct{ env, want string }{
		"nothing": {"X=1", "is not set"},
		"no file": {guestwire.ConfigEnv + "=@/nowhere", "/nowhere"},
		"no JSON": {guestwire.ConfigEnv + "={", "read HOLT_AGENT"},
		"secret":  {guestwire.ConfigEnv + `={"user":"dev","home":"/","dir":"/"}`, "secret"},
		"address": {guestwire.ConfigEnv + `={"secret":"0123456789abcdef","user":"dev","uid":54322,"home":"/","dir":"/","listen":"nowhere"}`, "listen"},
	} {
		cmd := exec.Command(path)
		cmd.Env = []string{c.env}
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}
