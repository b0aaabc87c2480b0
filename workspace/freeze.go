package workspace

import (
	"context"
	"fmt"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

func (m *Manager) beginSuspend(ctx context.Context, w meta.Workspace) error {
	return m.begin(ctx, w, holt.Suspending)
}

// freeze writes the snapshot of a suspend and records it. The machine is
// released by the next step, when the row names the snapshot.
func (m *Manager) freeze(ctx context.Context, w meta.Workspace) error {
	leave, err := take(ctx, m.freezes)
	if err != nil {
		return err
	}
	defer leave()
	m.cfg.Fault("suspend.before-freeze")
	snap, err := m.cfg.Node.Freeze(ctx, w.Sandbox, w.PendingSnapshot, false)
	m.cfg.Fault("suspend.after-freeze")
	if err == nil {
		return m.suspended(ctx, w, snap)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m.cfg.Log.Warn("suspend failed, the machine runs on", "workspace", w.ID, "err", err)
	text := "could not be suspended, the machine runs on: " + reason(err)
	return m.giveUp(ctx, w, note{name: "suspend-failed", text: text})
}

// suspended records a complete snapshot.
func (m *Manager) suspended(_ context.Context, seen meta.Workspace, snap Snapshot) error {
	return m.settle(seen, "suspend", func(w *meta.Workspace) []note {
		w.State, w.Attempts, w.Message = holt.Suspended, 0, ""
		w.Snapshot, w.SnapshotBytes, w.SnapshotAt = w.PendingSnapshot, snap.Bytes, snap.CreatedAt
		w.PendingSnapshot = ""
		return nil
	})
}

// giveUp ends a suspend with the machine running on. With a note the suspend
// failed for that reason, and the goal becomes RUNNING; without one it was cut
// short and is tried again if it is still wanted.
func (m *Manager) giveUp(ctx context.Context, seen meta.Workspace, why note) error {
	m.cfg.Fault("suspend.before-undo")
	if err := m.cfg.Node.Unfreeze(ctx, seen.Sandbox); err != nil && !holt.IsKind(err, holt.KindNotFound) {
		return fmt.Errorf("let the machine run on: %w", err)
	}
	if err := m.cfg.Node.DiscardSnapshot(ctx, seen.PendingSnapshot); err != nil {
		return fmt.Errorf("discard unfinished snapshot: %w", err)
	}
	m.cfg.Fault("suspend.after-undo")
	m.active.reset(seen.ID, m.cfg.Now())
	return m.settle(seen, "suspend-undo", func(w *meta.Workspace) []note {
		w.State, w.PendingSnapshot = holt.Running, ""
		if why.name == "" {
			return nil
		}
		w.Message = why.text
		if w.Goal == holt.WantSuspended {
			w.Goal = holt.WantRunning
		}
		w.FromSnapshot = "" // a rollback begins with a suspend
		return []note{why}
	})
}

// release frees the sandbox of a workspace at rest.
func (m *Manager) release(ctx context.Context, seen meta.Workspace) error {
	m.cfg.Fault("release.before")
	if err := m.cfg.Node.Release(ctx, seen.Sandbox); err != nil {
		return fmt.Errorf("release sandbox: %w", err)
	}
	m.cfg.Fault("release.after")
	defer m.wakeKeeper() // a workspace that sleeps has a snapshot to be kept
	return m.settle(seen, "release", func(w *meta.Workspace) []note {
		w.Sandbox = ""
		return nil
	})
}
