package holt

import "slices"

// State is where a workspace's machine stands. Only package workspace changes
// it, by compare and swap on the workspace's version.
type State string

// The states of a workspace.
const (
	Queued       State = "QUEUED"       // accepted, waits for a place to run
	Provisioning State = "PROVISIONING" // its image, volume and sandbox are being made
	Running      State = "RUNNING"      // its sandbox lives and answers
	Suspending   State = "SUSPENDING"   // its sandbox is being frozen to a snapshot
	Suspended    State = "SUSPENDED"    // a verified snapshot holds it, nothing runs
	Resuming     State = "RESUMING"     // a sandbox is being made from its snapshot
	Stopping     State = "STOPPING"     // its sandbox is being ended, files are kept
	Stopped      State = "STOPPED"      // no processes and no memory: only the volume's files
	Failed       State = "FAILED"       // could not be brought to its wanted state; see the last message
	Deleting     State = "DELETING"     // everything it owns is being removed
	Deleted      State = "DELETED"      // gone; the name is free again
)

// States lists every state in the order of a life.
func States() []State {
	return []State{Queued, Provisioning, Running, Suspending, Suspended, Resuming, Stopping, Stopped, Failed, Deleting, Deleted}
}

// transitions is the whole state machine. What is not listed is illegal.
//
// Queued → Resuming is a fork that got its place to run. Suspending → Running is a suspend that failed cleanly (full disk, refused
// checkpoint). Resuming → Provisioning is a corrupt snapshot falling back to
// image and volume.
var transitions = map[State][]State{
	Queued:       {Provisioning, Resuming, Stopping, Failed, Deleting},
	Provisioning: {Running, Failed, Stopping, Deleting},
	Running:      {Suspending, Stopping, Provisioning, Failed, Deleting},
	Suspending:   {Suspended, Running, Provisioning, Failed, Deleting},
	Suspended:    {Resuming, Stopping, Failed, Deleting},
	Resuming:     {Running, Suspended, Provisioning, Failed, Stopping, Deleting},
	Stopping:     {Stopped, Failed, Deleting},
	Stopped:      {Provisioning, Failed, Deleting},
	Failed:       {Provisioning, Resuming, Stopping, Deleting},
	Deleting:     {Deleted, Failed},
	Deleted:      {},
}

// CanBecome reports whether a workspace in state s may move to state to.
func (s State) CanBecome(to State) bool { return slices.Contains(transitions[s], to) }

// Valid reports whether s is a known state.
func (s State) Valid() bool { _, ok := transitions[s]; return ok }

// Settled reports whether nothing is under way in state s.
func (s State) Settled() bool {
	switch s {
	case Running, Suspended, Stopped, Failed, Deleted:
		return true
	}
	return false
}

// Goal is the state a user asked for. The reconcile loop moves a workspace's
// [State] towards it.
type Goal string

// The goals of a workspace.
const (
	WantRunning   Goal = "RUNNING"
	WantSuspended Goal = "SUSPENDED"
	WantStopped   Goal = "STOPPED"
	WantDeleted   Goal = "DELETED"
)

// Reached reports whether state s fulfils the goal.
func (g Goal) Reached(s State) bool { return string(g) == string(s) }
