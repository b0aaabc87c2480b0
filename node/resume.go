package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/fault"
	"github.com/holt-ide/holt/node/volume"
	"github.com/holt-ide/holt/sandbox"
	"github.com/holt-ide/holt/snapshot"
	guestwire "github.com/holt-ide/holt/wire/guest"
	hostwire "github.com/holt-ide/holt/wire/host"
)

// Resume makes a machine from a snapshot; see package workspace.
func (n *Node) Resume(ctx context.Context, spec hostwire.Spec, snap holt.SnapshotID) error {
	if done, err := n.already(spec); done || err != nil {
		return err
	}
	man, err := n.snapshots.Get(snap)
	if err != nil {
		return err
	}
	if want := n.driver.Capabilities().Name; man.Driver != want {
		return holt.Errorf(holt.KindUnsupported, "snapshot %s was made by driver %s, this node has %s", snap, man.Driver, want)
	}
	if !n.tools.Has(man.Agent, agentName) {
		if err := n.fetchAgent(ctx, man); err != nil {
			return err
		}
	}
	if err := n.suits(man); err != nil {
		return err
	}
	defer n.reserve.making()()
	return n.resumeAny(ctx, spec, man)
}

// resumeRaw resumes from raw files.
func (n *Node) resumeRaw(ctx context.Context, spec hostwire.Spec, man *snapshot.Manifest) error {
	laps := newLaps()
	// The volume's copy is placed only when it is known to be whole. The memory is
	// verified while the sandbox is being made of it: a damaged one starts, where
	// it can harm nobody, and is released before anybody sees it.
	placed, err := n.placeVolume(ctx, man, spec.Workspace)
	if err != nil {
		return err
	}
	laps.lap("place_volume")
	memory, stop := n.verifyMemory(ctx, man)
	defer stop()
	flushed := make(chan error, 1)
	go func() { flushed <- placed.Flush() }() // before anybody gives the snapshot up
	m, err := n.assemble(ctx, laps, spec, recordOf(spec, man), man.Toolchain, func(ctx context.Context, u *unit, mounted string) (sandbox.Sandbox, error) {
		return n.restore(ctx, u, mounted, n.snapshots.Dir(man.ID))
	})
	if err != nil {
		if damaged := memory(); damaged != nil {
			return damaged // that is why it could not be restored
		}
		return err
	}
	err = m.thaw(ctx, spec)
	laps.lap("agent")
	if damaged := memory(); damaged != nil {
		err = damaged // whatever the thaw met came of it
	}
	laps.lap("verify_memory")
	if err == nil {
		err = <-flushed
	}
	laps.lap("flush")
	if err == nil {
		err = n.forgetJournal(spec.Workspace)
	}
	return n.handOver(ctx, laps, m, err)
}

// recordOf returns the record of a machine that is made from a snapshot.
func recordOf(spec hostwire.Spec, man *snapshot.Manifest) record {
	return record{
		Sandbox: spec.Sandbox, Workspace: spec.Workspace, Name: spec.Name, Tenant: spec.Tenant, Image: man.Image,
		Limits: spec.Limits, Agent: man.Agent, Secret: man.Secret,
	}
}

// verifyMemory starts to verify every file of a snapshot but the volume. The
// first function waits for the result; the second gives up and waits.
func (n *Node) verifyMemory(ctx context.Context, man *snapshot.Manifest) (result func() error, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var names []string
	for _, f := range man.Files {
		if f.Name != snapshot.VolumeName {
			names = append(names, f.Name)
		}
	}
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		err = n.snapshots.Verify(ctx, man, names...)
	}()
	return func() error { <-done; return err }, func() { cancel(); <-done }
}

// stageVolume makes a verified copy of a snapshot's volume, from wherever it is.
func (n *Node) stageVolume(ctx context.Context, man *snapshot.Manifest, ws holt.WorkspaceID) (*volume.Staged, error) {
	here, release := n.snapshots.Raw(man.ID)
	defer release()
	if !here {
		return n.fetchVolume(ctx, man, ws)
	}
	if err := n.snapshots.Verify(ctx, man, snapshot.VolumeName); err != nil {
		return nil, err
	}
	staged, err := n.volumes.Stage(filepath.Join(n.snapshots.Dir(man.ID), snapshot.VolumeName), ws)
	if err != nil {
		return nil, fmt.Errorf("copy volume: %w", err)
	}
	return staged, nil
}

