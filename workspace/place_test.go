package workspace

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/holt-ide/holt"
)

func TestPlaces(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxRunning = 2 })
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		if _, err := w.m.Create(t.Context(), CreateRequest{Name: name}); err != nil {
			t.Fatal(err)
		}
		w.calm() // so that the line has this order
	}
	for name, want := range map[string]holt.State{"a": holt.Running, "b": holt.Running, "c": holt.Queued, "d": holt.Queued, "e": holt.Queued} {
		if got := w.row(name); got.State != want || want == holt.Queued && !strings.HasPrefix(got.Message, "waiting: 2 of 2 running") {
			t.Errorf("%s is %s with %q, want %s", name, got.State, got.Message, want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := w.m.Wake(ctx, w.row("d").ID); !holt.IsKind(err, holt.KindTimeout) || !strings.Contains(err.Error(), "2 of 2") {
		t.Errorf("wake without a place: %v", err)
	}
	w.invariant()
	if err := w.m.Delete(t.Context(), w.row("c").ID, false); err != nil {
		t.Fatal(err)
	}
	w.reach("c", holt.Deleted)
	w.want("a", holt.WantSuspended)
	w.reach("d", holt.Running) // the first in line, not e
	if got := w.row("e"); got.State != holt.Queued {
		t.Errorf("e is %s", got.State)
	}
	w.want("a", holt.WantRunning)
	w.eventually("a waits", func() bool { return strings.HasPrefix(w.row("a").Message, "waiting:") })
	w.want("b", holt.WantStopped)
	w.reach("e", holt.Running)
	if got := w.row("a"); got.State != holt.Suspended {
		t.Errorf("a overtook e: it is %s", got.State)
	}
	w.restart(false)
	w.calm()
	w.invariant()
	w.want("d", holt.WantStopped)
	w.reach("a", holt.Running)
	w.invariant()
}
