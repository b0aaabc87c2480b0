package workspace

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// MaxCheckpoints is how many checkpoints of its owner's a workspace may have.
const MaxCheckpoints = 32

// BeforeRollback is the label of the checkpoint that holds what the last rollback
// replaced, so that it can be undone.
const BeforeRollback = "before-rollback"

// LastStored names the latest snapshot in the store that is not what a workspace is
// now, unless a checkpoint has the name.
const LastStored = "last-stored"

var labelRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func checkLabel(label string) error {
	if !labelRE.MatchString(label) {
		return holt.Invalidf("label", "%q is not a label: use up to 64 letters, digits, dots, hyphens and underscores, and begin with a letter or digit", label)
	}
	return nil
}

// Checkpoint keeps the memory and files of a workspace as they are now under a
// label; "" makes one of the time. A running workspace stands still for a moment
// and runs on. It returns when the checkpoint is complete. Errors: KindInvalid for
// the label, [meta.ErrLabelTaken], KindLimit, KindConflict for a workspace that
// has no memory now.
func (m *Manager) Checkpoint(ctx context.Context, nameOrID, label string) (meta.Checkpoint, error) {
	if label == "" {
		label = m.cfg.Now().UTC().Format("2006-01-02T15.04.05")
	}
	if err := checkLabel(label); err != nil {
		return meta.Checkpoint{}, err
	}
	w, leave, err := m.hold(ctx, nameOrID)
	if err != nil {
		return meta.Checkpoint{}, err
	}
	defer leave()
	free, err := take(ctx, m.freezes)
	if err != nil {
		return meta.Checkpoint{}, err
	}
	defer free()
	if err := m.roomForCheckpoint(ctx, w); err != nil {
		return meta.Checkpoint{}, err
	}
	c := meta.Checkpoint{Snapshot: holt.NewSnapshotID(), Workspace: w.ID, Label: label, CreatedAt: m.cfg.Now()}
	m.cfg.Fault("checkpoint.before-write")
	if err := m.cfg.Store.Checkpoints().Create(ctx, c); err != nil {
		return meta.Checkpoint{}, err
	}
	m.cfg.Fault("checkpoint.after-write")
	// From here on nobody's impatience matters: a machine may stand still.
	snap, err := m.snapshot(m.ctx, w, c.Snapshot)
	m.cfg.Fault("checkpoint.after")
	if err == nil {
		c.Ready, c.Bytes, c.Pause, c.CreatedAt = true, snap.Bytes, snap.Pause, snap.CreatedAt
		err = m.cfg.Store.Checkpoints().Finish(m.ctx, c)
	}
	if err != nil {
		if undo := m.forgetCheckpoint(m.ctx, c.Snapshot); undo != nil {
			m.cfg.Log.Warn("undo a checkpoint", "workspace", w.ID, "snapshot", c.Snapshot, "err", undo)
		}
		return meta.Checkpoint{}, err
	}
	m.wakeKeeper()
	text := fmt.Sprintf("checkpoint %s, %s", c.Label, holt.FormatSize(c.Bytes))
	if c.Pause > 0 {
		text += fmt.Sprintf("; stood still for %v", c.Pause.Round(time.Millisecond))
	}
	return c, m.note(m.ctx, w, time.Time{}, note{name: "checkpoint", text: text})
}

// snapshot writes a snapshot of what w is now, which goes on as it is.
func (m *Manager) snapshot(ctx context.Context, w meta.Workspace, id holt.SnapshotID) (Snapshot, error) {
	if w.State == holt.Suspended {
		return m.cfg.Node.CopySnapshot(ctx, w.Snapshot, id)
	}
	return m.cfg.Node.Freeze(ctx, w.Sandbox, id, true)
}

// hold returns a workspace with its gate held, so that nothing is done with it
// until leave is called.
func (m *Manager) hold(ctx context.Context, nameOrID string) (w meta.Workspace, leave func(), err error) {
	if w, err = m.Get(ctx, nameOrID); err != nil {
		return w, nil, err
	}
	if leave, err = m.gates.enter(ctx, w.ID); err != nil {
		return w, nil, err
	}
	if w, err = m.Get(ctx, string(w.ID)); err != nil {
		leave()
		return w, nil, err
	}
	return w, leave, nil
}