// placeVolume makes the workspace's volume that of a snapshot, which it verifies.
func (n *Node) placeVolume(ctx context.Context, man *snapshot.Manifest, ws holt.WorkspaceID) (*volume.Staged, error) {
	staged, err := n.stageVolume(ctx, man, ws)
	if err != nil {
		return nil, err
	}
	defer staged.Abort()
	fault.Point("resume.verified")
	n.files.leave(ws)
	if err := n.files.behind(ws, ""); err != nil {
		return nil, err
	}
	if err := n.volumes.Unmount(ws); err != nil {
		return nil, fmt.Errorf("unmount old volume: %w", err)
	}
	fault.Point("volume.unmounted")
	if err := staged.Place(); err != nil {
		return nil, fmt.Errorf("place volume: %w", err)
	}
	fault.Point("volume.placed")
	return staged, nil
}

// thaw waits for the agent and gives the machine its identity, fresh or restored:
// nothing by which two machines of one image or snapshot could be confused stays
// equal. A crash before the record is ready costs nothing: the machine is
// released and made once more.
func (m *machine) thaw(ctx context.Context, spec hostwire.Spec) error {
	entropy := make([]byte, 64)
	rand.Read(entropy)
	id := make([]byte, 16)
	rand.Read(id)
	secret := holt.NewSecret()
	result, err := m.meet(ctx, guestwire.Thaw{
		Secret: secret, Hostname: spec.Name, Name: spec.Name, WorkspaceID: spec.Workspace,
		MachineID: hex.EncodeToString(id), Entropy: entropy,
	})
	if err != nil {
		return fmt.Errorf("thaw machine: %w", err)
	}
	fault.Point("machine.thawed") // it has a secret that no record holds
	for _, w := range result.Warnings {
		m.node.log.Warn("thaw", "sandbox", m.rec.Sandbox, "warning", w)
	}
	return m.update(func(r *record) { r.Secret = secret })
}

// CopySnapshot copies a snapshot; see package workspace.
func (n *Node) CopySnapshot(ctx context.Context, from, to holt.SnapshotID) (hostwire.Snapshot, error) {
	if man, err := n.snapshots.Get(to); err == nil {
		return describe(man), nil
	}
	man, err := n.snapshots.Copy(ctx, from, to)
	if err != nil {
		return hostwire.Snapshot{}, err
	}
	return describe(man), nil
}

// VerifySnapshot reads a whole snapshot; see package workspace.
func (n *Node) VerifySnapshot(ctx context.Context, snap holt.SnapshotID) error {
	man, err := n.snapshots.Get(snap)
	if err != nil {
		return err
	}
	return n.snapshots.VerifyAll(ctx, man)
}

// DiscardSnapshot removes a snapshot; see package workspace.
func (n *Node) DiscardSnapshot(_ context.Context, snap holt.SnapshotID) error {
	return n.snapshots.Remove(snap)
}

// CopyVolume copies a volume; see package workspace.
func (n *Node) CopyVolume(_ context.Context, from, to holt.WorkspaceID) error {
	ok, err := n.volumes.Exists(from)
	if err != nil {
		return fmt.Errorf("look for volume: %w", err)
	}
	if !ok {
		return holt.Errorf(holt.KindNotFound, "workspace %s has no volume", from)
	}
	if err := n.volumes.Copy(from, to); err != nil {
		return err
	}
	return n.files.behind(to, "")
}

// RestoreVolume takes the files of a snapshot without its memory; see package workspace.
func (n *Node) RestoreVolume(ctx context.Context, snap holt.SnapshotID, ws holt.WorkspaceID) error {
	man, err := n.snapshots.Get(snap)
	if err != nil {
		return err
	}
	placed, err := n.placeVolume(ctx, man, ws)
	if n.dropDamaged(man.ID, err) {
		placed, err = n.placeVolume(ctx, man, ws)
	}
	if err != nil {
		return err
	}
	defer n.files.rest(ws)
	return placed.Flush()
}

// DiscardVolume removes a volume; see package workspace.
func (n *Node) DiscardVolume(_ context.Context, ws holt.WorkspaceID) error {
	return errors.Join(n.journal.Discard(ws), n.files.forget(ws), n.volumes.Remove(ws))
}
