package workspace

import (
	"context"
	"fmt"
	"slices"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// occupying lists the states in which a workspace has, or may have, a machine.
var occupying = []holt.State{holt.Provisioning, holt.Running, holt.Suspending, holt.Resuming}

func occupies(s holt.State) bool { return slices.Contains(occupying, s) }

// start begins to make a machine if there is a place for it; otherwise the
// workspace waits in line and is kicked when a place is free.
func (m *Manager) start(ctx context.Context, w meta.Workspace) (rest bool, err error) {
	m.admission.Lock()
	defer m.admission.Unlock()
	running, free, err := m.places(ctx, w.ID)
	if err != nil {
		return false, err
	}
	if !free {
		text := fmt.Sprintf("waiting: %d of %d running; suspend or stop one to make room", running, m.cfg.MaxRunning)
		if w.Message == text {
			return true, nil
		}
		return true, m.advance(ctx, w, "wait", func(w *meta.Workspace) []note {
			w.Message = text
			return []note{{name: "waiting", text: text}}
		})
	}
	if err := m.begin(ctx, w, startWith(w)); err != nil {
		return false, err
	}
	m.line = slices.DeleteFunc(m.line, func(id holt.WorkspaceID) bool { return id == w.ID })
	return false, nil
}

// startWith returns the state in which the machine of w is made.
func startWith(w meta.Workspace) holt.State {
	if w.State == holt.Suspended || w.Snapshot != "" && w.State != holt.Stopped {
		return holt.Resuming
	}
	return holt.Provisioning
}

// places puts id in the line and reports how many machines there are, and
// whether id is near enough to the front for a free place.
func (m *Manager) places(ctx context.Context, id holt.WorkspaceID) (running int, free bool, err error) {
	if m.cfg.MaxRunning == 0 {
		return 0, true, nil
	}
	rows, err := m.all(ctx, occupying...)
	if err != nil {
		return 0, false, fmt.Errorf("count machines: %w", err)
	}
	at := slices.Index(m.line, id)
	if at < 0 {
		at = len(m.line)
		m.line = append(m.line, id)
	}
	return len(rows), at < m.cfg.MaxRunning-len(rows), nil
}

// leaveLine forgets that id wanted a place.
func (m *Manager) leaveLine(id holt.WorkspaceID) {
	m.admission.Lock()
	defer m.admission.Unlock()
	n := len(m.line)
	m.line = slices.DeleteFunc(m.line, func(x holt.WorkspaceID) bool { return x == id })
	if len(m.line) < n {
		for _, x := range m.line {
			m.kick(x)
		}
	}
}

// kickLine looks again at those who wait for a place.
func (m *Manager) kickLine() {
	m.admission.Lock()
	defer m.admission.Unlock()
	for _, id := range m.line {
		m.kick(id)
	}
}

// begin moves w into a state in which something is under way. A new machine is
// named here, before the node hears of it.
func (m *Manager) begin(ctx context.Context, w meta.Workspace, to holt.State) error {
	return m.advance(ctx, w, "begin-"+verbs[to], func(w *meta.Workspace) []note {
		w.State, w.Attempts, w.Message = to, 0, ""
		switch to {
		case holt.Provisioning, holt.Resuming:
			w.Sandbox = holt.NewSandboxID()
			w.Boots++
		case holt.Suspending:
			w.PendingSnapshot = holt.NewSnapshotID()
		}
		return nil
	})
}

// verbs names the states that begin something, for fault points.
var verbs = map[holt.State]string{
	holt.Provisioning: "provision", holt.Resuming: "resume", holt.Suspending: "suspend", holt.Stopping: "stop", holt.Deleting: "delete",
}

func spec(w meta.Workspace) Spec {
	return Spec{Workspace: w.ID, Sandbox: w.Sandbox, Name: w.Name, Image: w.Image, Limits: w.Limits, Git: w.Git, Egress: w.Egress, Tenant: tenantOf(w.Owner)}
}
