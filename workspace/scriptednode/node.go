// Package scriptednode is a node in memory for tests of the lifecycle. It models
// what matters there: which machines live, stand still or are gone, which
// snapshots are complete and sound, what the memory and files of each hold, and
// what a crash between two moments of a call leaves behind. It can be told to
// fail or stall at any call.
//
// It checks its caller: a command that a correct caller never gives, such as two
// machines on one volume, is recorded in Faults.
package scriptednode

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/holt-ide/holt"
	hostwire "github.com/holt-ide/holt/wire/host"
)

// Machine is a sandbox.
type Machine struct {
	Spec   hostwire.Spec
	Frozen bool
	Alive  bool   // false for remains
	Memory string // what its processes know
}

// Saved is a snapshot.
type Saved struct {
	Complete     bool
	Memory       string
	Files        string
	MemoryBroken bool
	FilesBroken  bool
	Stored       bool // the store has it too
	Evicted      bool // and nobody else
}

// Node is the scripted node. Its state survives the managers that use it, as
// that of a real node survives its daemon.
type Node struct {
	// Point is called at moments within calls where a crash leaves something
	// half done, with names such as "node.freeze.frozen". Set it before use.
	Point func(string)

	mu        sync.Mutex
	script    Script
	machines  map[holt.SandboxID]*Machine
	snapshots map[holt.SnapshotID]*Saved
	volumes   map[holt.WorkspaceID]string
	busy      map[holt.WorkspaceID]string // the call under way
	activity  map[holt.SandboxID]hostwire.Activity
	faults    []string
	calls     map[string]int
	notices   chan hostwire.Notice
	stored    map[holt.SnapshotID]*stored
}

// Script is called at the start of every call with the name of the method. An
// error makes the call fail having done nothing. It may block until ctx ends.
type Script func(ctx context.Context, method string, ws holt.WorkspaceID) error

// Follow makes the node follow a script from the next call on; nil ends it.
func (n *Node) Follow(s Script) { n.locked(func() { n.script = s }) }

// New returns an empty node.
func New() *Node {
	return &Node{
		Point: func(string) {}, machines: map[holt.SandboxID]*Machine{}, snapshots: map[holt.SnapshotID]*Saved{},
		volumes: map[holt.WorkspaceID]string{}, busy: map[holt.WorkspaceID]string{}, activity: map[holt.SandboxID]hostwire.Activity{},
		calls: map[string]int{}, notices: make(chan hostwire.Notice, 1024),
		stored: map[holt.SnapshotID]*stored{},
	}
}

