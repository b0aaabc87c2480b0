package metatest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

func checkpoint(n int, ws holt.WorkspaceID, label string) meta.Checkpoint {
	return meta.Checkpoint{Snapshot: holt.SnapshotID(fmt.Sprintf("sn-%d", n)), Workspace: ws, Label: label, CreatedAt: day.Add(time.Duration(n) * time.Second)}
}

func testCheckpoints(t *testing.T, open func(*testing.T) meta.Store) {
	s := start(t, open).Checkpoints()
	ctx := t.Context()
	first, second, other := checkpoint(1, "ws-a", "before"), checkpoint(2, "ws-a", "after"), checkpoint(3, "ws-b", "before")
	second.Automatic, second.Ready, second.Bytes, second.Pause = true, true, 7, 5*time.Millisecond
	for _, c := range []meta.Checkpoint{first, second, other} {
		if err := s.Create(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Create(ctx, checkpoint(4, "ws-a", "before")); !errors.Is(err, meta.ErrLabelTaken) {
		t.Errorf("a label twice: %v, want %v", err, meta.ErrLabelTaken)
	}
	wantKind(t, s.Create(ctx, checkpoint(1, "ws-c", "else")), holt.KindConflict)

	first.Ready, first.Bytes, first.Pause, first.CreatedAt = true, 1<<40, time.Second, day.Add(time.Minute)
	if err := s.Finish(ctx, first); err != nil {
		t.Fatal(err)
	}
	wantKind(t, s.Finish(ctx, checkpoint(9, "ws-a", "gone")), holt.KindNotFound)
	if got, err := s.ByLabel(ctx, "ws-a", "before"); err != nil || got != first {
		t.Errorf("by label\n%+v, %v, want\n%+v", got, err, first)
	}
	if got, err := s.Of(ctx, "ws-a"); err != nil || !slices.Equal(got, []meta.Checkpoint{second, first}) {
		t.Errorf("of one workspace %+v, %v", got, err)
	}
	if got, err := s.All(ctx); err != nil || !slices.Equal(got, []meta.Checkpoint{second, other, first}) {
		t.Errorf("all %+v, %v", got, err)
	}
	for range 2 {
		if err := s.Remove(ctx, first.Snapshot); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.ByLabel(ctx, "ws-a", "before")
	wantKind(t, err, holt.KindNotFound)
	if err := s.Create(ctx, checkpoint(5, "ws-a", "before")); err != nil {
		t.Errorf("the label of a removed checkpoint: %v", err)
	}
}

func testCheckpointRace(t *testing.T, open func(*testing.T) meta.Store) {
	s := start(t, open).Checkpoints()
	var made, taken atomic.Int32
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			switch err := s.Create(t.Context(), checkpoint(n, "ws-a", "same")); {
			case err == nil:
				made.Add(1)
			case holt.IsKind(err, holt.KindConflict):
				taken.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 || taken.Load() != 7 {
		t.Errorf("%d were made and %d refused", made.Load(), taken.Load())
	}
}
