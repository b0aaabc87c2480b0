package gvisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/fault"
	"github.com/holt-ide/holt/sandbox"
)

// machine implements [sandbox.Sandbox] on one runsc container.
type machine struct {
	driver *Driver
	spec   sandbox.Spec
	dir    string
	runsc  runsc

	done     chan struct{}
	doneOnce sync.Once

	refusals chan sandbox.Refusal // never closed

	// The processes, set once before the machine is handed out; nil in one
	// that never came so far.
	sentry, gofer *process

	kept atomic.Bool // Recover finds it: it is more than prepared

	// mu serialises pause, resume, checkpoint, close and [machine.traceAgain].
	mu     sync.Mutex
	closed bool

	attendant  *attendant     // nil when there is nothing to wait for
	attendants sync.WaitGroup // those whose process has not ended
}

var (
	_ sandbox.Sandbox  = (*machine)(nil)
	_ sandbox.Observer = (*machine)(nil)
	_ sandbox.Readier  = (*machine)(nil)
)

// Spec implements [sandbox.Sandbox].
func (m *machine) Spec() sandbox.Spec { return m.spec }

// Done implements [sandbox.Sandbox].
func (m *machine) Done() <-chan struct{} { return m.done }

func (m *machine) ended() { m.doneOnce.Do(func() { close(m.done) }) }

// watchCreated watches the sandbox that create has just made. Its process ID
// cannot have passed to another process yet that matters: one that is dead fails
// the next step.
func (m *machine) watchCreated() error {
	text, err := os.ReadFile(filepath.Join(m.dir, pidName))
	if err != nil {
		return fmt.Errorf("read process ID: %w", err)
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		return fmt.Errorf("read process ID: %w", err)
	}
	return m.watchProcess(pid)
}

// watch finds the sandbox process of an earlier server and watches it. It fails
// if the process is not alive now.
func (m *machine) watch(ctx context.Context) error {
	s, err := m.runsc.state(ctx, m.spec.ID)
	if err != nil {
		return err
	}
	if s.Status == "stopped" || s.PID <= 0 {
		return fmt.Errorf("sandbox is %s", s.Status)
	}
	return m.watchProcess(s.PID)
}

// Dial implements [sandbox.Sandbox].
func (m *machine) Dial(ctx context.Context) (net.Conn, error) {
	select {
	case <-m.done:
		return nil, sandbox.ErrGone
	default:
	}
	return dialIn(ctx, m.spec.Network.Gateway, m.spec.Network.Agent)
}

// Ready implements [sandbox.Readier].
func (m *machine) Ready() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.attend()
	}
}

// Pause implements [sandbox.Sandbox].
func (m *machine) Pause(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.toggle(ctx, "paused", "pause", m.runsc.pause)
}

// Resume implements [sandbox.Sandbox].
func (m *machine) Resume(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.toggle(ctx, "running", "resume", m.runsc.resume); err != nil {
		return err
	}
	m.dismiss()
	return nil
}

// toggle calls verb, and accepts its refusal if the machine is in the wanted
// status already. Asking first would cost a process start on the common path.
func (m *machine) toggle(ctx context.Context, want, verb string, call func(context.Context, holt.SandboxID) error) error {
	if m.closed {
		return sandbox.ErrGone
	}
	err := m.ask(ctx, order{Verb: verb}, func() error { return call(ctx, m.spec.ID) })
	if err == nil {
		return nil
	}
	s, stateErr := m.runsc.state(ctx, m.spec.ID)
	switch {
	case errors.Is(stateErr, errNoContainer) || s.Status == "stopped":
		return sandbox.ErrGone
	case stateErr == nil && s.Status == want:
		return nil
	}
	return err
}

// Paused implements [sandbox.Sandbox].
func (m *machine) Paused(ctx context.Context) (bool, error) {
	s, err := m.runsc.state(ctx, m.spec.ID)
	if errors.Is(err, errNoContainer) {
		return false, sandbox.ErrGone
	}
	return s.Status == "paused", err
}

// Checkpoint implements [sandbox.Sandbox].
func (m *machine) Checkpoint(ctx context.Context, dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return sandbox.ErrGone
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return fmt.Errorf("make checkpoint directory: %w", err)
	}
	return m.ask(ctx, order{Verb: "checkpoint", Image: dir}, func() error { return m.runsc.checkpoint(ctx, m.spec.ID, dir) })
}

// Close implements [sandbox.Sandbox].
func (m *machine) Close(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	if m.sentry == nil {
		killStray(m.dir)
	}
	m.dismiss()
	m.kill()
	m.attendants.Wait()
	if err := m.runsc.delete(ctx, m.spec.ID); err != nil {
		return err
	}
	fault.Point("sandbox.deleted")
	if err := removeCgroup(filepath.Join(m.driver.cfg.Cgroup, string(m.spec.ID))); err != nil {
		return err
	}
	// What a call of the runtime that was killed half way leaves, and delete does
	// not know of.
	id := string(m.spec.ID)
	for _, name := range []string{"runsc-" + id + ".sock", id + "_sandbox:" + id + ".state", id + "_sandbox:" + id + ".lock"} {
		if err := os.Remove(filepath.Join(m.runsc.root, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove runtime's file: %w", err)
		}
	}
	if err := os.RemoveAll(m.dir); err != nil {
		return fmt.Errorf("remove sandbox directory: %w", err)
	}
	m.closed = true
	m.ended()
	m.driver.mu.Lock()
	delete(m.driver.live, m.spec.ID)
	m.driver.mu.Unlock()
	return nil
}

// dialTimeout bounds one connection attempt into a guest that may be hostile or
// not listening yet.
const dialTimeout = 5 * time.Second
