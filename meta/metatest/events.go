package metatest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

func testEventsWithUpdate(t *testing.T, open func(*testing.T) meta.Store) {
	s := start(t, open)
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	in := sample("demo")
	first := meta.Event{Workspace: in.ID, Label: "demo", At: at, Kind: meta.EventState, State: holt.Queued, Goal: holt.WantRunning, Name: "created", Text: "hello"}
	w := create(t, s, in, first)
	w.State = holt.Provisioning
	second := meta.Event{Workspace: in.ID, Label: "demo", At: at, Kind: meta.EventState, From: holt.Queued, State: holt.Provisioning, Goal: holt.WantRunning}
	third := meta.Event{Workspace: in.ID, Label: "demo", At: at, Kind: meta.EventLog, Name: "note", Text: "x"}
	if _, err := s.Workspaces().Update(t.Context(), w, second, third); err != nil {
		t.Fatal(err)
	}
	got, err := s.Events().Since(t.Context(), 0, 10)
	if err != nil || len(got) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	for i, want := range []meta.Event{first, second, third} {
		want.Seq = int64(i + 1)
		if got[i] != want {
			t.Errorf("event %d is\n%+v, want\n%+v", i+1, got[i], want)
		}
	}
	before := time.Now().Add(-time.Minute)
	if last, err := s.Events().Append(t.Context(), meta.Event{Workspace: w.ID, Kind: meta.EventLog}); err != nil || last != 4 {
		t.Fatalf("append returned %d, %v", last, err)
	}
	got, err = s.Events().Since(t.Context(), 3, 10)
	if err != nil || len(got) != 1 || got[0].At.Before(before) {
		t.Fatalf("an event without a time came back as %+v, %v", got, err)
	}
	if last, err := s.Events().Append(t.Context()); err != nil || last != 0 {
		t.Fatalf("append of nothing: %d, %v", last, err)
	}
}

// While writers append, a reader follows: it must see 1, 2, 3, … without a gap,
// and groups that were appended together must appear together.
func testEventsOrder(t *testing.T, open func(*testing.T) meta.Store) {
	s := start(t, open)
	const writers, rounds, group = 4, 15, 3
	var wg sync.WaitGroup
	for n := range writers {
		wg.Go(func() {
			for i := range rounds {
				evs := make([]meta.Event, group)
				for j := range evs {
					evs[j] = meta.Event{Workspace: "ws-x", Kind: meta.EventLog, Text: fmt.Sprintf("%d/%d", n, i), Name: fmt.Sprint(j)}
				}
				if _, err := s.Events().Append(t.Context(), evs...); err != nil {
					t.Errorf("append: %v", err)
					return
				}
			}
		})
	}
	var seen []meta.Event
	for len(seen) < writers*rounds*group && !t.Failed() {
		evs, err := s.Events().Since(t.Context(), int64(len(seen)), 1000)
		if err != nil {
			t.Fatalf("since: %v", err)
		}
		for _, e := range evs {
			if e.Seq != int64(len(seen)+1) {
				t.Fatalf("event %d follows event %d", e.Seq, len(seen))
			}
			seen = append(seen, e)
		}
		if len(seen)%group != 0 {
			t.Fatalf("a part of a group is visible: %d events", len(seen))
		}
	}
	wg.Wait()
	for i := 0; i+group <= len(seen); i += group {
		for j := range group {
			if e := seen[i+j]; e.Text != seen[i].Text || e.Name != fmt.Sprint(j) {
				t.Fatalf("event %d is %s.%s within the group %s", e.Seq, e.Text, e.Name, seen[i].Text)
			}
		}
	}
}

func testEventsOf(t *testing.T, open func(*testing.T) meta.Store) {
	s := start(t, open)
	for i := range 9 {
		e := meta.Event{Workspace: holt.WorkspaceID(fmt.Sprintf("ws-%d", i%3)), Kind: []meta.EventKind{meta.EventLog, meta.EventState}[i%2]}
		if _, err := s.Events().Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		since int64
		limit int
		kinds []meta.EventKind
		want  string
	}{
		{0, 10, nil, "[2 5 8]"},
		{2, 10, nil, "[5 8]"},
		{0, 2, nil, "[2 5]"},
		{0, 10, []meta.EventKind{meta.EventState}, "[2 8]"},
		{0, 10, []meta.EventKind{meta.EventState, meta.EventLog}, "[2 5 8]"},
		{8, 10, nil, "[]"},
		{0, 0, nil, "[]"},
	} {
		evs, err := s.Events().Of(t.Context(), "ws-1", c.since, c.limit, c.kinds...)
		seqs := []int64{}
		for _, e := range evs {
			seqs = append(seqs, e.Seq)
		}
		if got := fmt.Sprint(seqs); err != nil || got != c.want {
			t.Errorf("since %d, limit %d, kinds %v: %s, %v, want %s", c.since, c.limit, c.kinds, got, err, c.want)
		}
	}
}

func testEventsPurge(t *testing.T, open func(*testing.T) meta.Store) {
	s := start(t, open)
	ctx := t.Context()
	for _, name := range []string{"alive", "gone"} {
		w := create(t, s, sample(name))
		if name == "gone" {
			w.State = holt.Deleted
		}
		if _, err := s.Workspaces().Update(ctx, w, meta.Event{Workspace: w.ID, Kind: meta.EventState, Label: name}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Events().Append(ctx, meta.Event{Workspace: w.ID, Kind: meta.EventLog, Label: name}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.Events().Purge(ctx, time.Now().Add(-time.Hour)); err != nil || n != 0 {
		t.Fatalf("purged %d of a workspace that was just deleted, %v", n, err)
	}
	if n, err := s.Events().Purge(ctx, time.Now().Add(time.Hour)); err != nil || n != 2 {
		t.Fatalf("purged %d, %v, want 2", n, err)
	}
	left, err := s.Events().Since(ctx, 0, 100)
	if err != nil || len(left) != 2 || left[0].Label != "alive" || left[1].Label != "alive" {
		t.Errorf("left: %+v, %v", left, err)
	}
	if next, err := s.Events().Append(ctx, meta.Event{Kind: meta.EventLog}); err != nil || next != 5 {
		t.Errorf("numbers go on with %d, %v, want 5", next, err)
	}
}
