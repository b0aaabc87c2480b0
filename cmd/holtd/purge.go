package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/holt-ide/holt/auth"
	"github.com/holt-ide/holt/meta"
)

const (
	// purgeEvery is the pause between removals of what is over.
	purgeEvery = time.Hour
	// keepHistory is how long the events of a deleted workspace are kept.
	keepHistory = 30 * 24 * time.Hour
	// keepAudit is how long it is remembered who did what.
	keepAudit = 400 * 24 * time.Hour
)

// purge removes one kind of thing that is over, and returns how many it removed.
type purge struct {
	what string
	run  func(context.Context) (int, error)
}

// purges is everything in the database that would grow for ever.
func purges(store meta.Store, people *auth.Service) []purge {
	return []purge{
		{"tokens and invitations", people.Purge},
		{"idempotency keys", func(ctx context.Context) (int, error) { return store.Idempotency().Purge(ctx, time.Now()) }},
		{"events", func(ctx context.Context) (int, error) {
			return store.Events().Purge(ctx, time.Now().Add(-keepHistory))
		}},
		{"members of deleted workspaces", func(ctx context.Context) (int, error) {
			return store.Members().Purge(ctx, time.Now().Add(-keepHistory))
		}},
		{"audit entries", func(ctx context.Context) (int, error) {
			return store.Audit().Purge(ctx, time.Now().Add(-keepAudit))
		}},
	}
}

// startPurging runs all now and every hour until stop, which waits for the one
// under way. One that fails is tried again the next time.
func startPurging(ctx context.Context, log *slog.Logger, all []purge) (stop func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(purgeEvery)
		defer tick.Stop()
		for {
			runPurges(ctx, log, all)
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func(end context.Context) error {
		cancel()
		select {
		case <-done:
			return nil
		case <-end.Done():
			return fmt.Errorf("wait for the purge under way: %w", end.Err())
		}
	}
}

func runPurges(ctx context.Context, log *slog.Logger, all []purge) {
	for _, p := range all {
		n, err := p.run(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			log.Warn("remove what is over", "what", p.what, "err", err)
		case n > 0:
			log.Info("removed what is over", "what", p.what, "count", n)
		}
	}
}
