package collab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/wire/guest"
	"github.com/holt-ide/holt/ydoc"
)

const (
	// outboxBytes is how much may wait for the node before the session ends, and a
	// new one begins with the states of then.
	outboxBytes = 32 << 20
	// stateEvery: the state is sent again when the changes since are so many bytes,
	// and twice as many as it had.
	stateEvery = 256 << 10
	// never is the number of an entry that is not queued yet.
	never = ^uint64(0)
)

// Feed is a session of the journal: what happens to the documents, on its way out
// of the sandbox. One goroutine calls Next while another calls Ack.
type Feed struct {
	m      *Rooms
	number uint64
	wake   chan struct{} // capacity 1
}

// outbox is what the session of now has queued.
type outbox struct {
	mu     sync.Mutex
	feed   *Feed // nil for none
	opened uint64
	seq    uint64 // of the last entry
	acked  uint64
	queue  []guestwire.JournalEntry
	bytes  int
}

// session is the number of the session of now, 0 for none.
func (o *outbox) session() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.feed == nil {
		return 0
	}
	return o.feed.number
}

// add queues an entry of a room that is in a session, and returns its number. When
// too much waits, the session is over.
func (o *outbox) add(session uint64, e guestwire.JournalEntry) (seq uint64, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.feed == nil || o.feed.number != session {
		return never, false
	}
	signal(o.feed.wake)
	if o.bytes += len(e.Data) + len(e.Path); o.bytes > outboxBytes && len(o.queue) > 0 {
		o.feed, o.queue, o.bytes = nil, nil, 0
		return never, false
	}
	o.seq++
	e.Seq = o.seq
	o.queue = append(o.queue, e)
	return o.seq, true
}

// reached is the number of the last entry, and of the last one that is journalled.
func (o *outbox) reached() (seq, acked uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seq, o.acked
}

// Feed begins a session, which takes the place of the one before. Every open
// document queues its state. The caller closes it.
func (m *Rooms) Feed() *Feed {
	o := &m.outbox
	o.mu.Lock()
	if o.feed != nil {
		signal(o.feed.wake)
	}
	o.opened++
	f := &Feed{m: m, number: o.opened, wake: make(chan struct{}, 1)}
	o.feed, o.seq, o.acked, o.queue, o.bytes = f, 0, 0, nil, 0
	o.mu.Unlock()
	m.eachRoom(func(r *Room) {
		r.wanted = true
		for p := range r.peers {
			p.unqueue()
		}
		signal(r.wake)
	})
	return f
}

// Close ends the session, if it is still the one of now.
func (f *Feed) Close() {
	o := &f.m.outbox
	o.mu.Lock()
	mine := o.feed == f
	if mine {
		o.feed, o.queue, o.bytes = nil, nil, 0
	}
	o.mu.Unlock()
	if mine {
		f.m.eachRoom(func(r *Room) { r.tellAll() })
	}
}

