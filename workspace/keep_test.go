package workspace

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// keeping is a world whose node has a store.
func keeping(t *testing.T, edit ...func(*Config)) *world {
	t.Helper()
	w := bareWorld(t, t.Context(), t.TempDir(), edit...)
	w.cfg.Snapshots = w.node
	w.cfg.KeepAfter, w.cfg.KeepEvery = time.Millisecond, 20*time.Millisecond
	w.open("")
	t.Cleanup(w.close)
	return w
}

func (w *world) events(name string) []meta.Event {
	w.t.Helper()
	evs, err := w.store.Events().Of(w.ctx, w.row(name).ID, 0, 1000)
	if err != nil {
		w.t.Fatalf("events: %v", err)
	}
	return evs
}

func (w *world) line(name string) []meta.Snapshot {
	w.t.Helper()
	line, err := w.store.Snapshots().Of(w.ctx, w.row(name).ID)
	if err != nil {
		w.t.Fatalf("line: %v", err)
	}
	return line
}

// durable waits until the current snapshot of a workspace is durable.
func (w *world) durable(name string) meta.Snapshot {
	w.t.Helper()
	var got meta.Snapshot
	w.eventually(name+" is durable", func() bool {
		for _, s := range w.line(name) {
			if got = s; s.ID == w.row(name).Snapshot && s.Durable() {
				return true
			}
		}
		return false
	})
	return got
}

// cycle works, suspends and waits until that is durable.
func (w *world) cycle(name, memory string) meta.Snapshot {
	w.t.Helper()
	if w.row(name).State != holt.Running {
		w.want(name, holt.WantRunning)
		w.reach(name, holt.Running)
	}
	w.node.Work(w.row(name).Sandbox, memory, "files of "+memory)
	w.want(name, holt.WantSuspended)
	w.reach(name, holt.Suspended)
	return w.durable(name)
}

// stored waits until the store has exactly these.
func (w *world) stored(want ...holt.SnapshotID) {
	w.t.Helper()
	slices.Sort(want)
	w.eventually("the store has what is kept", func() bool {
		got := w.node.InStore()
		slices.Sort(got)
		return slices.Equal(got, want)
	})
}

func (w *world) resumed(name, memory, files string) {
	w.t.Helper()
	m, _ := w.node.Machine(w.row(name).Sandbox)
	if got, _ := w.node.Files(w.row(name).ID); m.Memory != memory || got != files {
		w.t.Fatalf("%s has memory %q and files %q, want %q and %q: %s", name, m.Memory, got, memory, files, w.row(name).Message)
	}
}

func TestKeepsTheLastTwo(t *testing.T) {
	w := keeping(t)
	w.running("a")
	first, second, third := w.cycle("a", "one"), w.cycle("a", "two"), w.cycle("a", "three")
	if third.Parent != second.ID || second.Parent != first.ID || first.Parent != "" {
		t.Errorf("parents %q %q %q", first.Parent, second.Parent, third.Parent)
	}
	w.stored(second.ID, third.ID)
	if !slices.ContainsFunc(w.events("a"), func(e meta.Event) bool { return e.Name == "durable" && strings.Contains(e.Text, "is durable") }) {
		t.Error("nobody is told that a snapshot is durable")
	}
	w.eventually("the oldest leaves the line", func() bool { return len(w.line("a")) == 2 })
	line, trouble, err := w.m.Line(w.ctx, "a")
	if err != nil || trouble != "" || len(line) != 2 || !line[0].Current || !line[0].InStore || !line[0].OnNode || line[1].Current || line[1].OnNode {
		t.Errorf("line %+v, %q, %v", line, trouble, err)
	}
	// A checkpoint is kept for itself, and goes with its row.
	if _, err := w.m.Checkpoint(w.ctx, "a", "mine"); err != nil {
		t.Fatal(err)
	}
	c, err := w.store.Checkpoints().ByLabel(w.ctx, w.row("a").ID, "mine")
	if err != nil {
		t.Fatal(err)
	}
	w.stored(second.ID, third.ID, c.Snapshot)
	if err := w.m.RemoveCheckpoint(w.ctx, "a", "mine"); err != nil {
		t.Fatal(err)
	}
	w.stored(second.ID, third.ID)
	// The state before is there to go back to.
	if _, err := w.m.Rollback(w.ctx, "a", LastStored); err != nil {
		t.Fatal(err)
	}
	w.reach("a", holt.Running)
	w.resumed("a", "two", "files of two")
	if err := w.m.Delete(w.ctx, w.row("a").ID, true); err != nil {
		t.Fatal(err)
	}
	w.reach("a", holt.Deleted)
	w.stored()
	w.eventually("no rows are left", func() bool { return len(w.line("a")) == 0 })
	w.invariant()
}

