package api

import "time"

// Workspace is a project and its machine, as lists show it.
type Workspace struct {
	ID               string    `json:"id" doc:"Names the workspace for its whole life"`
	Name             string    `json:"name" doc:"Unique among the workspaces that exist" example:"demo"`
	Owner            string    `json:"owner,omitempty" doc:"Name of the user who owns it"`
	Role             string    `json:"role,omitempty" enum:"owner,editor,viewer" doc:"What the caller may do with it; owner for admins too"`
	State            string    `json:"state" enum:"QUEUED,PROVISIONING,RUNNING,SUSPENDING,SUSPENDED,RESUMING,STOPPING,STOPPED,FAILED,DELETING,DELETED" doc:"Where its machine stands"`
	Goal             string    `json:"goal" enum:"RUNNING,SUSPENDED,STOPPED,DELETED" doc:"The state that was asked for"`
	Version          int64     `json:"version" doc:"Grows with every change of the workspace"`
	Message          string    `json:"message,omitempty" doc:"Why it failed or waits, or the last notable thing"`
	Image            string    `json:"image" doc:"The image as it was asked for" example:"default"`
	ImageID          string    `json:"image_id,omitempty" doc:"Content hash of the image"`
	Limits           Limits    `json:"limits" doc:"What the machine may use"`
	Git              string    `json:"git,omitempty" doc:"Repository cloned into /workspace at creation"`
	Egress           string    `json:"egress" enum:"internet,none" doc:"Which part of the network it reaches"`
	ForkedFrom       string    `json:"forked_from,omitempty" doc:"ID of the workspace it was forked from"`
	RollingBack      bool      `json:"rolling_back,omitempty" doc:"It is on its way back to a checkpoint"`
	IdleAfterSeconds int64     `json:"idle_after_seconds" doc:"It is suspended after this long without activity; 0: never"`
	CreatedAt        time.Time `json:"created_at"`
	UpdatedAt        time.Time `json:"updated_at"`
	LastActiveAt     time.Time `json:"last_active_at,omitzero" doc:"Last activity seen in it"`
}

// WorkspaceDetail is all that is known of one workspace.
type WorkspaceDetail struct {
	Workspace
	SandboxID    string        `json:"sandbox_id,omitempty" doc:"The machine that lives or is being made"`
	Node         string        `json:"node,omitempty" doc:"Where the machine and its files are"`
	Snapshot     *Snapshot     `json:"snapshot,omitempty" doc:"The frozen machine, when there is one"`
	Durability   *Durability   `json:"durability,omitempty" doc:"How far its files are on their way to the store; absent where none are kept"`
	Boots        int           `json:"boots" doc:"Machines made for it so far"`
	StateHistory []StateChange `json:"state_history" doc:"The latest changes of state, oldest first"`
}

// Snapshot is a frozen machine.
type Snapshot struct {
	ID        string    `json:"id"`
	Bytes     int64     `json:"bytes" doc:"Its size on disk"`
	CreatedAt time.Time `json:"created_at" doc:"When the machine was frozen"`
}

// KeptSnapshot is one of a workspace's snapshots and where it is.
type KeptSnapshot struct {
	ID          string    `json:"id"`
	Label       string    `json:"label,omitempty" doc:"Of the checkpoint that it is"`
	Current     bool      `json:"current,omitempty" doc:"The workspace resumes from it"`
	Bytes       int64     `json:"bytes" doc:"Size of its files"`
	StoredBytes int64     `json:"stored_bytes" doc:"Bytes that it added to the store"`
	On          []string  `json:"on" doc:"Where its files are: node, store, or both"`
	CreatedAt   time.Time `json:"created_at" doc:"When the machine was frozen"`
	DurableAt   time.Time `json:"durable_at,omitzero" doc:"When all of it had been read back from the store; absent before that"`
	Damage      string    `json:"damage,omitempty" doc:"What was found damaged in it"`
}

// KeptSnapshotList is the snapshots of a workspace, latest first.
type KeptSnapshotList struct {
	Items   []KeptSnapshot `json:"items"`
	Trouble string         `json:"trouble,omitempty" doc:"Why one of them is not durable yet"`
}

// StateChange is one step in the life of a workspace.
type StateChange struct {
	Seq    int64     `json:"seq" doc:"Number of the event"`
	At     time.Time `json:"at"`
	From   string    `json:"from,omitempty" doc:"State before; absent at creation"`
	State  string    `json:"state" doc:"State after"`
	Goal   string    `json:"goal" doc:"Goal after"`
	Reason string    `json:"reason,omitempty"`
	Text   string    `json:"text,omitempty"`
}

