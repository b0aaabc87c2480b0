// Command holt-guest is the agent inside every sandbox, its PID 1. It is told
// everything by one environment variable, HOLT_AGENT, a JSON guestwire.Config or
// the name of a file with one, which it removes before it starts anything else.
//
// It also runs as an ordinary process on plain Linux, for tests: there it leaves
// the machine's name and clock alone.
//
// Exit codes: 0 after SIGTERM when it is not PID 1, 1 when it cannot start or
// serve. As PID 1 it ignores SIGTERM; the node ends the sandbox.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/holt-ide/holt/guest"
	"github.com/holt-ide/holt/guest/home"
	"github.com/holt-ide/holt/guest/identity"
	"github.com/holt-ide/holt/wire/guest"
	"golang.org/x/sys/unix"
)

func main() {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := run(log); err != nil {
		log.Error("holt-guest ends", "err", err)
		os.Exit(1)
	}
}

func run(log *slog.Logger) error {
	cfg, err := config()
	if err != nil {
		return err
	}
	init := os.Getpid() == 1
	ctx := signals(init)
	opt := guest.Options{Env: os.Environ(), ReapAll: true, Log: log}
	if init {
		if err := withholdAdmin(); err != nil {
			return err
		}
		m := identity.This()
		opt.Machine = &m
		if err := home.Seed("/etc/skel", cfg.Home, cfg.UID, cfg.GID); err != nil {
			log.Warn("the home stays empty", "err", err)
		}
	} else if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		// The guard and the statistics count what is below this process.
		log.Warn("orphans will not be seen", "err", err)
	}
	prepare(cfg, log)
	a, err := guest.New(cfg, opt)
	if err != nil {
		return err
	}
	defer a.Close()
	ln, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	log.Info("holt-guest serves", "address", ln.Addr().String(), "pid", os.Getpid(), "workspace", cfg.WorkspaceID)
	return a.Serve(ctx, ln)
}

// config reads the configuration and removes it from the environment.
func config() (cfg guestwire.Config, err error) {
	text, ok := os.LookupEnv(guestwire.ConfigEnv)
	if !ok {
		return cfg, fmt.Errorf("%s is not set: holt-guest is started by a node, see package guestwire", guestwire.ConfigEnv)
	}
	if err := os.Unsetenv(guestwire.ConfigEnv); err != nil {
		return cfg, fmt.Errorf("forget the configuration: %w", err)
	}
	if path, ok := strings.CutPrefix(text, "@"); ok {
		body, err := os.ReadFile(path)
		if err != nil {
			return cfg, fmt.Errorf("read the configuration: %w", err)
		}
		text = string(body)
	}
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		return cfg, fmt.Errorf("read %s: %w", guestwire.ConfigEnv, err)
	}
	return cfg, nil
}

// signals returns a context that ends with SIGTERM or SIGINT. PID 1 survives
// both: a shutdown is asked for through the protocol. Signals are caught and
// dropped, not ignored: children would inherit that.
func signals(init bool) context.Context {
	dropped := make(chan os.Signal, 1)
	signal.Notify(dropped, syscall.SIGPIPE, syscall.SIGHUP)
	if init {
		signal.Notify(dropped, syscall.SIGTERM, syscall.SIGINT)
		return context.Background()
	}
	ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	return ctx
}

// withholdAdmin keeps the right to name the machine, which is part of the guest
// kernel's CAP_SYS_ADMIN, from every other process: it is taken out of the set
// that root's programs are bounded by (capabilities(7)), on all threads that
// start them.
func withholdAdmin() error {
	if _, _, e := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, unix.CAP_SYS_ADMIN, 0); e != 0 {
		return fmt.Errorf("withhold CAP_SYS_ADMIN from other processes: %w", e)
	}
	return nil
}

// prepare sets what children inherit.
func prepare(cfg guestwire.Config, log *slog.Logger) {
	unix.Umask(0o022)
	// Whatever was left open by who started the agent is not for user processes.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		log.Warn("inherited descriptors stay open in children", "err", err)
	}
	if cfg.Processes > 0 && os.Geteuid() == 0 {
		// On the agent itself, which is exempt as root, and so on all children.
		lim := &unix.Rlimit{Cur: uint64(cfg.Processes), Max: uint64(cfg.Processes)}
		if err := unix.Setrlimit(unix.RLIMIT_NPROC, lim); err != nil {
			log.Warn("the number of processes is not limited", "err", err)
		}
	}
}