func (m *Manager) roomForCheckpoint(ctx context.Context, w meta.Workspace) error {
	if w.State != holt.Running && w.State != holt.Suspended {
		return holt.Errorf(holt.KindConflict, "%s is %s: a checkpoint is made of a workspace that is RUNNING or SUSPENDED", w.Name, w.State)
	}
	have, err := m.cfg.Store.Checkpoints().Of(ctx, w.ID)
	if err != nil {
		return err
	}
	if len(have) > MaxCheckpoints {
		return &holt.Error{Kind: holt.KindLimit, Limit: fmt.Sprint(MaxCheckpoints),
			Text: fmt.Sprintf("%s has %d checkpoints, which is the most: remove one first (holt snapshot rm %s LABEL)", w.Name, MaxCheckpoints, w.Name)}
	}
	return nil
}

// Checkpoints lists the complete checkpoints of a workspace, oldest first.
func (m *Manager) Checkpoints(ctx context.Context, nameOrID string) ([]meta.Checkpoint, error) {
	w, err := m.Get(ctx, nameOrID)
	if err != nil {
		return nil, err
	}
	all, err := m.cfg.Store.Checkpoints().Of(ctx, w.ID)
	if err != nil {
		return nil, err
	}
	ready := []meta.Checkpoint{}
	for _, c := range all {
		if c.Ready {
			ready = append(ready, c)
		}
	}
	return ready, nil
}

// VerifyCheckpoint reads every file of a checkpoint: KindCorrupt names what is
// damaged.
func (m *Manager) VerifyCheckpoint(ctx context.Context, nameOrID, label string) (meta.Checkpoint, error) {
	_, c, err := m.checkpoint(ctx, nameOrID, label)
	if err != nil {
		return c, err
	}
	return c, m.cfg.Node.VerifySnapshot(ctx, c.Snapshot)
}

// RemoveCheckpoint removes a checkpoint of a workspace.
func (m *Manager) RemoveCheckpoint(ctx context.Context, nameOrID, label string) error {
	w, leave, err := m.hold(ctx, nameOrID)
	if err != nil {
		return err
	}
	defer leave()
	c, err := m.cfg.Store.Checkpoints().ByLabel(ctx, w.ID, label)
	if holt.IsKind(err, holt.KindNotFound) || err == nil && !c.Ready {
		return holt.Errorf(holt.KindNotFound, "%s has no checkpoint %q: see holt snapshot ls %s", w.Name, label, w.Name)
	} else if err != nil {
		return err
	}
	if w.FromSnapshot == c.Snapshot {
		return holt.Errorf(holt.KindConflict, "%s is being rolled back to %s", w.Name, label)
	}
	m.cfg.Fault("checkpoint-rm.before-write")
	if c.Snapshot == w.Snapshot { // a rollback that was cut short: the workspace needs it
		return m.cfg.Store.Checkpoints().Remove(ctx, c.Snapshot)
	}
	return m.forgetCheckpoint(m.ctx, c.Snapshot)
}

// checkpoint finds a complete checkpoint.
func (m *Manager) checkpoint(ctx context.Context, nameOrID, label string) (meta.Workspace, meta.Checkpoint, error) {
	w, err := m.Get(ctx, nameOrID)
	if err != nil {
		return w, meta.Checkpoint{}, err
	}
	c, err := m.cfg.Store.Checkpoints().ByLabel(ctx, w.ID, label)
	if holt.IsKind(err, holt.KindNotFound) {
		if s, ok := m.inLine(ctx, w, label); ok {
			return w, meta.Checkpoint{Snapshot: s.ID, Workspace: w.ID, Label: label, Ready: true, Bytes: s.Bytes, CreatedAt: s.CreatedAt}, nil
		}
	}
	switch {
	case holt.IsKind(err, holt.KindNotFound), err == nil && !c.Ready:
		return w, c, holt.Errorf(holt.KindNotFound, "%s has no checkpoint %q: see holt snapshot ls %s", w.Name, label, w.Name)
	}
	return w, c, err
}

