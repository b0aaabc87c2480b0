// Command holtd is the Holt server. On one machine it is everything: gateway,
// lifecycle and node in one process. This is the only place that knows which
// implementation stands behind which contract; it decides nothing else.
//
// SIGTERM and SIGINT end the server and leave the machines running: the next
// start finds them again.
//
// Beside serving it has a few verbs for whoever runs the server, see verbs.
//
// Exit codes: 0 done or ended by a signal, 1 it could not start or failed, 2 wrong flags.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/holt-ide/holt"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stderr))
}

func run(args []string, stderr io.Writer) int {
	serve := func(ctx context.Context, cfg *config, _, _ io.Writer) error {
		if len(cfg.rest) > 0 {
			return holt.Invalidf("", "unexpected argument %q: see holtd -help", cfg.rest[0])
		}
		return (&Main{cfg: *cfg}).Run(ctx)
	}
	do := serve
	for _, v := range verbs {
		if len(args) > 0 && args[0] == v.name {
			args, do = args[1:], v.run
		}
	}
	cfg, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errVersion):
		fmt.Fprintln(os.Stdout, version())
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "holtd:", err)
		return 2
	}
	cfg.log = logger(cfg, stderr)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := do(ctx, &cfg, os.Stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "holtd:", err)
		cfg.log.Debug("ended with an error", "kind", holt.KindOf(err))
		return 1
	}
	return 0
}

func logger(cfg config, w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: cfg.logLevel}
	if cfg.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
