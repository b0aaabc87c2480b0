package guest

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/coder/websocket"
	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/wire/guest"
)

func path(r *http.Request) string { return r.URL.Query().Get("path") }

// integer reads an optional number of the query in the given base.
func integer(r *http.Request, name string, base int) (int, error) {
	s := r.URL.Query().Get(name)
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, base, 31)
	if err != nil {
		return 0, holt.Invalidf(name, "%s=%q is not a number of base %d", name, s, base)
	}
	return int(n), nil
}

func (a *Agent) statFile(w http.ResponseWriter, r *http.Request) error {
	info, err := a.files.Stat(path(r))
	if err != nil {
		return err
	}
	return reply(w, info)
}

func (a *Agent) listFiles(w http.ResponseWriter, r *http.Request) error {
	limit, err := integer(r, "limit", 10)
	if err != nil {
		return err
	}
	list, err := a.files.List(path(r), r.URL.Query().Get("after"), limit)
	if err != nil {
		return err
	}
	return reply(w, list)
}

// passive keeps a browser from treating a guest's bytes as a page.
func passive(w http.ResponseWriter, contentType string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("Content-Disposition", "attachment")
}

func (a *Agent) readFile(w http.ResponseWriter, r *http.Request) error {
	f, info, err := a.files.Open(path(r))
	if err != nil {
		return err
	}
	defer f.Close()
	passive(w, "application/octet-stream")
	w.Header().Set("ETag", info.ETag)
	http.ServeContent(w, r, "", info.ModTime, f)
	return nil
}

func (a *Agent) writeFile(w http.ResponseWriter, r *http.Request) error {
	mode, err := integer(r, "mode", 8)
	if err != nil {
		return err
	}
	if mode > 0o777 {
		return holt.Invalidf("mode", "mode %#o has more than 0777", mode)
	}
	o := guestwire.WriteOptions{IfMatch: r.Header.Get("If-Match"), Mode: uint32(mode)}
	switch none := r.Header.Get("If-None-Match"); none {
	case "":
	case "*":
		o.New = true
	default:
		return holt.Invalidf("If-None-Match", "only * is possible, not %q", none)
	}
	info, err := a.files.Write(r.Context(), path(r), r.Body, o)
	if err != nil {
		return err
	}
	a.documents.Saved(path(r))
	w.Header().Set("ETag", info.ETag)
	return reply(w, info)
}

func (a *Agent) renameFile(w http.ResponseWriter, r *http.Request) error {
	return change(w, r, a.files.Rename)
}

func (a *Agent) mkdir(w http.ResponseWriter, r *http.Request) error {
	return change(w, r, a.files.Mkdir)
}

func (a *Agent) chmod(w http.ResponseWriter, r *http.Request) error {
	return change(w, r, a.files.Chmod)
}

func change[T any](w http.ResponseWriter, r *http.Request, do func(T) error) error {
	var req T
	if err := read(w, r, &req); err != nil {
		return err
	}
	if err := do(req); err != nil {
		return err
	}
	return done(w)
}

func (a *Agent) removeFile(w http.ResponseWriter, r *http.Request) error {
	if err := a.files.Remove(path(r), flag(r, "recursive")); err != nil {
		return err
	}
	return done(w)
}

func (a *Agent) archive(w http.ResponseWriter, r *http.Request) error {
	started := false
	err := a.files.Archive(r.Context(), path(r), func() {
		started = true
		passive(w, "application/x-tar")
		w.Header().Set("Trailer", guestwire.ErrorTrailer)
	}, w)
	if err == nil || !started {
		return err
	}
	if b, jerr := json.Marshal(guestwire.BodyOf(err)); jerr == nil {
		w.Header().Set(guestwire.ErrorTrailer, string(b))
	}
	return nil
}

func (a *Agent) extract(w http.ResponseWriter, r *http.Request) error {
	if err := a.files.Extract(r.Context(), path(r), r.Body); err != nil {
		return err
	}
	return done(w)
}

// watch streams the changes of a tree as text messages.
func (a *Agent) watch(w http.ResponseWriter, r *http.Request) error {
	if _, err := a.files.Stat(path(r)); err != nil {
		return err // as an HTTP status, which the socket could not tell
	}
	ws, err := upgrade(w, r)
	if ws == nil {
		return err
	}
	defer ws.CloseNow()
	a.counts.watches.Add(1)
	defer a.counts.watches.Add(-1)
	ctx := ws.CloseRead(r.Context())
	err = a.files.Watch(ctx, path(r), r.URL.Query()["ignore"], func(e guestwire.WatchEvent) error {
		b, err := json.Marshal(e)
		if err != nil {
			return err
		}
		return ws.Write(ctx, websocket.MessageText, b)
	})
	if ctx.Err() == nil {
		reason := err.Error()
		ws.Close(websocket.StatusInternalError, reason[:min(len(reason), 120)])
	}
	return nil
}

func (a *Agent) search(w http.ResponseWriter, r *http.Request) error {
	most, err := integer(r, "max", 10)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	s := guestwire.Search{
		Path: q.Get("path"), Query: q.Get("q"), Globs: q["glob"], Regex: flag(r, "regex"), Case: flag(r, "case"), Max: most,
	}
	out := newLines(w)
	sent := false
	cut, err := a.files.Search(r.Context(), s, func(m guestwire.SearchMatch) error {
		sent = true
		return out.send(m)
	})
	switch {
	case err != nil && !sent:
		return err
	case err != nil:
		body := guestwire.BodyOf(err)
		_ = out.send(guestwire.SearchMatch{Error: &body})
	default:
		_ = out.send(guestwire.SearchMatch{Done: true, Truncated: cut})
	}
	return nil
}
