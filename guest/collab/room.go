package collab

import (
	"bytes"
	"sync"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/guest/collab/diff"
	"github.com/holt-ide/holt/wire/guest"
	"github.com/holt-ide/holt/ydoc"
)

// root is the name of the root type that holds a file's text.
const root = "text"

// Room is one open file. Its goroutine, run, is the only one that reads and writes
// the file.
type Room struct {
	m    *Rooms
	path string // with links followed

	opening sync.Once
	failed  error         // of opening
	done    chan struct{} // closed when the room does nothing any more
	wake    chan struct{} // capacity 1: there is something to do
	check   chan struct{} // capacity 1: the file may have changed
	flush   chan chan<- struct{}

	mu     sync.Mutex
	doc    *ydoc.Doc
	text   ydoc.Text
	epoch  string
	peers  map[*Peer]struct{}
	aware  awareness
	sender *Peer // whose update is being applied
	over   bool  // nobody joins any more
	hold   bool  // updates are kept back, in held
	held   [][]byte

	// The file, as it was read or written last.
	base   string
	format format
	etag   string
	gone   bool
	past   []past // what it had before base, the last one last

	dirty    time.Time // first edit that is not written; zero for none
	edited   time.Time // last edit
	empty    time.Time // since when nobody is here
	later    time.Time // the file is not written before this
	urgent   bool      // a peer asked for the file to be written now
	problem  string    // why it could not be written
	problems int       // how often in a row

	// The journal.
	session uint64 // that has the state; 0 for none
	wanted  bool   // a state is to be queued, and nothing before it
	logged  int    // bytes queued since the state
	stated  int    // bytes of the state
}

// past is a text that the file had until the room wrote another one.
type past struct {
	text  string
	until time.Time
}

func newRoom(m *Rooms, path string) *Room {
	return &Room{m: m, path: path, peers: map[*Peer]struct{}{}, aware: awareness{},
		done: make(chan struct{}), wake: make(chan struct{}, 1), check: make(chan struct{}, 1),
		flush: make(chan chan<- struct{}), empty: time.Now(), wanted: true}
}

// newDoc returns an empty document of the room.
func (r *Room) newDoc() *ydoc.Doc {
	return ydoc.New(ydoc.Options{Limits: r.m.opt.Document, OnUpdate: r.updated})
}

// updated is called by the document, under mu, after each change.
func (r *Room) updated(update []byte) {
	if r.epoch == "" {
		return // it is being made from a state or from the file
	}
	if m := syncMessage(syncUpdate, update); r.hold {
		r.held = append(r.held, m)
	} else {
		r.broadcast(m, r.sender)
	}
	r.queue(guestwire.JournalUpdate, bytes.Clone(update))
	now := time.Now()
	r.edited = now
	if r.dirty.IsZero() {
		r.dirty = now
		r.tellAll()
		signal(r.wake)
	}
}

// broadcast sends a message to all peers but one. mu is held.
func (r *Room) broadcast(m []byte, but *Peer) {
	for p := range r.peers {
		if p != but {
			p.send(m)
		}
	}
}

// tellAll has the status sent to all peers. mu is held.
func (r *Room) tellAll() {
	for p := range r.peers {
		p.tell = true
		signal(p.wake)
	}
}

func (r *Room) status(p *Peer) guestwire.DocumentStatus {
	return guestwire.DocumentStatus{Epoch: r.epoch, ReadOnly: p.readOnly, EOL: r.format.eol, BOM: r.format.bom,
		Saved: r.dirty.IsZero(), Gone: r.gone, Error: r.problem, Journal: r.journalled()}
}

// join adds a peer. It reports false where the room is over.
func (r *Room) join(o Join) (*Peer, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return nil, false, nil
	}
	if len(r.peers) >= r.m.opt.Peers {
		return nil, true, &holt.Error{Kind: holt.KindLimit, Limit: "peers", Text: "too many people have the file open"}
	}
	p := &Peer{room: r, readOnly: o.ReadOnly, user: o.User, wake: make(chan struct{}, 1), tell: true, current: o.Epoch != ""}
	r.peers[p] = struct{}{}
	r.empty = time.Time{}
	if o.Epoch != "" && o.Epoch != r.epoch {
		p.drop(guestwire.StatusEpoch, "the document has started anew; drop what you hold of it")
		return p, true, nil
	}
	p.send(syncMessage(syncStep1, r.doc.StateVector().Encode()))
	p.send(r.aware.message())
	return p, true, nil
}

func (r *Room) leave(p *Peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.peers[p]; !ok {
		return
	}
	delete(r.peers, p)
	r.broadcast(r.aware.leave(p), nil)
	if len(r.peers) == 0 {
		r.empty = time.Now()
		signal(r.wake)
	}
}

// end drops all peers, and nobody joins any more. mu is held.
func (r *Room) end(c Closed) {
	r.over = true
	for p := range r.peers {
		p.drop(c.Code, c.Reason)
	}
}

// edit makes edits, which refer to the text, in the document. mu is held.
func (r *Room) edit(text string, edits []diff.Edit) error {
	// Indexes are in UTF-16 units: counted on the way there, used on the way back,
	// so that they stay right.
	type place struct{ at, n int }
	places := make([]place, len(edits))
	at, unit := 0, 0
	for i, e := range edits {
		unit += utf16Len(text[at:e.At])
		n := utf16Len(text[e.At : e.At+e.Delete])
		places[i] = place{unit, n}
		at, unit = e.At+e.Delete, unit+n
	}
	var err error
	r.doc.Transact(func() {
		for i := len(edits) - 1; i >= 0 && err == nil; i-- {
			if err = r.text.Delete(places[i].at, places[i].n); err == nil {
				err = r.text.Insert(places[i].at, edits[i].Insert)
			}
		}
	})
	return err
}

func utf16Len(s string) int {
	n := 0
	for _, c := range s {
		n++
		if c > 0xFFFF {
			n++
		}
	}
	return n
}
