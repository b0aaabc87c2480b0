package workspace

import (
	"context"

	"github.com/holt-ide/holt"
	hostwire "github.com/holt-ide/holt/wire/host"
)

// Node turns complete commands into machines. Package node implements it.
//
// Every method is idempotent: called again after a crash it finishes or repeats
// its work. A cancelled context makes a method end soon; the guarantees it gives
// for errors hold then too. Calls about different workspaces run concurrently;
// about one workspace this package makes one call at a time, except for Release,
// Activity and Inventory, which may come at any time.
type Node interface {
	// Provision boots a fresh machine for spec.Workspace from spec.Image and the
	// workspace's volume, which is made if absent and kept if present, clones
	// spec.Git into /workspace when that is set and nothing is there yet, and
	// returns once the guest agent answers. On error nothing of the sandbox is
	// left; the volume stays.
	Provision(ctx context.Context, spec Spec) error

	// Freeze stops the machine's processes and writes a verified snapshot:
	// memory, root overlay, volume copy, manifest. On success with keep, the
	// machine runs on; without keep it stays frozen until Release or Unfreeze. On
	// error (no space, refused checkpoint) the machine runs on and nothing of the
	// snapshot is left. Called again for a complete snapshot it returns that one.
	Freeze(ctx context.Context, id holt.SandboxID, snap holt.SnapshotID, keep bool) (Snapshot, error)

	// Unfreeze lets a frozen machine run on, when its snapshot is not wanted after
	// all. A machine that runs already is not an error.
	Unfreeze(ctx context.Context, id holt.SandboxID) error

	// Resume makes a machine from a snapshot: it verifies every file first
	// (KindCorrupt names the damaged file), replaces the workspace's volume by the
	// snapshot's copy, restores memory, and gives the machine its identity:
	// spec.Name, a fresh secret, entropy, machine id, the time. On error nothing of
	// the sandbox is left and the snapshot is untouched.
	Resume(ctx context.Context, spec Spec, snap holt.SnapshotID) error

	// Release ends a sandbox at once and frees everything it held except volume
	// and snapshots. An unknown ID is not an error.
	Release(ctx context.Context, id holt.SandboxID) error

	// Shutdown ends the machine's processes politely (SIGTERM, grace, SIGKILL),
	// flushes the volume, then releases. An unknown ID is not an error.
	Shutdown(ctx context.Context, id holt.SandboxID) error

	// CopySnapshot makes an independent, instant copy of a snapshot. The source
	// that does not exist is KindNotFound.
	CopySnapshot(ctx context.Context, from, to holt.SnapshotID) (Snapshot, error)

	// CopyVolume makes an independent, instant copy of the volume of a workspace
	// whose machine is not running. An existing volume of the target is replaced.
	CopyVolume(ctx context.Context, from, to holt.WorkspaceID) error

	// RestoreVolume puts the snapshot's verified volume copy in the place of the
	// workspace's volume; used when the memory is damaged but the files are good.
	// KindCorrupt if the copy is damaged too and KindNotFound if there is none:
	// then the live volume stays as it is.
	RestoreVolume(ctx context.Context, snap holt.SnapshotID, ws holt.WorkspaceID) error

	// VerifySnapshot reads every file of a snapshot: KindCorrupt names the damaged
	// one. The source that does not exist is KindNotFound.
	VerifySnapshot(ctx context.Context, snap holt.SnapshotID) error

	// DiscardSnapshot removes a snapshot, complete or not. An unknown ID is not
	// an error.
	DiscardSnapshot(ctx context.Context, snap holt.SnapshotID) error

	// DiscardVolume removes a workspace's volume. An unknown ID is not an error.
	DiscardVolume(ctx context.Context, ws holt.WorkspaceID) error

	// Inventory lists what really exists on the node now. It is asked before
	// steps that depend on it, so it must be cheap: no checksums.
	Inventory(ctx context.Context) (Inventory, error)

	// Notices delivers what machines did on their own: exits and named outcomes.
	// It has one consumer, which reads until it is closed or no longer cares.
	Notices() <-chan Notice

	// Activity returns counters for idle detection.
	Activity(ctx context.Context, id holt.SandboxID) (Activity, error)
}

// The words of the commands; see package hostwire.
type (
	Spec        = hostwire.Spec
	Snapshot    = hostwire.Snapshot
	Inventory   = hostwire.Inventory
	SandboxInfo = hostwire.SandboxInfo
	Notice      = hostwire.Notice
	Activity    = hostwire.Activity
)
