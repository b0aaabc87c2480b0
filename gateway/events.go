package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/meta"
)

func (g *Gateway) registerEvents(rest *rest) {
	op(rest, "GET", "/events", "events", "Follow what happens to all workspaces", g.allEvents, eventStream(rest))
	op(rest, "GET", "/workspaces/{workspace}/log", "workspace-log", "List or follow what happened to a workspace", g.workspaceLog, func(o *huma.Operation) {
		o.Description = "A page of events; with follow, a stream of server-sent events that begins with those after since."
		o.Responses = map[string]*huma.Response{"200": {Description: "The events", Content: map[string]*huma.MediaType{
			"application/json": {Schema: schemaOf[api.Log](rest)}, "text/event-stream": {Schema: schemaOf[api.Event](rest)},
		}}}
	})
}

// eventStream describes an answer that is a stream of server-sent events.
func eventStream(rest *rest) func(*huma.Operation) {
	return func(o *huma.Operation) {
		o.Description = "Server-sent events whose id is the number of the event and whose data is an Event. A stream that broke goes on after " +
			"Last-Event-ID or since; a reader that is too slow is dropped."
		o.Responses = map[string]*huma.Response{"200": {
			Description: "The stream, without end",
			Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: schemaOf[api.Event](rest)}},
		}}
	}
}

// Resume is where a reader of events continues.
type Resume struct {
	Since       string `query:"since" doc:"Number of the last event seen; absent: from now on, for a page from the beginning"`
	LastEventID string `header:"Last-Event-ID" doc:"As since, and goes before it"`
}

// after returns the number after which events are wanted, fallback if the
// reader does not say.
func (r Resume) after(fallback int64) (int64, error) {
	s, field := r.LastEventID, "Last-Event-ID"
	if s == "" {
		s, field = r.Since, "since"
	}
	if s == "" {
		return fallback, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, holt.Invalidf(field, "%q is not the number of an event", s)
	}
	return n, nil
}

func (g *Gateway) allEvents(ctx context.Context, in *Resume) (*huma.StreamResponse, error) {
	last, err := g.cfg.Events.Last(ctx)
	if err != nil {
		return nil, err
	}
	since, err := in.after(last)
	if err != nil {
		return nil, err
	}
	return g.stream(permitted(ctx), since), nil
}

type logInput struct {
	Named
	Resume
	Follow bool `query:"follow" doc:"Answer with a stream of server-sent events"`
}

// workspaceLog has two kinds of answer, so that it writes both itself.
func (g *Gateway) workspaceLog(ctx context.Context, in *logInput) (*huma.StreamResponse, error) {
	w := target(ctx)
	since, err := in.after(0)
	if err != nil {
		return nil, err
	}
	if in.Follow {
		return g.stream(permitted(ctx), since), nil
	}
	page, err := g.cfg.Events.Of(ctx, w.ID, since, meta.MaxPage)
	if err != nil {
		return nil, err
	}
	out := api.Log{Items: make([]api.Event, 0, len(page))}
	for _, e := range page {
		out.Items = append(out.Items, toEvent(e))
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		_, rw := humago.Unwrap(hctx)
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(out) // the reader is gone otherwise
	}}, nil
}

// stream answers with the events after since, of the workspace that a names or
// else of all that the reader may see, until the reader leaves, is too slow, loses
// the right, or the gateway shuts down.
func (g *Gateway) stream(a access, since int64) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		r, w := humago.Unwrap(hctx)
		h := w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("X-Accel-Buffering", "no")
		s := &eventWriter{w: w, rc: http.NewResponseController(w)}
		// The number first: a reader that began without one resumes exactly here.
		if s.write("retry: 1000\nid: %d\n\n", since) != nil {
			return
		}
		ctx, release := g.hold(r.Context(), a, func() {})
		var wg sync.WaitGroup
		defer wg.Wait()
		defer release()
		sees := g.sees(ctx, a)
		events := make(chan meta.Event, 64)
		wg.Go(func() {
			defer close(events)
			for e, err := range g.cfg.Workspaces.Watch(ctx, since) {
				if err != nil {
					return // the reader comes back with the number it saw last
				}
				ok, err := sees(ctx, e)
				if err != nil {
					return
				}
				if !ok {
					continue
				}
				select {
				case events <- e:
				case <-ctx.Done():
					return
				}
			}
		})
		g.pump(s, events)
	}}
}

// seatsLast is how long a stream of events trusts what it found of the reader's
// role in a workspace.
const seatsLast = 2 * time.Second

// sees returns what tells whether a reader of events may see a workspace.
func (g *Gateway) sees(ctx context.Context, a access) func(context.Context, meta.Event) (bool, error) {
	if a.Workspace.ID != "" {
		return func(_ context.Context, e meta.Event) (bool, error) { return e.Workspace == a.Workspace.ID, nil }
	}
	type found struct {
		ok bool
		at time.Time
	}
	known := map[holt.WorkspaceID]found{}
	if shared, err := g.cfg.Members.ByUser(ctx, a.User); err == nil {
		for _, m := range shared {
			known[m.Workspace] = found{ok: true} // too old to be believed, and known to have been seen
		}
	}
	return func(ctx context.Context, e meta.Event) (bool, error) {
		id := e.Workspace
		if e.Name == eventShared || e.Name == eventUnshared {
			was := known[id].ok
			delete(known, id) // it tells of this very change
			if was && e.Name == eventUnshared {
				return true, nil // who loses it hears so
			}
		}
		if f, ok := known[id]; ok && time.Since(f.at) < seatsLast {
			return f.ok, nil
		}
		seat, err := g.seat(ctx, a.Identity, id)
		if err != nil {
			return false, err
		}
		if len(known) > 10_000 {
			clear(known)
		}
		known[id] = found{seat != "", time.Now()}
		return seat != "", nil
	}
}

// pump writes events and heartbeats until events is closed or a write fails.
func (g *Gateway) pump(s *eventWriter, events <-chan meta.Event) {
	beat := time.NewTicker(g.cfg.Heartbeat)
	defer beat.Stop()
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			data, err := json.Marshal(toEvent(e))
			if err != nil || s.write("id: %d\ndata: %s\n\n", e.Seq, data) != nil {
				return
			}
		case <-beat.C:
			if s.write(":\n\n") != nil {
				return
			}
		}
	}
}

// eventWriter writes to a reader that must keep up.
type eventWriter struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

// slowest is how long one write may take before the reader is dropped.
const slowest = 10 * time.Second

func (s *eventWriter) write(format string, args ...any) error {
	_ = s.rc.SetWriteDeadline(time.Now().Add(slowest)) // a writer without deadlines is a test's
	if _, err := fmt.Fprintf(s.w, format, args...); err != nil {
		return err
	}
	return s.rc.Flush()
}