// While the store is away workspaces come and go as before, and what piles up is
// bounded.
func TestStoreAway(t *testing.T) {
	w := keeping(t)
	a := w.running("a")
	away := func(_ context.Context, method string, _ holt.WorkspaceID) error {
		switch method {
		case "KeepSnapshot", "ForgetSnapshots", "ImportSnapshot":
			return holt.Errorf(holt.KindUnavailable, "the store is away")
		}
		return nil
	}
	w.node.Follow(away)
	for _, memory := range []string{"one", "two", "three"} {
		w.node.Work(w.row("a").Sandbox, memory, "files")
		w.want("a", holt.WantSuspended)
		w.reach("a", holt.Suspended)
		w.eventually("somebody says why", func() bool {
			_, trouble, err := w.m.Line(w.ctx, "a")
			return err == nil && strings.Contains(trouble, "away")
		})
		w.want("a", holt.WantRunning)
		w.reach("a", holt.Running)
		w.resumed("a", memory, "files")
	}
	w.eventually("old snapshots go", func() bool { return len(w.node.All().Snapshots) <= 1 })
	w.node.Follow(nil)
	w.want("a", holt.WantSuspended)
	w.reach("a", holt.Suspended)
	s := w.durable("a")
	w.eventually("it is in the store", func() bool { return slices.Contains(w.node.InStore(), s.ID) })
	if got := w.row("a"); got.ID != a.ID {
		t.Error("another workspace")
	}
	w.invariant()
}

// What is damaged here comes from the store; what is damaged there is stored again;
// what is damaged everywhere costs no more than it must.
func TestDamageAndTheStore(t *testing.T) {
	t.Run("here", func(t *testing.T) {
		w := keeping(t)
		w.running("a")
		s := w.cycle("a", "one")
		w.node.Damage(s.ID, true, true)
		w.want("a", holt.WantRunning)
		w.reach("a", holt.Running)
		w.resumed("a", "one", "files of one")
	})
	t.Run("lost here", func(t *testing.T) {
		w := keeping(t)
		w.running("a")
		s := w.cycle("a", "one")
		if err := w.node.DiscardSnapshot(w.ctx, s.ID); err != nil {
			t.Fatal(err)
		}
		w.want("a", holt.WantRunning)
		w.reach("a", holt.Running)
		w.resumed("a", "one", "files of one")
	})
	t.Run("there", func(t *testing.T) {
		w := keeping(t)
		w.running("a")
		s := w.cycle("a", "one")
		w.node.Lose(s.ID, false)
		w.m.scrub(w.ctx)
		w.eventually("it is stored again", func() bool {
			d, err := w.node.ScrubStore(w.ctx, tenantOf(w.row("a").Owner))
			return err == nil && len(d) == 0 && len(w.line("a")) == 1 && w.line("a")[0].Durable()
		})
		if !slices.ContainsFunc(w.events("a"), func(e meta.Event) bool { return e.Name == "snapshot-damaged" }) {
			t.Error("nobody is told")
		}
	})
	t.Run("everywhere", func(t *testing.T) { // the files of the live volume are newer than any older snapshot's
		w := keeping(t)
		w.running("a")
		w.cycle("a", "one")
		s := w.cycle("a", "two")
		w.node.Damage(s.ID, true, true)
		w.node.Lose(s.ID, false)
		w.want("a", holt.WantRunning)
		w.reach("a", holt.Running)
		w.resumed("a", "fresh", "files of two")
		if got := w.row("a").Message; !strings.Contains(got, "holt rollback a "+LastStored) {
			t.Errorf("message %q", got)
		}
	})
	t.Run("everywhere, the files too", func(t *testing.T) {
		w := keeping(t)
		a := w.running("a")
		w.cycle("a", "one")
		s := w.cycle("a", "two")
		w.node.Damage(s.ID, true, true)
		w.node.Lose(s.ID, false)
		if err := w.node.DiscardVolume(w.ctx, a.ID); err != nil {
			t.Fatal(err)
		}
		w.want("a", holt.WantRunning)
		w.reach("a", holt.Running)
		w.resumed("a", "one", "files of one")
		if got := w.row("a").Message; !strings.Contains(got, "going back to the snapshot of") {
			t.Errorf("message %q", got)
		}
	})
}

