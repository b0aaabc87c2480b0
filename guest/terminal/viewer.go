package terminal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/wire/guest"
)

// Viewer is one attachment to a terminal. One goroutine calls Next while another
// calls Handle.
type Viewer struct {
	t        *Terminal
	readOnly bool
	wake     chan struct{} // capacity 1

	// Guarded by t.mu.
	pos      uint64    // the next byte to send
	acked    uint64    // everything before was consumed
	progress time.Time // when it last acknowledged, or filled its window
	cols     uint16    // its own size; 0 where it has not said
	rows     uint16
	greeted  bool
	lost     bool   // the start was not held any more
	sent     state  // what it was told last
	notice   string // an error to tell
	finished bool   // exit was sent
}

// state is what a viewer is told when it changes, so that nothing is queued.
type state struct {
	viewers    int
	cols, rows uint16
}

func (t *Terminal) attach(a guestwire.Attach) *Viewer {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := &Viewer{t: t, readOnly: a.ReadOnly, wake: make(chan struct{}, 1), progress: time.Now()}
	v.pos = t.ring.first
	if a.Since != nil {
		v.pos = *a.Since
	}
	if v.pos < t.ring.first || v.pos > t.ring.next {
		v.pos, v.lost = t.ring.first, true
	}
	v.acked = v.pos
	t.viewers[v] = struct{}{}
	if !v.readOnly {
		v.cols, v.rows = a.Cols, a.Rows
		t.resize(v.cols, v.rows)
	}
	t.wakeAll()
	return v
}

// Close detaches the viewer. The terminal lives on.
func (v *Viewer) Close() {
	v.t.mu.Lock()
	defer v.t.mu.Unlock()
	delete(v.t.viewers, v)
	v.t.wakeAll()
	signal(v.t.resume)
}

// Next waits for the next frame to send, and returns io.EOF after the exit. Data
// is in buf, which holds at least one byte.
func (v *Viewer) Next(ctx context.Context, buf []byte) (guestwire.Frame, error) {
	for {
		f, ok, err := v.poll(buf)
		if ok || err != nil {
			return f, err
		}
		select {
		case <-v.wake:
		case <-ctx.Done():
			return guestwire.Frame{}, ctx.Err()
		}
	}
}

// poll decides what the viewer should hear next from how things stand now.
func (v *Viewer) poll(buf []byte) (f guestwire.Frame, ok bool, err error) {
	t := v.t
	t.mu.Lock()
	defer t.mu.Unlock()
	now := state{len(t.viewers), t.cols, t.rows}
	window := uint64(t.m.opt.Window)
	open := v.pos-v.acked < window
	switch {
	case !v.greeted:
		v.greeted = true
		if v.pos < t.ring.first { // it moved on since the attach
			v.skip()
			v.lost = true
		}
		v.sent = state{0, now.cols, now.rows}
		return v.hello(v.lost), true, nil
	case open && v.pos < t.ring.first:
		v.skip()
		return v.hello(true), true, nil
	case v.notice != "":
		f = guestwire.Frame{Type: guestwire.TypeError, Text: v.notice}
		v.notice = ""
		return f, true, nil
	case v.sent.viewers != now.viewers:
		v.sent.viewers = now.viewers
		return guestwire.Frame{Type: guestwire.TypePresence, Viewers: uint16(min(now.viewers, math.MaxUint16))}, true, nil
	case v.sent != now:
		v.sent = now
		return guestwire.Frame{Type: guestwire.TypeResize, Cols: now.cols, Rows: now.rows}, true, nil
	case open && v.pos < t.ring.next:
		n := t.ring.read(v.pos, buf[:min(uint64(len(buf)), window-(v.pos-v.acked))])
		f = guestwire.Frame{Type: guestwire.TypeOutput, Seq: v.pos, Data: buf[:n]}
		v.pos += uint64(n)
		return f, true, nil
	case v.finished:
		return f, false, io.EOF
	case t.exit != nil && v.pos == t.ring.next:
		v.finished = true
		return guestwire.Frame{Type: guestwire.TypeExit, Code: int32(t.exit.Code), Text: t.exit.Signal}, true, nil
	}
	return f, false, nil
}

// skip goes on at the oldest byte held; t.mu is held.
func (v *Viewer) skip() {
	v.pos = v.t.ring.first
	v.acked, v.progress = v.pos, time.Now()
}

func (v *Viewer) hello(truncated bool) guestwire.Frame {
	t := v.t
	return guestwire.Frame{
		Type: guestwire.TypeHello, Version: guestwire.Version, Seq: v.pos, Next: t.ring.next,
		Cols: t.cols, Rows: t.rows, Truncated: truncated,
	}
}

// Handle acts on a frame from the viewer. An error means that the viewer breaks
// the protocol and must go.
func (v *Viewer) Handle(f guestwire.Frame) error {
	t := v.t
	switch f.Type {
	case guestwire.TypeAck:
		return v.ack(f.Seq)
	case guestwire.TypeInput:
		if v.readOnly {
			return nil
		}
		t.mu.Lock()
		t.resize(v.cols, v.rows) // who types decides the size
		t.mu.Unlock()
		if err := t.write(f.Data); err != nil && !errors.Is(err, io.EOF) {
			t.mu.Lock()
			v.notice = err.Error()
			t.mu.Unlock()
			signal(v.wake)
		}
		return nil
	case guestwire.TypeResize:
		if v.readOnly {
			return nil
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		v.cols, v.rows = f.Cols, f.Rows
		t.resize(v.cols, v.rows)
		return nil
	}
	return holt.Invalidf("type", "a viewer does not send frames of type 0x%02x", byte(f.Type))
}

func (v *Viewer) ack(seq uint64) error {
	v.t.mu.Lock()
	defer v.t.mu.Unlock()
	if seq > v.pos {
		return fmt.Errorf("%w: byte %d acknowledged, sent up to %d", guestwire.ErrFrame, seq, v.pos)
	}
	if seq > v.acked { // an older one was sent before a resync
		v.acked, v.progress = seq, time.Now()
		signal(v.wake)
		signal(v.t.resume)
	}
	return nil
}
