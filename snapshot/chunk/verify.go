package chunk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
)

// Damage is something of a snapshot that is lost.
type Damage struct {
	Object object.Key // that is damaged or missing
	What   string     // how
	Lost   []Lost     // what of the files that costs; nil when it costs all
}

// Lost is a part of a file that cannot be read.
type Lost struct {
	File     string
	From, To int64 // bytes
}

// Report is the result of a verification.
type Report struct {
	Snapshot holt.SnapshotID
	Bytes    int64 // that were read
	Damage   []Damage
	Mended   []Damage // what was damaged and is whole again
}

// Err returns nil for a snapshot that is whole, and otherwise KindCorrupt with the
// first damages by name.
func (r *Report) Err() error {
	if len(r.Damage) == 0 {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "snapshot %s is damaged:", r.Snapshot)
	for i, d := range r.Damage {
		if i == 3 {
			fmt.Fprintf(&b, " and %d more objects", len(r.Damage)-i)
			break
		}
		fmt.Fprintf(&b, " object %s: %s", d.Object, d.What)
		for j, l := range d.Lost {
			if j == 3 {
				fmt.Fprintf(&b, " and %d more places", len(d.Lost)-j)
				break
			}
			fmt.Fprintf(&b, ", %s bytes %d to %d", l.File, l.From, l.To)
		}
		b.WriteByte(';')
	}
	return holt.Errorf(holt.KindCorrupt, "%s", strings.TrimSuffix(b.String(), ";"))
}

// Verify reads everything that a snapshot refers to, past the cache, and compares
// every chunk with its checksum and with its identity. The report names what is
// damaged, after mending what can be mended; the error says why it could not be
// found out.
func (s *Store) Verify(ctx context.Context, id holt.SnapshotID) (*Report, error) {
	c, _, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	e := c.find(id)
	if e == nil {
		return nil, holt.Errorf(holt.KindNotFound, "there is no snapshot %s", id)
	}
	report, err := s.verify(ctx, e)
	if err != nil || len(report.Damage) == 0 {
		return report, err
	}
	// The compactor may have rewritten it meanwhile: then that counts.
	if c, _, err = s.load(ctx); err != nil {
		return nil, err
	}
	if now := c.find(id); now == nil {
		return nil, holt.Errorf(holt.KindNotFound, "snapshot %s was deleted meanwhile", id)
	} else if now.Txn != e.Txn {
		return s.Verify(ctx, id)
	}
	return report, nil
}

func (s *Store) verify(ctx context.Context, e *Entry) (*Report, error) {
	r := &Report{Snapshot: e.ID}
	m, err := s.readManifest(ctx, s.origin, e)
	if err == nil {
		var x *index
		if x, err = s.readIndex(ctx, s.origin, m); err == nil {
			return r, s.verifySegments(ctx, r, x)
		}
		r.add(s.indexKey(e.Txn), err)
	} else {
		r.add(s.manifestKey(e.Txn), err)
	}
	if !holt.IsKind(err, holt.KindCorrupt) {
		return nil, err
	}
	return r, nil
}

func (r *Report) add(key object.Key, err error) {
	r.Damage = append(r.Damage, Damage{Object: key, What: err.Error()})
}

