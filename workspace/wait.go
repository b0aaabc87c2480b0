package workspace

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// poll bounds how long a waiter sleeps when nobody rings: another process may
// write to the same database.
const poll = 2 * time.Second

// nap sleeps until the bell rings, and at most poll.
func (m *Manager) nap(ctx context.Context, ring <-chan struct{}) error {
	t := time.NewTimer(poll)
	defer t.Stop()
	select {
	case <-ring:
	case <-t.C:
	case <-m.ctx.Done():
		return holt.Errorf(holt.KindUnavailable, "the server is shutting down: try again in a moment")
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// Wait returns the row of the workspace, DELETED ones included, as soon as until
// accepts it. When ctx ends first the error is KindTimeout or ctx's own
// cancellation, and the row is the last one seen.
func (m *Manager) Wait(ctx context.Context, id holt.WorkspaceID, until func(meta.Workspace) bool) (w meta.Workspace, err error) {
	for {
		ring := m.bell.listen()
		got, err := m.cfg.Store.Workspaces().Get(ctx, id)
		if err == nil {
			if w = got; until(w) {
				return w, nil
			}
			err = m.nap(ctx, ring)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			if w.ID == "" {
				return w, holt.Wrap(holt.KindTimeout, err, "the database did not answer in time")
			}
			text := "it is still " + string(w.State)
			if w.Message != "" {
				text += ": " + w.Message
			}
			return w, holt.Wrap(holt.KindTimeout, err, text)
		}
		if err != nil {
			return w, err
		}
	}
}

// Wake wants the workspace RUNNING, waits until it is, and returns it. A STOPPED
// one is started. One that is or becomes FAILED is KindConflict with the reason;
// [Manager.SetGoal] tries such a one again.
func (m *Manager) Wake(ctx context.Context, id holt.WorkspaceID) (meta.Workspace, error) {
	m.Touch(id)
	w, err := m.cfg.Store.Workspaces().Get(ctx, id)
	switch {
	case err != nil:
		return w, err
	case w.State == holt.Running && w.Goal == holt.WantRunning:
		return w, nil
	case w.State == holt.Failed:
		return w, failedError(w)
	case w.Goal != holt.WantRunning:
		if w, err = m.SetGoal(ctx, id, holt.WantRunning, "wake"); err != nil {
			return w, err
		}
	}
	w, err = m.Wait(ctx, id, func(w meta.Workspace) bool {
		return w.Goal != holt.WantRunning || w.State == holt.Running || w.State == holt.Failed
	})
	switch {
	case err != nil:
		return w, err
	case w.State == holt.Failed:
		return w, failedError(w)
	case w.Goal != holt.WantRunning:
		return w, holt.Errorf(holt.KindConflict, "%s was asked to be %s meanwhile", w.Name, w.Goal)
	}
	return w, nil
}

func failedError(w meta.Workspace) error {
	return holt.Errorf(holt.KindConflict, "%s is FAILED: %s (try again with: holt resume %s)", w.Name, w.Message, w.Name)
}

// Watch yields every event with a Seq above since, in order and without gaps, and
// waits for new ones until ctx ends. It reads from the store at the pace of its
// caller, so a slow caller delays nobody and misses nothing. The last value is an
// error: ctx's own, KindUnavailable when the manager closes, or the store's.
func (m *Manager) Watch(ctx context.Context, since int64) iter.Seq2[meta.Event, error] {
	const batch = 256
	return func(yield func(meta.Event, error) bool) {
		for {
			ring := m.bell.listen()
			evs, err := m.cfg.Store.Events().Since(ctx, since, batch)
			for _, e := range evs {
				since = e.Seq
				if !yield(e, nil) {
					return
				}
			}
			if err == nil && len(evs) < batch {
				err = m.nap(ctx, ring)
			}
			if err != nil {
				yield(meta.Event{}, err)
				return
			}
		}
	}
}
