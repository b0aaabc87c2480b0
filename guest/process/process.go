// Package process starts and reaps the guest's processes.
//
// As PID 1 the agent inherits every orphan and must reap it, without taking the
// exit of a process that somebody waits for. So there is one reaper, and every
// process is started through the [Table] that owns it; os/exec is not used in
// the agent. A start holds the table's lock shared and the reaper exclusively:
// no exit is collected before its process is known, and no signal is sent to
// a process ID that was collected and reused.
package process

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Options configures a [Table].
type Options struct {
	// ReapAll makes the table collect every child of this process, also ones it
	// did not start: for PID 1 and for a subreaper. No other code in the
	// process may then wait for children.
	ReapAll bool
	// Nice is the scheduling priority of what is started, relative to nothing:
	// 0 to 19.
	Nice int
	// Log gets what cannot be done; nil means slog.Default.
	Log *slog.Logger
}

// Table owns running processes. It is safe for concurrent use.
type Table struct {
	opt    Options
	starts chan func()
	quit   chan struct{}
	wg     sync.WaitGroup

	mu    sync.RWMutex // exclusive while a process is collected, shared while one is started or signalled
	known sync.Map     // int to *Process
}

// heedSignals catches and drops the signals of the keyboard that were ignored
// when this process started, for instance because a shell put it in the
// background: its children would ignore them too, and nobody could interrupt them.
func heedSignals() {
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGQUIT} {
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
}

// New returns a table; the caller closes it.
func New(o Options) *Table {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	heedSignals()
	t := &Table{opt: o, starts: make(chan func()), quit: make(chan struct{})}
	t.wg.Go(t.spawner)
	if o.ReapAll {
		sig := make(chan os.Signal, 1)
		signal.Notify(sig, syscall.SIGCHLD)
		t.wg.Go(func() {
			defer signal.Stop(sig)
			t.reap(sig)
		})
	}
	return t
}

// Close stops the reaper and waits for the table's goroutines: without ReapAll
// that means for every process that was started. It ends no process.
func (t *Table) Close() {
	close(t.quit)
	t.wg.Wait()
}

// spawner forks on one thread of its own, whose niceness the children inherit:
// set after the fork it would miss what the child forks first.
func (t *Table) spawner() {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	if t.opt.Nice > 0 {
		if err := unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), t.opt.Nice); err != nil {
			t.opt.Log.Warn("user processes are not made nice", "err", err)
		}
	}
	for {
		select {
		case f := <-t.starts:
			f()
		case <-t.quit:
			return
		}
	}
}

// reap collects exits until the table closes. One SIGCHLD can stand for many.
func (t *Table) reap(sig <-chan os.Signal) {
	for {
		for t.reapOne() {
		}
		select {
		case <-sig:
		case <-t.quit:
			return
		}
	}
}

func (t *Table) reapOne() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	var ws syscall.WaitStatus
	pid, err := wait4(-1, &ws, syscall.WNOHANG)
	if err != nil || pid <= 0 {
		return false
	}
	if p, ok := t.known.LoadAndDelete(pid); ok {
		p.(*Process).finish(ws)
	}
	return true
}