// Limits bounds a machine. In a request, zero means the server's default.
type Limits struct {
	CPUs           float64 `json:"cpus,omitempty" doc:"Cores" example:"2"`
	MemoryBytes    int64   `json:"memory_bytes,omitempty" doc:"Memory of all processes and tmpfs"`
	DiskBytes      int64   `json:"disk_bytes,omitempty" doc:"Size of the volume with /home/dev and /workspace"`
	RootBytes      int64   `json:"root_bytes,omitempty" doc:"Bytes that may be written over the image"`
	Processes      int64   `json:"processes,omitempty" doc:"Processes and threads of the user"`
	BandwidthBytes int64   `json:"bandwidth_bytes,omitempty" doc:"Bytes per second, each way; absent: no cap"`
}

// CreateWorkspace asks for a new workspace.
type CreateWorkspace struct {
	Name             string  `json:"name" doc:"1 to 40 characters of a-z, 0-9 and single hyphens" example:"demo"`
	Image            string  `json:"image,omitempty" doc:"Name, reference or ID of an image; absent: default"`
	Git              string  `json:"git,omitempty" doc:"Repository to clone into /workspace"`
	Limits           *Limits `json:"limits,omitempty"`
	Egress           string  `json:"egress,omitempty" doc:"internet (default) or none"`
	IdleAfterSeconds *int64  `json:"idle_after_seconds,omitempty" doc:"0: never; absent: the server's default"`
	Snapshot         string  `json:"snapshot,omitempty" doc:"ID of a snapshot in the store, to go on from with the image and limits that it had"`
}

// StoredSnapshot is one that the store has, of this server or another one.
type StoredSnapshot struct {
	ID          string    `json:"id"`
	Workspace   string    `json:"workspace,omitempty" doc:"What its workspace was called"`
	WorkspaceID string    `json:"workspace_id"`
	Label       string    `json:"label,omitempty" doc:"Of the checkpoint that it is"`
	Image       string    `json:"image,omitempty" doc:"Content hash of the image that it needs"`
	Bytes       int64     `json:"bytes" doc:"Size of its files"`
	StoredBytes int64     `json:"stored_bytes" doc:"Bytes that it added to the store"`
	CreatedAt   time.Time `json:"created_at" doc:"When the machine was frozen"`
	Damage      string    `json:"damage,omitempty" doc:"What was found damaged in it"`
}

// StoredSnapshotList is what the store has, latest first.
type StoredSnapshotList struct {
	Items []StoredSnapshot `json:"items"`
}

// ForkWorkspace asks for a copy of a workspace, its processes included.
type ForkWorkspace struct {
	Name string `json:"name" doc:"Name of the copy"`
	From string `json:"from,omitempty" doc:"Label of a checkpoint; absent: as the workspace is now"`

	// Revision makes the copy of files alone.
	Revision int64 `json:"revision,omitempty" minimum:"0" doc:"Number of a revision: the copy gets its files, and no processes"`
}

// Checkpoint is a workspace's memory and files at one moment, under a label.
type Checkpoint struct {
	ID        string    `json:"id" doc:"Names the snapshot"`
	Label     string    `json:"label" doc:"Unique within the workspace" example:"before-upgrade"`
	Automatic bool      `json:"automatic,omitempty" doc:"Made by a rollback, of what it replaced"`
	Bytes     int64     `json:"bytes" doc:"Its size on disk; blocks may be shared with others"`
	PauseMS   int64     `json:"pause_ms,omitempty" doc:"Milliseconds for which the workspace stood still"`
	CreatedAt time.Time `json:"created_at" doc:"The moment that it holds"`
}

// CreateCheckpoint asks for a checkpoint.
type CreateCheckpoint struct {
	Label string `json:"label,omitempty" doc:"Up to 64 letters, digits, dots, hyphens and underscores; absent: the time"`
}

// CheckpointList is the checkpoints of a workspace, oldest first.
type CheckpointList struct {
	Items []Checkpoint `json:"items"`
}

// Rollback asks for a workspace to go back to a checkpoint.
type Rollback struct {
	Label string `json:"label" doc:"Of a checkpoint of the workspace"`
}

// WorkspaceList is one page of workspaces.
type WorkspaceList struct {
	Items []Workspace `json:"items"`
	Next  string      `json:"next,omitempty" doc:"Cursor of the next page; absent on the last"`
}

// History is the changes of state of one workspace, oldest first.
type History struct {
	Items []StateChange `json:"items"`
}

// Port is a port on which a process in the workspace listens.
type Port struct {
	Port    int    `json:"port"`
	Address string `json:"address,omitempty" doc:"Address it listens on"`
	Process string `json:"process,omitempty" doc:"Name of the process"`
	PID     int    `json:"pid,omitempty"`
	URL     string `json:"url" doc:"Where a browser reaches it"`
}

// PortList is the listening ports of a workspace.
type PortList struct {
	Items []Port `json:"items"`
}