// inLine finds a durable snapshot of w's line: by its ID, or the latest one by the
// name [LastStored].
func (m *Manager) inLine(ctx context.Context, w meta.Workspace, name string) (meta.Snapshot, bool) {
	line, err := m.cfg.Store.Snapshots().Of(ctx, w.ID)
	if err != nil {
		return meta.Snapshot{}, false
	}
	for _, s := range line {
		if s.Durable() && (name == string(s.ID) || name == LastStored && s.ID != w.Snapshot) {
			return s, true
		}
	}
	return meta.Snapshot{}, false
}

// forgetCheckpoint removes a checkpoint's row and then its snapshot. A crash
// between leaves garbage, which is collected.
func (m *Manager) forgetCheckpoint(ctx context.Context, id holt.SnapshotID) error {
	// First the line, or the keeper would take what has no name any more for one of
	// the last states, and forget another one for it.
	if err := m.dropFromLine(ctx, id); err != nil {
		return err
	}
	if err := m.cfg.Store.Checkpoints().Remove(ctx, id); err != nil {
		return err
	}
	m.cfg.Fault("checkpoint-rm.after-write")
	defer m.wakeKeeper() // the store forgets it too
	return m.cfg.Node.DiscardSnapshot(ctx, id)
}

// removedText marks a snapshot of the line that its owner removed: like a damaged one
// it goes as soon as nothing names it, and is nothing to fall back on.
const removedText = "removed"

// dropFromLine takes a snapshot out of its workspace's line.
func (m *Manager) dropFromLine(ctx context.Context, id holt.SnapshotID) error {
	all, err := m.cfg.Store.Snapshots().All(ctx)
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.ID == id {
			s.Damage = removedText
			return m.cfg.Store.Snapshots().Put(ctx, s)
		}
	}
	return nil
}

// forgetUnready removes the checkpoints that a crash left half made.
func (m *Manager) forgetUnready(ctx context.Context) error {
	all, err := m.cfg.Store.Checkpoints().All(ctx)
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.Ready {
			continue
		}
		w, err := m.cfg.Store.Workspaces().Get(ctx, c.Workspace)
		if err == nil && w.Node != m.cfg.NodeID {
			continue
		}
		if err != nil && !holt.IsKind(err, holt.KindNotFound) {
			return err
		}
		if err := m.cfg.Store.Checkpoints().Remove(ctx, c.Snapshot); err != nil {
			return err
		}
	}
	return nil
}

// Rollback brings a workspace back to a checkpoint and lets it run on from there.
// What it is now becomes the checkpoint [BeforeRollback]. It returns at once; a
// workspace that cannot be frozen runs on as it is, and its message says why.
func (m *Manager) Rollback(ctx context.Context, nameOrID, label string) (meta.Workspace, error) {
	w, c, err := m.checkpoint(ctx, nameOrID, label)
	if err != nil {
		return w, err
	}
	w, err = m.change(ctx, w.ID, "goal", func(w *meta.Workspace) ([]note, error) {
		switch w.State {
		case holt.Running, holt.Suspending, holt.Suspended, holt.Resuming, holt.Failed:
		default:
			return nil, holt.Errorf(holt.KindConflict, "%s is %s: resume it first, so that what it is now can be kept", w.Name, w.State)
		}
		if w.Goal == holt.WantDeleted {
			return nil, holt.Errorf(holt.KindConflict, "%s is being deleted", w.Name)
		}
		w.FromSnapshot, w.Goal = c.Snapshot, holt.WantRunning
		if w.State == holt.Failed {
			w.Attempts, w.Restarts = 0, 0
		}
		return []note{{name: "goal-rollback", text: "to " + label}}, nil
	})
	if err != nil {
		return w, err
	}
	m.hurry(w.ID, false)
	return w, nil
}

