package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/durable"
	"github.com/holt-ide/holt/fault"
	"github.com/holt-ide/holt/node/network"
)

// Release ends a machine and frees what it held; see package workspace. It is
// also the undo of a half-made one: it works from the record alone.
func (n *Node) Release(ctx context.Context, id holt.SandboxID) error {
	defer n.releases.lock(string(id))()
	n.mu.Lock()
	m := n.machines[id]
	n.mu.Unlock()
	if m != nil {
		m.mu.Lock()
		m.leaving = true
		m.mu.Unlock()
		m.cancel()
		m.conns.closeAll()
		if err := m.sb.Close(ctx); err != nil {
			return fmt.Errorf("end machine: %w", err)
		}
		fault.Point("release.ended")
		n.files.end(m) // else the volume would stay mounted, out of sight
	}
	r, found, err := n.readRecord(id)
	if err != nil {
		return err
	}
	if found {
		if err := n.free(r); err != nil {
			return err
		}
	}
	n.mu.Lock()
	delete(n.machines, id)
	n.mu.Unlock()
	return nil
}

// free gives back what the record lists and removes it last.
func (n *Node) free(r record) error {
	if err := errors.Join(
		n.takeVolume(r),
		n.networks.Put(network.Slot{Number: r.Slot, Tag: r.SlotTag}),
		os.RemoveAll(n.unitDir(r.unit())),
		os.RemoveAll(filepath.Join(n.cfg.Dir, "machines", string(r.Sandbox))), // the first version's
	); err != nil {
		return fmt.Errorf("free machine %s: %w", r.Sandbox, err)
	}
	fault.Point("release.freed")
	if err := durable.Remove(n.recordPath(r.Sandbox)); err != nil {
		return err
	}
	n.files.rest(r.Workspace)
	return nil
}

// takeVolume unmounts the volume unless another sandbox of the workspace has a
// record: that one has mounted it, or is about to.
func (n *Node) takeVolume(r record) error {
	defer n.volumeLocks.lock(string(r.Workspace))()
	all, err := n.records()
	if err != nil {
		return err
	}
	for _, other := range all {
		if other.Workspace == r.Workspace && other.Sandbox != r.Sandbox {
			return nil
		}
	}
	return n.volumes.Unmount(r.Workspace)
}

// shutdownGrace is how long processes may take to end after SIGTERM.
const shutdownGrace = 5 * time.Second

// Shutdown ends a machine politely; see package workspace.
func (n *Node) Shutdown(ctx context.Context, id holt.SandboxID) error {
	m, err := n.find(id)
	if err != nil {
		return n.Release(ctx, id)
	}
	m.op.Lock()
	defer m.op.Unlock()
	polite, cancel := context.WithTimeout(ctx, shutdownGrace+freezePatience)
	defer cancel()
	if err := m.agent.Shutdown(polite, shutdownGrace); err != nil {
		n.log.Info("guest did not shut down politely", "sandbox", id, "err", err)
	}
	fault.Point("shutdown.asked")
	if err := n.volumes.Sync(m.snapshotRecord().Workspace); err != nil {
		n.log.Warn("flush at shutdown", "sandbox", id, "err", err)
	}
	return n.Release(ctx, id)
}
