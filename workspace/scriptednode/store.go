package scriptednode

import (
	"context"
	"time"

	"github.com/holt-ide/holt"
	hostwire "github.com/holt-ide/holt/wire/host"
)

// stored is a snapshot in the store.
type stored struct {
	Saved
	tenant    string
	workspace holt.WorkspaceID
	describe  hostwire.Description
	at        time.Time
}

// Lose damages the store's copy of a snapshot, or with gone makes it disappear.
func (n *Node) Lose(id holt.SnapshotID, gone bool) {
	n.locked(func() {
		if s := n.stored[id]; s != nil && gone {
			delete(n.stored, id)
		} else if s != nil {
			s.MemoryBroken, s.FilesBroken = true, true
		}
	})
}

// InStore returns the snapshots that the store has.
func (n *Node) InStore() (ids []holt.SnapshotID) {
	n.locked(func() {
		for id := range n.stored {
			ids = append(ids, id)
		}
	})
	return ids
}

// find returns a snapshot from wherever it is: the store, if the files here are gone
// or damaged. n.mu is held.
func (n *Node) find(id holt.SnapshotID) *Saved {
	s := n.snapshots[id]
	if s == nil || !s.Complete {
		return nil
	}
	if k := n.stored[id]; s.Stored && k != nil && (s.Evicted || s.MemoryBroken || s.FilesBroken) {
		return &k.Saved
	}
	if s.Evicted {
		return nil
	}
	return s
}

// KeepSnapshot implements workspace.SnapshotStore.
func (n *Node) KeepSnapshot(ctx context.Context, k hostwire.Keep) (hostwire.Kept, error) {
	leave, err := n.enter(ctx, "KeepSnapshot", "")
	if err != nil {
		return hostwire.Kept{}, err
	}
	defer leave()
	n.Point("node.keep.begun")
	n.locked(func() {
		s := n.snapshots[k.Snapshot]
		switch have := n.stored[k.Snapshot]; {
		case s == nil || !s.Complete:
			err = holt.Errorf(holt.KindNotFound, "there is no snapshot %s", k.Snapshot)
		case have != nil && !have.MemoryBroken:
		case s.Evicted:
			err = holt.Errorf(holt.KindCorrupt, "snapshot %s is nowhere whole", k.Snapshot)
		case s.MemoryBroken || s.FilesBroken:
			err = holt.Errorf(holt.KindCorrupt, "memory.img of snapshot %s is damaged", k.Snapshot)
		default:
			n.stored[k.Snapshot] = &stored{Saved: *s, tenant: k.Tenant, workspace: k.Describe.Workspace, describe: k.Describe, at: time.Now()}
		}
	})
	if err != nil {
		return hostwire.Kept{}, err
	}
	n.Point("node.keep.stored")
	n.locked(func() {
		if s := n.snapshots[k.Snapshot]; s != nil {
			s.Stored = true
		}
	})
	return hostwire.Kept{Bytes: 1 << 20, Stored: 1 << 10}, nil
}

// EvictSnapshot implements workspace.SnapshotStore.
func (n *Node) EvictSnapshot(ctx context.Context, snap holt.SnapshotID) error {
	leave, err := n.enter(ctx, "EvictSnapshot", "")
	if err != nil {
		return err
	}
	defer leave()
	n.locked(func() {
		if s := n.snapshots[snap]; s != nil && s.Stored {
			s.Evicted = true
		}
	})
	return nil
}

// StoredSnapshots implements workspace.SnapshotStore.
func (n *Node) StoredSnapshots(ctx context.Context, tenant string, _ bool) (list []hostwire.StoredSnapshot, err error) {
	leave, err := n.enter(ctx, "StoredSnapshots", "")
	if err != nil {
		return nil, err
	}
	defer leave()
	n.locked(func() {
		for id, s := range n.stored {
			if s.tenant == tenant {
				d := s.describe
				list = append(list, hostwire.StoredSnapshot{ID: id, Workspace: s.workspace, CreatedAt: s.at, Describe: &d})
			}
		}
	})
	return list, nil
}

// ForgetSnapshots implements workspace.SnapshotStore.
func (n *Node) ForgetSnapshots(ctx context.Context, tenant string, ids ...holt.SnapshotID) error {
	leave, err := n.enter(ctx, "ForgetSnapshots", "")
	if err != nil {
		return err
	}
	defer leave()
	n.Point("node.forget")
	n.locked(func() {
		for _, id := range ids {
			if s := n.stored[id]; s != nil && s.tenant == tenant {
				delete(n.stored, id)
			}
		}
	})
	return nil
}

// ImportSnapshot implements workspace.SnapshotStore.
func (n *Node) ImportSnapshot(ctx context.Context, tenant string, from, to holt.SnapshotID, ws holt.WorkspaceID) (hostwire.Snapshot, error) {
	leave, err := n.enter(ctx, "ImportSnapshot", "")
	if err != nil {
		return hostwire.Snapshot{}, err
	}
	defer leave()
	n.locked(func() {
		s := n.stored[from]
		if s == nil || s.tenant != tenant {
			err = holt.Errorf(holt.KindNotFound, "there is no snapshot %s", from)
			return
		}
		if from != to && n.stored[to] == nil {
			c := *s
			c.workspace = ws
			n.stored[to] = &c
		}
	})
	if err != nil {
		return hostwire.Snapshot{}, err
	}
	n.Point("node.import.copied")
	n.locked(func() {
		if n.snapshots[to] == nil {
			n.snapshots[to] = &Saved{Complete: true, Stored: true, Evicted: true}
		}
	})
	return hostwire.Snapshot{ID: to, Bytes: 1 << 20, CreatedAt: time.Now()}, nil
}

// MaintainStore implements workspace.SnapshotStore.
func (n *Node) MaintainStore(ctx context.Context, _ string) error {
	leave, err := n.enter(ctx, "MaintainStore", "")
	if err != nil {
		return err
	}
	leave()
	return nil
}

// ScrubStore implements workspace.SnapshotStore.
func (n *Node) ScrubStore(ctx context.Context, tenant string) (map[holt.SnapshotID]string, error) {
	leave, err := n.enter(ctx, "ScrubStore", "")
	if err != nil {
		return nil, err
	}
	defer leave()
	damaged := map[holt.SnapshotID]string{}
	n.locked(func() {
		for id, s := range n.stored {
			if s.tenant == tenant && s.MemoryBroken {
				damaged[id] = "a chunk is damaged"
			}
		}
	})
	return damaged, nil
}
