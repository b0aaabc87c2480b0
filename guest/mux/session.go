// Package mux serves the mux session of package guestwire: a page's requests,
// watches and searches as streams over one WebSocket.
//
// The page is hostile: every packet is bounded and checked, a stream holds at most
// [guestwire.Window] bytes of what the page sent ahead, and at most
// [guestwire.MaxStreams] streams are open. A page that breaks a rule loses its
// session and nothing else. Streams do not wait for each other: each has its own
// credit, and packets of several take turns on the socket.
package mux

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/guest/files"
	"github.com/holt-ide/holt/wire/guest"
)

const (
	// idle is how long a session lives without a word of the page.
	idle = 5 * time.Minute
	// writeTimeout is how long a packet may wait for the socket.
	writeTimeout = time.Minute
	// portsEvery is the pause between two looks at the listening ports.
	portsEvery = time.Second
)

// Server serves sessions. Every field is required.
type Server struct {
	Files   *files.Files
	Ports   func() ([]guestwire.Port, error)
	Welcome guestwire.MuxWelcome // Version and ReadOnly are filled in
	Saved   func(path string)    // hears of a file that was written
	Watches func(n int64)        // counts a watch that begins (1) or ends (-1)
}

// socket is what a session needs of a WebSocket.
type socket interface {
	Read(ctx context.Context) (websocket.MessageType, []byte, error)
	Write(ctx context.Context, t websocket.MessageType, b []byte) error
}

type session struct {
	*Server
	ws       socket
	readOnly bool
	// base outlives every stream: a write whose context ends breaks the socket, and
	// with it the other streams.
	base context.Context

	sending sync.Mutex // one packet at a time; never held together with mu

	mu      sync.Mutex // guards streams and what is in them
	streams map[uint32]*stream
	work    sync.WaitGroup
}

// Serve serves one session until ctx ends, the socket breaks or the page breaks a
// rule, which is the error. It does not close the socket.
func (s *Server) Serve(ctx context.Context, ws *websocket.Conn, readOnly bool) error {
	return s.serve(ctx, ws, readOnly)
}

func (s *Server) serve(ctx context.Context, ws socket, readOnly bool) error {
	c := &session{Server: s, ws: ws, readOnly: readOnly, base: ctx, streams: map[uint32]*stream{}}
	ctx, cancel := context.WithCancel(ctx)
	defer c.work.Wait()
	defer cancel() // before Wait
	w := s.Welcome
	w.Version, w.ReadOnly = guestwire.MuxVersion, readOnly
	if err := c.sendJSON(guestwire.PacketWelcome, 0, w); err != nil {
		return nil // the page is gone
	}
	for {
		b, err := c.read(ctx)
		if err != nil {
			return nil
		}
		p, err := guestwire.DecodePacket(b)
		if err == nil {
			err = c.receive(ctx, p)
		}
		if err != nil {
			return err
		}
	}
}

func (c *session) read(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, idle)
	defer cancel()
	typ, b, err := c.ws.Read(ctx)
	if err == nil && typ != websocket.MessageBinary {
		b = nil // refused by DecodePacket
	}
	return b, err
}

// receive handles one packet; an error ends the session.
func (c *session) receive(ctx context.Context, p guestwire.Packet) error {
	switch p.Type {
	case guestwire.PacketPing:
		p.Type = guestwire.PacketPong
		_ = c.send(p) // a broken socket is seen by the next read
		return nil
	case guestwire.PacketOpen:
		return c.open(ctx, p)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.streams[p.Stream]
	if st == nil {
		return nil // it has just ended here
	}
	switch p.Type {
	case guestwire.PacketData:
		return st.put(p.Data)
	case guestwire.PacketEnd:
		st.ended = true
		st.wake()
	case guestwire.PacketCancel:
		st.cancel()
	case guestwire.PacketCredit:
		if st.credit += int64(p.Credit); st.credit > 1<<31 {
			return fmt.Errorf("%w: credit of %d bytes", guestwire.ErrPacket, st.credit)
		}
		st.wake()
	default:
		return fmt.Errorf("%w: a page does not send type 0x%02x", guestwire.ErrPacket, byte(p.Type))
	}
	return nil
}

// open starts a stream. A bad request fails the stream, a number in use or too many
// streams the session: a page that keeps count does neither.
func (c *session) open(ctx context.Context, p guestwire.Packet) error {
	var req guestwire.MuxRequest
	bad := json.Unmarshal(p.Data, &req)
	ctx, cancel := context.WithCancel(ctx)
	st := &stream{session: c, id: p.Stream, ctx: ctx, cancel: cancel, credit: guestwire.Window, changed: make(chan struct{}, 1)}
	c.mu.Lock()
	_, used := c.streams[p.Stream]
	full := len(c.streams) >= guestwire.MaxStreams
	if !used && !full {
		c.streams[p.Stream] = st
	}
	c.mu.Unlock()
	if used || full {
		cancel()
		return fmt.Errorf("%w: stream %d is in use, or there are more than %d", guestwire.ErrPacket, p.Stream, guestwire.MaxStreams)
	}
	c.work.Go(func() {
		defer cancel()
		var result any
		err := error(&holt.Error{Kind: holt.KindInvalid, Field: "request", Text: "the request is not the JSON expected", Err: bad})
		if bad == nil {
			result, err = st.serve(req)
		}
		c.finish(st, result, err)
	})
	return nil
}

// finish forgets a stream before its last packet is sent: after that packet the page
// may use the number again.
func (c *session) finish(st *stream, result any, err error) {
	c.mu.Lock()
	delete(c.streams, st.id)
	c.mu.Unlock()
	if err == nil {
		if result == nil {
			result = struct{}{}
		}
		_ = c.sendJSON(guestwire.PacketResult, st.id, result) // the page is gone otherwise, here and below
		return
	}
	body := guestwire.BodyOf(err)
	switch {
	case errors.Is(err, context.Canceled):
		body = guestwire.ErrorBody{Kind: holt.KindUnavailable, Text: "cancelled"}
	case errors.Is(err, guestwire.ErrPrecondition):
		body.Field = guestwire.FieldPrecondition
	}
	body.Text = body.Text[:min(len(body.Text), 4<<10)]
	_ = c.sendJSON(guestwire.PacketFail, st.id, body)
}

func (c *session) sendJSON(t guestwire.PacketType, id uint32, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) > guestwire.MaxPacketData {
		return holt.Errorf(holt.KindInternal, "an answer of %d bytes does not fit", len(b))
	}
	return c.send(guestwire.Packet{Type: t, Stream: id, Data: b})
}

func (c *session) send(p guestwire.Packet) error {
	b := p.Append(make([]byte, 0, len(p.Data)+16))
	c.sending.Lock()
	defer c.sending.Unlock()
	ctx, cancel := context.WithTimeout(c.base, writeTimeout)
	defer cancel()
	return c.ws.Write(ctx, websocket.MessageBinary, b)
}
