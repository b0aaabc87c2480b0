package collab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/coder/websocket"

	"github.com/holt-ide/holt/wire/guest"
	"github.com/holt-ide/holt/ydoc"
	"github.com/holt-ide/holt/ydoc/lib0"
)

// The first byte of a message, and the second of a sync message.
const (
	messageSync      = 0
	messageAwareness = 1
	messageQuery     = 3
	messageStatus    = 100
	messageJournal   = 101
	messageWrite     = 102

	syncStep1  = 0
	syncStep2  = 1
	syncUpdate = 2
)

// Closed is the error with which a peer is dropped: what its socket is closed with.
type Closed struct {
	Code   websocket.StatusCode
	Reason string
}

func (c *Closed) Error() string { return c.Reason }

// Peer is one connection to a room. One goroutine calls Next while another calls
// Handle.
type Peer struct {
	room     *Room
	readOnly bool
	user     guestwire.User
	wake     chan struct{} // capacity 1

	// Guarded by room.mu.
	queue   [][]byte
	queued  int    // bytes
	current bool   // its state is known to be of this epoch
	tell    bool   // the status is to be sent
	edits   uint64 // sync messages with an update that came
	waiting []waiting
	asked   uint64  // last request to write the file
	wrote   uint64  // last one that was answered, or is to be
	written bool    // that is to be told
	closed  *Closed // nothing follows what is queued
}

// Edits reports whether a message may be an edit.
func Edits(m []byte) bool { return len(m) > 1 && m[0] == messageSync && m[1] != syncStep1 }

// Close leaves the room.
func (p *Peer) Close() { p.room.leave(p) }

// Next waits for the next message to send. When the peer is dropped the error is a
// [*Closed].
func (p *Peer) Next(ctx context.Context) ([]byte, error) {
	for {
		m, err := p.poll()
		if m != nil || err != nil {
			return m, err
		}
		select {
		case <-p.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (p *Peer) poll() ([]byte, error) {
	r := p.room
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case p.tell:
		p.tell = false
		b, err := json.Marshal(r.status(p))
		if err != nil {
			return nil, fmt.Errorf("encode status: %w", err)
		}
		return lib0.AppendBytes([]byte{messageStatus}, b), nil
	case len(p.waiting) > 0:
		if edits, news := p.arrived(); news {
			return lib0.AppendUint([]byte{messageJournal}, edits), nil
		}
	}
	switch {
	case p.written:
		p.written = false
		return lib0.AppendUint([]byte{messageWrite}, p.wrote), nil
	case len(p.queue) > 0:
		m := p.queue[0]
		p.queue[0] = nil
		p.queue = p.queue[1:]
		p.queued -= len(m)
		return m, nil
	case p.closed != nil:
		return nil, p.closed
	}
	return nil, nil
}

// send queues a message, which nobody may change from then on. room.mu is held.
func (p *Peer) send(m []byte) {
	if p.closed != nil || m == nil {
		return
	}
	o := &p.room.m.opt
	if len(p.queue) > 0 && (p.queued+len(m) > o.QueueBytes || len(p.queue) >= o.QueueMessages) {
		p.queue, p.queued = nil, 0
		p.drop(guestwire.StatusSlow, "too far behind; connect again")
		return
	}
	p.queue = append(p.queue, m)
	p.queued += len(m)
	signal(p.wake)
}

// drop ends the peer's session after what is queued. room.mu is held.
func (p *Peer) drop(code websocket.StatusCode, reason string) {
	if p.closed == nil {
		p.closed = &Closed{code, reason}
	}
	signal(p.wake)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Handle takes a message of the peer, and owns it from then on. The error is a
// [*Closed]: the peer is to be dropped.
func (p *Peer) Handle(m []byte) error {
	r := p.room
	r.m.pass()
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.closed != nil {
		return p.closed
	}
	err := p.handle(m)
	closed, ok := errors.AsType[*Closed](err)
	switch {
	case err == nil:
		return nil
	case ok:
		p.drop(closed.Code, closed.Reason)
	case errors.Is(err, ydoc.ErrLimit):
		p.drop(guestwire.StatusDocumentLimit, err.Error())
	default:
		p.drop(websocket.StatusPolicyViolation, err.Error())
	}
	return p.closed
}

func (p *Peer) handle(m []byte) error {
	r := p.room
	rd := lib0.NewReader(m)
	kind := rd.Uint()
	if r.doc == nil && (kind == messageSync || kind == messageWrite) {
		return errors.New("there is no document here")
	}
	switch kind {
	case messageSync:
		step, payload := rd.Uint(), rd.Bytes()
		if err := rd.Err(); err != nil {
			return err
		}
		switch step {
		case syncStep1:
			return p.answer(payload)
		case syncStep2, syncUpdate:
			return p.edit(payload)
		}
		return fmt.Errorf("unknown sync message %d", step)
	case messageAwareness:
		payload := rd.Bytes()
		if err := rd.Err(); err != nil {
			return err
		}
		news, err := r.aware.apply(p, payload)
		r.broadcast(news, p)
		return err
	case messageQuery:
		p.send(r.aware.message())
		return nil
	case messageWrite:
		request := rd.Uint()
		if err := rd.Err(); err != nil {
			return err
		}
		p.ask(request)
		return nil
	default:
		if err := rd.Err(); err != nil {
			return err
		}
		return fmt.Errorf("unknown message %d", kind)
	}
}

// answer sends what the peer lacks.
func (p *Peer) answer(vector []byte) error {
	sv, err := ydoc.DecodeStateVector(vector)
	if err != nil {
		return err
	}
	if !p.current && len(sv) > 0 {
		return &Closed{guestwire.StatusEpoch, "name the epoch of the state, or begin without any"}
	}
	p.current = true
	p.send(syncMessage(syncStep2, p.room.doc.Diff(sv)))
	return nil
}

// emptyUpdate has no structs and no deletions.
var emptyUpdate = []byte{0, 0}

// edit takes an update.
func (p *Peer) edit(update []byte) error {
	r := p.room
	p.edits++
	if p.readOnly {
		return nil
	}
	defer p.await()
	if !p.current {
		if bytes.Equal(update, emptyUpdate) {
			return nil // the answer of one who has nothing
		}
		return &Closed{guestwire.StatusEpoch, "send sync step 1 before the first edit"}
	}
	r.sender = p
	defer func() { r.sender = nil }()
	return r.doc.Apply(update)
}

// ask has the file written now, and the peer told when it has the edits so far.
func (p *Peer) ask(request uint64) {
	r := p.room
	if p.readOnly || request <= p.asked {
		return
	}
	p.asked = request
	if r.dirty.IsZero() {
		p.answered(request)
		return
	}
	r.urgent = true
	signal(r.wake)
}

// answered tells the peer that the file was written.
func (p *Peer) answered(request uint64) {
	if request > p.wrote {
		p.room.m.Saved(p.room.path)
		p.wrote, p.written = request, true
		signal(p.wake)
	}
}

func syncMessage(step byte, payload []byte) []byte {
	m := make([]byte, 0, len(payload)+8)
	return lib0.AppendBytes(append(m, messageSync, step), payload)
}