// Another server makes a workspace of what the store has, and neither disturbs the
// other.
func TestFromTheStore(t *testing.T) {
	w := keeping(t)
	w.running("a")
	s := w.cycle("a", "one")
	if _, err := w.m.Create(w.ctx, CreateRequest{Name: "b", Snapshot: s.ID, Image: "other"}); !holt.IsKind(err, holt.KindInvalid) {
		t.Errorf("with another image: %v", err)
	}
	if _, err := w.m.Create(w.ctx, CreateRequest{Name: "b", Snapshot: "sn-none"}); !holt.IsKind(err, holt.KindNotFound) {
		t.Errorf("of nothing: %v", err)
	}
	if _, err := w.m.Create(w.ctx, CreateRequest{Name: "b", Snapshot: s.ID, Owner: "stranger"}); !holt.IsKind(err, holt.KindNotFound) {
		t.Errorf("of somebody else's: %v", err)
	}
	if _, err := w.m.Create(w.ctx, CreateRequest{Name: "b", Snapshot: s.ID}); err != nil {
		t.Fatal(err)
	}
	w.reach("b", holt.Running)
	w.resumed("b", "one", "files of one")
	if err := w.m.Delete(w.ctx, w.row("a").ID, true); err != nil {
		t.Fatal(err)
	}
	w.reach("a", holt.Deleted)
	s = w.cycle("b", "two")
	w.want("b", holt.WantRunning)
	w.reach("b", holt.Running)
	w.resumed("b", "two", "files of two")
	w.m.maintain(w.ctx)
	w.stored(s.ID)
	w.invariant()
}

// What a crash left in the store and no row names is forgotten, and what belongs to
// workspaces that the database does not know is not.
func TestTidy(t *testing.T) {
	w := keeping(t)
	a := w.running("a")
	s := w.cycle("a", "one")
	tenant := tenantOf(a.Owner)
	if _, err := w.node.ImportSnapshot(w.ctx, tenant, s.ID, "sn-left", a.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.node.ImportSnapshot(w.ctx, tenant, s.ID, "sn-strange", "ws-elsewhere"); err != nil {
		t.Fatal(err)
	}
	w.m.maintain(w.ctx)
	w.stored(s.ID, "sn-strange")
}

// Keep, evict and forget go on where a crash cut them short.
func TestKilledWhileKeeping(t *testing.T) {
	act := func(w *world) {
		w.node.Work(w.row("a").Sandbox, "three", "files of three")
		w.do(func() { _, _ = w.m.SetGoal(w.ctx, w.row("a").ID, holt.WantSuspended, "test") })
	}
	prepare := func(t *testing.T) *world {
		w := keeping(t)
		w.running("a")
		w.cycle("a", "one")
		w.cycle("a", "two")
		w.want("a", holt.WantRunning)
		w.reach("a", holt.Running)
		return w
	}
	w := prepare(t)
	w.arm("")
	act(w)
	w.durable("a")
	w.eventually("the oldest is gone", func() bool { return len(w.line("a")) == 2 })
	var points []string
	w.crash.mu.Lock()
	for _, p := range w.crash.order {
		if strings.HasPrefix(p, "keep.") || strings.HasPrefix(p, "node.keep") || strings.HasPrefix(p, "forget.") || strings.HasPrefix(p, "node.forget") {
			points = append(points, p)
		}
	}
	w.crash.mu.Unlock()
	if len(points) < 8 {
		t.Fatalf("points %v", points)
	}
	for i, p := range points {
		if underRace && i%5 != 0 {
			continue
		}
		t.Run(p, func(t *testing.T) {
			w := prepare(t)
			w.arm(p)
			act(w)
			w.eventually("the crash", func() bool { return w.crash.isDead() })
			w.restart(false)
			w.eventually("it sleeps", func() bool { return w.row("a").State == holt.Suspended })
			s := w.durable("a")
			w.eventually("two are left", func() bool { return len(w.line("a")) == 2 && len(w.node.InStore()) == 2 })
			w.want("a", holt.WantRunning)
			w.reach("a", holt.Running)
			w.resumed("a", "three", "files of three")
			if !slices.Contains(w.node.InStore(), s.ID) {
				t.Error("the last known good one is gone")
			}
			w.invariant()
		})
	}
}

func TestTenants(t *testing.T) {
	seen := map[string]bool{}
	for _, owner := range []holt.UserID{"owner", "u-1", "", "a/b", "A B", "u.1", holt.UserID(strings.Repeat("x", 200))} {
		got := tenantOf(owner)
		if seen[got] || got == "" || len(got) > 64 || strings.Contains(got, "/") {
			t.Errorf("tenant of %q is %q", owner, got)
		}
		seen[got] = true
	}
}
