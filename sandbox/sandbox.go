// Package sandbox declares what isolates one workspace from everything else: a
// [Driver] makes machines, a [Sandbox] is one of them.
//
// The package holds the contract only. Implementations live in its subfolders
// (gvisor, later qemu and firecracker) and pass the suite in sandboxtest. A
// driver knows nothing of workspaces, volumes, networks or users: it is handed
// directories, a network namespace and numbers, and gives back a running kernel
// with one byte stream into it. Package node puts the parts together.
//
// Guarantees every driver gives:
//
//   - A sandbox outlives the process that made it. After a restart [Driver.Recover]
//     returns the same sandboxes.
//   - Start and Restore either return a sandbox or leave nothing behind.
//   - Close is final and idempotent: no process, mount, cgroup or file of the
//     driver's remains, whatever state the sandbox was in.
//   - The guest is hostile. Nothing it does blocks a method for longer than its
//     context allows.
package sandbox

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/holt-ide/holt"
)

// ErrGone is returned by methods of a sandbox that has ended.
var ErrGone = errors.New("sandbox has ended")

// Driver makes sandboxes of one kind.
//
// All methods may be called concurrently.
type Driver interface {
	// Capabilities says what this driver can do on this host.
	Capabilities() Capabilities

	// Start boots a fresh sandbox. It returns when the machine runs; its first
	// process may still be starting.
	Start(ctx context.Context, spec Spec) (Sandbox, error)

	// Restore makes a sandbox from what [Sandbox.Checkpoint] wrote to dir.
	// Of the Spec that was checkpointed, these may differ: ID, Hostname, Dir,
	// mount sources, Network, IDBase and Limits. Image, Init, mount targets and
	// Toolchain may not. The same directory may be restored many times, also
	// at once; it is only read, and must stay until the sandbox has ended.
	Restore(ctx context.Context, spec Spec, dir string) (Sandbox, error)

	// Recover returns the sandboxes of this driver that are alive on this
	// host, made by an earlier process with the same configuration. What is
	// left of dead ones is removed.
	Recover(ctx context.Context) ([]Sandbox, error)
}

// Preparer is implemented by drivers that can make most of a sandbox before
// anybody knows what will run in it ([Capabilities.Prepare]).
type Preparer interface {
	// Prepare makes a sandbox in which nothing runs. Mounts of spec without a
	// Source get theirs when it is set going. The result does not outlive this
	// process: Recover removes it.
	Prepare(ctx context.Context, spec Spec) (Prepared, error)
}

// Prepared is a sandbox that waits for what to run. One of Start, Restore and
// Close is called, once. When Start or Restore fail, nothing is left.
type Prepared interface {
	// Start is [Driver.Start] with the Spec of Prepare. mounts gives the
	// sources that were left open, by target; their ReadOnly does not count.
	Start(ctx context.Context, mounts []Mount) (Sandbox, error)

	// Restore is [Driver.Restore] likewise.
	Restore(ctx context.Context, mounts []Mount, dir string) (Sandbox, error)

	// Done is closed when the sandbox has ended, for whatever reason.
	Done() <-chan struct{}

	// Close frees everything. After Start or Restore it does nothing.
	Close(ctx context.Context) error
}

// Sandbox is one isolated machine.
//
// All methods may be called concurrently; Pause, Resume and Checkpoint are
// serialised.
type Sandbox interface {
	// Spec returns what the sandbox was made from.
	Spec() Spec

	// Dial opens an independent byte stream to the guest agent. Streams do not
	// survive a checkpoint.
	Dial(ctx context.Context) (net.Conn, error)

	// Pause stops every guest process. Pausing a paused sandbox does nothing.
	Pause(ctx context.Context) error

	// Resume lets a paused sandbox run on. Resuming a running one does nothing.
	Resume(ctx context.Context) error

	// Paused reports whether the sandbox is paused.
	Paused(ctx context.Context) (bool, error)

	// Checkpoint writes memory, processes and the root file system's writable
	// layer to dir, which it creates. The sandbox must be paused and stays so,
	// whether or not it succeeds. Bind mounts are not included: the caller
	// copies what stands behind them while the sandbox is paused. The files
	// are not yet flushed to the disk.
	Checkpoint(ctx context.Context, dir string) error

	// Stats returns what the sandbox uses now, as the host sees it.
	Stats(ctx context.Context) (Stats, error)

	// Done is closed when the sandbox has ended, for whatever reason.
	Done() <-chan struct{}

	// Close ends the sandbox at once and frees everything the driver took for
	// it. Closing twice is not an error.
	Close(ctx context.Context) error
}

