package workspace

import (
	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// view is what exists on the node of the things one row names.
type view struct {
	alive    bool // the machine of Sandbox exists and can run
	frozen   bool // and its processes stand still
	complete bool // PendingSnapshot is complete
	volume   bool // the workspace has a volume
}

func viewOf(w meta.Workspace, inv Inventory) (v view) {
	for _, s := range inv.Sandboxes {
		if s.ID == w.Sandbox && w.Sandbox != "" && s.Alive {
			v.alive, v.frozen = true, s.Frozen
		}
	}
	for _, id := range inv.Snapshots {
		v.complete = v.complete || id == w.PendingSnapshot && id != ""
	}
	for _, id := range inv.Volumes {
		v.volume = v.volume || id == w.ID
	}
	return v
}

// step is the next thing to do for a workspace.
type step string

const (
	stepRest      step = "rest"      // nothing to do
	stepStart     step = "start"     // make a machine as soon as there is a place
	stepSuspend   step = "suspend"   // begin to suspend
	stepStop      step = "stop"      // begin to stop
	stepDelete    step = "delete"    // begin to delete
	stepCapture   step = "capture"   // fill a fork from its source
	stepProvision step = "provision" // boot from image and volume
	stepResume    step = "resume"    // make the machine from the snapshot
	stepFreeze    step = "freeze"    // write the snapshot, release after
	stepAdopt     step = "adopt"     // the snapshot is complete and the machine gone: that is a suspend
	stepReturn    step = "return"    // give a suspend up: the machine runs on
	stepThaw      step = "thaw"      // a running machine stands still: let it go on
	stepReplace   step = "replace"   // the machine is gone: make another from files
	stepRollback  step = "rollback"  // make a checkpoint the snapshot to resume from
	stepRelease   step = "release"   // free the sandbox of a workspace at rest
	stepEnd       step = "end"       // end the machine, keep the files
	stepRemove    step = "remove"    // remove everything the workspace owns
)

// consults reports whether decide looks at the view in this state. The others
// rely on effects that may be repeated.
func consults(s holt.State) bool { return s == holt.Running || s == holt.Suspending }

// decide returns the next step of w. It is pure.
func decide(w meta.Workspace, v view) step {
	if w.Goal == holt.WantDeleted {
		switch w.State {
		case holt.Deleted:
			return stepRest
		case holt.Deleting:
			return stepRemove
		}
		return stepDelete
	}
	switch w.State {
	case holt.Running:
		return decideRunning(w, v)
	case holt.Suspending:
		return decideSuspending(w, v)
	case holt.Provisioning, holt.Resuming:
		switch {
		case w.Goal == holt.WantStopped:
			return stepStop
		case w.State == holt.Resuming:
			return stepResume
		}
		return stepProvision
	case holt.Stopping:
		return stepEnd
	case holt.Deleting:
		return stepRemove
	case holt.Queued:
		if w.PendingSnapshot != "" {
			return stepCapture
		}
		return towards(w)
	case holt.Suspended, holt.Stopped, holt.Failed:
		if w.Sandbox != "" {
			return stepRelease
		}
		if w.FromSnapshot != "" && w.Goal != holt.WantStopped {
			return stepRollback
		}
		if w.State == holt.Failed && (w.Attempts > 0 || w.PendingSnapshot != "") {
			return stepRest
		}
		return towards(w)
	}
	return stepRest
}

// towards leaves a state that holds no machine.
func towards(w meta.Workspace) step {
	switch {
	case w.Goal.Reached(w.State):
		return stepRest
	case w.Goal == holt.WantStopped:
		return stepStop
	case w.Goal == holt.WantSuspended && w.State == holt.Stopped:
		return stepRest // there is nothing to freeze
	}
	return stepStart
}

func decideRunning(w meta.Workspace, v view) step {
	switch {
	case w.Goal == holt.WantStopped:
		return stepStop
	case !v.alive:
		return stepReplace
	case v.frozen:
		return stepThaw
	case w.Goal == holt.WantSuspended, w.FromSnapshot != "":
		return stepSuspend
	}
	return stepRest
}

func decideSuspending(w meta.Workspace, v view) step {
	switch {
	case !v.alive && v.complete:
		return stepAdopt
	case !v.alive:
		return stepReplace
	case v.frozen && v.complete:
		return stepFreeze // finishes, and tells size and time
	case v.frozen, v.complete, w.Goal != holt.WantSuspended && (w.FromSnapshot == "" || w.Goal == holt.WantStopped):
		// A freeze that was cut short, or a machine that ran on after its
		// snapshot: what the snapshot holds is not the present.
		return stepReturn
	}
	return stepFreeze
}
