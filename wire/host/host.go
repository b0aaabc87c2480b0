// Package hostwire holds the words in which the lifecycle (package workspace)
// commands a node (package node): complete orders down, inventories and notices
// up. The two rooms never import each other; they meet here.
//
// Today both run in one process and the values are passed as they are. When they
// move apart this package gains the encoding, and nothing else changes.
package hostwire

import (
	"time"

	"github.com/holt-ide/holt"
)

// Spec is everything a node needs to know to make a machine.
type Spec struct {
	Workspace holt.WorkspaceID
	Sandbox   holt.SandboxID // of the machine to be made
	Name      string         // becomes the host name
	Image     holt.ImageID
	Limits    holt.Limits // complete
	Git       string      // URL to clone, or ""
	Egress    holt.Egress
	Tenant    string // within whose stored bytes its files are, see [Keep]
}

// Snapshot describes a complete snapshot.
type Snapshot struct {
	ID        holt.SnapshotID
	Bytes     int64         // on disk
	Pause     time.Duration // how long the source stood still
	CreatedAt time.Time     // when the source was frozen
}

// Inventory is what exists on a node at one moment.
type Inventory struct {
	Sandboxes []SandboxInfo
	Snapshots []holt.SnapshotID // complete ones only
	Evicted   []holt.SnapshotID // those of them whose files only the store has
	Volumes   []holt.WorkspaceID
}

// SandboxInfo is one sandbox of an [Inventory].
type SandboxInfo struct {
	ID        holt.SandboxID
	Workspace holt.WorkspaceID
	Frozen    bool // its processes stand still
	Alive     bool // its machine exists and can run; false for remains
}

// Notice is something a machine did on its own.
type Notice struct {
	Workspace holt.WorkspaceID
	Sandbox   holt.SandboxID
	At        time.Time
	Name      string // "exited", "memory-limit", "disk-full", …
	Text      string // one sentence for the user
	Exited    bool   // the machine is no more
}

// Activity is how busy a machine is and was.
type Activity struct {
	Connections int       // open relays, terminals, forwarded ports
	LastIO      time.Time // last byte to or from a PTY or an exec; zero if there was none
	CPUSeconds  float64   // used by user processes since the machine was made; only grows
	NetBytes    uint64    // in and out since the machine was made; only grows
	Jobs        int       // execs that run now
}

// Keep asks for a snapshot to be kept in the store.
type Keep struct {
	Tenant   string // who shares stored bytes with it, and nobody else
	Snapshot holt.SnapshotID
	Parent   holt.SnapshotID // the one before it in the store, or ""
	Describe Description
}

// Description is what whoever finds only the store needs to know to make a workspace
// of a snapshot.
type Description struct {
	Name      string           `json:"name"`
	Workspace holt.WorkspaceID `json:"workspace"`
	Label     string           `json:"label,omitempty"` // of a checkpoint
	ImageRef  string           `json:"image_ref"`
	Image     holt.ImageID     `json:"image"`
	Limits    holt.Limits      `json:"limits"`
	Git       string           `json:"git,omitempty"`
	Egress    holt.Egress      `json:"egress"`
	IdleAfter time.Duration    `json:"idle_after_ns"`
}

// Kept is a snapshot that the store has, read back as a whole.
type Kept struct {
	Bytes  int64 // of its files
	Stored int64 // that it added to the store
}

// StoredSnapshot is one that the store has.
type StoredSnapshot struct {
	ID        holt.SnapshotID
	Workspace holt.WorkspaceID
	CreatedAt time.Time
	Bytes     int64
	Stored    int64
	Damage    string       // what was found damaged, or ""
	Describe  *Description // nil unless it was asked for, or when it cannot be read
}

// FilesState is how far the files of a workspace are on their way to the store.
type FilesState struct {
	Keeps    bool      // there is a store
	Behind   bool      // something may have changed that the latest revision does not have
	Since    time.Time // of the first such change
	Flushing bool      // a revision is being made now
	Seen     time.Time // everything up to then is in a revision; zero if that is not known
	Trouble  string    // why the last flush failed, or ""
}

// RestoreFiles asks for paths of a revision to be brought back.
type RestoreFiles struct {
	From   holt.WorkspaceID
	Number int64
	Paths  []string // from the volume's top; none means all
	Exact  bool     // what the revision does not have in them goes
}

// RestoredFiles is what was brought back.
type RestoredFiles struct {
	Before  int64 // the revision of the files as they were before
	Files   int64 // that were written
	Same    int64 // that were as they should be
	Removed int64
	Bytes   int64
}