// verifySegments checks every chunk that an index refers to.
func (s *Store) verifySegments(ctx context.Context, r *Report, x *index) error {
	uses := x.uses()
	bad := make([]*Damage, len(x.segments))
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.cfg.Workers)
	for i, ref := range x.segments {
		g.Go(func() error {
			n, d, err := s.verifySegment(ctx, ref, x, uses[i])
			var was *Damage
			if err == nil && d != nil && s.mend(ctx, ref) == nil {
				was = d
				n, d, err = s.verifySegment(ctx, ref, x, uses[i])
			}
			if d != nil && d.What == parityDamaged {
				d = nil // nothing is lost by it
			}
			mu.Lock()
			defer mu.Unlock()
			r.Bytes += n
			bad[i] = d
			if was != nil && d == nil {
				r.Mended = append(r.Mended, *was)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, d := range bad {
		if d != nil {
			r.Damage = append(r.Damage, *d)
		}
	}
	return nil
}

// parityDamaged is what a segment has that is whole but for its parity.
const parityDamaged = "its parity does not match"

// use is a row of slots of a segment and the part of a file that they are.
type use struct {
	slot, count uint32
	file        *indexFile
	chunk       uint64
}

// uses returns what each segment of an index is used for.
func (x *index) uses() [][]use {
	list := make([][]use, len(x.segments))
	for i := range x.files {
		f := &x.files[i]
		for _, r := range f.runs {
			if !r.zero {
				list[r.segment] = append(list[r.segment], use{r.slot, r.count, f, r.first})
			}
		}
	}
	return list
}

func (s *Store) verifySegment(ctx context.Context, ref segmentRef, x *index, uses []use) (int64, *Damage, error) {
	d := &Damage{Object: s.segmentKey(ref.id)}
	o, err := s.origin.Get(ctx, d.Object, object.Range{})
	var t *table
	switch {
	case holt.IsKind(err, holt.KindNotFound):
		err = errors.New("it is missing")
	case holt.IsKind(err, holt.KindCorrupt):
		// The store knows that something is wrong, not where.
	case err != nil:
		return 0, nil, fmt.Errorf("verify segment %s: %w", ref.id, err)
	case o.Size != int64(ref.size) || len(o.Body) != int(ref.size):
		err = fmt.Errorf("it has %d bytes instead of %d", len(o.Body), ref.size)
	default:
		t, err = decodeTable(o.Body[:ref.headSize()], ref)
	}
	if err != nil {
		d.What = err.Error()
		for _, u := range uses {
			d.lose(x, u, 0, u.count)
		}
		return int64(len(o.Body)), d, nil
	}
	plain := make([]byte, x.chunkSize)
	checked := make([]byte, ref.chunks) // 0 not yet, 1 whole, 2 damaged
	for _, u := range uses {
		for i := range u.count {
			slot := u.slot + i
			want := int(min(int64(x.chunkSize), u.file.size-(int64(u.chunk)+int64(i))*int64(x.chunkSize)))
			c := t.chunk(slot)
			if checked[slot] == 0 {
				checked[slot] = 1
				err := c.open(plain[:min(c.plain, len(plain))], o.Body[t.starts[slot]:t.starts[slot+1]])
				if err == nil && idOf(plain[:c.plain]) != c.id {
					err = errors.New("a chunk is not what its identity says")
				}
				if err != nil {
					checked[slot] = 2
					d.What = err.Error()
				}
			}
			if c.plain != want && checked[slot] == 1 {
				d.What = fmt.Sprintf("a chunk has %d bytes where the file needs %d", c.plain, want)
				d.lose(x, u, i, 1)
			} else if checked[slot] == 2 {
				d.lose(x, u, i, 1)
			}
		}
	}
	end := t.starts[ref.chunks]
	switch {
	case d.What != "":
	case !bytes.Equal(parityOf(o.Body[:end]), o.Body[end:]):
		d.What = parityDamaged
	default:
		d = nil
	}
	return int64(len(o.Body)), d, nil
}

// lose notes that count chunks of a use, from the one numbered first on, are lost.
func (d *Damage) lose(x *index, u use, first, count uint32) {
	from := (int64(u.chunk) + int64(first)) * int64(x.chunkSize)
	to := min(from+int64(count)*int64(x.chunkSize), u.file.size)
	if n := len(d.Lost); n > 0 && d.Lost[n-1].File == u.file.name && d.Lost[n-1].To == from {
		d.Lost[n-1].To = to
		return
	}
	d.Lost = append(d.Lost, Lost{File: u.file.name, From: from, To: to})
}
