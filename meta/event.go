package meta

import (
	"context"
	"time"

	"github.com/holt-ide/holt"
)

// EventKind tells changes of state from notes.
type EventKind string

// The kinds of event.
const (
	EventState EventKind = "state" // State or Goal of the workspace changed
	EventLog   EventKind = "log"   // something worth telling its owner
)

// Event is one thing that happened to one workspace. Events are never changed.
type Event struct {
	// Seq numbers all events of the store: 1, 2, 3, … in the order in which they
	// became visible. A reader that has seen n has seen everything up to n.
	// Assigned by the store.
	Seq int64

	Workspace holt.WorkspaceID
	Label     string // the workspace's name at that time
	At        time.Time
	Kind      EventKind

	From  holt.State // the state before; "" for a log line and for a creation
	State holt.State // the state after
	Goal  holt.Goal  // the goal after

	Name string // of a log line: "memory-limit", "resume-failed"; of a state change: its reason, or ""
	Text string // one sentence for the user, or ""
}

// Events is the history of all workspaces.
type Events interface {
	// Append adds events in this order, all or none, and returns the Seq of the
	// last one. Changes of state are appended by Workspaces instead, together
	// with the change. An event with no time gets the present.
	Append(ctx context.Context, events ...Event) (last int64, err error)

	// Since returns up to limit events with a Seq above seq, in order.
	Since(ctx context.Context, seq int64, limit int) ([]Event, error)

	// Of returns up to limit events of one workspace with a Seq above seq, in
	// order; only of the given kinds if any are given.
	Of(ctx context.Context, id holt.WorkspaceID, seq int64, limit int, kinds ...EventKind) ([]Event, error)

	// Last returns the highest Seq, 0 when nothing ever happened.
	Last(ctx context.Context) (int64, error)

	// Purge removes the events of workspaces that are DELETED since before the
	// time and returns how many those were. Their numbers are not given again.
	Purge(ctx context.Context, before time.Time) (int, error)
}
