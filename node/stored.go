package node

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/fault"
	"github.com/holt-ide/holt/node/depot"
	"github.com/holt-ide/holt/node/volume"
	"github.com/holt-ide/holt/sandbox"
	"github.com/holt-ide/holt/snapshot"
	hostwire "github.com/holt-ide/holt/wire/host"
)

// resumeAny resumes from raw files if they are here and whole, else from the store.
func (n *Node) resumeAny(ctx context.Context, spec hostwire.Spec, man *snapshot.Manifest) error {
	here, release := n.snapshots.Raw(man.ID)
	if !here {
		return n.resumeStored(ctx, spec, man)
	}
	err := n.resumeRaw(ctx, spec, man)
	release()
	if n.dropDamaged(man.ID, err) {
		return n.resumeStored(ctx, spec, man)
	}
	return err
}

// dropDamaged gives raw files up of which err says that they are damaged, if the
// store has the snapshot too, and reports whether it did.
func (n *Node) dropDamaged(id holt.SnapshotID, err error) bool {
	if !holt.IsKind(err, holt.KindCorrupt) || n.snapshots.Evicted(id) {
		return false
	}
	if _, ok := n.snapshots.Stored(id); !ok {
		return false
	}
	n.log.Error("the raw files of a snapshot are damaged, going on from the store", "snapshot", id, "err", err)
	if err := n.snapshots.Evict(id); err != nil {
		n.log.Warn("give damaged files up", "snapshot", id, "err", err)
	}
	return n.snapshots.Evicted(id)
}

