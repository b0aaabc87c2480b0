package workspace

import (
	"context"
	"sync"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// What still counts as idle: background noise of an editor's or a shell's
// processes, keep-alive packets.
const (
	idleCPU = 0.02 // of a core, on average
	idleNet = 1024 // bytes per second, on average
)

// sample is the activity of one machine at one moment.
type sample struct {
	at      time.Time
	touched time.Time // last use that the gateway reported
	Activity
}

// idle reports whether nothing happened for as long as after. The samples are in
// order of time and of one machine; they must cover the whole span, so a machine
// is never idle before it was watched that long.
func idle(samples []sample, now time.Time, after time.Duration) bool {
	if after <= 0 || len(samples) < 2 {
		return false
	}
	since := now.Add(-after)
	first := 0 // the last sample that is not younger than the span
	for i, s := range samples {
		if !s.at.After(since) {
			first = i
		}
	}
	if samples[first].at.After(since) {
		return false
	}
	span := samples[first:]
	for _, s := range span {
		if s.Connections > 0 || s.Jobs > 0 || s.LastIO.After(since) || s.touched.After(since) {
			return false
		}
	}
	a, b := span[0], span[len(span)-1]
	took := b.at.Sub(a.at).Seconds()
	if took <= 0 || b.CPUSeconds < a.CPUSeconds || b.NetBytes < a.NetBytes {
		return false
	}
	return b.CPUSeconds-a.CPUSeconds < idleCPU*took && float64(b.NetBytes-a.NetBytes) < idleNet*took
}

// trim drops the samples that idle needs no more.
func trim(samples []sample, since time.Time) []sample {
	for len(samples) > 1 && !samples[1].at.After(since) {
		samples = samples[1:]
	}
	return samples
}

// activity remembers, per workspace, when it was used and what its machine did.
type activity struct {
	mu      sync.Mutex
	touched map[holt.WorkspaceID]time.Time
	dirty   map[holt.WorkspaceID]bool // touched is newer than the row
	samples map[holt.WorkspaceID][]sample
	of      map[holt.WorkspaceID]holt.SandboxID // whose samples these are
}

func (a *activity) touch(id holt.WorkspaceID, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.touched == nil {
		a.touched, a.dirty = map[holt.WorkspaceID]time.Time{}, map[holt.WorkspaceID]bool{}
	}
	if at.After(a.touched[id]) {
		a.touched[id], a.dirty[id] = at, true
	}
}

func (a *activity) lastTouch(id holt.WorkspaceID) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.touched[id]
}

// reset begins a new span without activity.
func (a *activity) reset(id holt.WorkspaceID, at time.Time) {
	a.touch(id, at)
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.samples, id)
}

func (a *activity) forget(id holt.WorkspaceID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.touched, id)
	delete(a.dirty, id)
	delete(a.samples, id)
	delete(a.of, id)
}

// unsaved returns the touches that are newer than the rows and counts them as
// saved.
func (a *activity) unsaved() map[holt.WorkspaceID]time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make(map[holt.WorkspaceID]time.Time, len(a.dirty))
	for id := range a.dirty {
		out[id] = a.touched[id]
	}
	clear(a.dirty)
	return out
}

// add appends a sample of w's machine and returns all that matter.
func (a *activity) add(w meta.Workspace, at time.Time, now Activity) []sample {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.samples == nil {
		a.samples, a.of = map[holt.WorkspaceID][]sample{}, map[holt.WorkspaceID]holt.SandboxID{}
	}
	if a.of[w.ID] != w.Sandbox {
		delete(a.samples, w.ID)
		a.of[w.ID] = w.Sandbox
	}
	all := append(a.samples[w.ID], sample{at: at, touched: a.touched[w.ID], Activity: now})
	all = trim(all, at.Add(-w.IdleAfter))
	a.samples[w.ID] = all
	return all
}

// Touch tells that a workspace is used now. It does not block; the time reaches
// the database within a sampling interval.
func (m *Manager) Touch(id holt.WorkspaceID) { m.active.touch(id, m.cfg.Now()) }

// watchIdle samples the running machines and suspends the idle ones.
func (m *Manager) watchIdle() {
	tick := time.NewTicker(m.cfg.Sample)
	defer tick.Stop()
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-tick.C:
		}
		m.flushActivity(m.ctx)
		if err := m.sampleAll(m.ctx); err != nil && m.ctx.Err() == nil {
			m.cfg.Log.Error("sample activity", "err", err)
		}
	}
}

func (m *Manager) flushActivity(ctx context.Context) {
	for id, at := range m.active.unsaved() {
		if err := m.cfg.Store.Workspaces().Touch(ctx, id, at); err != nil && ctx.Err() == nil {
			m.cfg.Log.Warn("store last activity", "workspace", id, "err", err)
		}
	}
}

func (m *Manager) sampleAll(ctx context.Context) error {
	rows, err := m.all(ctx, holt.Running)
	if err != nil {
		return err
	}
	for _, w := range rows {
		if w.Goal != holt.WantRunning {
			continue
		}
		a, err := m.cfg.Node.Activity(ctx, w.Sandbox)
		if err != nil {
			m.cfg.Log.Debug("sample activity", "workspace", w.ID, "err", err)
			continue
		}
		now := m.cfg.Now()
		if a.Connections > 0 || a.Jobs > 0 {
			m.active.touch(w.ID, now)
		} else if !a.LastIO.IsZero() {
			m.active.touch(w.ID, a.LastIO)
		}
		if idle(m.active.add(w, now, a), now, w.IdleAfter) {
			if err := m.suspendIdle(ctx, w); err != nil {
				m.cfg.Log.Warn("suspend idle workspace", "workspace", w.ID, "err", err)
			}
		}
	}
	return nil
}

// suspendIdle wants an idle workspace suspended, unless it was used since it was
// found to be idle.
func (m *Manager) suspendIdle(ctx context.Context, seen meta.Workspace) error {
	touched := m.active.lastTouch(seen.ID)
	err := m.advance(ctx, seen, "idle", func(w *meta.Workspace) []note {
		w.Goal, w.Attempts = holt.WantSuspended, 0
		return []note{{name: "idle", text: "no activity for " + w.IdleAfter.String()}}
	})
	if err != nil {
		return err
	}
	if m.active.lastTouch(seen.ID).After(touched) {
		_, err := m.SetGoal(ctx, seen.ID, holt.WantRunning, "used")
		return err
	}
	m.hurry(seen.ID, false)
	return nil
}