// Next waits for entries. The error is [holt.KindUnavailable] when the session is
// over.
func (f *Feed) Next(ctx context.Context) ([]guestwire.JournalEntry, error) {
	o := &f.m.outbox
	for {
		o.mu.Lock()
		if o.feed != f {
			o.mu.Unlock()
			return nil, holt.Errorf(holt.KindUnavailable, "the session of the journal is over")
		}
		list := o.queue
		o.queue, o.bytes = nil, 0
		o.mu.Unlock()
		if len(list) > 0 {
			return list, nil
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Ack takes the node's word that all entries up to a number are journalled.
func (f *Feed) Ack(seq uint64) error {
	o := &f.m.outbox
	o.mu.Lock()
	mine, known := o.feed == f, seq <= o.seq
	if mine && known {
		o.acked = max(o.acked, seq)
	}
	o.mu.Unlock()
	if !mine {
		return nil
	}
	if !known {
		return holt.Invalidf("ack", "entry %d was acknowledged, which was not sent", seq)
	}
	f.m.eachRoom(func(r *Room) {
		for p := range r.peers {
			if len(p.waiting) > 0 {
				signal(p.wake)
			}
		}
	})
	return nil
}

// eachRoom calls f for each open document, whose mu is held.
func (m *Rooms) eachRoom(f func(*Room)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.rooms {
		r.mu.Lock()
		if r.doc != nil {
			f(r)
		}
		r.mu.Unlock()
	}
}

// queue queues an entry, if the journal has the state that it builds on. mu is held.
func (r *Room) queue(kind guestwire.JournalKind, data []byte) {
	if r.session == 0 || r.wanted {
		return
	}
	if _, ok := r.m.outbox.add(r.session, guestwire.JournalEntry{Kind: kind, Path: r.path, Data: data}); !ok {
		r.session = 0
		return
	}
	if r.logged += len(data); r.logged > max(stateEvery, 2*r.stated) {
		r.wanted = true
		signal(r.wake)
	}
}

// queueState queues the whole document, if that is wanted. The room's goroutine
// alone calls it, when no file is being written: what the file may have is the base
// or the text of a mark that follows.
func (r *Room) queueState() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.wanted || r.gone && r.dirty.IsZero() {
		return
	}
	r.wanted = false
	was := r.session
	r.session = r.m.outbox.session()
	if r.session == 0 {
		return
	}
	k := r.state()
	if base := r.base; !r.dirty.IsZero() {
		k.Base = &base // however long it is
	}
	data, err := k.encode()
	if err != nil || len(data) > guestwire.MaxJournalEntry-guestwire.MaxJournalPath-64 || len(r.path) > guestwire.MaxJournalPath {
		r.session = 0 // peers are told that it is not journalled
		r.tellAll()
		return
	}
	seq, ok := r.m.outbox.add(r.session, guestwire.JournalEntry{Kind: guestwire.JournalState, Path: r.path, Data: data})
	if !ok {
		r.session = 0
		return
	}
	r.logged, r.stated = 0, len(data)
	for p := range r.peers {
		if n := len(p.waiting); n > 0 {
			p.waiting = append(p.waiting[:0], waiting{p.waiting[n-1].edits, seq})
		}
	}
	if was != r.session {
		r.tellAll()
	}
}

// settled tells the journal that the file has all. mu is held.
func (r *Room) settled() {
	session := r.m.outbox.session()
	if session != 0 && r.dirty.IsZero() {
		r.m.outbox.add(session, guestwire.JournalEntry{Kind: guestwire.JournalDone, Path: r.path})
		r.wanted = true // should it go on
	}
}

// journalled tells whether the document is in the session of now. mu is held.
func (r *Room) journalled() bool {
	return r.session != 0 && r.session == r.m.outbox.session()
}

// waiting is how many edits of a peer are journalled when an entry is.
type waiting struct{ edits, seq uint64 }

// await notes which entry has the edits of the peer so far. mu is held.
func (p *Peer) await() {
	r := p.room
	seq := never
	if r.journalled() && !r.wanted {
		seq, _ = r.m.outbox.reached()
	}
	if n := len(p.waiting); n > 0 && p.waiting[n-1].seq == seq {
		p.waiting[n-1].edits = p.edits
	} else {
		p.waiting = append(p.waiting, waiting{p.edits, seq})
	}
	signal(p.wake)
}

// unqueue makes the peer wait for the state that comes next. mu is held.
func (p *Peer) unqueue() {
	if n := len(p.waiting); n > 0 {
		p.waiting = append(p.waiting[:0], waiting{p.waiting[n-1].edits, never})
	}
}

// arrived returns how many edits of the peer are journalled, if that is news. mu
// is held.
func (p *Peer) arrived() (edits uint64, news bool) {
	if len(p.waiting) == 0 || !p.room.journalled() {
		return 0, false
	}
	_, acked := p.room.m.outbox.reached()
	for len(p.waiting) > 0 && p.waiting[0].seq <= acked {
		edits, news = p.waiting[0].edits, true
		p.waiting = p.waiting[1:]
	}
	return edits, news
}

// Replayed is what became of one document of a journal.
type Replayed struct {
	Written bool   // the file lacked something, and has it now
	Beside  string // the file made because the document had begun anew; "" for none
}

// Replay brings a document back that a machine lost with its memory: entries are
// what the journal has of it, from a state on. The file gets what was typed, merged
// with what others wrote into it since.
//
// restored says that the files were lost too, and come from a revision: they may be
// older than all that the journal knows. Then the state that the revision has of the
// document tells from which text others had changed the file; where it has none, the
// document was opened later, and nobody had.
func (m *Rooms) Replay(ctx context.Context, path string, entries []guestwire.JournalEntry, restored bool) (Replayed, error) {
	var out Replayed
	if len(entries) == 0 || entries[0].Kind != guestwire.JournalState {
		return out, holt.Invalid("journal", "the journal does not begin with a state of the document")
	}
	k, err := decodeState(entries[0].Data, path)
	if err != nil {
		return out, err
	}
	file, missing, err := m.readFile(path)
	if err != nil {
		return out, err
	}
	doc := ydoc.New(ydoc.Options{Limits: m.opt.Document})
	if err := doc.Apply(k.update); err != nil {
		return out, fmt.Errorf("replay state: %w", err)
	}
	text := doc.Text(root)
	// The base is what the file had before others changed it: the text of one of the
	// marks, of which the last says that the file was about to get it.
	base := text.String()
	if k.Base != nil {
		base = *k.Base
	}
	ours := base == file
	for i, e := range entries[1:] {
		switch e.Kind {
		case guestwire.JournalUpdate:
			if err := doc.Apply(bytes.Clone(e.Data)); err != nil {
				m.opt.Log.Warn("the rest of a journal does not apply", "path", path, "entry", i, "err", err)
			}
		case guestwire.JournalMark:
			base = text.String()
			ours = ours || base == file
		}
	}
	kept, err := m.loadState(path)
	if err != nil {
		m.opt.Log.Warn("the state of a document is lost, the journal has it", "path", path, "err", err)
		kept = nil
	}
	if was, ok := m.before(kept, k.Epoch); ok && !ours {
		switch {
		case was == file, kept.Base != nil && *kept.Base == file:
			ours = true // as the document was once
		case restored:
			base = kept.ancestor(was, file)
		}
	}
	if ours || kept == nil && restored {
		base = file
	}
	typed := text.String()
	if missing {
		out.Written = true
		return out, m.writeNew(ctx, path, typed)
	}
	if live, err := m.replayLive(path, k.Epoch, doc.Encode()); live || err != nil {
		out.Written = err == nil && typed != file
		return out, err
	}
	if kept != nil && kept.Epoch != k.Epoch {
		if typed == file || typed == base {
			return out, nil
		}
		out.Beside = path + ".unsaved-" + k.Epoch[:min(len(k.Epoch), 8)]
		return out, m.writeNew(ctx, out.Beside, typed)
	}
	if kept != nil {
		if covered, err := covers(m.opt.Document, kept.update, doc); err != nil {
			m.opt.Log.Warn("the state of a document does not load, the journal has it", "path", path, "err", err)
		} else if covered {
			return out, nil // and knows better what the file had
		}
		if err := doc.Apply(kept.update); err != nil {
			return out, fmt.Errorf("merge state: %w", err)
		}
	}
	out.Written = text.String() != file
	k.Base, k.Sure, k.update = &base, true, doc.Encode()
	if err := m.saveState(ctx, path, *k); err != nil {
		return out, err
	}
	p, err := m.Join(path, Join{ReadOnly: true}) // which merges
	if err != nil {
		return out, err
	}
	defer p.Close()
	m.Flush(ctx)
	return out, nil
}

// before returns the text of a kept state, if it is one of the epoch and loads.
func (m *Rooms) before(k *kept, epoch string) (text string, ok bool) {
	if k == nil || k.Epoch != epoch {
		return "", false
	}
	doc := ydoc.New(ydoc.Options{Limits: m.opt.Document})
	if doc.Apply(bytes.Clone(k.update)) != nil {
		return "", false
	}
	return doc.Text(root).String(), true
}

// Saved tells the node that somebody wrote a file on purpose, so that it is soon kept
// elsewhere too. Without a session nobody hears it.
func (m *Rooms) Saved(path string) {
	if session := m.outbox.session(); session != 0 && len(path) <= guestwire.MaxJournalPath {
		m.outbox.add(session, guestwire.JournalEntry{Kind: guestwire.JournalSaved, Path: path})
	}
}

// covers tells whether a state has all that a document has.
func covers(l ydoc.Limits, state []byte, doc *ydoc.Doc) (bool, error) {
	have := ydoc.New(ydoc.Options{Limits: l})
	if err := have.Apply(bytes.Clone(state)); err != nil {
		return false, err
	}
	text, vector := have.Text(root).String(), have.StateVector().Encode()
	if err := have.Apply(doc.Encode()); err != nil {
		return false, err
	}
	return have.Text(root).String() == text && bytes.Equal(have.StateVector().Encode(), vector), nil
}

// replayLive brings an update into the document if it is open.
func (m *Rooms) replayLive(path, epoch string, update []byte) (live bool, err error) {
	m.mu.Lock()
	r := m.rooms[path]
	m.mu.Unlock()
	if r == nil {
		return false, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || r.doc == nil || r.epoch != epoch {
		return false, nil
	}
	return true, r.doc.Apply(update)
}

// readFile returns the text of a file.
func (m *Rooms) readFile(path string) (text string, missing bool, err error) {
	c, err := newRoom(m, path).read()
	if holt.IsKind(err, holt.KindNotFound) {
		return "", true, nil
	}
	return c.text, false, err
}

// writeNew writes a text to a file that is not there.
func (m *Rooms) writeNew(ctx context.Context, path, text string) error {
	write := func() error {
		_, err := m.opt.Files.Write(ctx, path, bytes.NewReader([]byte(text)), guestwire.WriteOptions{New: true})
		return err
	}
	err := write()
	if holt.IsKind(err, holt.KindNotFound) {
		if err = m.opt.Files.Mkdir(guestwire.Mkdir{Path: filepath.Dir(path), Parents: true}); err == nil {
			err = write()
		}
	}
	return err
}

// encode is the content of a state's file.
func (k kept) encode() ([]byte, error) {
	head, err := json.Marshal(k)
	if err != nil {
		return nil, fmt.Errorf("encode state: %w", err)
	}
	return slices.Concat(head, []byte("\n"), k.update), nil
}

// decodeState reads what encode made for a path.
func decodeState(raw []byte, path string) (*kept, error) {
	head, update, ok := bytes.Cut(raw, []byte("\n"))
	k := &kept{update: update}
	if err := json.Unmarshal(head, k); err != nil || !ok {
		return nil, fmt.Errorf("decode state: %w", err)
	}
	if k.Version != stateVersion || k.Path != path || k.Epoch == "" {
		return nil, fmt.Errorf("the state is of version %d, for %q", k.Version, k.Path)
	}
	return k, nil
}
