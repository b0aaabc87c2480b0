package main

import (
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"
)

// binary builds the program, for what only a process of its own can show.
func binary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "holt")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

func environ(env map[string]string) []string {
	out := []string{"PATH=" + os.Getenv("PATH"), "TERM=xterm"}
	for k, v := range env {
		out = append(out, k+"="+v)
	}
	return out
}

func TestExecOnATerminal(t *testing.T) {
	s, env := server(t)
	s.Start(t, "demo")
	cmd := exec.Command(binary(t), "exec", "demo", "-t", "--", "bash", "--norc", "--noediting", "-i")
	cmd.Env = environ(env)
	ptmx, ours, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer ptmx.Close()
	defer ours.Close()
	if err := pty.Setsize(ptmx, &pty.Winsize{Rows: 33, Cols: 101}); err != nil {
		t.Fatal(err)
	}
	before, err := term.GetState(int(ours.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = ours, ours, ours
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var out screen
	read := make(chan struct{})
	go func() { defer close(read); io.Copy(&out, ptmx) }()
	keys := func(s string) {
		t.Helper()
		if _, err := io.WriteString(ptmx, s); err != nil {
			t.Fatal(err)
		}
	}
	keys("echo size-$(stty size)-\r")
	out.wait(t, "size-33 101-")
	if err := pty.Setsize(ptmx, &pty.Winsize{Rows: 20, Cols: 70}); err != nil {
		t.Fatal(err)
	}
	keys("until [ \"$(stty size)\" = '20 70' ]; do sleep 0.05; done; echo resi''zed\r")
	out.wait(t, "resized")
	keys("echo start''ed; sleep 1000\r")
	out.wait(t, "started")
	keys("\x03")
	out.wait(t, "^C")
	keys("echo interr''upted\r")
	out.wait(t, "interrupted")
	keys("exit 9\r")
	err = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 9 {
		t.Errorf("exit %d, %v", code, err)
	}
	after, err := term.GetState(int(ours.Fd()))
	if err != nil || *after != *before {
		t.Errorf("the terminal was not restored: %v", err)
	}
	ours.Close()
	ptmx.Close()
	<-read
}

func TestExecPassesSignals(t *testing.T) {
	s, env := server(t)
	s.Start(t, "demo")
	bin := binary(t)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		if signal.Ignored(sig) {
			t.Logf("%v is ignored here, as under nohup, and so by every process that the test starts", sig)
			continue
		}
		cmd := exec.Command(bin, "exec", "demo", "--", "bash", "-c",
			`for s in INT TERM HUP QUIT; do trap "echo got-$s; exit 40" $s; done; echo ready; while :; do sleep 0.05; done`)
		cmd.Env = environ(env)
		var out screen
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		out.wait(t, "ready")
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		end := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
		_ = cmd.Wait() // its exit code tells
		end.Stop()
		name := map[syscall.Signal]string{syscall.SIGINT: "INT", syscall.SIGTERM: "TERM", syscall.SIGHUP: "HUP", syscall.SIGQUIT: "QUIT"}[sig]
		if code := cmd.ProcessState.ExitCode(); code != 40 || !strings.Contains(out.String(), "got-"+name) {
			t.Errorf("%v: exit %d, output %q", sig, code, &out)
		}
	}
}
