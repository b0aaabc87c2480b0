package chunk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
)

// Compacted is what [Store.Compact] did.
type Compacted struct {
	Segments  int   // that nobody needs any more
	Snapshots int   // that were rewritten: their manifests and indexes, not their files
	Freed     int64 // bytes that the next [Store.Collect] gives back, less what was written
}

// rewrite is a snapshot on its way to a new index.
type rewrite struct {
	entry Entry
	man   *Manifest
	index *index
	txn   txnID
	sum   string
}

// place is a chunk in a segment.
type place struct {
	segment segmentID
	slot    uint32
}

// Compact copies what is still used of segments of which less than the fraction
// live is, and makes every snapshot that used them refer to the copies. Snapshots
// that are deleted or damaged meanwhile are left alone. Views that are open find
// the chunks in their new place.
func (s *Store) Compact(ctx context.Context, live float64) (done Compacted, err error) {
	w := &Writer{s: s, txn: newTxn(), known: map[contentID]location{}, base: refs{}}
	w.index.chunkSize = s.cfg.ChunkSize
	var all []*rewrite
	err = s.change(ctx, func(c *catalog) error {
		if c.transaction(w.txn) != nil {
			return errUnchanged
		}
		w.base, all = refs{}, nil
		for _, e := range c.Snapshots {
			w.base.addAll(e.Segments)
			r := &rewrite{entry: e, txn: newTxn()}
			all = append(all, r)
			c.Transactions = append(c.Transactions, transaction{Txn: r.txn, Owner: s.cfg.Owner, StartedAt: time.Now(), Base: refs{}})
		}
		c.Transactions = append(c.Transactions, transaction{Txn: w.txn, Owner: s.cfg.Owner, StartedAt: time.Now(), Base: w.base})
		return nil
	})
	if err != nil {
		return done, err
	}
	defer func() {
		// What was published is no transaction any more; the rest is given up.
		err = errors.Join(err, s.forget(context.WithoutCancel(ctx), w, all))
	}()
	s.cfg.Fault("compact.begun")
	sparse, err := s.sparse(ctx, all, live)
	if err != nil || len(sparse) == 0 {
		return done, err
	}
	moved, freed, err := s.copyLive(ctx, w, sparse)
	if err != nil || len(moved) == 0 {
		return done, err
	}
	s.cfg.Fault("compact.copied")
	var changed []*rewrite
	for _, r := range all {
		if r.index == nil || !r.index.move(moved, w.index.segments) {
			continue
		}
		m := *r.man
		m.Txn, m.Generation = r.txn, m.Generation+1
		if r.sum, err = s.describe(ctx, &m, r.index); err != nil {
			return done, err
		}
		r.man = &m
		report, err := s.verify(ctx, &Entry{ID: m.ID, Txn: m.Txn, ManifestSum: r.sum})
		if err != nil {
			return done, err
		}
		if report.Err() != nil {
			continue // it keeps what it has; a scrub will name it
		}
		changed = append(changed, r)
	}
	s.cfg.Fault("compact.verified")
	if done.Snapshots, err = s.exchange(ctx, w, changed); err != nil {
		return done, err
	}
	done.Segments, done.Freed = len(sparse), freed-w.stats.Stored
	return done, nil
}

// sparseSegment is one that is worth copying, with the slots that are in use.
type sparseSegment struct {
	ref  segmentRef
	used []bool
}

// sparse reads the indexes of all snapshots and returns the segments of which too
// little is used. Segments of a snapshot whose index cannot be read are in use as
// a whole.
func (s *Store) sparse(ctx context.Context, all []*rewrite, live float64) ([]*sparseSegment, error) {
	found := map[segmentID]*sparseSegment{}
	unknown := refs{}
	for _, r := range all {
		m, err := s.readManifest(ctx, s.objects, &r.entry)
		if err == nil {
			r.index, err = s.readIndex(ctx, s.objects, m)
		}
		if holt.IsKind(err, holt.KindCorrupt) {
			unknown.addAll(r.entry.Segments)
			continue
		} else if err != nil {
			return nil, err
		}
		r.man = m
		for i, uses := range r.index.uses() {
			ref := r.index.segments[i]
			seg := found[ref.id]
			if seg == nil {
				seg = &sparseSegment{ref, make([]bool, ref.chunks)}
				found[ref.id] = seg
			}
			for _, u := range uses {
				for n := range u.count {
					seg.used[u.slot+n] = true
				}
			}
		}
	}
	var list []*sparseSegment
	for id, seg := range found {
		used := 0
		for _, u := range seg.used {
			if u {
				used++
			}
		}
		// Chunks are counted, not bytes: that needs no table, and decides about the same.
		if !unknown.has(id) && float64(used) < live*float64(len(seg.used)) {
			list = append(list, seg)
		}
	}
	return list, nil
}

