package workspace

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// note is a remark that goes into the history with a change, or alone.
type note struct {
	name, text string
	quiet      bool // only the reason of a change, no line in the log
}

// change edits the row of id and stores it by compare and swap, with an event
// for a new state or goal, and one for each note. edit sees the newest row and
// runs again after a lost race; it returns errMoved when its premise is gone.
// The fault points of verb lie around the write.
func (m *Manager) change(ctx context.Context, id holt.WorkspaceID, verb string, edit func(*meta.Workspace) ([]note, error)) (meta.Workspace, error) {
	for {
		was, err := m.cfg.Store.Workspaces().Get(ctx, id)
		if err != nil {
			return was, err
		}
		w := was
		notes, err := edit(&w)
		if err != nil {
			return was, err
		}
		if w.State != was.State && !was.State.CanBecome(w.State) {
			return was, fmt.Errorf("change state of %s: %s cannot become %s", id, was.State, w.State)
		}
		m.cfg.Fault(verb + ".before-write")
		got, err := m.cfg.Store.Workspaces().Update(ctx, w, m.events(was, w, notes)...)
		if errors.Is(err, meta.ErrStale) {
			continue
		}
		if err != nil {
			return was, fmt.Errorf("store %s: %w", verb, err)
		}
		m.cfg.Fault(verb + ".after-write")
		m.bell.ring()
		if occupies(was.State) && !occupies(got.State) {
			m.kickLine()
		}
		return got, nil
	}
}

// advance is change for the steps of a workspace: it refuses when state or goal
// are no longer those of seen, which the step was decided on. Effects that are
// done must be recorded whatever the goal is by now: they use settle.
func (m *Manager) advance(ctx context.Context, seen meta.Workspace, verb string, edit func(*meta.Workspace) []note) error {
	_, err := m.change(ctx, seen.ID, verb, func(w *meta.Workspace) ([]note, error) {
		if w.State != seen.State || w.Goal != seen.Goal {
			return nil, errMoved
		}
		return edit(w), nil
	})
	return err
}

// settle is change for recording an effect: only the state must be that of seen.
// It does not stop when the goal changes.
func (m *Manager) settle(seen meta.Workspace, verb string, edit func(*meta.Workspace) []note) error {
	_, err := m.change(m.ctx, seen.ID, verb, func(w *meta.Workspace) ([]note, error) {
		if w.State != seen.State {
			return nil, errMoved
		}
		return edit(w), nil
	})
	return err
}

// events tells the history what was changed.
func (m *Manager) events(was, w meta.Workspace, notes []note) (evs []meta.Event) {
	at := m.cfg.Now()
	e := meta.Event{Workspace: w.ID, Label: w.Name, At: at, State: w.State, Goal: w.Goal}
	if w.State != was.State || w.Goal != was.Goal {
		s := e
		s.Kind, s.From = meta.EventState, was.State
		if len(notes) > 0 {
			s.Name, s.Text = notes[0].name, notes[0].text
		}
		evs = append(evs, s)
	}
	for _, n := range notes {
		if !n.quiet {
			l := e
			l.Kind, l.Name, l.Text = meta.EventLog, n.name, n.text
			evs = append(evs, l)
		}
	}
	return evs
}

// note adds a line to the workspace's log.
func (m *Manager) note(ctx context.Context, w meta.Workspace, at time.Time, n note) error {
	if at.IsZero() {
		at = m.cfg.Now()
	}
	_, err := m.cfg.Store.Events().Append(ctx, meta.Event{
		Workspace: w.ID, Label: w.Name, At: at, Kind: meta.EventLog, State: w.State, Goal: w.Goal, Name: n.name, Text: n.text,
	})
	if err != nil {
		return fmt.Errorf("append log line: %w", err)
	}
	m.bell.ring()
	return nil
}

// Tell adds a line to the log of a workspace: something that its users should
// know and that is no matter of its machine.
func (m *Manager) Tell(ctx context.Context, id holt.WorkspaceID, name, text string) error {
	w, err := m.cfg.Store.Workspaces().Get(ctx, id)
	if err != nil {
		return err
	}
	return m.note(ctx, w, time.Time{}, note{name: name, text: text})
}

// Attempts at a step before it counts as failed: the second for causes that may
// go away by themselves.
const (
	maxAttempts     = 3
	maxAttemptsLong = 6
)

// exhausted reports whether a step that failed with err is not worth another try.
func exhausted(w meta.Workspace, err error) bool {
	switch k := holt.KindOf(err); {
	case k == holt.KindInvalid, k == holt.KindNotFound, k == holt.KindUnsupported, k == holt.KindForbidden:
		return true
	case k.Retryable(), k == holt.KindNoSpace:
		return w.Attempts+1 >= maxAttemptsLong
	}
	return w.Attempts+1 >= maxAttempts
}

// failed records that a step failed: it returns cause, so that the step is taken
// again after a pause, or brings the workspace to FAILED and returns nil.
func (m *Manager) failed(ctx context.Context, seen meta.Workspace, verb, what string, cause error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	giveUp := exhausted(seen, cause)
	err := m.settle(seen, verb+"-failed", func(w *meta.Workspace) []note {
		w.Attempts = seen.Attempts + 1
		w.Message = what + ": " + reason(cause)
		if giveUp {
			w.State = holt.Failed
		}
		return []note{{name: verb + "-failed", text: w.Message}}
	})
	if err != nil {
		return err
	}
	m.cfg.Log.Warn(what, "workspace", seen.ID, "attempt", seen.Attempts+1, "final", giveUp, "err", cause)
	if giveUp {
		return nil
	}
	return cause
}

// reason is the text of err for the user.
func reason(err error) string {
	if e, ok := errors.AsType[*holt.Error](err); ok && e.Text != "" {
		return e.Text
	}
	return err.Error()
}
