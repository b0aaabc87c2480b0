package guest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/holt-ide/holt/wire/guest"
)

func (s *served) run(t *testing.T, e guestwire.Exec, stdin io.Reader) (guestwire.Exit, string, string) {
	t.Helper()
	var out, errs bytes.Buffer
	exit, err := s.Run(within(t), e, stdin, &out, &errs)
	if err != nil {
		t.Fatalf("run %q: %v", e.Cmd, err)
	}
	return exit, out.String(), errs.String()
}

func sh(script string) guestwire.Exec { return guestwire.Exec{Cmd: []string{"sh", "-c", script}} }

func TestExecOutcomes(t *testing.T) {
	s := serve(t)
	if err := os.WriteFile(s.dir+"/plain", []byte("no program"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.dir+"/garbage", []byte("no program"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		exec   guestwire.Exec
		stdin  string
		code   int
		signal string
		out    string
		err    string // a part of stderr
	}{
		"output":         {exec: sh("echo out; echo err >&2"), out: "out\n", err: "err\n"},
		"exit code":      {exec: sh("exit 42"), code: 42},
		"signal":         {exec: sh("kill -KILL $$"), code: 137, signal: "SIGKILL"},
		"stdin":          {exec: guestwire.Exec{Cmd: []string{"cat"}}, stdin: "fed", out: "fed"},
		"half-close":     {exec: guestwire.Exec{Cmd: []string{"wc", "-c"}}, stdin: "12345", out: "5\n"},
		"stdin refused":  {exec: guestwire.Exec{Cmd: []string{"true"}}, stdin: strings.Repeat("x", 1<<20)},
		"not found":      {exec: guestwire.Exec{Cmd: []string{"no-such-command"}}, code: 127, err: "no-such-command: command not found"},
		"no such path":   {exec: guestwire.Exec{Cmd: []string{"./nowhere"}}, code: 127, err: "command not found"},
		"not executable": {exec: guestwire.Exec{Cmd: []string{"./plain"}}, code: 126, err: "cannot be executed"},
		"no program":     {exec: guestwire.Exec{Cmd: []string{"./garbage"}}, code: 126, err: "not a program"},
		"no directory":   {exec: guestwire.Exec{Cmd: []string{"true"}, Cwd: "nowhere"}, code: 126, err: "not a directory"},
		"no command":     {exec: guestwire.Exec{}, code: 126, err: "give a command"},
		"other user":     {exec: guestwire.Exec{Cmd: []string{"true"}, User: "nobody"}, code: 126, err: "not as \"nobody\""},
		"relative cwd":   {exec: guestwire.Exec{Cmd: []string{"sh", "-c", "basename $PWD"}, Cwd: "."}, out: "workspace\n"},
		"environment": {exec: guestwire.Exec{Cmd: []string{"sh", "-c", "echo $HOLT $HOLT_WORKSPACE $LANG $USER $X $TERM$HOLT_AGENT"},
			Env: map[string]string{"X": "y"}}, out: "1 demo C.UTF-8 dev y\n"},
		"orphan holds the pipe": {exec: sh("sleep 5 & echo started"), out: "started\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var in io.Reader
			if c.stdin != "" {
				in = strings.NewReader(c.stdin)
			}
			exit, out, errs := s.run(t, c.exec, in)
			if exit.Code != c.code || exit.Signal != c.signal || out != c.out || !strings.Contains(errs, c.err) {
				t.Errorf("code %d signal %q out %q err %q; want %d %q %q %q", exit.Code, exit.Signal, out, errs, c.code, c.signal, c.out, c.err)
			}
		})
	}
}

func TestExecRunsAsTheUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to change users")
	}
	s := serve(t)
	_, out, _ := s.run(t, sh("id -u; id -g; id -G; nice"), nil)
	if want := fmt.Sprintf("%d\n%d\n%d\n5\n", testUID, testUID, testUID); out != want {
		t.Errorf("id and nice: %q, want %q", out, want)
	}
	if _, out, _ := s.run(t, guestwire.Exec{Cmd: []string{"sh", "-c", "id -u; echo $HOME"}, User: "root"}, nil); out != "0\n/root\n" {
		t.Errorf("as root: %q", out)
	}
}