// copyLive copies the used chunks of segments as they are stored. A segment that
// cannot be read back whole stays where it is.
func (s *Store) copyLive(ctx context.Context, w *Writer, sparse []*sparseSegment) (moved map[place]location, freed int64, err error) {
	moved = map[place]location{}
	if err := w.start(ctx); err != nil {
		return nil, 0, err
	}
	for _, seg := range sparse {
		o, err := s.origin.Get(ctx, s.segmentKey(seg.ref.id), object.Range{})
		if err != nil && !holt.IsKind(err, holt.KindNotFound) && !holt.IsKind(err, holt.KindCorrupt) {
			return nil, 0, fmt.Errorf("read segment: %w", err)
		}
		if err != nil || len(o.Body) != int(seg.ref.size) {
			continue
		}
		t, err := decodeTable(o.Body[:seg.ref.headSize()], seg.ref)
		if err != nil || !seg.whole(t, o.Body) {
			continue
		}
		for slot, used := range seg.used {
			if !used {
				continue
			}
			c := t.chunk(uint32(slot))
			l, ok := w.find(c.id)
			if !ok {
				if l, err = w.append(c.id, c.plain, o.Body[t.starts[slot]:t.starts[slot+1]], c.codec); err != nil {
					return nil, 0, err
				}
			}
			moved[place{seg.ref.id, uint32(slot)}] = l
		}
		freed += int64(seg.ref.size)
	}
	flushErr := w.flush()
	if err := w.uploads.Wait(); err != nil {
		return nil, 0, err
	}
	return moved, freed, flushErr
}

// whole reports whether every used chunk is what was written.
func (seg *sparseSegment) whole(t *table, body []byte) bool {
	for slot, used := range seg.used {
		if used && xxh3.Hash(body[t.starts[slot]:t.starts[slot+1]]) != t.chunk(uint32(slot)).sum {
			return false
		}
	}
	return true
}

// move makes an index refer to the new places, and reports whether that changes it.
func (x *index) move(moved map[place]location, fresh []segmentRef) bool {
	old := x.segments
	changed := false
	offset := uint32(len(old))
	for i := range x.files {
		f := &x.files[i]
		was := f.runs
		f.runs = nil
		for _, r := range was {
			if r.zero {
				f.add(true, 0, 0, r.count)
				continue
			}
			for n := range r.count {
				if l, ok := moved[place{old[r.segment].id, r.slot + n}]; ok {
					changed = true
					f.add(false, offset+l.segment, l.slot, 1)
				} else {
					f.add(false, r.segment, r.slot+n, 1)
				}
			}
		}
	}
	x.segments = append(append([]segmentRef(nil), old...), fresh...)
	x.compact()
	return changed
}

// exchange makes the catalog name the rewritten snapshots, but those that somebody
// deleted or rewrote meanwhile.
func (s *Store) exchange(ctx context.Context, w *Writer, changed []*rewrite) (n int, err error) {
	err = s.change(ctx, func(c *catalog) error {
		n = 0
		if c.transaction(w.txn) == nil {
			for _, r := range changed {
				if e := c.find(r.entry.ID); e != nil && e.Txn == r.txn {
					n++
				}
			}
			if n > 0 {
				return errUnchanged // it took effect
			}
			return holt.Errorf(holt.KindConflict, "compacting took so long that it was given up")
		}
		for _, r := range changed {
			if e := c.find(r.entry.ID); e != nil && e.Txn == r.entry.Txn && c.transaction(r.txn) != nil {
				e.Txn, e.ManifestSum, e.Segments = r.txn, r.sum, r.man.Segments
				n++
			}
			c.drop(r.txn)
		}
		c.drop(w.txn)
		return nil
	})
	s.cfg.Fault("compact.exchanged")
	return n, err
}

// forget ends the compactor's transactions.
func (s *Store) forget(ctx context.Context, w *Writer, all []*rewrite) error {
	w.end()
	return s.change(ctx, func(c *catalog) error {
		n := len(c.Transactions)
		c.drop(w.txn)
		for _, r := range all {
			c.drop(r.txn)
		}
		if len(c.Transactions) == n {
			return errUnchanged
		}
		return nil
	})
}
