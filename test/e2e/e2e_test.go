package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	guestwire "github.com/holt-ide/holt/wire/guest"

	"github.com/holt-ide/holt/test/server"
	"github.com/holt-ide/holt/test/world"
)

// publishAll serves every project and returns the URL in front of their names.
func publishAll(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, p := range projects {
		p.publish(t, dir)
	}
	// git refuses repositories of another owner when it runs as a CGI program.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return world.New(t).ServeGit(t, dir)
}

// TestMainJob is the promise of the product: clone, test, freeze with things
// running, lose the daemon, thaw, find everything still running.
func TestMainJob(t *testing.T) {
	s := server.Start(t)
	base := publishAll(t)
	for _, p := range projects {
		s.Must(t, "create", p.name, "--git", base+"/"+p.name+".git")
		out := s.Sh(t, p.name, "git log --oneline | wc -l; git status --porcelain; "+p.test)
		if !strings.Contains(out, p.passes) || !strings.HasPrefix(strings.TrimSpace(out), fmt.Sprint(len(p.commits))) {
			t.Errorf("%s: its tests printed %s", p.name, out)
		}
	}
	before := setGoing(t, s, "python")

	s.Must(t, "suspend", "python")
	eventually(t, func() error { // the sandbox is released after the state is safe
		if w := s.Show(t, "python"); w.State != string(holt.Suspended) || w.Snapshot == nil || w.SandboxID != "" {
			return fmt.Errorf("suspended workspace: %+v", w)
		}
		return nil
	})
	s.Kill(t)
	s.Start(t)
	// The machines that ran were left alone; nothing was restarted.
	if out := s.Sh(t, "node", p2(projects, "node").test); !strings.Contains(out, "# pass 2") {
		t.Errorf("node after the daemon's crash: %s", out)
	}
	s.Must(t, "resume", "python")
	before.check(t, s, "python")

	// And once more, on top of a resumed machine.
	s.Must(t, "suspend", "python")
	s.Must(t, "resume", "python")
	before.check(t, s, "python")
	if out := s.Sh(t, "python", p2(projects, "python").test); !strings.Contains(out, "Ran 2 tests") {
		t.Errorf("python's tests after two thaws: %s", out)
	}
	for _, p := range projects {
		if out := s.Must(t, "logs", p.name); strings.Contains(out, "refused") {
			t.Errorf("honest work is told as refused: %s", out)
		}
	}
}

func p2(list []project, name string) project {
	for _, p := range list {
		if p.name == name {
			return p
		}
	}
	panic("no project " + name)
}

// going is what runs in a workspace before it is frozen.
type going struct {
	serverPID, jobPID, shellPID string
	seen                        uint64 // terminal bytes read so far
	boot                        string
}

// setGoing starts a web server in the background, and a terminal with a stopped
// job, a variable and some output.
func setGoing(t *testing.T, s *server.Server, name string) going {
	t.Helper()
	term := attach(t, s, name, 0)
	defer term.close()
	term.typeLine("cd /workspace && (setsid python3 -m http.server 8000 >/tmp/http.log 2>&1 & echo $! >/tmp/server.pid)")
	term.typeLine("secret=acorn; sleep 1000 & echo $! >/tmp/job.pid; kill -STOP $!; echo $$ >/tmp/shell.pid; echo marker-\"one\"")
	term.expect("marker-one\r\n")
	g := going{seen: term.seen}
	eventually(t, func() error {
		r := s.Holt(t, "exec", name, "--", "sh", "-c", "cat /tmp/server.pid /tmp/job.pid /tmp/shell.pid && python3 -c 'import urllib.request as u; print(u.urlopen(\"http://127.0.0.1:8000/words.py\").status)'")
		f := strings.Fields(r.Stdout)
		if len(f) != 4 || f[3] != "200" {
			return fmt.Errorf("%s%s", r.Stdout, r.Stderr)
		}
		g.serverPID, g.jobPID, g.shellPID = f[0], f[1], f[2]
		return nil
	})
	g.boot = s.Sh(t, name, "cat /proc/sys/kernel/random/boot_id 2>/dev/null || true")
	return g
}