// fetchVolume makes a copy of an evicted snapshot's volume. Blocks that the
// workspace's volume has already, which are all of them on the node that froze it,
// are not fetched.
func (n *Node) fetchVolume(ctx context.Context, man *snapshot.Manifest, ws holt.WorkspaceID) (*volume.Staged, error) {
	var fetched int64
	staged, err := n.volumes.StageFill(ws, func(f *os.File) (err error) {
		fetched, err = n.snapshots.Fetch(ctx, man, snapshot.VolumeName, f)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("fetch volume: %w", err)
	}
	n.log.Info("volume fetched from the store", "snapshot", man.ID, "workspace", ws, "bytes", fetched)
	return staged, nil
}

// broken is the first error that a mount met.
type broken struct {
	once sync.Once
	ch   chan struct{}
	err  error // set before ch is closed
}

func (b *broken) set(err error) { b.once.Do(func() { b.err = err; close(b.ch) }) }

// get returns the error if there was one.
func (b *broken) get() error {
	select {
	case <-b.ch:
		return b.err
	default:
		return nil
	}
}

// resumeStored resumes from the store alone: the machine runs before its memory has
// arrived. One whose memory does not arrive is ended, whatever it would make of that.
func (n *Node) resumeStored(ctx context.Context, spec hostwire.Spec, man *snapshot.Manifest) (err error) {
	laps := newLaps()
	bad := &broken{ch: make(chan struct{})}
	mount, err := n.snapshots.Mount(ctx, man.ID, func(file string, err error) {
		bad.set(fmt.Errorf("fetch %s: %w", file, err))
	})
	if err != nil {
		return err
	}
	loading := false
	defer func() {
		if !loading {
			n.closeMount(mount)
		}
	}()
	laps.lap("mount")
	placed, err := n.placeVolume(ctx, man, spec.Workspace)
	if err != nil {
		return err
	}
	flushed := make(chan error, 1)
	go func() { flushed <- placed.Flush() }()
	laps.lap("place_volume")
	r := recordOf(spec, man)
	r.Loading = true
	m, err := n.assemble(ctx, laps, spec, r, man.Toolchain, func(ctx context.Context, u *unit, mounted string) (sandbox.Sandbox, error) {
		return n.restore(ctx, u, mounted, mount.Dir())
	})
	if err != nil {
		if cause := bad.get(); cause != nil {
			return cause // that is why it could not be restored
		}
		return err
	}
	fault.Point("resume.loading")
	thawing, stop := context.WithCancel(ctx)
	go func() { // do not wait for an agent whose memory does not come
		select {
		case <-bad.ch:
			stop()
		case <-thawing.Done():
		}
	}()
	err = m.thaw(thawing, spec)
	stop()
	if cause := bad.get(); cause != nil {
		err = cause
	}
	laps.lap("agent")
	if err == nil {
		err = <-flushed
	}
	laps.lap("flush")
	if err == nil {
		err = n.forgetJournal(spec.Workspace)
	}
	if err := n.handOver(ctx, laps, m, err); err != nil {
		return err
	}
	loading = true
	n.wg.Go(func() { n.load(m, mount, bad) })
	return nil
}

// load waits until the machine has all of its memory, and ends it if that fails.
func (n *Node) load(m *machine, mount *depot.Lazy, bad *broken) {
	defer n.closeMount(mount)
	select {
	case <-mount.Idle():
	case <-bad.ch:
	case <-m.sb.Done():
		return
	case <-n.run.Done():
		// A machine without the rest of its memory cannot go on without us.
		patience := time.NewTimer(loadPatience)
		defer patience.Stop()
		select {
		case <-mount.Idle():
		case <-bad.ch:
		case <-m.sb.Done():
			return
		case <-patience.C:
			bad.set(errors.New("the server ended"))
		}
	}
	err := bad.get()
	if err == nil {
		if n.loaded(m) {
			mount.Remember(context.WithoutCancel(n.run))
			n.log.Info("memory has arrived", "sandbox_id", m.rec.Sandbox, "workspace", m.rec.Workspace)
		}
		return
	}
	n.log.Error("the memory of a machine did not arrive, it is ended", "sandbox_id", m.rec.Sandbox, "workspace", m.rec.Workspace, "err", err)
	m.mu.Lock()
	m.fate = "the machine was ended: the rest of its memory could not be fetched from the store (" + reason(err) + ")"
	m.mu.Unlock()
	if err := m.sb.Close(context.WithoutCancel(n.run)); err != nil {
		n.log.Error("end a machine without memory", "sandbox_id", m.rec.Sandbox, "err", err)
	}
}

// loadPatience is how long the end of this process waits for machines to get their
// memory.
const loadPatience = 8 * time.Second

// loaded notes that a machine has its memory, unless it was released meanwhile.
func (n *Node) loaded(m *machine) bool {
	defer n.releases.lock(string(m.rec.Sandbox))()
	n.mu.Lock()
	here := n.machines[m.rec.Sandbox] == m
	n.mu.Unlock()
	if !here {
		return false
	}
	if err := m.update(func(r *record) { r.Loading = false }); err != nil {
		n.log.Warn("note that a machine has its memory", "sandbox", m.rec.Sandbox, "err", err)
	}
	fault.Point("resume.loaded")
	return true
}

func (n *Node) closeMount(mount *depot.Lazy) {
	if err := mount.Close(); err != nil {
		n.log.Warn("close the mount of a snapshot", "err", err)
	}
}

// fetchAgent installs the guest agent that a snapshot needs from the store.
func (n *Node) fetchAgent(ctx context.Context, man *snapshot.Manifest) error {
	lacks := holt.Errorf(holt.KindUnsupported, "snapshot %s needs the guest agent %.12s, which is not on this machine any more", man.ID, man.Agent)
	f, err := os.CreateTemp("", "holt-agent-")
	if err != nil {
		return fmt.Errorf("fetch guest agent: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	sum := sha256.New()
	if err := n.snapshots.Extra(ctx, man.ID, agentName, io.MultiWriter(f, sum)); holt.IsKind(err, holt.KindNotFound) {
		return lacks
	} else if err != nil {
		return fmt.Errorf("fetch guest agent: %w", err)
	}
	if hex.EncodeToString(sum.Sum(nil)) != man.Agent {
		return holt.Errorf(holt.KindUnsupported, "snapshot %s needs the guest agent %.12s, and the store has another one", man.ID, man.Agent)
	}
	if _, err := n.tools.Install(f.Name(), agentName); err != nil {
		return err
	}
	n.log.Info("guest agent fetched from the store", "snapshot", man.ID, "agent", man.Agent)
	return nil
}

// KeepSnapshot commits a snapshot to the store; see package workspace.
func (n *Node) KeepSnapshot(ctx context.Context, k hostwire.Keep) (hostwire.Kept, error) {
	body, err := json.Marshal(k.Describe)
	if err != nil {
		return hostwire.Kept{}, fmt.Errorf("encode description: %w", err)
	}
	add := depot.New{ID: k.Snapshot, Parent: k.Parent, Describe: body}
	if man, err := n.snapshots.Get(k.Snapshot); err == nil && n.tools.Has(man.Agent, agentName) {
		// The machine needs this very agent wherever it is resumed, which may be on a
		// server that has only a later one.
		add.Extra = map[string]string{agentName: n.tools.Path(man.Agent, agentName)}
	}
	kept, err := n.snapshots.Keep(ctx, k.Tenant, add)
	return hostwire.Kept(kept), err
}

// EvictSnapshot removes raw files that the store has too; see package workspace.
func (n *Node) EvictSnapshot(_ context.Context, snap holt.SnapshotID) error {
	return n.snapshots.Evict(snap)
}

// StoredSnapshots lists what the store has of a tenant; see package workspace.
func (n *Node) StoredSnapshots(ctx context.Context, tenant string, describe bool) ([]hostwire.StoredSnapshot, error) {
	entries, err := n.snapshots.Entries(ctx, tenant, describe)
	if err != nil {
		return nil, err
	}
	list := make([]hostwire.StoredSnapshot, len(entries))
	for i, e := range entries {
		list[i] = hostwire.StoredSnapshot{ID: e.ID, Workspace: e.Workspace, CreatedAt: e.CreatedAt, Bytes: e.Bytes, Stored: e.Stored, Damage: e.Damage}
		if d := new(hostwire.Description); json.Unmarshal(e.Describe, d) == nil && d.Image != "" {
			list[i].Describe = d
		}
	}
	return list, nil
}

// ForgetSnapshots removes snapshots from the store; see package workspace.
func (n *Node) ForgetSnapshots(ctx context.Context, tenant string, ids ...holt.SnapshotID) error {
	return n.snapshots.Forget(ctx, tenant, ids...)
}

// ImportSnapshot makes a snapshot of the store known here; see package workspace.
func (n *Node) ImportSnapshot(ctx context.Context, tenant string, from, to holt.SnapshotID, ws holt.WorkspaceID) (hostwire.Snapshot, error) {
	man, err := n.snapshots.Import(ctx, tenant, from, to, ws)
	if err != nil {
		return hostwire.Snapshot{}, err
	}
	return describe(man), nil
}

// MaintainStore gives back what nobody needs in the store; see package workspace.
func (n *Node) MaintainStore(ctx context.Context, tenant string) error {
	m, err := n.snapshots.Maintain(ctx, tenant)
	if err != nil {
		return err
	}
	n.log.Info("store of snapshots maintained", "tenant", tenant, "removed_objects", m.Collected.Objects, "removed_bytes", m.Collected.Bytes,
		"given_up", m.Collected.GivenUp, "rewritten_segments", m.Compacted.Segments, "rewritten_snapshots", m.Compacted.Snapshots)
	return nil
}

// ScrubStore reads everything that the store has of a tenant; see package workspace.
func (n *Node) ScrubStore(ctx context.Context, tenant string) (map[holt.SnapshotID]string, error) {
	return n.snapshots.Scrub(ctx, tenant)
}

// reason is the text of err for the user.
func reason(err error) string {
	if e, ok := errors.AsType[*holt.Error](err); ok && e.Text != "" {
		return e.Text
	}
	return err.Error()
}
