package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/holt-ide/holt"
	guestwire "github.com/holt-ide/holt/wire/guest"
)

func newExec(a *app) *cobra.Command {
	var f execFlags
	cmd := &cobra.Command{
		Use:                   "exec NAME [-t] [-i] -- CMD [ARG...]",
		DisableFlagsInUseLine: true,

		Short: "Run a command in a workspace",
		Long: `Run a command in a workspace as its user, in /workspace, and exit as it does. A
workspace that sleeps is woken.

SIGINT, SIGTERM, SIGHUP and SIGQUIT are passed on to the command, and with -t so
are the keys and the size of the window.

Exit codes: that of CMD; 128 + N when signal N ended it; 126 when CMD cannot be
executed, 127 when it is not found; 125 when holt could not run it at all.`,
		Example: `  holt exec demo -- make test
  tar c . | holt exec demo -i -- tar x
  holt exec demo -t -- bash`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); dash >= 0 && dash != 1 {
				return usage(cmd, fmt.Errorf("one NAME goes before --, not %d", dash))
			}
			code, err := a.exec(cmd.Context(), args[0], args[1:], f)
			if err != nil {
				return &exitError{code: exitExecOwn, err: err}
			}
			if code != 0 {
				return &exitError{code: code}
			}
			return nil
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.tty, "tty", "t", false, "run it on a terminal; implies -i")
	fl.BoolVarP(&f.stdin, "interactive", "i", false, "pass standard input on")
	fl.StringVar(&f.cwd, "cwd", "", "directory to run it in (default: /workspace)")
	fl.StringArrayVarP(&f.env, "env", "e", nil, "set a variable, as NAME=VALUE; may be repeated")
	fl.StringVarP(&f.user, "user", "u", "", "run it as root instead of the workspace's user")
	return cmd
}

// execFlags is the command line of exec.
type execFlags struct {
	tty, stdin bool
	cwd, user  string
	env        []string
}

// request returns the first message of the session.
func (f execFlags) request(cmd []string) (guestwire.Exec, error) {
	e := guestwire.Exec{Cmd: cmd, Cwd: f.cwd, User: f.user, TTY: f.tty, Stdin: f.stdin || f.tty}
	for _, kv := range f.env {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || name == "" {
			return e, holt.Invalidf("env", "%q is not NAME=VALUE", kv)
		}
		if e.Env == nil {
			e.Env = map[string]string{}
		}
		e.Env[name] = value
	}
	return e, nil
}

// exec runs a command and returns its exit code.
func (a *app) exec(ctx context.Context, name string, cmd []string, f execFlags) (int, error) {
	req, err := f.request(cmd)
	if err != nil {
		return 0, err
	}
	c, err := a.client()
	if err != nil {
		return 0, err
	}
	tty := openTTY(a.in)
	if req.TTY {
		req.Cols, req.Rows = tty.size()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	// Before the session exists, Ctrl-C ends us; afterwards it is the command's.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	s, err := startExec(ctx, c.Guest(name, true), req, signals)
	if err != nil {
		return 0, c.Explain(ctx, err)
	}
	defer s.Abort()
	if req.TTY {
		restore, err := tty.raw()
		if err != nil {
			return 0, err
		}
		defer restore()
	}
	if req.Stdin {
		// It ends with the session, or with the process when a read hangs. That the
		// session is gone is reported by the receiving side.
		go func() { _ = s.SendStdin(ctx, a.in) }()
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { passSignals(ctx, s, signals, tty, req.TTY) })

	exit, err := s.Pump(ctx, a.out, a.err)
	if err != nil {
		return 0, fmt.Errorf("connection to %s lost, its command is ended: %w", name, err)
	}
	return exit.Code, nil
}

// startExec opens the session unless a signal comes first.
func startExec(ctx context.Context, g *guestwire.Client, req guestwire.Exec, signals <-chan os.Signal) (*guestwire.Session, error) {
	type result struct {
		s   *guestwire.Session
		err error
	}
	dialCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan result, 1)
	go func() {
		s, err := g.Exec(dialCtx, req)
		done <- result{s, err}
	}()
	select {
	case r := <-done:
		return r.s, r.err
	case <-signals:
		cancel()
		if r := <-done; r.s != nil {
			r.s.Abort()
		}
		return nil, errors.New("interrupted before the command started")
	}
}

// passSignals passes signals and changes of the window's size on until ctx ends.
func passSignals(ctx context.Context, s *guestwire.Session, signals <-chan os.Signal, t *tty, resize bool) {
	sizes, stop := t.resized()
	defer stop()
	if !resize {
		sizes = nil
	}
	for {
		var f guestwire.Frame
		select {
		case <-ctx.Done():
			return
		case sig := <-signals:
			f = guestwire.Frame{Type: guestwire.TypeSignal, Signal: uint8(sig.(syscall.Signal))}
		case <-sizes:
			cols, rows := t.size()
			if cols == 0 || rows == 0 {
				continue
			}
			f = guestwire.Frame{Type: guestwire.TypeResize, Cols: cols, Rows: rows}
		}
		if err := s.Send(ctx, f); err != nil {
			return // the receiving side reports the lost connection
		}
	}
}
