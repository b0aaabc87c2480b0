package main

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/auth"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/test/stand"
)

// All run at once and each hour, whatever fails, and none after stop.
func TestPurgesRunHourly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var first, second []time.Duration
		stop := startPurging(t.Context(), slog.New(slog.DiscardHandler), []purge{
			{"one", func(context.Context) (int, error) {
				first = append(first, time.Since(begin))
				return 0, errors.New("no")
			}},
			{"two", func(context.Context) (int, error) { second = append(second, time.Since(begin)); return 1, nil }},
		})
		time.Sleep(2*time.Hour + time.Minute) // of the bubble's clock
		if err := stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		for _, at := range [][]time.Duration{first, second} {
			if len(at) != 3 || at[0] != 0 || at[1] != time.Hour || at[2] != 2*time.Hour {
				t.Errorf("ran at %v", at)
			}
		}
	})
}

// Stopping waits for the purge under way, which is told to end.
func TestStopWaitsForPurge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := false
		stop := startPurging(t.Context(), slog.New(slog.DiscardHandler), []purge{{"slow", func(ctx context.Context) (int, error) {
			<-ctx.Done()
			time.Sleep(time.Second)
			ended = true
			return 0, ctx.Err()
		}}})
		synctest.Wait()
		if err := stop(t.Context()); err != nil || !ended {
			t.Errorf("stop: %v, the purge had ended: %v", err, ended)
		}
	})
}

func TestPurgesRemoveWhatIsOver(t *testing.T) {
	s := stand.New(t)
	ctx := t.Context()
	long := time.Now().Add(-60 * 24 * time.Hour)
	past := auth.New(auth.Config{Users: s.Store.Users(), Invitations: s.Store.Invitations(), Tokens: s.Store.Tokens(), Now: func() time.Time { return long }})
	if _, _, err := past.Create(ctx, auth.TokenRequest{Name: "old", Scope: meta.ScopeRead, Life: time.Hour, Owner: "owner"}); err != nil {
		t.Fatal(err)
	}
	key := meta.Key{Token: "t", Value: "v"}
	if _, err := s.Store.Idempotency().Claim(ctx, key, "h", long, long.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	id := holt.NewWorkspaceID()
	if _, err := s.Store.Workspaces().Create(ctx, meta.Workspace{ID: id, Name: "w", State: holt.Deleted, Goal: holt.WantDeleted, CreatedAt: long},
		meta.Event{Workspace: id, Kind: meta.EventState}); err != nil {
		t.Fatal(err)
	}
	if err := s.Store.Members().Set(ctx, meta.Member{Workspace: id, User: "bob", Role: meta.WorkspaceViewer, AddedAt: long}); err != nil {
		t.Fatal(err)
	}
	for _, at := range []time.Time{time.Now().Add(-keepAudit - time.Hour), long} {
		if err := s.Store.Audit().Append(ctx, meta.AuditEntry{At: at, Action: "login"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []int{1, 0} {
		for _, p := range purges(s.Store, s.Auth) {
			if n, err := p.run(ctx); err != nil || n != want {
				t.Errorf("%s: removed %d, %v, want %d", p.what, n, err, want)
			}
		}
	}
}
