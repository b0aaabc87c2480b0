package fault

import (
	"fmt"
	"slices"
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

// waiting returns the sandboxes that are ready for a workspace.
func (w *witness) waiting(t *testing.T) (ids []string) {
	t.Helper()
	units, _ := w.units(t)
	for id, n := range w.sandboxes(t) {
		if units[id] == reserved && n == 1 {
			ids = append(ids, id)
		}
	}
	return ids
}

func (w *witness) awaitWaiting(t *testing.T, n int) (ids []string) {
	t.Helper()
	eventually(t, recovery, func() error {
		if ids = w.waiting(t); len(ids) != n {
			return fmt.Errorf("%d sandboxes wait, want %d", len(ids), n)
		}
		return nil
	})
	return ids
}

// TestPreparedSandboxes: the next machine is made in a sandbox that waits; those
// that die while they wait are passed over and replaced; none outlives the server.
func TestPreparedSandboxes(t *testing.T) {
	t.Parallel()
	s := server.Start(t, "--pool-size", "3g")
	s.TinyImage(t)
	w := newWitness(s)
	small(t, s, "first")

	ready := w.awaitWaiting(t, prepared)
	small(t, s, "second")
	second := w.workspaces(t)["second"].SandboxID
	if unit := s.Unit(t, second); !slices.Contains(ready, unit) {
		t.Errorf("second runs in %s, while %v were waiting", unit, ready)
	}
	alive := live(t, s, "second", "prepared")
	s.Must(t, "suspend", "second")
	s.Must(t, "resume", "second")
	alive.check(t, s)

	for _, id := range w.awaitWaiting(t, prepared) {
		if err := unix.Kill(w.unitPID(t, "runsc-sandbox", id), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	small(t, s, "third")
	s.Must(t, "exec", "third", "--", "true")
	w.settle(t)
	w.awaitWaiting(t, prepared)

	s.Stop(t)
	if ids := w.waiting(t); len(ids) != 0 {
		t.Errorf("after the end of the server %v wait", ids)
	}
	s.Start(t)
	alive.check(t, s)
	w.awaitWaiting(t, prepared) // of the kind of what runs
	w.settle(t)
}
