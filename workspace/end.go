package workspace

import (
	"context"
	"fmt"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// end ends the machine and keeps the files: after a suspend those of the
// snapshot, which the live volume equals unless the workspace is a fork that
// never ran.
func (m *Manager) end(ctx context.Context, w meta.Workspace) error {
	m.cfg.Fault("stop.before")
	files, err := m.endMachine(ctx, w)
	if err != nil {
		return m.failed(ctx, w, "stop", "the machine could not be stopped", err)
	}
	m.cfg.Fault("stop.after")
	err = m.settle(w, "stop", func(w *meta.Workspace) []note {
		w.State, w.Attempts, w.Message, w.FromSnapshot = holt.Stopped, 0, files, ""
		w.Sandbox, w.Snapshot, w.SnapshotBytes, w.SnapshotAt, w.PendingSnapshot = "", "", 0, time.Time{}, ""
		if files == "" {
			return nil
		}
		return []note{{name: "files-restored", text: files}}
	})
	if err == nil && w.Snapshot != "" {
		m.discard(ctx, w.ID, w.Snapshot)
	}
	return err
}

// endMachine frees what w has but its volume. It returns what is worth telling
// about the files.
func (m *Manager) endMachine(ctx context.Context, w meta.Workspace) (files string, err error) {
	polite := w.Snapshot == "" && w.Attempts < maxAttempts-1
	switch {
	case w.Sandbox == "":
	case polite:
		err = m.cfg.Node.Shutdown(ctx, w.Sandbox)
	default:
		err = m.cfg.Node.Release(ctx, w.Sandbox)
	}
	if err != nil {
		return "", fmt.Errorf("end machine: %w", err)
	}
	if w.PendingSnapshot != "" {
		if err := m.cfg.Node.DiscardSnapshot(ctx, w.PendingSnapshot); err != nil {
			return "", fmt.Errorf("discard unfinished snapshot: %w", err)
		}
	}
	if w.Snapshot == "" {
		return "", nil
	}
	err = m.cfg.Node.RestoreVolume(ctx, w.Snapshot, w.ID)
	if holt.IsKind(err, holt.KindCorrupt) || holt.IsKind(err, holt.KindNotFound) {
		return "the snapshot's copy of the files is damaged: the files are as they were last on the disk", nil
	}
	if err != nil {
		return "", fmt.Errorf("restore volume: %w", err)
	}
	return "", nil
}

// remove frees everything the workspace owns. It is tried until it succeeds.
func (m *Manager) remove(ctx context.Context, w meta.Workspace) error {
	m.cfg.Fault("delete.before-release")
	if w.Sandbox != "" {
		if err := m.cfg.Node.Release(ctx, w.Sandbox); err != nil {
			return fmt.Errorf("release sandbox: %w", err)
		}
	}
	m.cfg.Fault("delete.before-discard")
	checkpoints, err := m.cfg.Store.Checkpoints().Of(ctx, w.ID)
	if err != nil {
		return err
	}
	for _, c := range checkpoints {
		if err := m.forgetCheckpoint(ctx, c.Snapshot); err != nil {
			return fmt.Errorf("discard checkpoint: %w", err)
		}
	}
	for _, id := range []holt.SnapshotID{w.Snapshot, w.PendingSnapshot} {
		if id == "" {
			continue
		}
		if err := m.cfg.Node.DiscardSnapshot(ctx, id); err != nil {
			return fmt.Errorf("discard snapshot: %w", err)
		}
	}
	m.cfg.Fault("delete.before-volume")
	if err := m.cfg.Node.DiscardVolume(ctx, w.ID); err != nil {
		return fmt.Errorf("discard volume: %w", err)
	}
	if m.cfg.Files != nil {
		if err := m.cfg.Store.Revisions().Remove(ctx, w.ID); err != nil {
			return fmt.Errorf("forget revisions: %w", err)
		}
	}
	m.cfg.Fault("delete.after")
	m.active.forget(w.ID)
	defer m.wakeKeeper() // the store forgets its line
	return m.settle(w, "delete", func(w *meta.Workspace) []note {
		w.State, w.Attempts, w.Message, w.FromSnapshot = holt.Deleted, 0, "", ""
		w.Sandbox, w.Snapshot, w.SnapshotBytes, w.SnapshotAt, w.PendingSnapshot = "", "", 0, time.Time{}, ""
		return nil
	})
}
