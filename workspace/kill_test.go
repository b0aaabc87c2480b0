package workspace

import (
	"testing"

	"github.com/holt-ide/holt"
)

// verb is one thing a user or the world does to a workspace that exists.
type verb struct {
	name    string
	before  func(*world) // runs without crashes
	act     func(*world) error
	after   func(*world) // what must be true when all is calm after it, crash or not
	memory  string       // of the workspace "a" if it runs or is suspended; "" for any
	volatil bool         // the memory may be lost when the host reboots
}

func goal(g holt.Goal) func(*world) error {
	return func(w *world) error {
		_, err := w.m.SetGoal(w.ctx, w.row("a").ID, g, "test")
		return err
	}
}

func to(goals ...holt.Goal) func(*world) {
	return func(w *world) {
		w.running("a")
		for _, g := range goals {
			w.want("a", g)
			w.reach("a", holt.State(g))
		}
	}
}

func fork(w *world) error {
	_, err := w.m.Fork(w.ctx, "a", "b", "")
	return err
}

func checkpoint(w *world) error {
	_, err := w.m.Checkpoint(w.ctx, "a", "one")
	return err
}

// later makes a workspace that has a checkpoint and went on from there.
func later(goals ...holt.Goal) func(*world) {
	return func(w *world) {
		to()(w)
		if err := checkpoint(w); err != nil {
			w.t.Fatalf("checkpoint: %v", err)
		}
		w.node.Work(w.row("a").Sandbox, "later", "files of a")
		for _, g := range goals {
			w.want("a", g)
			w.reach("a", holt.State(g))
		}
	}
}

func rollback(label string) func(*world) error {
	return func(w *world) error {
		_, err := w.m.Rollback(w.ctx, "a", label)
		return err
	}
}

// memory returns what a workspace remembers, running or frozen, or "".
func (w *world) memory(name string) string {
	r := w.row(name)
	if m, ok := w.node.Machine(r.Sandbox); ok && r.State == holt.Running {
		return m.Memory
	}
	if s, ok := w.node.Snapshot(r.Snapshot); ok && r.State == holt.Suspended {
		return s.Memory
	}
	return ""
}

func (w *world) checkpoints(name string) map[string]string {
	w.t.Helper()
	list, err := w.store.Checkpoints().Of(w.ctx, w.row(name).ID)
	if err != nil {
		w.t.Fatalf("checkpoints: %v", err)
	}
	have := map[string]string{}
	for _, c := range list {
		s, _ := w.node.Snapshot(c.Snapshot)
		have[c.Label] = s.Memory
	}
	return have
}

// checkpointed: the checkpoint holds the memory, or does not exist.
func checkpointed(w *world) {
	if m, ok := w.checkpoints("a")["one"]; ok && m != kept {
		w.t.Fatalf("the checkpoint holds %q\n%s", m, w.dump())
	}
}

// rolledBack: a rollback that was asked for happened, and can be undone.
func rolledBack(w *world) {
	have := w.checkpoints("a")
	if have["one"] != kept {
		w.t.Fatalf("the checkpoint holds %q\n%s", have["one"], w.dump())
	}
	before, undo := have[BeforeRollback]
	switch m := w.memory("a"); {
	case undo && (before != "later" && before != "fresh" || m != kept && m != "fresh"):
		w.t.Fatalf("after the rollback the memory is %q, and %q could be brought back\n%s", m, before, w.dump())
	case !undo && m != "later" && m != "fresh":
		w.t.Fatalf("without a rollback the memory is %q\n%s", m, w.dump())
	}
}

func remove(w *world) error { return w.m.Delete(w.ctx, w.row("a").ID, true) }

const kept = "memory of a"

