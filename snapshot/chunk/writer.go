package chunk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
)

// New says what a snapshot will be.
type New struct {
	ID        holt.SnapshotID
	Workspace holt.WorkspaceID

	// Parent is the snapshot that this one continues, "" for none: chunks that
	// both have are not written again. One that is damaged is no help and no harm.
	Parent holt.SnapshotID
	// Alone makes a writer reuse nothing of older snapshots: after one of them
	// turned out to be damaged.
	Alone bool

	Label     string
	CreatedAt time.Time
	Meta      json.RawMessage // see [Manifest]
}

// location is where a chunk is stored.
type location struct{ segment, slot uint32 } // the segment is a number in Writer.segments

// Writer writes one snapshot. Its methods are called by one goroutine. It holds a
// few segments and about 50 bytes for every chunk that it has written or may reuse.
type Writer struct {
	s   *Store
	new New
	txn txnID

	uploads    *errgroup.Group
	uploadsCtx context.Context
	cancel     context.CancelFunc

	base  refs // what the catalog holds for this writer
	index index
	stats Stats

	current *segment
	number  uint32 // of the current segment in the transaction
	at      uint32 // of the current segment in index.segments

	mu    sync.RWMutex // guards known against the workers, which read it
	known map[contentID]location

	published bool // or it was tried: what was written may belong to a snapshot
	done      bool
}

// Begin starts a snapshot. The caller ends it with Commit or Abort; Abort after
// Commit does nothing. KindConflict if there is a snapshot of this ID.
func (s *Store) Begin(ctx context.Context, n New) (*Writer, error) {
	if err := object.CheckKey(object.Key(n.ID)); err != nil || len(n.Label) > 128 {
		return nil, holt.Invalidf("snapshot", "%.40q cannot name a snapshot, or its label is longer than 128 bytes", n.ID)
	}
	w := &Writer{s: s, new: n, txn: newTxn(), known: map[contentID]location{}, base: refs{}}
	w.index.chunkSize = s.cfg.ChunkSize
	var entries []Entry
	err := s.change(ctx, func(c *catalog) error {
		if c.transaction(w.txn) != nil {
			return errUnchanged // it took effect
		}
		if c.find(n.ID) != nil {
			return holt.Errorf(holt.KindConflict, "there is a snapshot %s already", n.ID)
		}
		w.base, entries = refs{}, nil
		if !n.Alone {
			entries = s.bases(c, n.Parent)
		}
		for _, e := range entries {
			w.base.addAll(e.Segments)
		}
		c.Transactions = append(c.Transactions, transaction{Txn: w.txn, Owner: s.cfg.Owner, StartedAt: time.Now(), Base: w.base})
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.cfg.Fault("chunk.begun")
	if err := w.learn(ctx, entries); err != nil {
		return nil, errors.Join(err, w.Abort(context.WithoutCancel(ctx)))
	}
	return w, w.start(ctx)
}

// start makes the writer ready to send segments.
func (w *Writer) start(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("begin snapshot: %w", err)
	}
	ctx, w.cancel = context.WithCancel(ctx)
	w.uploads, w.uploadsCtx = errgroup.WithContext(ctx)
	w.uploads.SetLimit(w.s.cfg.Uploads)
	return nil
}

// bases returns the snapshots in which a writer looks for duplicates: the parent,
// and the latest others of the tenant as far as the bound allows.
func (s *Store) bases(c *catalog, parent holt.SnapshotID) []Entry {
	var list []Entry
	if e := c.find(parent); e != nil && e.Damage == "" {
		list = append(list, *e)
	}
	others := slices.Clone(c.Snapshots)
	slices.SortFunc(others, func(a, b Entry) int { return int(int64(b.Sequence) - int64(a.Sequence)) })
	room := s.cfg.BaseSegments
	for _, e := range others {
		if e.ID == parent || e.Damage != "" {
			continue
		}
		if room -= len(e.Segments); room < 0 {
			break
		}
		list = append(list, e)
	}
	return list
}

// learn reads the tables of the segments of older snapshots. What cannot be read is
// passed over: its chunks are written again.
func (w *Writer) learn(ctx context.Context, entries []Entry) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	seen := refs{}
	for _, e := range entries {
		m, err := w.s.readManifest(ctx, w.s.objects, &e)
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			continue
		}
		x, err := w.s.readIndex(ctx, w.s.objects, m)
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			continue
		}
		if x.chunkSize != w.s.cfg.ChunkSize {
			continue
		}
		for _, ref := range x.segments {
			if seen.has(ref.id) {
				continue
			}
			seen.add(ref.id)
			number := uint32(len(w.index.segments))
			w.index.segments = append(w.index.segments, ref)
			g.Go(func() error {
				t, err := w.s.readTable(gctx, w.s.objects, ref)
				if err != nil {
					return ctx.Err()
				}
				w.mu.Lock()
				defer w.mu.Unlock()
				for slot := range ref.chunks {
					id := t.chunk(slot).id
					if _, ok := w.known[id]; !ok {
						w.known[id] = location{number, slot}
					}
				}
				return nil
			})
		}
	}
	return g.Wait()
}