// enter begins a call: it counts, runs the script, and checks that the caller
// gives one command about a workspace at a time.
func (n *Node) enter(ctx context.Context, method string, ws holt.WorkspaceID) (leave func(), err error) {
	n.mu.Lock()
	n.calls[method]++
	if was := n.busy[ws]; was != "" && ws != "" {
		n.faults = append(n.faults, fmt.Sprintf("%s of %s during %s", method, ws, was))
	}
	if ws != "" {
		n.busy[ws] = method
	}
	script := n.script
	n.mu.Unlock()
	leave = func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.busy, ws)
	}
	if script != nil {
		if err := script(ctx, method, ws); err != nil {
			leave()
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

func (n *Node) locked(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

// fault records a mistake of the caller. n.mu is held.
func (n *Node) fault(format string, a ...any) { n.faults = append(n.faults, fmt.Sprintf(format, a...)) }

// boot adds a machine on the volume of spec. n.mu is held.
func (n *Node) boot(spec hostwire.Spec, memory string) {
	for id, m := range n.machines {
		if m.Spec.Workspace == spec.Workspace && id != spec.Sandbox {
			n.fault("machine %s is made for %s while %s exists", spec.Sandbox, spec.Workspace, id)
		}
	}
	n.machines[spec.Sandbox] = &Machine{Spec: spec, Alive: true, Memory: memory}
}

// Provision implements workspace.Node.
func (n *Node) Provision(ctx context.Context, spec hostwire.Spec) error {
	leave, err := n.enter(ctx, "Provision", spec.Workspace)
	if err != nil {
		return err
	}
	defer leave()
	n.locked(func() {
		if _, ok := n.volumes[spec.Workspace]; !ok {
			n.volumes[spec.Workspace] = "new:" + string(spec.Workspace)
		}
	})
	n.Point("node.provision.volume")
	n.locked(func() {
		if m := n.machines[spec.Sandbox]; m == nil || !m.Alive {
			n.boot(spec, "fresh")
		}
	})
	n.Point("node.provision.booted")
	return nil
}

// Freeze implements workspace.Node.
func (n *Node) Freeze(ctx context.Context, id holt.SandboxID, snap holt.SnapshotID, keep bool) (hostwire.Snapshot, error) {
	n.mu.Lock()
	m := n.machines[id]
	n.mu.Unlock()
	if m == nil {
		return hostwire.Snapshot{}, holt.Errorf(holt.KindNotFound, "there is no sandbox %s", id)
	}
	leave, err := n.enter(ctx, "Freeze", m.Spec.Workspace)
	if err != nil {
		return hostwire.Snapshot{}, err
	}
	defer leave()
	n.locked(func() {
		if !m.Alive {
			err = holt.Errorf(holt.KindUnavailable, "sandbox %s has ended", id)
			return
		}
		m.Frozen = true
	})
	if err != nil {
		return hostwire.Snapshot{}, err
	}
	n.Point("node.freeze.frozen")
	n.locked(func() {
		if s := n.snapshots[snap]; s == nil || !s.Complete {
			n.snapshots[snap] = &Saved{Memory: m.Memory, Files: n.volumes[m.Spec.Workspace]}
		}
	})
	n.Point("node.freeze.written")
	n.locked(func() { n.snapshots[snap].Complete = true })
	n.Point("node.freeze.complete")
	if keep {
		n.locked(func() { m.Frozen = false })
		n.Point("node.freeze.kept")
	}
	return hostwire.Snapshot{ID: snap, Bytes: 1 << 20, Pause: 20 * time.Millisecond, CreatedAt: time.Now()}, nil
}

// Unfreeze implements workspace.Node.
func (n *Node) Unfreeze(ctx context.Context, id holt.SandboxID) error {
	n.mu.Lock()
	m := n.machines[id]
	n.mu.Unlock()
	if m == nil {
		return holt.Errorf(holt.KindNotFound, "there is no sandbox %s", id)
	}
	leave, err := n.enter(ctx, "Unfreeze", m.Spec.Workspace)
	if err != nil {
		return err
	}
	defer leave()
	n.locked(func() { m.Frozen = false })
	return nil
}

// Resume implements workspace.Node.
func (n *Node) Resume(ctx context.Context, spec hostwire.Spec, snap holt.SnapshotID) error {
	leave, err := n.enter(ctx, "Resume", spec.Workspace)
	if err != nil {
		return err
	}
	defer leave()
	n.locked(func() {
		s := n.find(snap)
		switch {
		case s == nil || !s.Complete:
			err = holt.Errorf(holt.KindNotFound, "there is no snapshot %s", snap)
		case s.MemoryBroken:
			err = holt.Errorf(holt.KindCorrupt, "memory.img of snapshot %s is damaged", snap)
		case s.FilesBroken:
			err = holt.Errorf(holt.KindCorrupt, "volume.img of snapshot %s is damaged", snap)
		}
	})
	if err != nil {
		return err
	}
	n.Point("node.resume.verified")
	n.locked(func() {
		if m := n.machines[spec.Sandbox]; m == nil || !m.Alive {
			n.volumes[spec.Workspace] = n.find(snap).Files
		}
	})
	n.Point("node.resume.volume")
	n.locked(func() {
		if m := n.machines[spec.Sandbox]; m == nil || !m.Alive {
			n.boot(spec, n.find(snap).Memory)
		}
	})
	n.Point("node.resume.restored")
	return nil
}

// Release implements workspace.Node.
func (n *Node) Release(ctx context.Context, id holt.SandboxID) error {
	leave, err := n.enter(ctx, "Release", "")
	if err != nil {
		return err
	}
	defer leave()
	n.Point("node.release")
	n.locked(func() { delete(n.machines, id) })
	return nil
}

// Shutdown implements workspace.Node.
func (n *Node) Shutdown(ctx context.Context, id holt.SandboxID) error {
	leave, err := n.enter(ctx, "Shutdown", "")
	if err != nil {
		return err
	}
	defer leave()
	n.Point("node.shutdown")
	n.locked(func() { delete(n.machines, id) })
	return nil
}

// CopySnapshot implements workspace.Node.
func (n *Node) CopySnapshot(ctx context.Context, from, to holt.SnapshotID) (hostwire.Snapshot, error) {
	leave, err := n.enter(ctx, "CopySnapshot", "")
	if err != nil {
		return hostwire.Snapshot{}, err
	}
	defer leave()
	n.locked(func() {
		if done := n.snapshots[to]; done != nil && done.Complete {
			return // by an earlier call
		}
		s := n.find(from)
		if s == nil || !s.Complete {
			err = holt.Errorf(holt.KindNotFound, "there is no snapshot %s", from)
			return
		}
		c := *s
		c.Stored, c.Evicted = false, false
		n.snapshots[to] = &c
	})
	if err != nil {
		return hostwire.Snapshot{}, err
	}
	n.Point("node.copy-snapshot")
	return hostwire.Snapshot{ID: to, Bytes: 1 << 20, CreatedAt: time.Now()}, nil
}

// CopyVolume implements workspace.Node.
func (n *Node) CopyVolume(ctx context.Context, from, to holt.WorkspaceID) error {
	leave, err := n.enter(ctx, "CopyVolume", to)
	if err != nil {
		return err
	}
	defer leave()
	n.locked(func() {
		files, ok := n.volumes[from]
		if !ok {
			err = holt.Errorf(holt.KindNotFound, "there is no volume of %s", from)
			return
		}
		for _, m := range n.machines {
			if m.Alive && (m.Spec.Workspace == from || m.Spec.Workspace == to) {
				n.fault("the volume of %s is copied while a machine runs on it", m.Spec.Workspace)
			}
		}
		n.volumes[to] = files
	})
	if err == nil {
		n.Point("node.copy-volume")
	}
	return err
}

// RestoreVolume implements workspace.Node.
func (n *Node) RestoreVolume(ctx context.Context, snap holt.SnapshotID, ws holt.WorkspaceID) error {
	leave, err := n.enter(ctx, "RestoreVolume", ws)
	if err != nil {
		return err
	}
	defer leave()
	n.locked(func() {
		s := n.find(snap)
		switch {
		case s == nil || !s.Complete:
			err = holt.Errorf(holt.KindNotFound, "there is no snapshot %s", snap)
		case s.FilesBroken:
			err = holt.Errorf(holt.KindCorrupt, "volume.img of snapshot %s is damaged", snap)
		default:
			for id, m := range n.machines {
				if m.Spec.Workspace == ws && m.Alive {
					n.fault("the volume of %s is replaced under machine %s", ws, id)
				}
			}
			n.volumes[ws] = s.Files
		}
	})
	if err == nil {
		n.Point("node.restore-volume")
	}
	return err
}

// VerifySnapshot implements workspace.Node.
func (n *Node) VerifySnapshot(ctx context.Context, snap holt.SnapshotID) error {
	leave, err := n.enter(ctx, "VerifySnapshot", "")
	if err != nil {
		return err
	}
	defer leave()
	n.locked(func() {
		switch s := n.find(snap); {
		case s == nil || !s.Complete:
			err = holt.Errorf(holt.KindNotFound, "there is no snapshot %s", snap)
		case s.MemoryBroken || s.FilesBroken:
			err = holt.Errorf(holt.KindCorrupt, "snapshot %s is damaged", snap)
		}
	})
	return err
}

// DiscardSnapshot implements workspace.Node.
func (n *Node) DiscardSnapshot(ctx context.Context, snap holt.SnapshotID) error {
	leave, err := n.enter(ctx, "DiscardSnapshot", "")
	if err != nil {
		return err
	}
	defer leave()
	n.Point("node.discard-snapshot")
	n.locked(func() { delete(n.snapshots, snap) })
	return nil
}

// DiscardVolume implements workspace.Node.
func (n *Node) DiscardVolume(ctx context.Context, ws holt.WorkspaceID) error {
	leave, err := n.enter(ctx, "DiscardVolume", ws)
	if err != nil {
		return err
	}
	defer leave()
	n.Point("node.discard-volume")
	n.locked(func() {
		for id, m := range n.machines {
			if m.Spec.Workspace == ws {
				n.fault("the volume of %s is discarded under machine %s", ws, id)
			}
		}
		delete(n.volumes, ws)
	})
	return nil
}

// Inventory implements workspace.Node.
func (n *Node) Inventory(ctx context.Context) (inv hostwire.Inventory, err error) {
	leave, err := n.enter(ctx, "Inventory", "")
	if err != nil {
		return inv, err
	}
	defer leave()
	n.locked(func() {
		for id, m := range n.machines {
			inv.Sandboxes = append(inv.Sandboxes, hostwire.SandboxInfo{ID: id, Workspace: m.Spec.Workspace, Frozen: m.Frozen, Alive: m.Alive})
		}
		for id, s := range n.snapshots {
			if s.Complete {
				inv.Snapshots = append(inv.Snapshots, id)
			}
			if s.Complete && s.Evicted {
				inv.Evicted = append(inv.Evicted, id)
			}
		}
		inv.Volumes = slices.Collect(maps.Keys(n.volumes))
	})
	return inv, nil
}

// Notices implements workspace.Node.
func (n *Node) Notices() <-chan hostwire.Notice { return n.notices }

// Activity implements workspace.Node.
func (n *Node) Activity(ctx context.Context, id holt.SandboxID) (a hostwire.Activity, err error) {
	leave, err := n.enter(ctx, "Activity", "")
	if err != nil {
		return a, err
	}
	defer leave()
	n.locked(func() { a = n.activity[id] })
	return a, nil
}
