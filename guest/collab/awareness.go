package collab

import (
	"encoding/json"
	"slices"

	"github.com/holt-ide/holt/ydoc/lib0"
)

const (
	maxStates    = 8        // of one peer: more clients than a page has
	maxStateSize = 16 << 10 // bytes of JSON
)

// presence is what one client says about itself: a name, a cursor.
type presence struct {
	clock uint64
	state []byte // JSON
	peer  *Peer  // who is gone when the peer is
}

// awareness is the presence of all clients of a room.
type awareness map[uint64]*presence

// apply takes an awareness update of a peer. It returns the message that tells
// others what is new, or nil.
func (a awareness) apply(p *Peer, update []byte) ([]byte, error) {
	r := lib0.NewReader(update)
	var news []byte
	count := uint64(0)
	for n := r.Uint(); n > 0 && r.OK(); n-- {
		client, clock := r.Uint(), r.Uint()
		state := r.Text()
		if r.OK() && (len(state) > maxStateSize || !json.Valid(state)) {
			r.Fail("a state that is not JSON, or too large")
		}
		if r.OK() {
			var err error
			if state, err = stamp(p.user, state); err != nil {
				r.Fail(err.Error())
			}
		}
		if r.OK() && a.set(p, client, clock, state) {
			news = appendPresence(news, client, clock, state)
			count++
		}
	}
	return awarenessMessage(count, news), r.Err()
}

// set follows the rule of y-protocols: a higher clock wins, and of equal clocks the
// one with which the client is gone. Nobody speaks for a client of somebody else.
func (a awareness) set(p *Peer, client, clock uint64, state []byte) bool {
	old := a[client]
	gone := string(state) == "null"
	switch {
	case old != nil && clock < old.clock, old != nil && clock == old.clock && !gone, old == nil && gone:
		return false
	case old != nil && old.peer != p && old.peer.user != p.user, old == nil && a.count(p) >= maxStates:
		return false
	case gone:
		delete(a, client)
		return true
	}
	a[client] = &presence{clock: clock, state: slices.Clone(state), peer: p}
	return true
}

func (a awareness) count(p *Peer) int {
	n := 0
	for _, c := range a {
		if c.peer == p {
			n++
		}
	}
	return n
}

// leave removes the states of a peer and returns the message that tells it, or nil.
func (a awareness) leave(p *Peer) []byte {
	var gone []byte
	count := uint64(0)
	for client, c := range a {
		if c.peer == p {
			gone = appendPresence(gone, client, c.clock, []byte("null"))
			count++
			delete(a, client)
		}
	}
	return awarenessMessage(count, gone)
}

// message tells all states, or is nil.
func (a awareness) message() []byte {
	var all []byte
	for client, c := range a {
		all = appendPresence(all, client, c.clock, c.state)
	}
	return awarenessMessage(uint64(len(a)), all)
}

func awarenessMessage(count uint64, states []byte) []byte {
	if count == 0 {
		return nil
	}
	return lib0.AppendBytes([]byte{messageAwareness}, append(lib0.AppendUint(nil, count), states...))
}

func appendPresence(b []byte, client, clock uint64, state []byte) []byte {
	return lib0.AppendBytes(lib0.AppendUint(lib0.AppendUint(b, client), clock), state)
}
