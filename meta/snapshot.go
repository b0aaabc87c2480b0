package meta

import (
	"context"
	"time"

	"github.com/holt-ide/holt"
)

// Snapshot is one in the line of a workspace's snapshots: on its way to the store,
// or in it. The one that a workspace resumes from is named by its own row.
type Snapshot struct {
	ID        holt.SnapshotID
	Workspace holt.WorkspaceID
	Parent    holt.SnapshotID // the durable one before it when it was stored, or ""
	Bytes     int64           // of its files
	Stored    int64           // bytes that it added to the store
	CreatedAt time.Time       // when the machine was frozen

	// DurableAt is when everything that the snapshot needs had been read back
	// from the store; zero before that.
	DurableAt time.Time

	Damage string // what was found damaged in the store's copy, or ""
}

// Durable reports whether the snapshot can be resumed from the store alone.
func (s Snapshot) Durable() bool { return !s.DurableAt.IsZero() && s.Damage == "" }

// Snapshots stores the lines of all workspaces. A row is there before the store has
// anything of its snapshot, and goes after it.
type Snapshots interface {
	// Put stores s in the place of an earlier row of its ID and appends events in
	// the same transaction.
	Put(ctx context.Context, s Snapshot, events ...Event) error

	// Of returns the line of a workspace, the latest first.
	Of(ctx context.Context, id holt.WorkspaceID) ([]Snapshot, error)

	// All returns the snapshots of all workspaces, the latest first.
	All(ctx context.Context) ([]Snapshot, error)

	// Remove forgets snapshots. Unknown ones are no error.
	Remove(ctx context.Context, ids ...holt.SnapshotID) error
}
