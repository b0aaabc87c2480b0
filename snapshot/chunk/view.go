package chunk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
)

// View reads a snapshot. Its methods, and those of its files, may be called
// concurrently. A view goes on working while the compactor rewrites its snapshot,
// and ends with errors when the snapshot is deleted and collected.
type View struct {
	s      *Store
	id     holt.SnapshotID
	man    *Manifest
	ctx    context.Context // of [File.ReadAt]; ended by Close
	cancel context.CancelFunc

	state atomic.Pointer[viewState]
	mu    sync.Mutex // held while state is replaced
}

// viewState is what changes when the compactor has rewritten the snapshot.
type viewState struct {
	txn    txnID
	index  *index
	tables []lazyTable // by number of the segment
}

// lazyTable is a segment's table once somebody needed it.
type lazyTable struct {
	mu sync.Mutex
	t  *table
}

// View opens a snapshot. KindNotFound if there is none, KindCorrupt if its manifest
// or index is damaged. The caller closes it.
func (s *Store) View(ctx context.Context, id holt.SnapshotID) (*View, error) {
	m, err := s.Manifest(ctx, id)
	if err != nil {
		return nil, err
	}
	x, err := s.readIndex(ctx, s.objects, m)
	if err != nil {
		return nil, err
	}
	v := &View{s: s, id: id, man: m}
	v.ctx, v.cancel = context.WithCancel(context.WithoutCancel(ctx))
	v.state.Store(&viewState{txn: m.Txn, index: x, tables: make([]lazyTable, len(x.segments))})
	return v, nil
}

// Close makes the reads to come fail, and ends those of [File.ReadAt] under way.
func (v *View) Close() error {
	v.cancel()
	return nil
}

// Manifest returns the snapshot's manifest, which is not to be changed.
func (v *View) Manifest() *Manifest { return v.man }

// File is one file of a view.
type File struct {
	v    *View
	name string
	size int64
}

var _ io.ReaderAt = (*File)(nil)

// Open returns a file of the snapshot. KindNotFound if there is none of the name.
func (v *View) Open(name string) (*File, error) {
	f := v.state.Load().index.file(name)
	if f == nil {
		return nil, holt.Errorf(holt.KindNotFound, "snapshot %s has no file %s", v.id, name)
	}
	return &File{v, name, f.size}, nil
}

// Name returns the file's name.
func (f *File) Name() string { return f.name }

// Size returns the file's size in bytes.
func (f *File) Size() int64 { return f.size }

// ReadAt implements [io.ReaderAt] until the view is closed.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.ReadContext(f.v.ctx, p, off) }

// ReadContext reads as [io.ReaderAt] does. Every chunk that it touches is
// verified; one that is damaged or lost is KindCorrupt, with the name of the
// object and where in the file it is missing. What p holds after an error is
// undefined.
func (f *File) ReadContext(ctx context.Context, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, holt.Invalidf("offset", "%d is before the start of %s", off, f.name)
	}
	if f.v.ctx.Err() != nil {
		return 0, fmt.Errorf("read %s of snapshot %s: %w", f.name, f.v.id, os.ErrClosed)
	}
	if off >= f.size {
		return 0, io.EOF
	}
	want := min(int64(len(p)), f.size-off)
	st := f.v.state.Load()
	err := f.read(ctx, st, p[:want], off)
	if holt.IsKind(err, holt.KindNotFound) {
		// The compactor may have moved the chunks since.
		if st, err = f.v.refresh(ctx, st, err); err == nil {
			err = f.read(ctx, st, p[:want], off)
		}
	}
	if holt.IsKind(err, holt.KindNotFound) {
		err = holt.Wrap(holt.KindCorrupt, err, fmt.Sprintf("snapshot %s: %s has lost bytes between %d and %d", f.v.id, f.name, off, off+want))
	}
	if err != nil {
		return 0, err
	}
	if want < int64(len(p)) {
		return int(want), io.EOF
	}
	return int(want), nil
}

// refresh returns a newer state than old, or cause if there is none.
func (v *View) refresh(ctx context.Context, old *viewState, cause error) (*viewState, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if st := v.state.Load(); st != old {
		return st, nil // another read was here
	}
	m, err := v.s.Manifest(ctx, v.id)
	if err != nil {
		return nil, errors.Join(cause, err)
	}
	if m.Txn == old.txn {
		return nil, cause
	}
	x, err := v.s.readIndex(ctx, v.s.objects, m)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(m.Files, v.man.Files) {
		return nil, holt.Errorf(holt.KindCorrupt, "snapshot %s: its files have changed", v.id)
	}
	st := &viewState{txn: m.Txn, index: x, tables: make([]lazyTable, len(x.segments))}
	v.state.Store(st)
	return st, nil
}

// span is a row of chunks of one segment, or of zeros, that a read needs.
type span struct {
	chunk   uint64 // of the file
	count   uint32
	zero    bool
	segment uint32
	slot    uint32
}

