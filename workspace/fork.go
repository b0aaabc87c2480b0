package workspace

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// capture fills a fork, which is QUEUED and names a pending snapshot, from its
// source as the source is now. The source keeps its state and its gate is held,
// so that nothing else happens to it meanwhile.
func (m *Manager) capture(ctx context.Context, w meta.Workspace) error {
	if w.ForkedFrom == "" {
		return m.fetch(ctx, w)
	}
	leave, err := m.gates.enter(ctx, w.ForkedFrom)
	if err != nil {
		return err
	}
	defer leave()
	src, err := m.cfg.Store.Workspaces().Get(ctx, w.ForkedFrom)
	if err != nil {
		return fmt.Errorf("read source: %w", err)
	}
	free, err := take(ctx, m.freezes)
	if err != nil {
		return err
	}
	defer free()
	fromCheckpoint := w.FromSnapshot != ""
	m.cfg.Fault("fork.before-capture")
	snap, err := m.captureFrom(ctx, w, src)
	m.cfg.Fault("fork.after-capture")
	if errors.Is(err, errSource) {
		return err
	}
	if err != nil {
		return m.failed(ctx, w, "fork", "could not be forked from "+src.Name, err)
	}
	return m.settle(w, "fork", func(w *meta.Workspace) []note {
		w.Snapshot, w.SnapshotBytes, w.SnapshotAt = snap.ID, snap.Bytes, snap.CreatedAt
		w.PendingSnapshot, w.FromSnapshot, w.Attempts, w.Message = "", "", 0, ""
		if fromCheckpoint {
			return []note{{name: "forked", text: "forked from a checkpoint of " + src.Name}}
		}
		text := fmt.Sprintf("forked from %s, which was %s", src.Name, src.State)
		if snap.Pause > 0 {
			text += fmt.Sprintf(" and stood still for %v", snap.Pause.Round(time.Millisecond))
		}
		return []note{{name: "forked", text: text}}
	})
}

// errSource reports that the source is between two states. The fork waits for it,
// which counts as no failure.
var errSource = errors.New("the source is between two states")

// captureFrom copies what src has into w. The snapshot is the zero value when
// src has files only. A snapshot that was complete before a crash is used,
// whatever became of the source since.
func (m *Manager) captureFrom(ctx context.Context, w, src meta.Workspace) (Snapshot, error) {
	inv, err := m.cfg.Node.Inventory(ctx)
	if err != nil {
		return Snapshot{}, fmt.Errorf("list what exists: %w", err)
	}
	if viewOf(w, inv).complete {
		return Snapshot{ID: w.PendingSnapshot, CreatedAt: w.CreatedAt}, nil
	}
	if w.FromSnapshot != "" {
		return m.cfg.Node.CopySnapshot(ctx, w.FromSnapshot, w.PendingSnapshot)
	}
	switch src.State {
	case holt.Running:
		if !viewOf(src, inv).alive {
			m.kick(src.ID)
			return Snapshot{}, errSource
		}
		return m.cfg.Node.Freeze(ctx, src.Sandbox, w.PendingSnapshot, true)
	case holt.Suspended:
		return m.cfg.Node.CopySnapshot(ctx, src.Snapshot, w.PendingSnapshot)
	case holt.Stopped:
		if !viewOf(src, inv).volume { // it never ran
			return Snapshot{}, nil
		}
		return Snapshot{}, m.cfg.Node.CopyVolume(ctx, src.ID, w.ID)
	case holt.Failed, holt.Deleting, holt.Deleted, holt.Queued:
		return Snapshot{}, holt.Errorf(holt.KindInvalid, "it is %s now: delete this fork and try again when the source runs", src.State)
	}
	return Snapshot{}, errSource
}
