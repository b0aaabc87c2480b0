package fault

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"

	"github.com/holt-ide/holt/test/server"
)

// recovery bounds how long a workspace may be gone after its machine died.
const recovery = 10 * time.Second

// killSandbox kills the sandbox of a workspace, as the kernel or a fault of the
// runtime would.
func (w *witness) killSandbox(t *testing.T, name string) (id string) {
	t.Helper()
	id = w.workspaces(t)[name].SandboxID
	if err := unix.Kill(w.sandboxPID(t, id), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	return id
}

// awaitNew waits until a workspace runs in another sandbox than was, and works.
func (w *witness) awaitNew(t *testing.T, name, was string) (took time.Duration) {
	t.Helper()
	begin := time.Now()
	eventually(t, recovery, func() error {
		d := w.workspaces(t)[name]
		if d.State != string(holt.Running) || d.SandboxID == was {
			return fmt.Errorf("%s is %s in %s: %s", name, d.State, d.SandboxID, d.Message)
		}
		if r := w.s.Holt(t, "exec", name, "--", "true"); r.Code != 0 {
			return fmt.Errorf("exec: code %d: %s", r.Code, r.Stderr)
		}
		return nil
	})
	return time.Since(begin)
}

// TestSandboxDies: a machine that dies is replaced, files are kept, the log says
// what was lost; one that keeps dying is given up with a word.
func TestSandboxDies(t *testing.T) {
	t.Parallel()
	s := server.Start(t, "--pool-size", "3g")
	s.TinyImage(t)
	w := newWitness(s)
	small(t, s, "main")
	alive := live(t, s, "main", "crash")

	took := w.awaitNew(t, "main", w.killSandbox(t, "main"))
	t.Logf("replaced after %v", took.Round(time.Millisecond))
	if got := w.settle(t)["main"]; !strings.Contains(got.Message, "running processes are lost, files are kept") {
		t.Errorf("the message is %q", got.Message)
	}
	alive.files(t, s)
	log := s.Must(t, "logs", "main")
	for _, want := range []string{"the machine ended by itself", "started afresh"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q: %s", want, log)
		}
	}

	// Once more, while nobody watches.
	was := w.workspaces(t)["main"].SandboxID
	pid := w.sandboxPID(t, was)
	s.Kill(t)
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.Start(t)
	w.awaitNew(t, "main", was)
	w.settle(t)
	alive.files(t, s)

	for range 3 {
		w.awaitNew(t, "main", w.killSandbox(t, "main"))
	}
	w.killSandbox(t, "main")
	s.AwaitState(t, "main", string(holt.Failed), recovery)
	got := w.settle(t)["main"]
	if !strings.Contains(got.Message, "ended on its own 6 times") || !strings.Contains(got.Message, "resume or delete") {
		t.Errorf("the message after six crashes is %q", got.Message)
	}
	s.Must(t, "resume", "main")
	alive.files(t, s)
	w.settle(t)
}

// TestGoferDies: the process that serves the machine's files is part of the
// machine; without it the workspace is made anew, not left half alive.
func TestGoferDies(t *testing.T) {
	t.Parallel()
	s := server.Start(t, "--pool-size", "3g")
	s.TinyImage(t)
	w := newWitness(s)
	small(t, s, "main")
	alive := live(t, s, "main", "gofer")
	was := w.workspaces(t)["main"].SandboxID
	if err := unix.Kill(w.processOf(t, "runsc-gofer", was), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	t.Logf("replaced after %v", w.awaitNew(t, "main", was).Round(time.Millisecond))
	w.settle(t)
	alive.files(t, s)
}
