// Package exec runs commands for sessions: their streams, signals and exit codes.
//
// A command leads a session of its own and, unless it is detached, ends with its
// [Command.Run]: SIGHUP to its group, SIGKILL after a grace. Streams are not
// buffered beyond one chunk each: a receiver that is slow slows the command.
package exec

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/guest/account"
	"github.com/holt-ide/holt/guest/process"
	"github.com/holt-ide/holt/guest/pty"
	"github.com/holt-ide/holt/wire/guest"
)

const (
	// hangupGrace is how long a command has after SIGHUP.
	hangupGrace = 2 * time.Second
	// drainWait and drainMost bound the reading of output once the command has
	// ended. What it wrote itself is in the pipe by then; what keeps the pipe
	// open is a process that it left behind, which must not hold up the exit.
	drainWait = 100 * time.Millisecond
	drainMost = 1 << 20
)

// Runner starts commands. Processes and Account are required.
type Runner struct {
	Processes *process.Table
	Account   *account.Account
}

// Command is one command, started. Run must be called once. The other methods
// may be called from any goroutine.
type Command struct {
	proc   *process.Process
	detach bool
	tty    *os.File // the master; nil without a terminal
	in     input
	out    []stream
}

type stream struct {
	typ  guestwire.Type
	file *os.File
}

// Failure is a command that could not be started, with the exit code a shell
// would give it.
type Failure struct {
	Code int
	Err  error
}

// Error returns the text for the user.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Start starts a command. An error is a [*Failure] where the command is at
// fault, and a [holt.Error] where the request is.
func (r *Runner) Start(req guestwire.Exec) (*Command, error) {
	a := r.Account
	if len(req.Cmd) == 0 {
		return nil, holt.Invalid("cmd", "give a command to run")
	}
	spec := process.Spec{Args: req.Cmd, Dir: req.Cwd, TTY: req.TTY}
	switch req.User {
	case "", a.Name:
		spec.Env, spec.Cred = a.Env(req.Env), a.Credential()
	case "root":
		spec.Env = a.RootEnv(req.Env)
	default:
		return nil, holt.Invalidf("user", "commands run as %s or as root, not as %q", a.Name, req.User)
	}
	if !filepath.IsAbs(spec.Dir) {
		spec.Dir = filepath.Join(a.Dir, spec.Dir)
	}
	if st, err := os.Stat(spec.Dir); err != nil || !st.IsDir() {
		return nil, holt.Invalidf("cwd", "%s is not a directory", spec.Dir)
	}
	path, err := process.Look(req.Cmd[0], spec.Env, spec.Dir)
	if errors.Is(err, process.ErrNotFound) {
		return nil, &Failure{process.ExitNotFound, err}
	}
	if err != nil {
		return nil, err
	}
	spec.Path = path
	if req.TTY {
		return r.startTTY(spec, req)
	}
	return r.startPipes(spec, req)
}

func (r *Runner) startTTY(spec process.Spec, req guestwire.Exec) (*Command, error) {
	master, slave, err := pty.Open(r.Account.UID)
	if err != nil {
		return nil, err
	}
	defer slave.Close()
	cols, rows := req.Cols, req.Rows
	if cols == 0 || rows == 0 {
		cols, rows = 80, 24
	}
	if err := pty.SetSize(master, cols, rows); err != nil {
		master.Close()
		return nil, err
	}
	if _, ok := req.Env["TERM"]; !ok {
		spec.Env = append(spec.Env, "TERM=xterm-256color")
	}
	spec.Files = []*os.File{slave, slave, slave}
	c := &Command{tty: master, detach: req.Detach, out: []stream{{guestwire.TypeStdout, master}}}
	c.in.init(master, true)
	if err := r.launch(c, spec, req); err != nil {
		return nil, err
	}
	return c, nil
}

