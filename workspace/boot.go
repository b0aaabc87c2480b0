package workspace

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// A machine that ends on its own is replaced this often within the window.
const (
	maxRestarts   = 5
	restartWindow = 10 * time.Minute
)

// provision boots a machine from image and volume.
func (m *Manager) provision(ctx context.Context, w meta.Workspace) error {
	leave, err := take(ctx, m.boots)
	if err != nil {
		return err
	}
	defer leave()
	m.cfg.Fault("provision.before")
	if err := m.cfg.Node.Provision(ctx, spec(w)); err != nil {
		return m.failed(ctx, w, "provision", "the machine could not be started", err)
	}
	m.cfg.Fault("provision.after")
	return m.running(ctx, w, "provision", w.Message)
}

// running records a machine that answers, with a message that stays visible, and
// then discards the snapshot it was made from.
func (m *Manager) running(ctx context.Context, seen meta.Workspace, verb, message string) error {
	if seen.Attempts > 0 {
		message = ""
	}
	m.active.reset(seen.ID, m.cfg.Now())
	err := m.settle(seen, verb, func(w *meta.Workspace) []note {
		w.State, w.Attempts, w.Message = holt.Running, 0, message
		w.Snapshot, w.SnapshotBytes, w.SnapshotAt = "", 0, time.Time{}
		return nil
	})
	if err != nil || seen.Snapshot == "" {
		return err
	}
	m.discard(ctx, seen.ID, seen.Snapshot)
	return nil
}

// discard removes a snapshot that the workspace's row does not name any more, nor
// a checkpoint. A failure is not worth more than a line: garbage is collected later.
func (m *Manager) discard(ctx context.Context, ws holt.WorkspaceID, id holt.SnapshotID) {
	m.cfg.Fault("discard.before")
	kept, err := m.kept(ctx, ws, id)
	if err == nil && !kept {
		err = m.cfg.Node.DiscardSnapshot(ctx, id)
	}
	if err != nil && ctx.Err() == nil {
		m.cfg.Log.Warn("discard snapshot", "snapshot", id, "err", err)
	}
	m.cfg.Fault("discard.after")
}

// resume makes the machine from its snapshot.
func (m *Manager) resume(ctx context.Context, w meta.Workspace) error {
	if w.Snapshot == "" {
		return m.fallBack(ctx, w, errors.New("there is no snapshot"))
	}
	leave, err := take(ctx, m.freezes)
	if err != nil {
		return err
	}
	defer leave()
	m.cfg.Fault("resume.before")
	err = m.cfg.Node.Resume(ctx, spec(w), w.Snapshot)
	m.cfg.Fault("resume.after")
	switch kind := holt.KindOf(err); {
	case err == nil:
		return m.running(ctx, w, "resume", "")
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case kind == holt.KindCorrupt, kind == holt.KindNotFound:
		return m.fallBack(ctx, w, err)
	case kind.Retryable(), kind == holt.KindNoSpace:
		// The snapshot is good: after many attempts the workspace fails and
		// keeps it, because the cause can be mended.
		return m.failed(ctx, w, "resume", "the machine could not be resumed, its snapshot is kept", err)
	case w.Attempts+1 >= maxAttempts:
		return m.fallBack(ctx, w, err)
	}
	return m.failed(ctx, w, "resume", "the machine could not be resumed", err)
}

// fallBack gives the memory up and goes on from image and files: those of the
// snapshot if its copy is sound, else those of the live volume.
func (m *Manager) fallBack(ctx context.Context, seen meta.Workspace, cause error) error {
	m.cfg.Log.Error("snapshot cannot be resumed, falling back to image and files", "workspace", seen.ID, "snapshot", seen.Snapshot, "err", cause)
	m.cfg.Fault("fallback.before")
	files, err := m.restoreFiles(ctx, seen)
	if err != nil {
		return m.failed(ctx, seen, "resume", "the files of the snapshot could not be put back", err)
	}
	m.cfg.Fault("fallback.after")
	return m.settle(seen, "fallback", func(w *meta.Workspace) []note {
		if files == "" {
			w.State, w.Attempts = holt.Failed, maxAttempts
			w.Message = "the snapshot is damaged (" + reason(cause) + ") and there are no other files: delete this workspace"
			if w.ForkedFrom != "" {
				w.Message += " and fork again"
			}
			return []note{{name: "resume-failed", text: w.Message}}
		}
		w.State, w.Attempts = holt.Provisioning, 0
		w.Sandbox = holt.NewSandboxID()
		w.Boots++
		w.Message = "started afresh because the snapshot could not be resumed (" + reason(cause) +
			"): running processes and unsaved memory are lost; " + files
		return []note{{name: "resume-failed", text: w.Message}}
	})
}

// restoreFiles puts the snapshot's copy of the volume in place if it is sound and
// says which files there are now; "" means none at all.
func (m *Manager) restoreFiles(ctx context.Context, w meta.Workspace) (string, error) {
	var err error = holt.Errorf(holt.KindNotFound, "there is no snapshot")
	if w.Snapshot != "" {
		err = m.cfg.Node.RestoreVolume(ctx, w.Snapshot, w.ID)
	}
	switch {
	case err == nil:
		return "the files are those of " + w.SnapshotAt.UTC().Format("2006-01-02 15:04:05 UTC"), nil
	case !holt.IsKind(err, holt.KindCorrupt) && !holt.IsKind(err, holt.KindNotFound):
		return "", err
	}
	inv, err := m.cfg.Node.Inventory(ctx)
	if err != nil {
		return "", fmt.Errorf("list what exists: %w", err)
	}
	if !viewOf(w, inv).volume {
		return "", nil
	}
	return "the files are as they were last on the disk, because the snapshot's copy cannot be trusted either", nil
}

// replace goes on from image and files after the machine ended on its own.
func (m *Manager) replace(ctx context.Context, seen meta.Workspace) error {
	m.cfg.Fault("replace.before")
	if err := m.cfg.Node.Release(ctx, seen.Sandbox); err != nil {
		return fmt.Errorf("release what is left of the machine: %w", err)
	}
	if seen.PendingSnapshot != "" {
		if err := m.cfg.Node.DiscardSnapshot(ctx, seen.PendingSnapshot); err != nil {
			return fmt.Errorf("discard unfinished snapshot: %w", err)
		}
	}
	m.cfg.Fault("replace.after")
	return m.settle(seen, "replace", func(w *meta.Workspace) []note {
		now := m.cfg.Now()
		if now.Sub(w.RestartsSince) > restartWindow {
			w.Restarts, w.RestartsSince = 0, now
		}
		w.Restarts++
		w.Sandbox, w.PendingSnapshot = "", ""
		if w.Restarts > maxRestarts {
			w.State, w.Attempts = holt.Failed, maxAttempts
			w.Message = fmt.Sprintf("the machine ended on its own %d times within %v: see the log, then resume or delete this workspace", w.Restarts, restartWindow)
			return []note{{name: "restarts-exhausted", text: w.Message}}
		}
		w.State, w.Attempts = holt.Provisioning, 0
		w.Sandbox = holt.NewSandboxID()
		w.Boots++
		w.Message = "the machine ended on its own and was started afresh: running processes are lost, files are kept"
		return []note{{name: "restarted", text: w.Message}}
	})
}
