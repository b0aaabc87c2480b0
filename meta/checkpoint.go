package meta

import (
	"context"
	"time"

	"github.com/holt-ide/holt"
)

// Checkpoint is a snapshot that a workspace keeps beside its course: its memory
// and files at one moment, under a label, to roll back to or to fork from.
type Checkpoint struct {
	Snapshot  holt.SnapshotID // its name on the node
	Workspace holt.WorkspaceID
	Label     string        // unique within the workspace
	Automatic bool          // made by a rollback, of what it replaced
	Ready     bool          // the snapshot is complete
	Bytes     int64         // on disk
	Pause     time.Duration // how long the workspace stood still for it
	CreatedAt time.Time     // the moment that it holds, once it is ready
}

// Checkpoints stores the checkpoints of all workspaces. A row is there before its
// snapshot and goes after it, so that no snapshot is without a name.
type Checkpoints interface {
	// Create stores c. A label that the workspace has already is
	// [ErrLabelTaken]; a snapshot that is stored already is KindConflict.
	Create(ctx context.Context, c Checkpoint) error

	// Finish records that the snapshot of c is complete, with c's Bytes, Pause
	// and CreatedAt. KindNotFound if the row is gone.
	Finish(ctx context.Context, c Checkpoint) error

	// Of returns the checkpoints of a workspace, oldest first.
	Of(ctx context.Context, id holt.WorkspaceID) ([]Checkpoint, error)

	// ByLabel returns one of them, or a KindNotFound error.
	ByLabel(ctx context.Context, id holt.WorkspaceID, label string) (Checkpoint, error)

	// All returns the checkpoints of all workspaces, oldest first.
	All(ctx context.Context) ([]Checkpoint, error)

	// Remove forgets the checkpoint of a snapshot. An unknown one is no error.
	Remove(ctx context.Context, id holt.SnapshotID) error
}