var story = []verb{
	{name: "create", before: func(*world) {}, act: func(w *world) error {
		_, err := w.m.Create(w.ctx, CreateRequest{Name: "a"})
		return err
	}},
	{name: "suspend", before: to(), act: goal(holt.WantSuspended), memory: kept, volatil: true},
	{name: "resume", before: to(holt.WantSuspended), act: goal(holt.WantRunning), memory: kept, volatil: true},
	{name: "stop", before: to(), act: goal(holt.WantStopped)},
	{name: "stop-suspended", before: to(holt.WantSuspended), act: goal(holt.WantStopped)},
	{name: "start", before: to(holt.WantStopped), act: goal(holt.WantRunning), memory: "fresh"},
	{name: "fork-running", before: to(), act: fork, after: forked, memory: kept, volatil: true},
	{name: "fork-suspended", before: to(holt.WantSuspended), act: fork, after: forked, memory: kept},
	{name: "fork-stopped", before: to(holt.WantStopped), act: fork},
	{name: "delete-running", before: to(), act: remove},
	{name: "delete-suspended", before: to(holt.WantSuspended), act: remove},
	{name: "delete-stopped", before: to(holt.WantStopped), act: remove},
	{name: "machine-ends", before: to(), act: func(w *world) error {
		w.node.Crash(w.row("a").Sandbox, false)
		w.eventually("noticed", func() bool { return w.crash.isDead() || w.row("a").Boots == 2 })
		return nil
	}, memory: "fresh"},
	{name: "checkpoint", before: to(), act: checkpoint, after: checkpointed, memory: kept, volatil: true},
	{name: "checkpoint-suspended", before: to(holt.WantSuspended), act: checkpoint, after: checkpointed, memory: kept, volatil: true},
	{name: "checkpoint-rm", before: later(), act: func(w *world) error { return w.m.RemoveCheckpoint(w.ctx, "a", "one") }},
	{name: "rollback", before: later(), act: rollback("one"), after: rolledBack},
	{name: "rollback-suspended", before: later(holt.WantSuspended), act: rollback("one"), after: rolledBack},
	{name: "rollback-undo", before: func(w *world) {
		later()(w)
		if err := rollback("one")(w); err != nil {
			w.t.Fatalf("rollback: %v", err)
		}
		w.eventually("rolled back", func() bool { return w.row("a").FromSnapshot == "" })
		w.reach("a", holt.Running)
	}, act: rollback(BeforeRollback), after: func(w *world) {
		if m := w.memory("a"); m != kept && m != "later" && m != "fresh" {
			w.t.Fatalf("the memory is %q\n%s", m, w.dump())
		}
	}},
	{name: "rollback-refused", before: func(w *world) {
		later()(w)
		w.node.Follow(failing("Freeze", 99, holt.KindNoSpace))
	}, act: rollback("one"), after: func(w *world) {
		if m := w.memory("a"); m == kept {
			w.t.Fatalf("it was rolled back although what it was could not be kept\n%s", w.dump())
		}
	}},
	{name: "fork-checkpoint", before: later(), act: func(w *world) error {
		_, err := w.m.Fork(w.ctx, "a", "b", "one")
		return err
	}, after: func(w *world) {
		if m := w.memory("b"); m != "" && m != kept && m != "fresh" {
			w.t.Fatalf("the fork has the memory %q\n%s", m, w.dump())
		}
	}},
	{name: "delete-with-checkpoint", before: later(), act: remove},
	{name: "damaged-memory", before: func(w *world) {
		to(holt.WantSuspended)(w)
		w.node.Damage(w.row("a").Snapshot, true, false)
	}, act: goal(holt.WantRunning), memory: "fresh"},
	{name: "damaged-snapshot", before: func(w *world) {
		to(holt.WantSuspended)(w)
		w.node.Damage(w.row("a").Snapshot, true, true)
	}, act: goal(holt.WantRunning), memory: "fresh"},
	{name: "refused-suspend", before: func(w *world) {
		to()(w)
		w.node.Follow(failing("Freeze", 99, holt.KindNoSpace))
	}, act: goal(holt.WantSuspended), memory: kept, volatil: true},
}

// forked checks that the fork, if it was asked for, holds what its source held.
func forked(w *world) {
	b := w.row("b")
	if b.ID == "" {
		return
	}
	if files, ok := w.node.Files(b.ID); b.State == holt.Running && (!ok || files != "files of a") {
		w.t.Fatalf("the fork has the files %q\n%s", files, w.dump())
	}
}

// TestKillEverywhere crashes the manager at every passing of every fault point,
// those within the node's calls included, of every verb, restarts it on the same
// database and node, with or without a reboot of the host in between, and checks
// that the world comes to rest as its owner wants it and that nothing is lost.
func TestKillEverywhere(t *testing.T) {
	for _, v := range story {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			v.run(w, "")
			w.invariant()
			v.check(w, "", false)
			points := append([]string(nil), w.crash.order...)
			if len(points) < 3 {
				t.Fatalf("only %d fault points: %v", len(points), points)
			}
			t.Logf("%d points: %v", len(points), points)
			for i, p := range points {
				if underRace && i%9 != len(v.name)%9 {
					continue
				}
				for _, reboot := range []bool{false, true} {
					if underRace && reboot != (i%2 == 0) {
						continue
					}
					name := p
					if reboot {
						name += "+reboot"
					}
					t.Run(name, func(t *testing.T) {
						w := newWorld(t)
						v.run(w, p)
						if !w.crash.isDead() {
							t.Fatalf("never passed %s: %v", p, w.crash.order)
						}
						w.restart(reboot)
						w.calm()
						w.invariant()
						v.check(w, p, reboot)
					})
				}
			}
		})
	}
}

// run acts in a world that crashes at the point, and waits for calm or the crash.
func (v verb) run(w *world, at string) {
	w.t.Helper()
	v.before(w)
	w.calm()
	w.arm(at)
	var err error
	w.do(func() { err = v.act(w) })
	if err != nil {
		w.t.Fatalf("%s: %v", v.name, err)
	}
	w.calm()
}

// check compares memory and files with what they were. A crash before the goal
// was stored means that nothing was asked for.
func (v verb) check(w *world, at string, reboot bool) {
	w.t.Helper()
	if v.after != nil {
		v.after(w)
	}
	a := w.row("a")
	if a.ID == "" || a.State == holt.Deleted || v.name == "create" {
		return
	}
	files, _ := w.node.Files(a.ID)
	if s, ok := w.node.Snapshot(a.Snapshot); ok {
		files = s.Files
	}
	if files != "files of a" {
		w.t.Fatalf("the files are %q\n%s", files, w.dump())
	}
	if v.memory == "" || reboot && v.volatil {
		return
	}
	for _, r := range w.rows() {
		memory := ""
		if s, ok := w.node.Snapshot(r.Snapshot); ok && r.State == holt.Suspended {
			memory = s.Memory
		}
		if m, ok := w.node.Machine(r.Sandbox); ok && r.State == holt.Running {
			memory = m.Memory
		}
		if memory == "" || r.Goal == holt.WantRunning && reboot {
			continue
		}
		if memory != v.memory && (memory != kept || at != "goal.before-write:1") {
			w.t.Fatalf("the memory of %s is %q, want %q\n%s", r.Name, memory, v.memory, w.dump())
		}
	}
}