// spans returns what covers the chunks from first to last.
func (f *indexFile) spans(first, last uint64) []span {
	var list []span
	for i := f.find(first); i < len(f.runs) && f.runs[i].first <= last; i++ {
		r := f.runs[i]
		skip := uint32(max(first, r.first) - r.first)
		count := uint32(min(uint64(r.count), last-r.first+1)) - skip
		list = append(list, span{chunk: r.first + uint64(skip), count: count, zero: r.zero, segment: r.segment, slot: r.slot + skip})
	}
	return list
}

func (f *File) read(ctx context.Context, st *viewState, p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	x := st.index.file(f.name)
	size := int64(st.index.chunkSize)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(f.v.s.cfg.Workers)
	for _, sp := range x.spans(uint64(off/size), uint64((off+int64(len(p))-1)/size)) {
		// The part of p that the span covers, and where it is in the file.
		from := max(off, int64(sp.chunk)*size)
		to := min(off+int64(len(p)), (int64(sp.chunk)+int64(sp.count))*size)
		part := p[from-off : to-off]
		if sp.zero {
			clear(part)
			continue
		}
		if len(part) < 4*int(size) { // not worth a goroutine
			if err := f.readSpan(ctx, st, sp, part, from); err != nil {
				return errors.Join(err, g.Wait())
			}
			continue
		}
		g.Go(func() error { return f.readSpan(ctx, st, sp, part, from) })
	}
	return g.Wait()
}

// maxSpan bounds the stored bytes that one request asks for.
const maxSpan = 1 << 20

// readSpan fills part, the file's bytes from the offset from on, with chunks of one
// segment, and mends that if it has to.
func (f *File) readSpan(ctx context.Context, st *viewState, sp span, part []byte, from int64) error {
	err := f.readChunks(ctx, st, sp, part, from)
	if !holt.IsKind(err, holt.KindCorrupt) || f.v.s.mend(ctx, st.index.segments[sp.segment]) != nil {
		return err
	}
	return f.readChunks(ctx, st, sp, part, from)
}

func (f *File) readChunks(ctx context.Context, st *viewState, sp span, part []byte, from int64) error {
	ref := st.index.segments[sp.segment]
	size := int64(st.index.chunkSize)
	t, err := f.v.table(ctx, st, sp.segment)
	if err != nil {
		return f.lost(err, int64(sp.chunk)*size, ref)
	}
	var plain []byte // for chunks of which only a part is wanted
	for sp.count > 0 {
		n := uint32(1)
		start := t.starts[sp.slot]
		for n < sp.count && t.starts[sp.slot+n+1]-start <= maxSpan {
			n++
		}
		o, err := f.v.s.objects.Get(ctx, f.v.s.segmentKey(ref.id), object.Range{Offset: int64(start), Length: int64(t.starts[sp.slot+n] - start)})
		if err != nil {
			return f.lost(err, int64(sp.chunk)*size, ref)
		}
		for i := range n {
			c := t.chunk(sp.slot + i)
			at := (int64(sp.chunk) + int64(i)) * size // of the chunk in the file
			length := min(size, f.size-at)
			low, high := min(int64(len(o.Body)), int64(t.starts[sp.slot+i]-start)), min(int64(len(o.Body)), int64(t.starts[sp.slot+i+1]-start))
			stored := o.Body[low:high]
			if at >= from && at+length <= from+int64(len(part)) {
				err = c.open(part[at-from:at-from+length], stored)
			} else {
				if plain == nil {
					plain = make([]byte, size)
				}
				if err = c.open(plain[:length], stored); err == nil {
					lo, hi := max(at, from), min(at+length, from+int64(len(part)))
					copy(part[lo-from:hi-from], plain[lo-at:hi-at])
				}
			}
			if err != nil {
				err = holt.Wrap(holt.KindCorrupt, err, fmt.Sprintf("snapshot %s: %s is damaged between byte %d and %d (segment %s)", f.v.id, f.name, at, at+length, ref.id))
				return err
			}
		}
		sp.chunk, sp.slot, sp.count = sp.chunk+uint64(n), sp.slot+n, sp.count-n
	}
	return nil
}

// lost names what a segment's loss means. A missing one stays KindNotFound, so that
// the view is refreshed.
func (f *File) lost(err error, at int64, ref segmentRef) error {
	if holt.IsKind(err, holt.KindCorrupt) {
		return holt.Wrap(holt.KindCorrupt, err, fmt.Sprintf("snapshot %s: %s is damaged from byte %d on (segment %s)", f.v.id, f.name, at, ref.id))
	}
	return fmt.Errorf("read segment %s for %s of snapshot %s: %w", ref.id, f.name, f.v.id, err)
}

func (v *View) table(ctx context.Context, st *viewState, segment uint32) (*table, error) {
	lt := &st.tables[segment]
	lt.mu.Lock()
	defer lt.mu.Unlock()
	if lt.t == nil {
		t, err := v.s.readTable(ctx, v.s.objects, st.index.segments[segment])
		if err != nil {
			return nil, err
		}
		lt.t = t
	}
	return lt.t, nil
}
