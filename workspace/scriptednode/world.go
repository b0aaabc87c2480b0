package scriptednode

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/holt-ide/holt"
	hostwire "github.com/holt-ide/holt/wire/host"
)

// What follows is the world outside the lifecycle: machines that live, break and
// are looked at by tests.

// Recover does what a node does when it starts after a crash of its daemon:
// snapshots that were being written are gone, calls under way are forgotten.
func (n *Node) Recover() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.busy)
	maps.DeleteFunc(n.snapshots, func(_ holt.SnapshotID, s *Saved) bool { return !s.Complete })
}

// Reboot does what a reboot of the host does: no machine is left.
func (n *Node) Reboot() {
	n.Recover()
	n.locked(func() { clear(n.machines) })
}

// Crash ends a machine on its own, and tells unless silent.
func (n *Node) Crash(id holt.SandboxID, silent bool) bool {
	n.mu.Lock()
	m := n.machines[id]
	if m == nil || !m.Alive {
		n.mu.Unlock()
		return false
	}
	m.Alive, m.Frozen = false, false
	ws := m.Spec.Workspace
	n.mu.Unlock()
	if !silent {
		n.Tell(hostwire.Notice{Workspace: ws, Sandbox: id, At: time.Now(), Name: "exited", Text: "the machine ended with signal 9", Exited: true})
	}
	return true
}

// Tell delivers a notice.
func (n *Node) Tell(x hostwire.Notice) { n.notices <- x }

// Work changes memory and files of a running machine, as its user does.
func (n *Node) Work(id holt.SandboxID, memory, files string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := n.machines[id]
	if m == nil || !m.Alive || m.Frozen {
		return false
	}
	m.Memory = memory
	n.volumes[m.Spec.Workspace] = files
	return true
}

// Damage breaks parts of a snapshot.
func (n *Node) Damage(id holt.SnapshotID, memory, files bool) {
	n.locked(func() {
		if s := n.snapshots[id]; s != nil {
			s.MemoryBroken, s.FilesBroken = memory, files
		}
	})
}

// Busy sets what Activity reports of a machine.
func (n *Node) Busy(id holt.SandboxID, a hostwire.Activity) {
	n.locked(func() { n.activity[id] = a })
}

// Stray adds things that nothing claims.
func (n *Node) Stray(m Machine, id holt.SandboxID, snap holt.SnapshotID) {
	n.locked(func() {
		n.machines[id] = &m
		n.snapshots[snap] = &Saved{Complete: true}
	})
}

// Machine returns a copy of a machine, false when there is none.
func (n *Node) Machine(id holt.SandboxID) (Machine, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	m, ok := n.machines[id]
	if !ok {
		return Machine{}, false
	}
	return *m, true
}

// Files returns the content of a volume.
func (n *Node) Files(ws holt.WorkspaceID) (string, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	files, ok := n.volumes[ws]
	return files, ok
}

// Snapshot returns a copy of a snapshot, false when there is none.
func (n *Node) Snapshot(id holt.SnapshotID) (Saved, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s, ok := n.snapshots[id]
	if !ok {
		return Saved{}, false
	}
	return *s, true
}

// Calls returns how often a method was called.
func (n *Node) Calls(method string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.calls[method]
}

// Faults returns the mistakes of the caller so far.
func (n *Node) Faults() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.faults)
}

// All returns everything there is, incomplete snapshots included.
func (n *Node) All() (inv hostwire.Inventory) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, m := range n.machines {
		inv.Sandboxes = append(inv.Sandboxes, hostwire.SandboxInfo{ID: id, Workspace: m.Spec.Workspace, Frozen: m.Frozen, Alive: m.Alive})
	}
	inv.Snapshots = slices.Collect(maps.Keys(n.snapshots))
	inv.Volumes = slices.Collect(maps.Keys(n.volumes))
	return inv
}

// Stall returns a script that makes the method wait until the channel is closed
// or the call is cancelled; entered receives once per call.
func Stall(method string, entered chan<- holt.WorkspaceID, until <-chan struct{}) Script {
	return func(ctx context.Context, m string, ws holt.WorkspaceID) error {
		if m != method {
			return nil
		}
		entered <- ws
		select {
		case <-until:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
