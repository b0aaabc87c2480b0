// Package guest is the agent that runs inside every sandbox as PID 1. It serves
// the protocol of package guestwire: terminals, commands, files, ports, and the
// node's own calls.
//
// It trusts nobody: the node's secret is required for each request, also from
// the guest's own processes, which can reach its port.
//
// The agent holds no state that a checkpoint would not keep, and keeps no
// connection across one: [Agent] drops all but the caller's at a thaw.
//
// Only cmd/holt-guest may import it.
package guest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/guest/account"
	"github.com/holt-ide/holt/guest/collab"
	"github.com/holt-ide/holt/guest/event"
	"github.com/holt-ide/holt/guest/exec"
	"github.com/holt-ide/holt/guest/files"
	"github.com/holt-ide/holt/guest/guard"
	"github.com/holt-ide/holt/guest/identity"
	"github.com/holt-ide/holt/guest/process"
	"github.com/holt-ide/holt/guest/terminal"
	"github.com/holt-ide/holt/wire/guest"
)

const (
	rightsThreads = 8
	childNice     = 5
	proc          = "/proc"
	// stateDir, in the user's home, holds the state of documents: it is on the
	// workspace's volume, beside the files.
	stateDir = ".local/state/holt/documents"
)

// Options is what an agent needs beside its configuration.
type Options struct {
	// Env is the environment of the image, which user processes inherit.
	Env []string
	// Machine is what a thaw gives an identity; nil means that this process does
	// not own the machine it runs on, and thaws leave it alone.
	Machine *identity.Machine
	// ReapAll makes the agent collect every child of this process, see
	// [process.Options]. PID 1 must.
	ReapAll bool
	// Log gets what goes wrong; nil means slog.Default.
	Log *slog.Logger
	// Terminal overrides limits of terminals; its Processes, Account and Log are
	// ignored.
	Terminal terminal.Options
	// Documents overrides limits of documents; its Files, Dir and Log are ignored.
	Documents collab.Options
}

// Agent is the guest agent. It is built by [New], run by [Agent.Serve] and
// released by [Agent.Close].
type Agent struct {
	cfg     guestwire.Config
	opt     Options
	log     *slog.Logger
	bootID  string
	started time.Time

	account   *account.Account
	rights    *account.Rights
	processes *process.Table
	terminals *terminal.Manager
	runner    *exec.Runner
	files     *files.Files
	documents *collab.Rooms
	events    *event.Log

	secret  secret
	conns   *conns
	active  sync.WaitGroup // requests, sockets included
	counts  counts
	thawing sync.Mutex
	thaws   atomic.Uint64
	id      atomic.Pointer[holt.WorkspaceID]
	port    atomic.Uint32 // the agent's own
}

// counts are what [guestwire.Activity] tells beside the terminals.
type counts struct {
	execs, forwards, watches atomic.Int64
	requests, forwarded      atomic.Uint64
}

// New returns an agent for cfg.
func New(cfg guestwire.Config, o Options) (*Agent, error) {
	if err := check(cfg); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	a := &Agent{cfg: cfg, opt: o, log: o.Log, bootID: holt.NewID(), started: time.Now(), events: &event.Log{}}
	a.secret.set(cfg.Secret)
	a.id.Store(&cfg.WorkspaceID)
	a.conns = newConns()
	a.account = account.New(cfg, o.Env)
	var err error
	if a.rights, err = account.NewRights(a.account, rightsThreads, o.Log); err != nil {
		return nil, err
	}
	a.processes = process.New(process.Options{ReapAll: o.ReapAll, Nice: childNice, Log: o.Log})
	t := o.Terminal
	t.Processes, t.Account, t.Log = a.processes, a.account, o.Log
	a.terminals = terminal.New(t)
	a.runner = &exec.Runner{Processes: a.processes, Account: a.account}
	a.files = &files.Files{Account: a.account, Rights: a.rights, Processes: a.processes, Log: o.Log}
	d := o.Documents
	d.Files, d.Dir, d.Log = a.files, filepath.Join(cfg.Home, stateDir), o.Log
	a.documents = collab.New(d)
	return a, nil
}

func check(cfg guestwire.Config) error {
	switch {
	case len(cfg.Secret) < guestwire.MinSecret:
		return holt.Invalidf("secret", "the secret has at least %d characters", guestwire.MinSecret)
	case cfg.User == "":
		return holt.Invalid("user", "the user is missing")
	case !filepath.IsAbs(cfg.Home):
		return holt.Invalidf("home", "home %q is not an absolute path", cfg.Home)
	case !filepath.IsAbs(cfg.Dir):
		return holt.Invalidf("dir", "dir %q is not an absolute path", cfg.Dir)
	case cfg.UID < 0 || cfg.GID < 0:
		return holt.Invalid("uid", "uid and gid are not negative")
	case cfg.Processes < 0:
		return holt.Invalid("processes", "processes is not negative")
	}
	return nil
}

// watched are the directories whose file systems matter to people.
func (a *Agent) watched() []string {
	return []string{"/", a.cfg.Home, a.cfg.Dir, "/tmp", "/dev/shm"}
}

// Serve answers on ln, and guards the machine, until ctx ends or ln breaks. It
// closes ln and every connection, and waits for all requests; terminals live on
// until Close.
func (a *Agent) Serve(ctx context.Context, ln net.Listener) error {
	if tcp, ok := ln.Addr().(*net.TCPAddr); ok {
		a.port.Store(uint32(tcp.Port))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	srv := &http.Server{
		Handler:           a.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       a.conns.context,
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		g := guard.Guard{System: guard.NewSystem(proc, os.Getpid(), a.watched()), Events: a.events, Log: a.log, Processes: a.cfg.Processes, Memory: a.cfg.Memory}
		g.Run(ctx)
	})
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	err := srv.Serve(a.conns.listen(ln))
	stop()
	cancel()
	srv.Close()
	a.conns.closeAll(context.Background())
	a.active.Wait()
	wg.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve: %w", err)
}

// Close ends what the agent started and waits for it; with ReapAll also what
// that has left behind. Serve must have returned.
func (a *Agent) Close() {
	a.documents.Close()
	a.terminals.Close()
	a.processes.Kill()
	if a.opt.ReapAll {
		if err := a.endProcesses(context.Background(), 0); err != nil {
			a.log.Error("close", "err", err)
		}
	}
	a.processes.Close()
	a.rights.Close()
}
