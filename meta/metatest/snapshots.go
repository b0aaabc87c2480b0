package metatest

import (
	"slices"
	"testing"
	"time"

	"github.com/holt-ide/holt/meta"
)

func testSnapshots(t *testing.T, open func(*testing.T) meta.Store) {
	store := start(t, open)
	s := store.Snapshots()
	ctx := t.Context()
	first := meta.Snapshot{ID: "sn-1", Workspace: "ws-a", Bytes: 1 << 40, CreatedAt: day}
	second := meta.Snapshot{
		ID: "sn-2", Workspace: "ws-a", Parent: "sn-1", Bytes: 5, Stored: 3, CreatedAt: day.Add(time.Second), DurableAt: day.Add(time.Minute), Damage: "a chunk",
	}
	other := meta.Snapshot{ID: "sn-3", Workspace: "ws-b", CreatedAt: day.Add(2 * time.Second)}
	for _, sn := range []meta.Snapshot{second, first, other} {
		if err := s.Put(ctx, sn); err != nil {
			t.Fatal(err)
		}
	}
	if first.Durable() || second.Durable() {
		t.Error("one that is on its way, or damaged, counts as durable")
	}
	first.DurableAt, first.Stored = day.Add(time.Hour), 7
	if err := s.Put(ctx, first, meta.Event{Workspace: "ws-a", Kind: meta.EventLog, Name: "durable", At: day}); err != nil {
		t.Fatal(err)
	}
	if !first.Durable() {
		t.Error("one that was read back does not count as durable")
	}
	if evs, err := store.Events().Of(ctx, "ws-a", 0, 10); err != nil || len(evs) != 1 || evs[0].Name != "durable" {
		t.Errorf("events %+v, %v", evs, err)
	}
	if got, err := s.Of(ctx, "ws-a"); err != nil || !slices.Equal(got, []meta.Snapshot{second, first}) {
		t.Errorf("of one workspace\n%+v, %v, want\n%+v", got, err, []meta.Snapshot{second, first})
	}
	if got, err := s.All(ctx); err != nil || !slices.Equal(got, []meta.Snapshot{other, second, first}) {
		t.Errorf("all %+v, %v", got, err)
	}
	for range 2 {
		if err := s.Remove(ctx, "sn-1", "sn-3", "sn-9"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Remove(ctx); err != nil {
		t.Error(err)
	}
	if got, err := s.All(ctx); err != nil || !slices.Equal(got, []meta.Snapshot{second}) {
		t.Errorf("left %+v, %v", got, err)
	}
}