// await collects one process: the way without ReapAll.
func (t *Table) await(p *Process) {
	for {
		// Waits without collecting, so that signals can still be sent.
		err := unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var ws syscall.WaitStatus
	if _, err := wait4(p.pid, &ws, 0); err != nil {
		t.opt.Log.Error("a process was collected by somebody else", "pid", p.pid, "err", err)
	}
	t.known.Delete(p.pid)
	p.finish(ws)
}

func wait4(pid int, ws *syscall.WaitStatus, options int) (int, error) {
	for {
		got, err := syscall.Wait4(pid, ws, options, nil)
		if err != syscall.EINTR {
			return got, err
		}
	}
}

// Spec is a process to start. It always leads a session of its own, so its
// process group has its process ID.
type Spec struct {
	Path  string   // absolute
	Args  []string // with Args[0]
	Env   []string
	Dir   string
	Files []*os.File          // descriptors 0, 1, 2, …; a nil one is closed in the child
	Cred  *syscall.Credential // nil keeps the agent's
	TTY   bool                // Files[0] becomes the controlling terminal
}

// Start starts a process. The error is that of fork or exec, a syscall.Errno
// in its chain.
func (t *Table) Start(s Spec) (*Process, error) {
	type result struct {
		p   *Process
		err error
	}
	done := make(chan result, 1)
	f := func() { p, err := t.start(s); done <- result{p, err} }
	select {
	case t.starts <- f:
		r := <-done
		return r.p, r.err
	case <-t.quit:
		return nil, fmt.Errorf("start %s: %w", s.Path, os.ErrClosed)
	}
}

func (t *Table) start(s Spec) (*Process, error) {
	attr := &syscall.ProcAttr{
		Dir: s.Dir, Env: s.Env,
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: s.TTY, Credential: s.Cred},
	}
	for _, f := range s.Files {
		fd := ^uintptr(0)
		if f != nil {
			fd = f.Fd()
		}
		attr.Files = append(attr.Files, fd)
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	pid, err := syscall.ForkExec(s.Path, s.Args, attr)
	runtime.KeepAlive(s.Files)
	if err != nil {
		return nil, &os.PathError{Op: "start", Path: s.Path, Err: err}
	}
	p := &Process{table: t, pid: pid, done: make(chan struct{})}
	t.known.Store(pid, p)
	if !t.opt.ReapAll {
		t.wg.Go(func() { t.await(p) })
	}
	return p, nil
}

// Status is how a process ended.
type Status struct {
	Code   int       // 128 + number when a signal ended it
	Signal string    // such as "SIGKILL"; "" when it exited
	At     time.Time // when it was collected
}

// Process is one started process.
type Process struct {
	table  *Table
	pid    int
	done   chan struct{}
	status Status // valid once done is closed
}

// PID returns the process ID, which is also that of its group and session.
func (p *Process) PID() int { return p.pid }

// Done is closed when the process has ended and was collected.
func (p *Process) Done() <-chan struct{} { return p.done }

// Status waits for the end and returns how it came.
func (p *Process) Status() Status {
	<-p.done
	return p.status
}

func (p *Process) finish(ws syscall.WaitStatus) {
	p.status = Status{Code: ws.ExitStatus(), At: time.Now()}
	if ws.Signaled() {
		p.status.Code = 128 + int(ws.Signal())
		p.status.Signal = unix.SignalName(ws.Signal())
	}
	close(p.done)
}

// SignalGroup signals every process of the group. It does nothing once the
// leader was collected, even where others of the group live on.
func (p *Process) SignalGroup(sig syscall.Signal) error { return p.kill(-p.pid, sig) }

// Signal signals the process alone; it does nothing once it was collected.
func (p *Process) Signal(sig syscall.Signal) error { return p.kill(p.pid, sig) }

func (p *Process) kill(target int, sig syscall.Signal) error {
	p.table.mu.RLock()
	defer p.table.mu.RUnlock()
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := syscall.Kill(target, sig); err != nil && err != syscall.ESRCH {
		return fmt.Errorf("signal process %d: %w", p.pid, err)
	}
	return nil
}

// Hangup ends the group as a lost terminal would: SIGHUP and SIGCONT (for the
// stopped), and SIGKILL where the leader lives on after grace. It waits for the
// leader.
func (p *Process) Hangup(grace time.Duration) {
	_ = p.SignalGroup(syscall.SIGHUP) // here and below: an error means that it has ended
	_ = p.SignalGroup(syscall.SIGCONT)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		_ = p.SignalGroup(syscall.SIGKILL)
		<-p.done
	}
}

// Kill ends every process that was started and is not collected, with its
// group. It does not wait for them.
func (t *Table) Kill() {
	t.known.Range(func(_, p any) bool {
		_ = p.(*Process).SignalGroup(syscall.SIGKILL)
		return true
	})
}
