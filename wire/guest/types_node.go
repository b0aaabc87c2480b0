package guestwire

import (
	"time"

	"github.com/holt-ide/holt"
)

// Health answers that the agent lives.
type Health struct {
	Version     int              `json:"version"` // of this protocol
	BootID      string           `json:"boot_id"` // fresh at each start of the agent, kept by restore and fork
	PID         int              `json:"pid"`
	WorkspaceID holt.WorkspaceID `json:"workspace_id"`
	Uptime      float64          `json:"uptime"` // seconds since the agent started
	Thaws       uint64           `json:"thaws"`  // thaws since then
}

// Stats is what the guest uses now. Counters only grow, and survive a restore.
type Stats struct {
	CPUSeconds  float64  `json:"cpu_seconds"`  // counter: user and system time of all user processes, ended ones included
	MemoryUsed  int64    `json:"memory_used"`  // bytes
	MemoryTotal int64    `json:"memory_total"` // bytes
	Processes   int      `json:"processes"`    // user processes now
	Running     int      `json:"running"`      // of these: runnable or in disk wait now
	Load1       float64  `json:"load1"`
	Disks       []Disk   `json:"disks"`
	Activity    Activity `json:"activity"`
}

// Disk is the usage of one mounted directory. A directory on the same file
// system as an earlier one is left out.
type Disk struct {
	Path        string `json:"path"`
	Used        int64  `json:"used"`            // bytes
	Total       int64  `json:"total"`           // bytes a user can have in all
	Tmpfs       bool   `json:"tmpfs,omitempty"` // it lives in memory
	InodesUsed  int64  `json:"inodes_used"`
	InodesTotal int64  `json:"inodes_total"` // 0 where the file system does not count
}

// Activity is what decides whether a workspace is idle. Of the counters only
// the difference between two readings means something.
type Activity struct {
	Viewers   int    `json:"viewers"`   // terminal viewers now
	Terminals int    `json:"terminals"` // living terminals now
	Execs     int    `json:"execs"`     // exec sessions now, detached ones included
	Forwards  int    `json:"forwards"`  // dialled ports now
	Watches   int    `json:"watches"`   // file watches, and connections to documents, now
	Output    uint64 `json:"output"`    // counter: bytes out of terminals
	Input     uint64 `json:"input"`     // counter: bytes into terminals
	Requests  uint64 `json:"requests"`  // counter: public requests
	Forwarded uint64 `json:"forwarded"` // counter: bytes through dialled ports, both ways
}

// EventName is the closed set of outcomes that the agent reports.
type EventName string

// The events.
const (
	EventMemoryLimit  EventName = "memory-limit"  // a process was killed to free memory
	EventProcessLimit EventName = "process-limit" // the user has as many processes as allowed
	EventDiskFull     EventName = "disk-full"
	EventInodesFull   EventName = "inodes-full"
	EventTmpfsFull    EventName = "tmpfs-full"
	EventThaw         EventName = "thaw" // the machine was restored or forked and has a new identity
)

// Event is one line of the event stream.
type Event struct {
	Seq  uint64    `json:"seq"` // from 1; a gap means that older events were dropped
	Time time.Time `json:"time"`
	Name EventName `json:"name"`
	Text string    `json:"text"`
}

// Thaw gives a restored machine its identity and its time.
type Thaw struct {
	Secret       string `json:"secret"`             // from now on the only one; at least 16 characters
	Hostname     string `json:"hostname,omitempty"` // "" keeps it
	MachineID    string `json:"machine_id,omitempty"`
	Name         string `json:"name,omitempty"`           // the workspace's name, for processes started later
	TimeUnixNano int64  `json:"time_unix_nano,omitempty"` // the right time; 0 leaves the clock alone
	Entropy      []byte `json:"entropy,omitempty"`        // at most 4 KiB, mixed into the kernel's pool

	WorkspaceID holt.WorkspaceID `json:"workspace_id,omitempty"` // a fork has its own; "" keeps it
}

// ThawResult says what a thaw could not do: each step that the kernel refused is
// a warning, not an error, because the machine runs.
type ThawResult struct {
	ClockStep float64  `json:"clock_step"` // seconds the clock was off before
	Closed    int      `json:"closed"`     // old connections that were dropped
	Warnings  []string `json:"warnings,omitempty"`
}