func (g *going) check(t *testing.T, s *server.Server, name string) {
	t.Helper()
	// The server answers, from inside and through the forwarded port.
	out := s.Sh(t, name, "python3 -c 'import urllib.request as u; print(u.urlopen(\"http://127.0.0.1:8000/words.py\").status)'; ps -o pid=,stat= -p "+g.serverPID+","+g.jobPID+","+g.shellPID)
	if !strings.HasPrefix(strings.TrimSpace(out), "200") || len(strings.Fields(out)) < 7 {
		t.Errorf("processes after the thaw: %s", out)
	}
	if body := fetchPort(t, s, name, 8000, "/words.py"); !strings.Contains(body, "def longest") {
		t.Errorf("forwarded port: %q", body)
	}
	// The terminal replays exactly what was missed, and its shell remembers.
	term := attach(t, s, name, g.seen)
	defer term.close()
	term.typeLine(`jobs -l; echo "still-$secret"`)
	text := term.expect("still-acorn\r\n")
	if !strings.Contains(text, "Stopped") || !strings.Contains(text, g.jobPID) {
		t.Errorf("the stopped job is not in the list: %q", text)
	}
	if strings.Contains(text, "marker-one\r\n") {
		t.Errorf("output that was seen came again: %q", text)
	}
	term.typeLine("echo after-\"thaw\"")
	term.expect("after-thaw\r\n")
	g.seen = term.seen
	// The clock is right.
	guest := s.Sh(t, name, "date +%s")
	var sec int64
	if _, err := fmt.Sscan(guest, &sec); err != nil || time.Since(time.Unix(sec, 0)).Abs() > 5*time.Second {
		t.Errorf("the guest's clock says %s, the host's %d", guest, time.Now().Unix())
	}
}

// fetchPort reads a path from a forwarded port, as a program with a token does.
func fetchPort(t *testing.T, s *server.Server, name string, port int, path string) string {
	t.Helper()
	_, hostport, _ := strings.Cut(s.URL, "://")
	_, listen, err := net.SplitHostPort(hostport)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+listen+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = fmt.Sprintf("%d--%s.localhost:%s", port, name, listen)
	req.Header.Set("Authorization", "Bearer "+s.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("port %d: status %d, %v: %s", port, resp.StatusCode, err, body)
	}
	return string(body)
}

// terminal is one viewer of a workspace's terminal "main".
type terminal struct {
	t    *testing.T
	s    *guestwire.Session
	seen uint64
	text strings.Builder
}

func attach(t *testing.T, s *server.Server, name string, since uint64) *terminal {
	t.Helper()
	c := guestwire.New(guestwire.Options{
		Base:   s.URL + "/w/" + name,
		Header: func(h http.Header) { h.Set("Authorization", "Bearer "+s.Token) },
	})
	session, err := c.Attach(t.Context(), "main", guestwire.Attach{Since: &since, Create: true, Cols: 100, Rows: 30})
	if err != nil {
		t.Fatalf("attach: %v", err)
	}
	return &terminal{t: t, s: session, seen: since}
}

func (m *terminal) close() { m.s.Abort() }

func (m *terminal) typeLine(line string) {
	m.t.Helper()
	if err := m.s.Send(m.t.Context(), guestwire.Frame{Type: guestwire.TypeInput, Data: []byte(line + "\n")}); err != nil {
		m.t.Fatalf("type %q: %v", line, err)
	}
}

// expect reads until want was printed (not merely echoed as typed: callers quote
// a part of what they type) and returns everything this viewer has read.
func (m *terminal) expect(want string) string {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 30*time.Second)
	defer cancel()
	for !strings.Contains(m.text.String(), want) {
		f, err := m.s.Receive(ctx)
		if err != nil {
			all := m.text.String()
			m.t.Fatalf("waiting for %q: %v; last read %q", want, err, all[max(0, len(all)-500):])
		}
		if f.Type != guestwire.TypeOutput {
			continue
		}
		if f.Seq != m.seen && m.text.Len() > 0 {
			m.t.Fatalf("output continues at %d, expected %d: lost or repeated bytes", f.Seq, m.seen)
		}
		m.seen = f.Seq + uint64(len(f.Data))
		m.text.Write(f.Data)
		if err := m.s.Send(ctx, guestwire.Frame{Type: guestwire.TypeAck, Seq: m.seen}); err != nil {
			m.t.Fatalf("acknowledge: %v", err)
		}
	}
	return m.text.String()
}