func (r *Runner) startPipes(spec process.Spec, req guestwire.Exec) (*Command, error) {
	c := &Command{detach: req.Detach}
	var child []*os.File
	defer func() {
		for _, f := range child {
			f.Close()
		}
	}()
	in, err := c.openStdin(req.Stdin)
	if err != nil {
		return nil, err
	}
	child = append(child, in)
	for _, typ := range []guestwire.Type{guestwire.TypeStdout, guestwire.TypeStderr} {
		pr, pw, err := os.Pipe()
		if err != nil {
			c.release()
			return nil, err
		}
		child = append(child, pw)
		c.out = append(c.out, stream{typ, pr})
	}
	spec.Files = child
	if err := r.launch(c, spec, req); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Command) openStdin(wanted bool) (*os.File, error) {
	if !wanted {
		return os.Open(os.DevNull)
	}
	pr, pw, err := os.Pipe()
	if err == nil {
		c.in.init(pw, false)
	}
	return pr, err
}

func (r *Runner) launch(c *Command, spec process.Spec, req guestwire.Exec) error {
	p, err := r.Processes.Start(spec)
	if err != nil {
		c.release()
		return &Failure{process.ExitNotExecutable, process.Explain(req.Cmd[0], spec.Dir, err)}
	}
	c.proc = p
	return nil
}

func (c *Command) release() {
	c.in.release()
	for _, s := range c.out {
		s.file.Close()
	}
}

// PID returns the process ID.
func (c *Command) PID() int { return c.proc.PID() }

// Run gives the command's output to send until the command has ended and its
// output was sent, and returns how it ended. send is called from several
// goroutines; its Data is valid during the call. When ctx ends, or send fails,
// a command that is not detached is hung up, and the output of a detached one
// is thrown away.
func (c *Command) Run(ctx context.Context, send func(guestwire.Frame) error) process.Status {
	defer c.release()
	var wg sync.WaitGroup
	gone, lost := context.WithCancel(ctx)
	defer lost()
	for _, s := range c.out {
		wg.Go(func() { c.pump(gone, lost, s, send) })
	}
	var feeding sync.WaitGroup
	feeding.Go(func() {
		c.in.feed(func(consumed uint64) { _ = send(guestwire.Frame{Type: guestwire.TypeAck, Seq: consumed}) })
	})
	stop := context.AfterFunc(gone, func() {
		if !c.detach {
			c.proc.Hangup(hangupGrace)
		}
	})
	<-c.proc.Done()
	for _, s := range c.out {
		s.file.SetReadDeadline(time.Now().Add(drainWait))
	}
	wg.Wait()
	stop()
	c.in.release()
	feeding.Wait()
	return c.proc.Status()
}

// pump copies one stream until its end, or until the command has ended and what
// it wrote was read.
func (c *Command) pump(gone context.Context, lost func(), s stream, send func(guestwire.Frame) error) {
	buf := make([]byte, guestwire.MaxChunk)
	for drained := 0; drained < drainMost; {
		ended := false
		select {
		case <-c.proc.Done():
			ended = true
			s.file.SetReadDeadline(time.Now().Add(drainWait))
		default:
		}
		n, err := s.file.Read(buf)
		if n > 0 && gone.Err() == nil {
			if send(guestwire.Frame{Type: s.typ, Data: buf[:n]}) != nil {
				lost()
			}
		}
		if ended {
			drained += n
		}
		if err != nil && !(errors.Is(err, os.ErrDeadlineExceeded) && !ended) {
			return
		}
	}
}

// Signal signals the command's process group.
func (c *Command) Signal(number uint8) error { return c.proc.SignalGroup(syscall.Signal(number)) }

// Resize sets the size of the command's terminal; without one it does nothing.
func (c *Command) Resize(cols, rows uint16) error {
	if c.tty == nil || cols == 0 || rows == 0 {
		return nil
	}
	err := pty.SetSize(c.tty, cols, rows)
	if errors.Is(err, os.ErrClosed) {
		return io.EOF
	}
	return err
}