// readTable reads and verifies a segment's table.
func (s *Store) readTable(ctx context.Context, from object.Store, ref segmentRef) (*table, error) {
	o, err := from.Get(ctx, s.segmentKey(ref.id), object.Range{Length: ref.headSize()})
	if err != nil {
		return nil, err
	}
	if o.Size != int64(ref.size) {
		return nil, holt.Errorf(holt.KindCorrupt, "segment %s is damaged: it has %d bytes instead of %d", ref.id, o.Size, ref.size)
	}
	t, err := decodeTable(o.Body, ref)
	if err != nil {
		return nil, holt.Wrap(holt.KindCorrupt, err, fmt.Sprintf("segment %s is damaged", ref.id))
	}
	return t, nil
}

// find returns where a chunk is already.
func (w *Writer) find(id contentID) (location, bool) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	l, ok := w.known[id]
	return l, ok
}

// append stores a new chunk. It is called by one goroutine.
func (w *Writer) append(id contentID, plain int, stored []byte, codec Codec) (location, error) {
	if w.current != nil && (w.current.size()+tableEntry+len(stored) > w.s.cfg.SegmentSize || w.current.count == maxSegmentChunks) {
		if err := w.flush(); err != nil {
			return location{}, err
		}
	}
	if w.current == nil {
		w.current, w.at = &segment{data: make([]byte, 0, w.s.cfg.SegmentSize)}, uint32(len(w.index.segments))
		w.index.segments = append(w.index.segments, segmentRef{id: segmentID{w.txn, w.number}})
		w.number++
	}
	l := location{w.at, w.current.add(id, plain, stored, codec)}
	w.mu.Lock()
	w.known[id] = l
	w.mu.Unlock()
	return l, nil
}

// flush sends the current segment on its way. It waits while too many are.
func (w *Writer) flush() error {
	if w.current == nil {
		return nil
	}
	body, sum := w.current.encode()
	ref := &w.index.segments[w.at]
	ref.chunks, ref.size, ref.sum = w.current.count, uint32(len(body)), sum
	w.current = nil
	w.stats.Stored += int64(len(body))
	w.stats.Segments++
	key := w.s.segmentKey(ref.id)
	w.uploads.Go(func() error {
		if _, err := w.s.objects.Put(w.uploadsCtx, key, body, object.Condition{}); err != nil {
			return fmt.Errorf("write segment: %w", err)
		}
		w.s.cfg.Fault("chunk.segment-written")
		return nil
	})
	return w.uploadsCtx.Err()
}

// Commit writes what is left, the index and the manifest, reads everything that
// the snapshot refers to back from where it is kept, and makes the snapshot the
// current one of its workspace. When it returns nil, the snapshot is durable.
// KindConflict says that the writer took too long and was given up, KindCorrupt
// what did not read back: a chunk of an older snapshot, if it is not of this one;
// then a writer that is Alone helps.
func (w *Writer) Commit(ctx context.Context) (*Manifest, error) {
	if w.done {
		return nil, errors.New("commit snapshot: it has ended already")
	}
	flushErr := w.flush()
	if err := w.uploads.Wait(); err != nil {
		return nil, err // the cause, where flushErr is its consequence
	}
	if flushErr != nil {
		return nil, flushErr
	}
	s := w.s
	s.cfg.Fault("chunk.segments-written")
	w.index.compact()
	m := &Manifest{
		ID: w.new.ID, Tenant: s.tenant, Workspace: w.new.Workspace, Parent: w.new.Parent, Label: w.new.Label, CreatedAt: w.new.CreatedAt,
		Txn: w.txn, Stats: w.stats, Meta: w.new.Meta,
	}
	sum, err := s.describe(ctx, m, &w.index)
	if err != nil {
		return nil, err
	}
	// Read back through nothing that could answer from memory.
	report, err := s.verify(ctx, &Entry{ID: m.ID, Txn: m.Txn, ManifestSum: sum})
	if err == nil {
		err = report.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("verify new snapshot: %w", err)
	}
	s.cfg.Fault("chunk.verified")
	w.published = true
	if err := s.publish(ctx, m, sum, w.base); err != nil {
		return nil, err
	}
	w.end()
	s.cfg.Fault("chunk.committed")
	return m, nil
}

