package meta

import (
	"context"
	"time"

	"github.com/holt-ide/holt"
)

// Egress says which part of the network a workspace may reach.
type Egress = holt.Egress

// The egress policies.
const (
	EgressInternet = holt.EgressInternet
	EgressNone     = holt.EgressNone
)

// Workspace is one row: what is true of a workspace and what its owner wants.
// Only package workspace writes it.
type Workspace struct {
	ID      holt.WorkspaceID
	Name    string // unique among the workspaces that are not deleted
	Owner   holt.UserID
	State   holt.State
	Goal    holt.Goal
	Version int64 // 1 at creation, one more with every Update

	ImageRef string       // as the user wrote it
	Image    holt.ImageID // what it meant at creation
	Limits   holt.Limits  // complete: no field means "default"
	Git      string       // URL cloned into an empty /workspace, or ""
	Egress   Egress

	Node    holt.NodeID    // where the machine and its volume are
	Sandbox holt.SandboxID // the machine that lives or is being made; "" when there is none

	Snapshot        holt.SnapshotID // the verified snapshot to resume from, or ""
	SnapshotBytes   int64           // its size on disk
	SnapshotAt      time.Time       // when the machine in it was frozen
	PendingSnapshot holt.SnapshotID // being written by a suspend, or to be discarded after a resume; or ""

	ForkedFrom   holt.WorkspaceID // its parent, or ""
	FromSnapshot holt.SnapshotID  // the checkpoint that a fork is made from or a rollback goes to, until it is done; or ""

	Message  string // why it FAILED or waits, or the last notable thing; "" when all is well
	Attempts int    // failed attempts at the current step

	Restarts      int       // machines replaced since RestartsSince because they ended on their own
	RestartsSince time.Time // start of the window in which Restarts counts

	IdleAfter time.Duration // suspended after this long without activity; 0 means never
	CreatedAt time.Time
	UpdatedAt time.Time // of the last Update

	// LastActiveAt is the last activity that was seen. Touch alone moves it.
	LastActiveAt time.Time
	Boots        int // machines made so far, by any means
}

// Page selects a part of a list. Its zero value is the first page of everything
// that is not deleted.
type Page struct {
	Cursor  string       // as returned with the page before; "" for the first
	Limit   int          // most rows, 1..[MaxPage]; 0 means [DefaultPage]
	Owner   holt.UserID  // only of this owner; "" for all
	Visible holt.UserID  // only those that this user owns or is a member of; "" for all
	States  []holt.State // only in these states; none means all but DELETED
	Reverse bool         // newest first instead of oldest first
}

// Sizes of a page.
const (
	DefaultPage = 100
	MaxPage     = 1000
)

// Workspaces stores the rows of workspaces.
type Workspaces interface {
	// Create stores w, which has an ID, with Version 1 and appends events in the
	// same transaction. It returns the row as stored, or [ErrNameTaken].
	Create(ctx context.Context, w Workspace, events ...Event) (Workspace, error)

	// Get returns the row of id, deleted or not, or a KindNotFound error.
	Get(ctx context.Context, id holt.WorkspaceID) (Workspace, error)

	// ByName returns the row that has the name and is not deleted, or a
	// KindNotFound error.
	ByName(ctx context.Context, name string) (Workspace, error)

	// List returns one page in order of creation, and the cursor of the next,
	// which is "" after the last. Rows made meanwhile appear on later pages; no
	// row appears twice. A cursor that List did not make is KindInvalid.
	List(ctx context.Context, p Page) (rows []Workspace, next string, err error)

	// Count returns how many workspaces are in any of the states.
	Count(ctx context.Context, states ...holt.State) (int, error)

	// Update replaces the row of w.ID if its version is still w.Version, adds one
	// to the version, and appends events in the same transaction. It returns the
	// row as stored; [ErrStale] if another update came first. ID, CreatedAt and
	// LastActiveAt are not written.
	Update(ctx context.Context, w Workspace, events ...Event) (Workspace, error)

	// Touch moves LastActiveAt forward to at, never back, without a new version.
	Touch(ctx context.Context, id holt.WorkspaceID, at time.Time) error
}
