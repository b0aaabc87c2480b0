package workspace

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// A machine that ends on its own is replaced this often within the window.
const (
	maxRestarts   = 5
	restartWindow = 10 * time.Minute
)

// damagedText begins the message of a workspace whose snapshot was of no use at all.
const damagedText = "the snapshot is damaged ("

// provision boots a machine from image and volume.
func (m *Manager) provision(ctx context.Context, w meta.Workspace) error {
	leave, err := take(ctx, m.boots)
	if err != nil {
		return err
	}
	defer leave()
	m.cfg.Fault("provision.before")
	if err := m.cfg.Node.Provision(ctx, spec(w)); err != nil {
		if m.replaceImage(ctx, w, err) {
			return nil
		}
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
	if kept {
		m.wakeKeeper()
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
	if m.refetched(ctx, w, err) {
		err = m.cfg.Node.Resume(ctx, spec(w), w.Snapshot)
	}
	m.cfg.Fault("resume.after")
	switch kind := holt.KindOf(err); {
	case err == nil:
		message := ""
		if strings.HasPrefix(w.Message, damagedText) {
			message = w.Message // it is an older snapshot that was resumed
		}
		return m.running(ctx, w, "resume", message)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case kind == holt.KindCorrupt, kind == holt.KindNotFound, kind == holt.KindUnsupported:
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

// refetched reports whether what the node has of a snapshot, which err says is lost
// or damaged, was replaced by what the store has.
func (m *Manager) refetched(ctx context.Context, w meta.Workspace, err error) bool {
	if m.cfg.Snapshots == nil || !holt.IsKind(err, holt.KindCorrupt) && !holt.IsKind(err, holt.KindNotFound) {
		return false
	}
	s, ok := m.inLine(ctx, w, string(w.Snapshot))
	if !ok {
		return false
	}
	m.cfg.Log.Warn("a snapshot is lost or damaged here, trying the store's", "workspace", w.ID, "snapshot", s.ID, "err", err)
	m.cfg.Fault("refetch.before")
	err = m.cfg.Node.DiscardSnapshot(ctx, s.ID)
	if err == nil {
		_, err = m.cfg.Snapshots.ImportSnapshot(ctx, tenantOf(w.Owner), s.ID, s.ID, w.ID)
	}
	if err != nil {
		m.cfg.Log.Warn("take a snapshot from the store", "workspace", w.ID, "snapshot", s.ID, "err", err)
	}
	m.cfg.Fault("refetch.after")
	return err == nil
}

// fallBack gives the memory up and goes on from image and files: those of the
// snapshot if its copy is sound, else those of the live volume, else those of the latest
// revision. Only where none of these is there an older snapshot of the store takes over,
// because its files are older than what was typed.
func (m *Manager) fallBack(ctx context.Context, seen meta.Workspace, cause error) error {
	m.cfg.Log.Error("snapshot cannot be resumed, falling back to image and files", "workspace", seen.ID, "snapshot", seen.Snapshot, "err", cause)
	m.cfg.Fault("fallback.before")
	files, err := m.restoreFiles(ctx, seen)
	if err != nil {
		return m.failed(ctx, seen, "resume", "the files of the snapshot could not be put back", err)
	}
	m.cfg.Fault("fallback.after")
	older, found := m.inLine(ctx, seen, LastStored)
	return m.settle(seen, "fallback", func(w *meta.Workspace) []note {
		if files == "" && found {
			w.Snapshot, w.SnapshotBytes, w.SnapshotAt, w.Attempts = older.ID, older.Bytes, older.CreatedAt, 0
			w.Message = damagedText + reason(cause) + ") and there are no other files of that time: going back to the snapshot of " + stampText(older.CreatedAt)
			return []note{{name: "resume-failed", text: w.Message}}
		}
		if files == "" {
			w.State, w.Attempts = holt.Failed, maxAttempts
			w.Message = damagedText + reason(cause) + ") and there are no other files: delete this workspace"
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
		if found {
			w.Message += "; an older state with its processes is kept: holt rollback " + w.Name + " " + LastStored
		}
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
		return "the files are those of " + stampText(w.SnapshotAt), nil
	case !holt.IsKind(err, holt.KindCorrupt) && !holt.IsKind(err, holt.KindNotFound):
		return "", err
	}
	inv, err := m.cfg.Node.Inventory(ctx)
	if err != nil {
		return "", fmt.Errorf("list what exists: %w", err)
	}
	if !viewOf(w, inv).volume {
		return m.revisionFiles(ctx, w)
	}
	return "the files are as they were last on the disk, because the snapshot's copy cannot be trusted either", nil
}

// revisionFiles says which files a machine is made with that has no volume: those of the
// latest revision; "" if there is none.
func (m *Manager) revisionFiles(ctx context.Context, w meta.Workspace) (string, error) {
	if m.cfg.Files == nil {
		return "", nil
	}
	r, err := m.cfg.Store.Revisions().Latest(ctx, w.ID)
	if holt.IsKind(err, holt.KindNotFound) {
		return "", nil
	} else if err != nil {
		return "", fmt.Errorf("look for revisions: %w", err)
	}
	return fmt.Sprintf("the files are those of revision %d of %s", r.Number, stampText(r.At)), nil
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
