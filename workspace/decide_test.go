package workspace

import (
	"testing"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// leads tells which states a step that begins something moves to.
var leads = map[step][]holt.State{
	stepSuspend: {holt.Suspending},
	stepStop:    {holt.Stopping},
	stepDelete:  {holt.Deleting},
	stepReplace: {holt.Provisioning, holt.Failed},
	stepReturn:  {holt.Running},
	stepAdopt:   {holt.Suspended},
	stepFreeze:  {holt.Suspended, holt.Running},
	stepResume:  {holt.Running, holt.Provisioning, holt.Failed},
	stepEnd:     {holt.Stopped, holt.Failed},
	stepRemove:  {holt.Deleted},
}

// everything calls f with every combination that decide can see.
func everything(f func(w meta.Workspace, v view)) {
	bools := []bool{false, true}
	for _, state := range holt.States() {
		for _, goal := range []holt.Goal{holt.WantRunning, holt.WantSuspended, holt.WantStopped, holt.WantDeleted} {
			for n := range 16 {
				w := meta.Workspace{ID: "ws-1", State: state, Goal: goal}
				if n&1 > 0 {
					w.Sandbox = "sb-1"
				}
				if n&2 > 0 {
					w.Snapshot = "sn-1"
				}
				if n&4 > 0 {
					w.PendingSnapshot = "sn-2"
				}
				if n&8 > 0 {
					w.Attempts = 1
				}
				for _, alive := range bools {
					for _, frozen := range bools {
						for _, complete := range bools {
							f(w, view{alive: alive, frozen: alive && frozen, complete: complete})
						}
					}
				}
			}
		}
	}
}

// In every situation, even an impossible one, the step is a legal move, and
// nothing rests short of its goal without a reason.
func TestDecideEverywhere(t *testing.T) {
	everything(func(w meta.Workspace, v view) {
		s := decide(w, v)
		next := leads[s]
		if s == stepStart {
			next = []holt.State{startWith(w)}
		}
		for _, to := range next {
			if !w.State.CanBecome(to) {
				t.Fatalf("%s towards %s with %+v: %s leads to %s", w.State, w.Goal, v, s, to)
			}
		}
		if !consults(w.State) && s != decide(w, view{}) {
			t.Fatalf("%s depends on the view without consulting it", w.State)
		}
		if s != stepRest {
			return
		}
		reason := w.Goal.Reached(w.State) ||
			w.State == holt.Failed && (w.Attempts > 0 || w.PendingSnapshot != "") || // told why, waits for its owner
			w.State == holt.Stopped && w.Goal == holt.WantSuspended || // nothing to freeze
			w.State == holt.Deleted
		if !reason {
			t.Fatalf("%+v with %+v rests", w, v)
		}
		if w.State == holt.Running && (!v.alive || v.frozen) {
			t.Fatalf("%+v rests with %+v", w, v)
		}
		if w.State.Settled() && w.State != holt.Running && w.State != holt.Deleted && w.Sandbox != "" {
			t.Fatalf("%+v rests with a sandbox", w)
		}
	})
}

// A machine is given up only when it is dead, or when a complete snapshot is
// named, or when its owner asked for its end.
func TestDecideNeverLosesAMachine(t *testing.T) {
	everything(func(w meta.Workspace, v view) {
		s := decide(w, v)
		ends := s == stepReplace || s == stepAdopt
		if ends && v.alive {
			t.Fatalf("%+v with %+v: %s gives up a live machine", w, v, s)
		}
		if s == stepRelease && (w.State == holt.Running || w.State == holt.Suspending || w.State == holt.Resuming || w.State == holt.Provisioning) {
			t.Fatalf("%+v: released while %s", w, w.State)
		}
	})
}

func TestViewOf(t *testing.T) {
	w := meta.Workspace{ID: "ws-1", Sandbox: "sb-1", PendingSnapshot: "sn-2"}
	full := Inventory{
		Sandboxes: []SandboxInfo{{ID: "sb-0", Alive: true}, {ID: "sb-1", Alive: true, Frozen: true}},
		Snapshots: []holt.SnapshotID{"sn-1", "sn-2"}, Volumes: []holt.WorkspaceID{"ws-0", "ws-1"},
	}
	for _, c := range []struct {
		w    meta.Workspace
		inv  Inventory
		want view
	}{
		{w, full, view{alive: true, frozen: true, complete: true, volume: true}},
		{w, Inventory{Sandboxes: []SandboxInfo{{ID: "sb-1"}}}, view{}},
		{meta.Workspace{ID: "ws-9"}, Inventory{Sandboxes: []SandboxInfo{{Alive: true}}, Snapshots: []holt.SnapshotID{""}}, view{}},
	} {
		if got := viewOf(c.w, c.inv); got != c.want {
			t.Fatalf("%+v in %+v: %+v, want %+v", c.w, c.inv, got, c.want)
		}
	}
}
