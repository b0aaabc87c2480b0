package collab

import (
	"encoding/json"
	"fmt"

	"github.com/coder/websocket"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/wire/guest"
)

// Meet joins those who are in the workspace, whatever they have open: a room with
// awareness and without a document. The caller closes the peer.
func (m *Rooms) Meet(o Join) (*Peer, error) {
	r := m.hall
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return nil, holt.Errorf(holt.KindUnavailable, "the agent is ending")
	}
	if len(r.peers) >= m.opt.Peers {
		return nil, &holt.Error{Kind: holt.KindLimit, Limit: "peers", Text: "too many people are in the workspace"}
	}
	p := &Peer{room: r, readOnly: o.ReadOnly, user: o.User, wake: make(chan struct{}, 1)}
	r.peers[p] = struct{}{}
	p.send(r.aware.message())
	return p, nil
}

// closeHall ends what Meet began.
func (m *Rooms) closeHall() {
	m.hall.mu.Lock()
	defer m.hall.mu.Unlock()
	m.hall.end(Closed{websocket.StatusGoingAway, "the agent is ending"})
}

// stamp returns the state that a client tells of itself with the word of the gateway on
// who it is. A state is an object.
func stamp(u guestwire.User, state []byte) ([]byte, error) {
	if u == (guestwire.User{}) || string(state) == "null" {
		return state, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(state, &fields); err != nil {
		return nil, fmt.Errorf("a state that is no object: %w", err)
	}
	who, err := json.Marshal(u)
	if err != nil {
		return nil, fmt.Errorf("encode user: %w", err)
	}
	fields["user"] = who
	out, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("encode state: %w", err)
	}
	return out, nil
}