// rollback makes the checkpoint that w should go back to its snapshot. Nothing of
// w runs.
func (m *Manager) rollback(ctx context.Context, w meta.Workspace) error {
	if w.PendingSnapshot == "" { // named before it exists
		return m.advance(ctx, w, "begin-rollback", func(w *meta.Workspace) []note {
			w.PendingSnapshot = holt.NewSnapshotID()
			return nil
		})
	}
	leave, err := take(ctx, m.freezes)
	if err != nil {
		return err
	}
	defer leave()
	m.cfg.Fault("rollback.before")
	snap, err := m.cfg.Node.CopySnapshot(ctx, w.FromSnapshot, w.PendingSnapshot)
	if err == nil { // what it is now is given up only for something sound
		err = m.cfg.Node.VerifySnapshot(ctx, w.PendingSnapshot)
	}
	m.cfg.Fault("rollback.after")
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case exhausted(w, err), holt.IsKind(err, holt.KindCorrupt):
		return m.giveRollbackUp(ctx, w, err)
	default:
		return m.failed(ctx, w, "rollback", "could not be rolled back", err)
	}
	label, err := m.keepReplaced(ctx, w)
	if err != nil {
		return err
	}
	return m.settle(w, "rollback", func(w *meta.Workspace) []note {
		w.Snapshot, w.SnapshotBytes, w.SnapshotAt = snap.ID, snap.Bytes, snap.CreatedAt
		w.PendingSnapshot, w.FromSnapshot, w.Attempts, w.Message = "", "", 0, ""
		return []note{{name: "rolled-back", text: "rolled back to " + label + "; what was there before is the checkpoint " + BeforeRollback}}
	})
}

// giveRollbackUp lets w go on as it was.
func (m *Manager) giveRollbackUp(ctx context.Context, w meta.Workspace, cause error) error {
	if err := m.cfg.Node.DiscardSnapshot(ctx, w.PendingSnapshot); err != nil {
		return fmt.Errorf("discard unfinished snapshot: %w", err)
	}
	return m.settle(w, "rollback-undo", func(w *meta.Workspace) []note {
		w.PendingSnapshot, w.FromSnapshot, w.Attempts = "", "", 0
		w.Message = "could not be rolled back, it goes on as it was: " + reason(cause)
		return []note{{name: "rollback-failed", text: w.Message}}
	})
}

// keepReplaced makes the snapshot that a rollback replaces the checkpoint
// [BeforeRollback], in the place of the one before. It returns the label that w
// goes back to.
func (m *Manager) keepReplaced(ctx context.Context, w meta.Workspace) (label string, err error) {
	all, err := m.cfg.Store.Checkpoints().Of(ctx, w.ID)
	if err != nil {
		return "", err
	}
	label = BeforeRollback // of which the row may be gone, if this is done again after a crash
	var old holt.SnapshotID
	for _, c := range all {
		if c.Snapshot == w.FromSnapshot {
			label = c.Label
		}
		if c.Label == BeforeRollback {
			old = c.Snapshot
		}
	}
	if w.Snapshot == "" || old == w.Snapshot {
		return label, nil
	}
	if old != "" {
		if err := m.forgetCheckpoint(ctx, old); err != nil {
			return "", fmt.Errorf("replace checkpoint: %w", err)
		}
	}
	m.cfg.Fault("rollback.before-keep")
	return label, m.cfg.Store.Checkpoints().Create(ctx, meta.Checkpoint{
		Snapshot: w.Snapshot, Workspace: w.ID, Label: BeforeRollback, Automatic: true, Ready: true, Bytes: w.SnapshotBytes, CreatedAt: w.SnapshotAt,
	})
}

// kept reports whether a checkpoint of the workspace, or its line, holds the snapshot.
func (m *Manager) kept(ctx context.Context, ws holt.WorkspaceID, id holt.SnapshotID) (bool, error) {
	all, err := m.cfg.Store.Checkpoints().Of(ctx, ws)
	if err != nil {
		return false, err
	}
	for _, c := range all {
		if c.Snapshot == id {
			return true, nil
		}
	}
	line, err := m.cfg.Store.Snapshots().Of(ctx, ws)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(line, func(s meta.Snapshot) bool { return s.ID == id }), nil
}
