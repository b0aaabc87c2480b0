package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/fault"
	"github.com/holt-ide/holt/sandbox"
	"github.com/holt-ide/holt/snapshot"
	hostwire "github.com/holt-ide/holt/wire/host"
)

// freezePatience bounds how long a guest may take to flush before it is paused
// without its consent: a hostile one never answers.
const freezePatience = 3 * time.Second

// Freeze writes a snapshot of a machine; see package workspace.
func (n *Node) Freeze(ctx context.Context, id holt.SandboxID, snap holt.SnapshotID, keep bool) (hostwire.Snapshot, error) {
	if man, err := n.snapshots.Get(snap); err == nil {
		return describe(man), nil
	}
	m, err := n.find(id)
	if err != nil {
		return hostwire.Snapshot{}, err
	}
	defer n.reserve.making()()
	m.op.Lock()
	defer m.op.Unlock()
	draft, err := n.snapshots.Begin(snap)
	if err != nil {
		return hostwire.Snapshot{}, err
	}
	man, err := m.freeze(ctx, draft, keep)
	if err != nil {
		// Whatever failed, the machine runs on.
		undo := context.WithoutCancel(ctx)
		return hostwire.Snapshot{}, errors.Join(err, m.unfreeze(undo), draft.Abort(), n.snapshots.Remove(snap))
	}
	if !keep {
		m.conns.closeAll()
	}
	return describe(man), nil
}

func (m *machine) freeze(ctx context.Context, draft *snapshot.Draft, keep bool) (*snapshot.Manifest, error) {
	laps := newLaps()
	r := m.snapshotRecord()
	stats, err := m.sb.Stats(ctx)
	if err != nil {
		return nil, fmt.Errorf("measure machine: %w", err)
	}
	if err := m.node.makeSpace(stats.Memory + 16*holt.MiB); err != nil {
		return nil, err
	}
	if r, ok := m.sb.(sandbox.Readier); ok {
		r.Ready()
	}
	// Flush while the machine still runs, so that little is left for the pause.
	if err := m.node.volumes.Sync(r.Workspace); err != nil {
		return nil, err
	}
	laps.lap("flush")
	m.tellFreeze(ctx)
	laps.lap("guest")
	begin := time.Now()
	if err := m.sb.Pause(ctx); err != nil {
		return nil, fmt.Errorf("pause machine: %w", err)
	}
	m.setFrozen(true)
	laps.lap("pause")
	fault.Point("freeze.paused")
	// Memory and volume are copied of one and the same moment.
	g, gctx := errgroup.WithContext(ctx)
	pushing, written := context.WithCancel(ctx)
	defer written()
	if !keep { // else the time until the machine runs on counts more than the total
		go draft.Push(pushing)
	}
	g.Go(func() error {
		defer written()
		return m.sb.Checkpoint(gctx, draft.Dir())
	})
	g.Go(func() error {
		defer fault.Point("freeze.volume-copied") // while the memory is being written
		return m.node.volumes.CopyOut(r.Workspace, filepath.Join(draft.Dir(), snapshot.VolumeName))
	})
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("write snapshot: %w", err)
	}
	fault.Point("freeze.written")
	laps.lap("checkpoint")
	man := &snapshot.Manifest{
		Workspace: r.Workspace, CreatedAt: begin, Driver: m.node.driver.Capabilities().Name,
		Toolchain: m.sb.Spec().Toolchain, Agent: r.Agent, Image: r.Image, Secret: r.Secret,
		Host: &m.node.host,
	}
	if keep {
		if err := m.unfreeze(ctx); err != nil {
			return nil, err
		}
		man.Pause = time.Since(begin)
		laps.lap("unpause")
		fault.Point("freeze.runs-on")
	}
	if err := draft.Commit(ctx, man); err != nil {
		return nil, err
	}
	laps.lap("commit")
	m.node.log.Info("machine frozen", laps.attrs("sandbox_id", r.Sandbox, "workspace", r.Workspace, "kept_running", keep)...)
	return man, nil
}

// tellFreeze gives the guest the chance to write its buffers. Its answer does
// not matter.
func (m *machine) tellFreeze(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, freezePatience)
	defer cancel()
	if err := m.agent.Freeze(ctx); err != nil {
		m.node.log.Info("guest did not prepare for the freeze", "sandbox", m.rec.Sandbox, "err", err)
	}
}

// Unfreeze lets a frozen machine run on; see package workspace.
func (n *Node) Unfreeze(ctx context.Context, id holt.SandboxID) error {
	m, err := n.find(id)
	if err != nil {
		return err
	}
	m.op.Lock()
	defer m.op.Unlock()
	return m.unfreeze(ctx)
}

func (m *machine) unfreeze(ctx context.Context) error {
	if err := m.sb.Resume(ctx); err != nil {
		return fmt.Errorf("let machine run on: %w", err)
	}
	m.setFrozen(false)
	m.node.wg.Go(func() { // nobody waits for it: what the guest holds it lets go by itself soon
		ctx, cancel := context.WithTimeout(m.node.run, freezePatience)
		defer cancel()
		if err := m.agent.Unfreeze(ctx); err != nil {
			m.node.log.Debug("guest was not told that it runs on", "sandbox", m.rec.Sandbox, "err", err)
		}
	})
	return nil
}

func describe(man *snapshot.Manifest) hostwire.Snapshot {
	return hostwire.Snapshot{ID: man.ID, Bytes: man.Bytes(), Pause: man.Pause, CreatedAt: man.CreatedAt}
}
