package workspace

import (
	"context"

	"github.com/holt-ide/holt"
	hostwire "github.com/holt-ide/holt/wire/host"
)

// SnapshotStore keeps snapshots outside the node, in storage that others may share.
// Package node implements it. Every method is idempotent and may be called at any
// time; KindUnavailable says that the store is away.
type SnapshotStore interface {
	// KeepSnapshot commits a snapshot of the node to the store and returns when
	// everything that it refers to has been read back. KindCorrupt says that the
	// node's copy is damaged, KindNotFound that there is none.
	KeepSnapshot(ctx context.Context, k Keep) (Kept, error)

	// EvictSnapshot removes the node's copy of a snapshot that the store has too.
	// It does nothing to one that the store does not have, or that is in use.
	EvictSnapshot(ctx context.Context, snap holt.SnapshotID) error

	// StoredSnapshots lists what the store has of a tenant, the latest first.
	StoredSnapshots(ctx context.Context, tenant string, describe bool) ([]StoredSnapshot, error)

	// ForgetSnapshots removes snapshots from the store. Unknown ones are no error.
	ForgetSnapshots(ctx context.Context, tenant string, ids ...holt.SnapshotID) error

	// ImportSnapshot makes a copy of a snapshot of the store known to the node, as
	// one of a workspace. The files stay in the store.
	ImportSnapshot(ctx context.Context, tenant string, from, to holt.SnapshotID, ws holt.WorkspaceID) (Snapshot, error)

	// MaintainStore gives back what nobody refers to.
	MaintainStore(ctx context.Context, tenant string) error

	// ScrubStore reads everything that the store has of a tenant and returns what
	// is damaged, with how.
	ScrubStore(ctx context.Context, tenant string) (map[holt.SnapshotID]string, error)
}

// The words of the commands; see package hostwire.
type (
	Keep           = hostwire.Keep
	Kept           = hostwire.Kept
	Description    = hostwire.Description
	StoredSnapshot = hostwire.StoredSnapshot
)