// Observer is implemented by sandboxes whose kernel tells what it refused
// ([Capabilities.Observe]).
type Observer interface {
	// Refusals delivers what processes of the guest tried and were refused, as
	// the sandbox's kernel saw it: the guest can cause refusals, but neither make
	// one up nor take one back. The channel is the same at each call and is never
	// closed. Nothing waits for its reader: what is not taken in time is lost.
	// A sandbox that was recovered tells from some moment after that on.
	Refusals() <-chan Refusal
}

// Readier is implemented by sandboxes that can do the slow part of a pause ahead.
type Readier interface {
	// Ready tells that Pause and Checkpoint will be called in a moment. It returns
	// at once, and changes nothing but how long those take. Resume and Close undo it.
	Ready()
}

// Refusal is one thing that the sandbox's kernel refused.
type Refusal struct {
	// Probe names what was tried, from a set that the driver knows beforehand:
	// a system call, a path, or a kind of path.
	Probe string
	// Text completes the sentence "a process tried to …". It holds printable
	// ASCII only, and at most 200 bytes.
	Text string
	// Missed counts messages of the kernel that got lost since the one before.
	Missed uint64
}

// Spec is everything a driver needs to make one sandbox.
type Spec struct {
	ID       holt.SandboxID
	Hostname string

	// Image is the absolute path of a read-only EROFS image, the root file
	// system. Restored sandboxes need the same bytes at the same path.
	Image string

	// Init is the first process, which runs as root in the guest, with the
	// working directory "/".
	Init []string
	Env  []string

	// Mounts are host directories or files that appear in the guest.
	Mounts []Mount

	// Network is where the sandbox's only network interface is.
	Network Network

	// IDBase is the host uid and gid that the guest's root becomes; the 65,536
	// IDs from there on belong to this sandbox alone.
	IDBase uint32

	Limits holt.Limits

	// Toolchain names the build of the runtime, as recorded in a snapshot:
	// a checkpoint is restored by the build that wrote it. Empty means the
	// driver's current one.
	Toolchain string
}

// Mount is one bind mount.
type Mount struct {
	Source   string // absolute path on the host
	Target   string // absolute path in the guest
	ReadOnly bool
}

// Network tells a driver which namespace to use and how to reach the agent.
type Network struct {
	Sandbox string // path of the namespace that holds the guest's interface
	Gateway string // path of the namespace from which the agent is dialled
	Agent   string // "address:port" of the guest agent, seen from Gateway
}

// Capabilities says what a driver can do.
type Capabilities struct {
	Name           string // "gvisor"
	Version        string // of the runtime
	Toolchain      string // content hash of the runtime build new sandboxes use
	Memory         bool   // checkpoints hold memory and processes
	KeepRunning    bool   // a sandbox runs on after a checkpoint
	LazyRestore    bool   // Restore returns before all memory has been read
	Prepare        bool   // the driver is a [Preparer]
	Observe        bool   // its sandboxes are [Observer]s
	HardwareVirt   bool   // needs /dev/kvm
	DiskLimit      bool   // Limits.Root is enforced
	MinMemory      int64  // bytes a sandbox needs beside the guest's own
	RestoreElse    bool   // a checkpoint may be restored on another host of the same CPU kind
	SharedIDRanges bool   // sandboxes share one uid range (weaker isolation)
}

// Stats is a sandbox's use of the host. Counters never go back while the
// sandbox lives.
type Stats struct {
	CPU          time.Duration // processor time used since the start
	Throttled    time.Duration // time during which the CPU quota held it back
	Memory       int64         // bytes resident now, page cache included
	MemoryLimit  int64         // bytes
	MemoryPeak   int64         // bytes, 0 where the kernel does not tell
	MemoryDenied uint64        // times the memory limit was hit
	OOMKills     uint64        // processes the kernel killed for memory
	Processes    int64         // host tasks now
}
