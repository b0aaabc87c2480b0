package collab

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/wire/guest"
	"github.com/holt-ide/holt/ydoc"
)

// files is the part of package files that is needed: the file system with the
// user's rights.
type files interface {
	// Real returns a path with its links followed.
	Real(path string) (string, error)
	Open(path string) (*os.File, guestwire.FileInfo, error)
	Stat(path string) (guestwire.FileInfo, error)
	Write(ctx context.Context, path string, r io.Reader, o guestwire.WriteOptions) (guestwire.FileInfo, error)
	Mkdir(m guestwire.Mkdir) error
}

// Options configures [Rooms]. Files and Dir are required; what is zero of the rest
// has its default.
type Options struct {
	Files files
	Dir   string // absolute: where state is kept
	Log   *slog.Logger

	Rooms         int         // most documents open; 256
	Peers         int         // most peers of one; 64
	FileBytes     int64       // largest file; 4 MiB
	Document      ydoc.Limits // of one document; 32 MiB of content, and 64 MiB of state
	QueueBytes    int         // most bytes that wait for a peer; 16 MiB
	QueueMessages int         // most messages that wait for a peer; 4,096

	SaveDelay time.Duration // a file is written when nobody typed for so long; 300 ms
	SaveMost  time.Duration // and at the latest so long after an edit; 2 s
	Check     time.Duration // how often files are looked at, beside being watched; 5 s
	Linger    time.Duration // how long a document stays open when nobody is there; 30 s
}

func (o *Options) setDefaults() {
	set(&o.Log, slog.Default())
	set(&o.Rooms, 256)
	set(&o.Peers, 64)
	set(&o.FileBytes, 4<<20)
	set(&o.Document.Update, 64<<20)
	set(&o.Document.Content, 32<<20)
	set(&o.Document.Structs, 1_000_000)
	set(&o.QueueBytes, 16<<20)
	set(&o.QueueMessages, 4096)
	set(&o.SaveDelay, 300*time.Millisecond)
	set(&o.SaveMost, 2*time.Second)
	set(&o.Check, 5*time.Second)
	set(&o.Linger, 30*time.Second)
}

func set[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Join says how a peer joins.
type Join struct {
	ReadOnly bool           // its edits are ignored
	Epoch    string         // of the state it holds; "" means that it holds none
	User     guestwire.User // who it is, for others; zero if nobody said
}

// Rooms holds the open documents. It is safe for concurrent use.
type Rooms struct {
	opt   Options
	ctx   context.Context
	stop  context.CancelFunc
	wg    sync.WaitGroup
	watch *watcher

	outbox outbox
	hall   *Room // of those who are in the workspace; without a document

	mu    sync.Mutex
	rooms map[string]*Room // by path
	held  chan struct{}    // closed when messages of peers are taken again; nil: they are
}

// New returns rooms without documents. The caller closes it.
func New(o Options) *Rooms {
	o.setDefaults()
	m := &Rooms{opt: o, rooms: map[string]*Room{}}
	m.hall = newRoom(m, "")
	m.ctx, m.stop = context.WithCancel(context.Background())
	m.watch = newWatcher(o.Log, m.changed)
	m.wg.Go(func() { m.watch.run(m.ctx) })
	return m
}

// Close writes what is not written and ends all rooms.
func (m *Rooms) Close() {
	m.stop()
	m.closeHall()
	m.wg.Wait()
}

// Hold has the messages of peers wait, until Release or for a time. What a peer was
// not answered it sends again on its next connection, so that a machine that is
// frozen after Hold and Flush has in its files all that anybody was told to be there.
func (m *Rooms) Hold(most time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held != nil {
		return
	}
	held := make(chan struct{})
	m.held = held
	time.AfterFunc(most, func() { m.release(held) })
}

// Release ends a Hold.
func (m *Rooms) Release() {
	m.mu.Lock()
	held := m.held
	m.mu.Unlock()
	m.release(held)
}

func (m *Rooms) release(held chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if held != nil && m.held == held {
		close(held)
		m.held = nil
	}
}

// pass waits for the end of a Hold.
func (m *Rooms) pass() {
	m.mu.Lock()
	held := m.held
	m.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-m.ctx.Done():
		}
	}
}

// Flush writes every file that is behind its document.
func (m *Rooms) Flush(ctx context.Context) {
	m.mu.Lock()
	rooms := slices.Collect(maps.Values(m.rooms))
	m.mu.Unlock()
	for _, r := range rooms {
		flushed := make(chan struct{})
		select {
		case r.flush <- flushed:
			select {
			case <-flushed:
			case <-ctx.Done():
			}
		case <-r.done:
		case <-ctx.Done():
		}
	}
}

// Peers is the number of connected peers.
func (m *Rooms) Peers() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, r := range m.rooms {
		r.mu.Lock()
		n += len(r.peers)
		r.mu.Unlock()
	}
	return n
}

// Join opens the file at a path, unless it is open, and joins its room. The caller
// closes the peer. A file that cannot be edited together is [holt.KindUnsupported],
// with the [guestwire.DocumentReason] as the error's limit.
func (m *Rooms) Join(path string, o Join) (*Peer, error) {
	real, err := m.opt.Files.Real(path)
	if err != nil {
		return nil, err
	}
	for {
		r, err := m.room(real)
		if err != nil {
			return nil, err
		}
		r.opening.Do(func() {
			m.watch.add(real) // before it is read, so that no change is missed
			if r.failed = r.open(m.ctx); r.failed == nil {
				m.wg.Go(func() { r.run(m.ctx) })
			} else {
				m.forget(r)
				close(r.done)
			}
		})
		if r.failed != nil {
			return nil, r.failed
		}
		if p, ok, err := r.join(o); ok {
			return p, err
		}
		<-r.done // it may still be writing
	}
}

// room returns the room of a path, a new one where there is none.
func (m *Rooms) room(real string) (*Room, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx.Err() != nil {
		return nil, holt.Errorf(holt.KindUnavailable, "the agent is ending")
	}
	if r := m.rooms[real]; r != nil {
		return r, nil
	}
	if len(m.rooms) >= m.opt.Rooms {
		return nil, &holt.Error{Kind: holt.KindLimit, Limit: "documents", Text: "too many files are open; close some"}
	}
	r := newRoom(m, real)
	m.rooms[real] = r
	return r, nil
}

func (m *Rooms) forget(r *Room) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rooms[r.path] == r {
		delete(m.rooms, r.path)
		m.watch.remove(r.path)
	}
}

// changed has a room look at its file; "" means all of them.
func (m *Rooms) changed(path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.rooms[path]; r != nil {
		signal(r.check)
	}
	if path == "" {
		for _, r := range m.rooms {
			signal(r.check)
		}
	}
}
