package guestwire

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/holt-ide/holt"
)

// Health asks whether the agent lives.
func (c *Client) Health(ctx context.Context) (Health, error) {
	var out Health
	return out, c.call(ctx, http.MethodGet, "/v1/health", nil, nil, &out)
}

// Stats asks what the guest uses.
func (c *Client) Stats(ctx context.Context) (Stats, error) {
	var out Stats
	return out, c.call(ctx, http.MethodGet, "/v1/stats", nil, nil, &out)
}

// Ports lists the listening TCP ports, sorted.
func (c *Client) Ports(ctx context.Context) ([]Port, error) {
	var out []Port
	return out, c.call(ctx, http.MethodGet, "/v1/ports", nil, nil, &out)
}

// Unfreeze tells a machine that was prepared by Freeze that it runs on.
func (c *Client) Unfreeze(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/unfreeze", nil, nil, nil)
}

// Freeze prepares the guest for a checkpoint: it writes dirty data out, and takes no
// edits of documents until Unfreeze, a thaw, or some seconds later.
func (c *Client) Freeze(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/freeze", nil, nil, nil)
}

// WriteDocuments writes what is in open documents and not in their files yet.
func (c *Client) WriteDocuments(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/documents/write", nil, nil, nil)
}

// Thaw gives a restored machine its identity. It is called with the secret of
// before the checkpoint. When the answer was lost, call it again with a client
// that uses the new secret, or the old one: exactly one of them is valid, and
// to thaw twice does no harm.
func (c *Client) Thaw(ctx context.Context, t Thaw) (ThawResult, error) {
	var out ThawResult
	return out, c.call(ctx, http.MethodPost, "/v1/thaw", nil, t, &out)
}

// Shutdown ends all user processes, with SIGKILL after grace, and syncs. The
// agent itself runs on.
func (c *Client) Shutdown(ctx context.Context, grace time.Duration) error {
	q := url.Values{"grace": {strconv.FormatFloat(grace.Seconds(), 'f', -1, 64)}}
	return c.call(ctx, http.MethodPost, "/v1/shutdown", q, nil, nil)
}

// Events calls f for each event with a number above since, first the held ones
// and then new ones as they come, until ctx ends, the connection breaks or f
// returns an error. It never returns nil.
func (c *Client) Events(ctx context.Context, since uint64, f func(Event) error) error {
	resp, err := c.do(ctx, http.MethodGet, "/v1/events", url.Values{"since": {strconv.FormatUint(since, 10)}}, nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, MaxFrame)
	for lines.Scan() {
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("decode event: %w", err)
		}
		if e.Seq == 0 {
			continue // a keep-alive
		}
		if err := f(e); err != nil {
			return err
		}
	}
	err = lines.Err()
	if err == nil {
		err = net.ErrClosed
	}
	return unreachable(ctx, err)
}

// DialPort opens a byte stream to a TCP port that listens on the guest's
// loopback. The result has CloseWrite where the stream below has it. It works
// on clients of [NewDial] only. ctx bounds the dial, not the stream.
func (c *Client) DialPort(ctx context.Context, port uint16) (net.Conn, error) {
	if c.dial == nil {
		return nil, holt.Errorf(holt.KindUnsupported, "ports are dialled by the node, not through a relay")
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, unreachable(ctx, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	up, err := c.upgrade(conn, port)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("dial port %d: %w", port, ctx.Err())
		}
		return nil, err
	}
	return up, nil
}

func (c *Client) upgrade(conn net.Conn, port uint16) (net.Conn, error) {
	req, err := http.NewRequest(http.MethodGet, fmt.Sprintf("%s/v1/ports/%d/dial", c.base, port), nil)
	if err != nil {
		return nil, fmt.Errorf("dial port %d: %w", port, err)
	}
	c.header(req.Header)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", UpgradeTCP)
	if err := req.Write(conn); err != nil {
		return nil, unreachable(context.Background(), err)
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, unreachable(context.Background(), err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer resp.Body.Close()
		return nil, ResponseError(resp)
	}
	return &upgraded{Conn: conn, r: r}, nil
}

// upgraded is a stream whose first bytes may have been read with the answer.
type upgraded struct {
	net.Conn
	r *bufio.Reader
}

func (u *upgraded) Read(b []byte) (int, error) { return u.r.Read(b) }

// CloseWrite tells the other end that no more comes, where the stream can.
func (u *upgraded) CloseWrite() error {
	if cw, ok := u.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return nil
}

// Journal begins a session of the journal, and calls write with entries as they
// come, many at once when they come fast. When write returns nil they are
// acknowledged. It returns when ctx ends, the connection breaks or write returns an
// error, and never returns nil.
func (c *Client) Journal(ctx context.Context, write func([]JournalEntry) error) error {
	ws, err := c.socket(ctx, "/v1/journal", nil)
	if err != nil {
		return err
	}
	defer ws.CloseNow()
	ws.SetReadLimit(MaxJournalEntry)
	q := &journalQueue{}
	q.changed.L = &q.mu
	go func() {
		for {
			_, b, err := ws.Read(ctx)
			if err != nil {
				q.end(unreachable(ctx, err))
				return
			}
			e, err := DecodeJournalEntry(b)
			if err != nil {
				q.end(fmt.Errorf("decode journal: %w", err))
				return
			}
			if !q.put(e) {
				return
			}
		}
	}()
	for {
		list, err := q.take()
		if err != nil {
			return err
		}
		if err := write(list); err != nil {
			q.end(err)
			return err
		}
		if err := ws.Write(ctx, websocket.MessageBinary, JournalAck(list[len(list)-1].Seq).Append(nil)); err != nil {
			q.end(err)
			return unreachable(ctx, err)
		}
	}
}

// journalQueue is what came while the entries before it are written: as much as one
// entry may be, and one.
type journalQueue struct {
	mu      sync.Mutex
	changed sync.Cond
	list    []JournalEntry
	bytes   int
	err     error
}

func (q *journalQueue) put(e JournalEntry) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.err == nil && q.bytes >= MaxJournalEntry {
		q.changed.Wait()
	}
	q.list, q.bytes = append(q.list, e), q.bytes+len(e.Path)+len(e.Data)
	q.changed.Broadcast()
	return q.err == nil
}

func (q *journalQueue) take() ([]JournalEntry, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.err == nil && len(q.list) == 0 {
		q.changed.Wait()
	}
	if q.err != nil {
		return nil, q.err
	}
	list := q.list
	q.list, q.bytes = nil, 0
	q.changed.Broadcast()
	return list, nil
}

func (q *journalQueue) end(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
	}
	q.changed.Broadcast()
}

// ReplayJournal brings documents back into a machine that lost its memory. Entries
// of one document follow each other. restored says that the files were lost too, and
// are those of a revision.
func (c *Client) ReplayJournal(ctx context.Context, restored bool, entries iter.Seq[JournalEntry]) (JournalResult, error) {
	var out JournalResult
	r, w := io.Pipe()
	defer r.Close()
	go func() {
		for e := range entries {
			b := e.Append(nil)
			if _, err := w.Write(append(binary.AppendUvarint(nil, uint64(len(b))), b...)); err != nil {
				return
			}
		}
		w.Close()
	}()
	q := url.Values{}
	if restored {
		q.Set("restored", "true")
	}
	resp, err := c.do(ctx, http.MethodPost, "/v1/journal", q, r, nil)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, MaxJSON)).Decode(&out); err != nil {
		return out, fmt.Errorf("decode answer: %w", err)
	}
	return out, nil
}
