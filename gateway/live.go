package gateway

import (
	"context"
	"sync"
	"time"

	"github.com/holt-ide/holt"
)

// recheckEvery is how often the right to an open stream is checked again. What
// this process changes itself ends streams at once.
const recheckEvery = 20 * time.Second

// live knows the streams that are open: relays, forwarded connections, streams of
// events. A right that is lost ends them, not only the next request.
type live struct {
	mu   sync.Mutex
	open map[*watched]struct{}
}

// watched is one open stream.
type watched struct {
	user      holt.UserID
	workspace holt.WorkspaceID // "" of a stream without one
	since     time.Time
	check     chan struct{} // asks to check now
}

func newLive() *live { return &live{open: map[*watched]struct{}{}} }

// add registers a stream until remove is called.
func (l *live) add(user holt.UserID, ws holt.WorkspaceID) (w *watched, remove func()) {
	w = &watched{user: user, workspace: ws, since: time.Now(), check: make(chan struct{}, 1)}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[w] = struct{}{}
	return w, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.open, w)
	}
}

// here returns who has a stream into a workspace, and since when the oldest of those
// that are open.
func (l *live) here(ws holt.WorkspaceID) map[holt.UserID]time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[holt.UserID]time.Time{}
	for w := range l.open {
		if since, ok := out[w.user]; w.workspace == ws && (!ok || w.since.Before(since)) {
			out[w.user] = w.since
		}
	}
	return out
}

// recheck has the streams of a user checked now, those into one workspace unless
// ws is "".
func (l *live) recheck(user holt.UserID, ws holt.WorkspaceID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for w := range l.open {
		// A stream without a workspace shows what its user may see of all.
		if w.user == user && (ws == "" || w.workspace == ws || w.workspace == "") {
			select {
			case w.check <- struct{}{}:
			default: // it is about to
			}
		}
	}
}

// hold returns a context for a stream that was permitted, which ends when the
// right is lost. meanwhile is called at the start, at each check and at the end.
// release ends the hold and waits for it.
func (g *Gateway) hold(ctx context.Context, a access, meanwhile func()) (held context.Context, release func()) {
	held, cancel := context.WithCancel(ctx)
	w, remove := g.live.add(a.User, a.Workspace.ID)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(recheckEvery)
		defer tick.Stop()
		for {
			meanwhile()
			select {
			case <-tick.C:
			case <-w.check:
			case <-held.Done():
				meanwhile()
				return
			}
			if err := g.stillPermitted(held, a); err != nil && (holt.IsKind(err, holt.KindUnauthorized) || holt.IsKind(err, holt.KindForbidden) || holt.IsKind(err, holt.KindNotFound)) {
				g.log.Info("stream ended: its right was lost", "user", a.User, "workspace", a.Workspace.ID, "err", err)
				cancel()
			}
		}
	}()
	return held, func() {
		remove()
		cancel()
		<-done
	}
}

// stillPermitted checks the right to an open stream once more. A role that grew or
// shrank ends it as well if what the stream may do is no longer what it does.
func (g *Gateway) stillPermitted(ctx context.Context, a access) error {
	id, err := g.cfg.Auth.Still(ctx, a.Identity)
	if err != nil {
		return err
	}
	now, err := g.permit(ctx, id, a.need, string(a.Workspace.ID), "")
	if err != nil {
		return err
	}
	if now.readOnly() && !a.readOnly() && a.need.readers {
		return holt.Errorf(holt.KindForbidden, "only looking is left")
	}
	return nil
}

// lost has the streams of a user checked after something of their rights changed.
func (g *Gateway) lost(user holt.UserID, ws holt.WorkspaceID) { g.live.recheck(user, ws) }