// describe writes a snapshot's index and then its manifest, and returns the
// manifest's sum. It fills in what m says about the index.
func (s *Store) describe(ctx context.Context, m *Manifest, x *index) (sum string, err error) {
	m.Files, m.Segments = nil, refs{}
	for _, f := range x.files {
		m.Files = append(m.Files, FileInfo{f.name, f.size})
	}
	for _, ref := range x.segments {
		m.Segments.add(ref.id)
	}
	if len(m.Files) == 0 {
		return "", holt.Invalid("files", "a snapshot has at least one file")
	}
	data := x.encode()
	if len(data) > object.MaxSize {
		return "", holt.Errorf(holt.KindLimit, "the index of the snapshot has %d bytes: use larger chunks", len(data))
	}
	m.IndexSize, m.IndexSum = int64(len(data)), sumOf(data)
	if _, err := s.objects.Put(ctx, s.indexKey(m.Txn), data, object.Condition{}); err != nil {
		return "", fmt.Errorf("write index: %w", err)
	}
	s.cfg.Fault("chunk.index-written")
	text, err := seal(manifestKind, m)
	if err != nil {
		return "", err
	}
	if _, err := s.objects.Put(ctx, s.manifestKey(m.Txn), text, object.Condition{}); err != nil {
		return "", fmt.Errorf("write manifest: %w", err)
	}
	s.cfg.Fault("chunk.manifest-written")
	return sumOf(text), nil
}

// publish puts a snapshot into the catalog. base is what its transaction held.
func (s *Store) publish(ctx context.Context, m *Manifest, sum string, base refs) error {
	for id := range m.Segments {
		if id.txn != m.Txn && !base.has(id) {
			return fmt.Errorf("publish snapshot %s: segment %s was not held", m.ID, id)
		}
	}
	return s.change(ctx, func(c *catalog) error {
		if e := c.find(m.ID); e != nil && e.Txn == m.Txn {
			return errUnchanged // it took effect, or was found by a repair
		} else if e != nil {
			return holt.Errorf(holt.KindConflict, "there is a snapshot %s already", m.ID)
		}
		if c.transaction(m.Txn) == nil {
			return holt.Errorf(holt.KindConflict, "snapshot %s took so long that it was given up", m.ID)
		}
		c.drop(m.Txn)
		c.Snapshots = append(c.Snapshots, Entry{
			ID: m.ID, Workspace: m.Workspace, Parent: m.Parent, Label: m.Label, CreatedAt: m.CreatedAt, Sequence: c.Sequence + 1,
			Bytes: m.Bytes(), Stored: m.Stats.Stored, Txn: m.Txn, ManifestSum: sum, Segments: m.Segments,
		})
		return nil
	})
}

// drop removes a transaction from the catalog.
func (c *catalog) drop(txn txnID) {
	c.Transactions = slices.DeleteFunc(c.Transactions, func(t transaction) bool { return t.Txn == txn })
}

// compact removes the segments that no run uses.
func (x *index) compact() {
	used := make([]bool, len(x.segments))
	for _, f := range x.files {
		for _, r := range f.runs {
			if !r.zero {
				used[r.segment] = true
			}
		}
	}
	number := make([]uint32, len(x.segments))
	var kept []segmentRef
	for i, ref := range x.segments {
		if used[i] {
			number[i] = uint32(len(kept))
			kept = append(kept, ref)
		}
	}
	x.segments = kept
	for _, f := range x.files {
		for i := range f.runs {
			if !f.runs[i].zero {
				f.runs[i].segment = number[f.runs[i].segment]
			}
		}
	}
}

// end releases what the writer holds in this process.
func (w *Writer) end() {
	w.done = true
	if w.cancel != nil {
		w.cancel()
	}
	if w.uploads != nil {
		_ = w.uploads.Wait() // given up, or waited for before
	}
}

// Abort gives the snapshot up and removes what was written of it, as far as that
// can be done now; [Store.Collect] removes the rest. It does nothing after Commit.
func (w *Writer) Abort(ctx context.Context) error {
	if w.done {
		return nil
	}
	w.end()
	keys := []object.Key{w.s.manifestKey(w.txn), w.s.indexKey(w.txn)}
	for n := range w.number {
		keys = append(keys, w.s.segmentKey(segmentID{w.txn, n}))
	}
	// What is surely nobody's goes first: on a full disk nothing can be changed
	// before something is removed.
	if !w.published {
		if err := w.remove(ctx, keys); err != nil {
			return err
		}
		keys = nil
	}
	var alive func(object.Key) bool
	err := w.s.change(ctx, func(c *catalog) error {
		if e := c.find(w.new.ID); e != nil && e.Txn == w.txn {
			return holt.Errorf(holt.KindConflict, "snapshot %s is complete", w.new.ID)
		}
		n := len(c.Transactions)
		c.drop(w.txn)
		alive = w.s.alive(c)
		if n == len(c.Transactions) {
			return errUnchanged
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("abort snapshot: %w", err)
	}
	// The transaction has ended, so what is dead stays dead. It may have been
	// published unnoticed and rewritten since: then some of it lives.
	return w.remove(ctx, slices.DeleteFunc(keys, alive))
}

func (w *Writer) remove(ctx context.Context, keys []object.Key) error {
	for _, key := range keys {
		if err := w.s.objects.Delete(ctx, key); err != nil {
			return fmt.Errorf("abort snapshot: %w", err)
		}
	}
	return nil
}