func TestExecTerminal(t *testing.T) {
	s := serve(t)
	ctx := within(t)
	session, err := s.Exec(ctx, guestwire.Exec{Cmd: []string{"bash", "--norc", "-c",
		"stty size; trap 'stty size; exit 7' WINCH; echo ready; while :; do sleep 0.05; done"}, TTY: true, Cols: 91, Rows: 31})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Abort()
	var out strings.Builder
	for {
		f, err := session.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if f.Type == guestwire.TypeExit {
			if f.Code != 7 {
				t.Errorf("exit code %d, want 7", f.Code)
			}
			break
		}
		before := strings.Contains(out.String(), "ready")
		out.Write(f.Data)
		if !before && strings.Contains(out.String(), "ready") {
			if err := session.Send(ctx, guestwire.Frame{Type: guestwire.TypeResize, Cols: 132, Rows: 50}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := out.String(); !strings.HasPrefix(got, "31 91\r\n") || !strings.Contains(got, "50 132\r\n") {
		t.Errorf("sizes seen by the command: %q", got)
	}
}

func TestExecSignalAndHangup(t *testing.T) {
	s := serve(t)
	ctx := within(t)
	start := func(script string) (*guestwire.Session, int) {
		session, err := s.Exec(ctx, sh(script))
		if err != nil {
			t.Fatal(err)
		}
		f, err := session.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var pid int
		fmt.Sscan(string(f.Data), &pid)
		return session, pid
	}
	session, _ := start("trap 'exit 3' USR1; echo $$; while :; do sleep 0.05; done")
	if err := session.Send(ctx, guestwire.Frame{Type: guestwire.TypeSignal, Signal: uint8(syscall.SIGUSR1)}); err != nil {
		t.Fatal(err)
	}
	if exit, err := session.Pump(ctx, nil, nil); err != nil || exit.Code != 3 {
		t.Errorf("after SIGUSR1: %+v, %v", exit, err)
	}
	session.Abort()
	for name, script := range map[string]string{
		"hangs up":             "echo $$; sleep 1000",
		"kills what ignores":   "trap '' HUP; echo $$; while :; do sleep 1; done",
		"reads no input":       "echo $$; exec sleep 1000",
		"is blocked on output": "echo $$; exec yes",
	} {
		session, pid := start(script)
		if pid == 0 {
			t.Fatalf("%s: no pid", name)
		}
		session.Abort()
		eventually(t, name+": the process has ended", func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
	}
}

// slow takes one small piece at a time, and keeps the most that the agent had
// written ahead of it.
type slow struct{ taken atomic.Int64 }

func (s *slow) Write(b []byte) (int, error) {
	s.taken.Add(int64(len(b)))
	return len(b), nil
}

func TestExecBigOutputIsWhole(t *testing.T) {
	s := serve(t)
	const size = 64 << 20
	var out slow
	exit, err := s.Run(within(t), sh(fmt.Sprintf("head -c %d /dev/zero", size)), nil, &out, nil)
	if err != nil || exit.Code != 0 || out.taken.Load() != size {
		t.Errorf("got %d bytes of %d, exit %+v, %v", out.taken.Load(), size, exit, err)
	}
}

// A receiver that stops stops the command: nothing between them grows.
func TestExecBackpressure(t *testing.T) {
	s := serve(t)
	ctx := within(t)
	progress := s.dir + "/progress"
	session, err := s.Exec(ctx, sh("i=0; while :; do i=$((i+1)); echo $i > "+progress+"; head -c 1000000 /dev/zero; done"))
	if err != nil {
		t.Fatal(err)
	}
	defer session.Abort()
	last := ""
	same := 0
	eventually(t, "the command is blocked", func() bool {
		b, _ := os.ReadFile(progress)
		if string(b) == last && last != "" {
			same++
		} else {
			same, last = 0, string(b)
		}
		return same > 50 // half a second
	})
	var n int
	if fmt.Sscan(last, &n); n > 40 {
		t.Errorf("the command wrote %d MB with nobody reading", n)
	}
}

func TestExecSlowInputKeepsSignals(t *testing.T) {
	s := serve(t)
	ctx := within(t)
	e := guestwire.Exec{Cmd: []string{"sleep", "1000"}, Stdin: true}
	session, err := s.Exec(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Abort()
	sending, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { session.SendStdin(sending, zeros{}) }) // blocks at the window
	if err := session.Send(ctx, guestwire.Frame{Type: guestwire.TypeSignal, Signal: uint8(syscall.SIGTERM)}); err != nil {
		t.Fatal(err)
	}
	exit, err := session.Pump(ctx, nil, nil)
	if err != nil || exit.Signal != "SIGTERM" || exit.Code != 128+15 {
		t.Errorf("exit %+v, %v", exit, err)
	}
	stop()
	wg.Wait()
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestExecManyAtOnceLoseNoCode(t *testing.T) {
	s := serve(t)
	ctx := within(t)
	const workers, each = 8, 40
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				want := (w*each + i) % 100
				exit, err := s.Run(ctx, sh(fmt.Sprintf("exit %d", want)), nil, nil, nil)
				if err != nil || exit.Code != want {
					t.Errorf("exit %+v, %v; want %d", exit, err, want)
					return
				}
			}
		})
	}
	wg.Wait()
}