func eventually(t *testing.T, f func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// TestDaemonCrash: running machines survive the daemon, with their terminals,
// and output made meanwhile is replayed.
func TestDaemonCrash(t *testing.T) {
	s := server.Start(t)
	s.Must(t, "create", "alive")
	term := attach(t, s, "alive", 0)
	term.typeLine("i=0; while [ $i -lt 500 ]; do i=$((i+1)); echo line-$i; : 2>/dev/null < /dev/kmsg; sleep 0.01; done; echo all-done")
	term.expect("\nline-20\r")
	seen := term.seen
	before := s.Show(t, "alive")
	s.Kill(t)
	term.close()
	s.Start(t)
	if after := s.Show(t, "alive"); after.SandboxID != before.SandboxID || after.State != string(holt.Running) {
		t.Fatalf("after the crash: %+v, before: %+v", after, before)
	}
	again := attach(t, s, "alive", seen)
	defer again.close()
	text := term.text.String() + again.expect("\nall-done")
	for i := 1; i <= 500; i++ {
		if n := strings.Count(text, fmt.Sprintf("line-%d\r\n", i)); n != 1 {
			t.Fatalf("line %d came %d times", i, n)
		}
	}
	// What its kernel refuses is told to the new daemon.
	eventually(t, func() error {
		s.Sh(t, "alive", "cat /dev/mem || true")
		if out := s.Must(t, "logs", "alive"); !strings.Contains(out, "/dev/mem") || !strings.Contains(out, "/dev/kmsg") {
			return fmt.Errorf("the log does not name what was refused: %s", out)
		}
		return nil
	})
}

// TestForkIdentity: two forks of one parent differ in everything that names them.
func TestForkIdentity(t *testing.T) {
	s := server.Start(t)
	s.Must(t, "create", "parent")
	s.Sh(t, "parent", "echo shared >/workspace/file; (setsid sh -c 'while :; do sleep 1; done' >/dev/null 2>&1 & echo $! >/tmp/loop.pid)")
	parent := s.Show(t, "parent")
	s.Must(t, "fork", "parent", "left")
	s.Must(t, "fork", "parent", "right")
	seen := map[string]string{}
	for _, name := range []string{"parent", "left", "right"} {
		for _, what := range []string{"hostname", "cat /etc/machine-id", "head -c 32 /dev/urandom | md5sum"} {
			out := s.Sh(t, name, what)
			if other := seen[what+out]; other != "" {
				t.Errorf("%s: %s and %s both say %s", what, other, name, out)
			}
			seen[what+out] = name
		}
		if out := s.Sh(t, name, "cat /workspace/file; kill -0 $(cat /tmp/loop.pid) && echo alive"); out != "shared\nalive" {
			t.Errorf("%s: %q", name, out)
		}
	}
	s.Sh(t, "left", "echo changed >/workspace/file")
	if out := s.Sh(t, "parent", "cat /workspace/file"); out != "shared" {
		t.Errorf("a fork changed its parent's file: %q", out)
	}
	if after := s.Show(t, "parent"); after.SandboxID != parent.SandboxID {
		t.Error("the parent was restarted by the fork")
	}
	// A fork of a fork that sleeps.
	s.Must(t, "suspend", "left")
	s.Must(t, "fork", "left", "grand")
	if out := s.Sh(t, "grand", "cat /workspace/file; hostname"); out != "changed\ngrand" {
		t.Errorf("fork of a suspended workspace: %q", out)
	}
	if w := s.Show(t, "left"); w.State != string(holt.Suspended) {
		t.Errorf("the source woke up: %s", w.State)
	}
	// A fork of a stopped one has the files alone.
	s.Must(t, "stop", "right")
	s.Must(t, "fork", "right", "files")
	if out := s.Sh(t, "files", "cat /workspace/file"); out != "shared" {
		t.Errorf("fork of a stopped workspace: %q", out)
	}
}

// TestWake: whoever knocks at a suspended workspace finds it running.
func TestWake(t *testing.T) {
	s := server.Start(t)
	s.Must(t, "create", "sleeper")
	s.Sh(t, "sleeper", "echo hi >/workspace/index.html; (cd /workspace && setsid python3 -m http.server 8000 >/dev/null 2>&1 &)")
	eventually(t, func() error {
		if r := s.Holt(t, "exec", "sleeper", "--", "sh", "-c", "nc -z 127.0.0.1 8000"); r.Code != 0 {
			return errors.New(r.Stderr)
		}
		return nil
	})
	for what, knock := range map[string]func(){
		"exec":     func() { s.Must(t, "exec", "sleeper", "--", "true") },
		"terminal": func() { attach(t, s, "sleeper", 0).close() },
		"port": func() {
			if body := fetchPort(t, s, "sleeper", 8000, "/"); body != "hi\n" {
				t.Errorf("port: %q", body)
			}
		},
		"cp": func() { s.Must(t, "cp", "sleeper:/workspace/index.html", filepath.Join(t.TempDir(), "x")) },
	} {
		s.Must(t, "suspend", "sleeper")
		knock()
		if w := s.Show(t, "sleeper"); w.State != string(holt.Running) {
			t.Errorf("after %s the workspace is %s", what, w.State)
		}
	}
}

// TestIdle: a workspace that nobody uses is suspended; one with a job is not.
func TestIdle(t *testing.T) {
	s := server.Start(t)
	s.Must(t, "create", "quiet", "--idle", "15s")
	s.Must(t, "create", "busy", "--idle", "15s")
	busy := make(chan server.Result, 1)
	go func() { busy <- s.Holt(t, "exec", "busy", "--", "sleep", "60") }()
	w := s.AwaitState(t, "quiet", string(holt.Suspended), 90*time.Second)
	if w.Snapshot == nil {
		t.Error("suspended without a snapshot")
	}
	if w := s.Show(t, "busy"); w.State != string(holt.Running) {
		t.Errorf("a workspace with a running command is %s", w.State)
	}
	if r := <-busy; r.Code != 0 {
		t.Errorf("the command was disturbed: %+v", r)
	}
}

// TestFiles: what goes in comes out, with modes and links.
func TestFiles(t *testing.T) {
	s := server.Start(t)
	s.Must(t, "create", "files")
	src := t.TempDir()
	for name, text := range map[string]string{"a.txt": "alpha", "dir/ünïcode name.txt": "beta", "dir/run.sh": "#!/bin/sh\necho ran\n"} {
		path := filepath.Join(src, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chmod(filepath.Join(src, "dir/run.sh"), 0o755), os.Symlink("a.txt", filepath.Join(src, "link"))); err != nil {
		t.Fatal(err)
	}
	s.Must(t, "cp", src, "files:/workspace/copied")
	if out := s.Sh(t, "files", "cd copied && ./dir/run.sh && cat a.txt link 'dir/ünïcode name.txt' && stat -c %U a.txt && readlink link"); out != "ran\nalphaalphabetadev\na.txt" {
		t.Errorf("in the workspace: %q", out)
	}
	back := filepath.Join(t.TempDir(), "back")
	s.Must(t, "cp", "files:/workspace/copied", back)
	body, err := os.ReadFile(filepath.Join(back, "dir/ünïcode name.txt"))
	if err != nil || string(body) != "beta" {
		t.Errorf("came back: %q, %v", body, err)
	}
	if info, err := os.Stat(filepath.Join(back, "dir/run.sh")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode: %v, %v", info, err)
	}
	if r := s.HoltInput(t, strings.NewReader("from stdin"), "exec", "files", "-i", "--", "sh", "-c", "cat >/workspace/in; exit 3"); r.Code != 3 {
		t.Errorf("exit code %d, want 3: %s", r.Code, r.Stderr)
	}
	if out := s.Sh(t, "files", "cat in"); out != "from stdin" {
		t.Errorf("standard input: %q", out)
	}
}
