package workspace

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// job is the work of one workspace while it has some.
type job struct {
	again  bool                    // kicked since the last look
	wake   chan struct{}           // ends a pause early
	cancel context.CancelCauseFunc // of the step under way, nil between steps
}

var (
	// errGoal cancels an effect because its owner wants something else now.
	errGoal = errors.New("the goal changed")
	// errMoved reports that the row no longer is what the step was decided on.
	errMoved = errors.New("the row changed")
)

// kick makes sure that the workspace is looked at once more from now on.
func (m *Manager) kick(id holt.WorkspaceID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.close {
		return
	}
	if j := m.jobs[id]; j != nil {
		j.again = true
		return
	}
	j := &job{wake: make(chan struct{}, 1)}
	m.jobs[id] = j
	m.wg.Go(func() { m.work(id, j) })
}

// hurry kicks and ends the pause after a failure; with interrupt it also
// cancels the effect under way.
func (m *Manager) hurry(id holt.WorkspaceID, interrupt bool) {
	m.kick(id)
	m.mu.Lock()
	defer m.mu.Unlock()
	j := m.jobs[id]
	if j == nil {
		return
	}
	select {
	case j.wake <- struct{}{}:
	default:
	}
	if interrupt && j.cancel != nil {
		j.cancel(errGoal)
	}
}

// work takes steps until there is nothing to do.
func (m *Manager) work(id holt.WorkspaceID, j *job) {
	defer m.forget(id, j) // also when a test ends the goroutine
	failures := 0
	for m.ctx.Err() == nil {
		m.mu.Lock()
		j.again = false
		m.mu.Unlock()

		rest, err := m.step(id, j)
		switch {
		case m.ctx.Err() != nil:
			return
		case errors.Is(err, errGoal), errors.Is(err, errMoved), errors.Is(err, meta.ErrStale):
			continue
		case errors.Is(err, errSource):
			failures++
			m.pause(j, min(failures, 3))
		case err != nil:
			failures++
			m.cfg.Log.Warn("step failed, trying again", "workspace", id, "failures", failures, "err", err)
			m.pause(j, failures)
		case !rest:
			failures = 0
		case m.finish(id, j):
			return
		}
	}
}

// finish ends the job unless it was kicked meanwhile.
func (m *Manager) finish(id holt.WorkspaceID, j *job) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if j.again {
		return false
	}
	delete(m.jobs, id)
	return true
}

func (m *Manager) forget(id holt.WorkspaceID, j *job) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.jobs[id] == j {
		delete(m.jobs, id)
	}
}

// pause waits longer after each failure, with jitter so that many workspaces
// that failed together do not come back together.
func (m *Manager) pause(j *job, failures int) {
	d := min(m.cfg.Backoff<<min(failures-1, 12), time.Minute)
	t := time.NewTimer(d/2 + rand.N(d/2+1))
	defer t.Stop()
	select {
	case <-t.C:
	case <-j.wake:
	case <-m.ctx.Done():
	}
}

// step takes one step. It returns rest when there is nothing more to do until
// the next kick, and an error when the step should be tried again after a pause.
func (m *Manager) step(id holt.WorkspaceID, j *job) (rest bool, err error) {
	ctx, cancel := context.WithCancelCause(m.ctx)
	defer cancel(nil)
	leave, err := m.gates.enter(ctx, id)
	if err != nil {
		return false, err
	}
	defer leave()

	// Known before the row is read: whoever changes the goal after this can
	// cancel what is decided on the old one.
	m.arm(j, cancel)
	defer m.arm(j, nil)

	w, err := m.cfg.Store.Workspaces().Get(ctx, id)
	if err != nil {
		if holt.IsKind(err, holt.KindNotFound) {
			return true, nil
		}
		return false, err
	}
	if w.Node != m.cfg.NodeID {
		return true, nil
	}
	var v view
	if consults(w.State) {
		inv, err := m.cfg.Node.Inventory(ctx)
		if err != nil {
			return false, fmt.Errorf("list what exists: %w", err)
		}
		v = viewOf(w, inv)
	}
	s := decide(w, v)
	if s != stepStart {
		m.leaveLine(id)
	}
	if s == stepRest {
		return true, nil
	}
	m.cfg.Log.Debug("step", "workspace", id, "name", w.Name, "state", w.State, "goal", w.Goal, "step", string(s))
	rest, err = m.take(ctx, s, w)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errGoal) {
		return false, errGoal
	}
	return rest, err
}

func (m *Manager) arm(j *job, cancel context.CancelCauseFunc) {
	m.mu.Lock()
	defer m.mu.Unlock()
	j.cancel = cancel
}

// take performs step s, which was decided on w.
func (m *Manager) take(ctx context.Context, s step, w meta.Workspace) (rest bool, err error) {
	switch s {
	case stepStart:
		return m.start(ctx, w)
	case stepSuspend:
		return false, m.beginSuspend(ctx, w)
	case stepStop:
		return false, m.begin(ctx, w, holt.Stopping)
	case stepDelete:
		return false, m.begin(ctx, w, holt.Deleting)
	case stepCapture:
		return false, m.capture(ctx, w)
	case stepProvision:
		return false, m.provision(ctx, w)
	case stepResume:
		return false, m.resume(ctx, w)
	case stepFreeze:
		return false, m.freeze(ctx, w)
	case stepAdopt:
		return false, m.suspended(ctx, w, Snapshot{ID: w.PendingSnapshot, CreatedAt: w.UpdatedAt})
	case stepReturn:
		return false, m.giveUp(ctx, w, note{})
	case stepThaw:
		m.cfg.Fault("thaw.before")
		return false, m.cfg.Node.Unfreeze(ctx, w.Sandbox)
	case stepReplace:
		return false, m.replace(ctx, w)
	case stepRollback:
		return false, m.rollback(ctx, w)
	case stepRelease:
		return false, m.release(ctx, w)
	case stepEnd:
		return false, m.end(ctx, w)
	case stepRemove:
		return false, m.remove(ctx, w)
	}
	return true, nil
}
