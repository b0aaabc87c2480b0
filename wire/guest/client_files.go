package guestwire

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/coder/websocket"
	"github.com/holt-ide/holt"
)

// Stat describes a path; a symbolic link is not followed.
func (c *Client) Stat(ctx context.Context, path string) (FileInfo, error) {
	var out FileInfo
	return out, c.call(ctx, http.MethodGet, "/v1/files/stat", url.Values{"path": {path}}, nil, &out)
}

// List returns the page of a directory that follows the name after ("" for the
// first page). A limit of 0 means the largest page.
func (c *Client) List(ctx context.Context, path, after string, limit int) (FileList, error) {
	q := url.Values{"path": {path}}
	if after != "" {
		q.Set("after", after)
	}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	var out FileList
	return out, c.call(ctx, http.MethodGet, "/v1/files/list", q, nil, &out)
}

// Read opens a regular file from offset; length < 0 means to its end. The
// caller closes the result. The string is the file's ETag.
func (c *Client) Read(ctx context.Context, path string, offset, length int64) (io.ReadCloser, string, error) {
	h := http.Header{}
	switch {
	case length > 0:
		h.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	case length == 0:
		return nil, "", holt.Invalid("length", "a length of 0 reads nothing; use -1 for the whole file")
	case offset > 0:
		h.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := c.do(ctx, http.MethodGet, "/v1/files/content", url.Values{"path": {path}}, nil, h)
	if err != nil {
		return nil, "", err
	}
	return resp.Body, resp.Header.Get("ETag"), nil
}

// WriteOptions guards a write.
type WriteOptions struct {
	IfMatch string // only over a file with this ETag, else ErrPrecondition
	New     bool   // only where nothing exists, else ErrPrecondition
	Mode    uint32 // permission bits of a new file; 0 means 0644
}

// Write replaces a file's content as one step: after a failure the file is as
// it was. It returns what was written.
func (c *Client) Write(ctx context.Context, path string, r io.Reader, o WriteOptions) (FileInfo, error) {
	h := http.Header{}
	if o.IfMatch != "" {
		h.Set("If-Match", o.IfMatch)
	}
	if o.New {
		h.Set("If-None-Match", "*")
	}
	q := url.Values{"path": {path}}
	if o.Mode != 0 {
		q.Set("mode", strconv.FormatUint(uint64(o.Mode), 8))
	}
	var out FileInfo
	resp, err := c.do(ctx, http.MethodPut, "/v1/files/content", q, r, h)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, MaxJSON)).Decode(&out); err != nil {
		return out, unreachable(ctx, err)
	}
	return out, nil
}

// Rename moves a path.
func (c *Client) Rename(ctx context.Context, r Rename) error {
	return c.call(ctx, http.MethodPost, "/v1/files/rename", nil, r, nil)
}

// Mkdir makes a directory.
func (c *Client) Mkdir(ctx context.Context, m Mkdir) error {
	return c.call(ctx, http.MethodPost, "/v1/files/mkdir", nil, m, nil)
}

// Remove deletes a path; a directory with something in it only when recursive.
func (c *Client) Remove(ctx context.Context, path string, recursive bool) error {
	q := url.Values{"path": {path}}
	if recursive {
		q.Set("recursive", "1")
	}
	return c.call(ctx, http.MethodDelete, "/v1/files", q, nil, nil)
}

// Chmod sets permission bits.
func (c *Client) Chmod(ctx context.Context, m Chmod) error {
	return c.call(ctx, http.MethodPost, "/v1/files/chmod", nil, m, nil)
}

// Archive returns a file or a tree as a tar stream with names relative to the
// path's parent. Where the agent cannot read something the stream ends with that
// error in place of io.EOF. The caller closes it.
func (c *Client) Archive(ctx context.Context, path string) (io.ReadCloser, error) {
	resp, err := c.do(ctx, http.MethodGet, "/v1/files/archive", url.Values{"path": {path}}, nil, nil) //nolint:bodyclose // the caller closes it
	if err != nil {
		return nil, err
	}
	return &trailed{resp.Body, resp}, nil
}

// trailed is a body that may end with an error in its trailer.
type trailed struct {
	io.ReadCloser
	resp *http.Response
}

func (t *trailed) Read(b []byte) (int, error) {
	n, err := t.ReadCloser.Read(b)
	if text := t.resp.Trailer.Get(ErrorTrailer); errors.Is(err, io.EOF) && text != "" {
		var body ErrorBody
		if json.Unmarshal([]byte(text), &body) != nil {
			body.Text = "the guest agent could not finish"
		}
		err = body.Err()
	}
	return n, err
}

// Extract unpacks a tar stream below a directory, which is made where missing.
func (c *Client) Extract(ctx context.Context, path string, tar io.Reader) error {
	resp, err := c.do(ctx, http.MethodPost, "/v1/files/extract", url.Values{"path": {path}}, tar, nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Watcher receives the changes below a path.
type Watcher struct{ ws *websocket.Conn }

// Watch starts to watch a tree; ignore holds directory names, such as
// "node_modules", that are left out wherever they are.
func (c *Client) Watch(ctx context.Context, path string, ignore ...string) (*Watcher, error) {
	ws, err := c.socket(ctx, "/v1/files/watch", url.Values{"path": {path}, "ignore": ignore})
	if err != nil {
		return nil, err
	}
	return &Watcher{ws}, nil
}

// Next returns the next event.
func (w *Watcher) Next(ctx context.Context) (WatchEvent, error) {
	var e WatchEvent
	_, b, err := w.ws.Read(ctx)
	if err != nil {
		return e, unreachable(ctx, err)
	}
	if err := json.Unmarshal(b, &e); err != nil {
		return e, fmt.Errorf("decode watch event: %w", err)
	}
	return e, nil
}

// Close ends the watch.
func (w *Watcher) Close() error { return w.ws.CloseNow() }

// Search says what to look for. The zero value of each option is ripgrep's
// smart default, except that Query is taken literally unless Regex is set.
type Search struct {
	Path  string   // "" means the workspace's directory
	Query string   // required
	Globs []string // as rg --glob
	Regex bool
	Case  bool // match case exactly; else smart case
	Max   int  // most matches; 0 means 1,000

	// For mux sessions only.
	AnyCase bool // never match case
	Word    bool // whole words
	All     bool // what .gitignore excludes too
}

// Search calls f for each matching line. It reports whether Max cut the result.
func (c *Client) Search(ctx context.Context, s Search, f func(SearchMatch) error) (truncated bool, err error) {
	q := url.Values{"q": {s.Query}, "glob": s.Globs}
	if s.Path != "" {
		q.Set("path", s.Path)
	}
	if s.Regex {
		q.Set("regex", "1")
	}
	if s.Case {
		q.Set("case", "1")
	}
	if s.Max > 0 {
		q.Set("max", strconv.Itoa(s.Max))
	}
	resp, err := c.do(ctx, http.MethodGet, "/v1/files/search", q, nil, nil)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, MaxFrame)
	for lines.Scan() {
		var m SearchMatch
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			return false, fmt.Errorf("decode match: %w", err)
		}
		switch {
		case m.Error != nil:
			return false, m.Error.Err()
		case m.Done:
			return m.Truncated, nil
		}
		if err := f(m); err != nil {
			return false, err
		}
	}
	return false, unreachable(ctx, io.ErrUnexpectedEOF)
}
