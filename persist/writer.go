package persist

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	chunkers "github.com/PlakarKorp/go-cdc-chunkers"
	_ "github.com/PlakarKorp/go-cdc-chunkers/chunkers/fastcdc" // registers the algorithm

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/durable"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/object"
)

// Files are cut where their content says so, so that an insertion moves no later cut.
// Cuts at other places would cost space, not correctness.
const (
	smallFile  = 128 << 10 // whole up to this size
	chunkMin   = 64 << 10
	chunkUsual = 256 << 10
	chunkMax   = 1 << 20
	algorithm  = "fastcdc-v1.0.0"
)

// What is looked up at once.
const (
	lookupBlobs = 500
	lookupBytes = 8 << 20
)

// writer makes one publication: it packs blobs that the tenant does not have. It is
// used by one goroutine.
type writer struct {
	s      *Store
	tenant holt.UserID
	txn    string
	alone  bool // reuse nothing: what is there may be damaged

	known   map[meta.BlobID]bool // in this publication, or looked for
	pending []pendingBlob
	waiting int // bytes of pending

	pack   packBuilder
	packs  []meta.Pack
	blobs  []meta.Blob
	reused []meta.BlobID
	stored int64

	spool string // the folder of the spool in which packs are, "" while there are none
}

type pendingBlob struct {
	id    meta.BlobID
	kind  kind
	plain []byte
}

func (s *Store) newWriter(tenant holt.UserID) *writer {
	return &writer{s: s, tenant: tenant, txn: holt.NewID(), known: map[meta.BlobID]bool{}}
}

// add keeps a blob, which it copies.
func (w *writer) add(ctx context.Context, k kind, plain []byte) (meta.BlobID, error) {
	id := idOf(plain)
	if w.known[id] {
		return id, nil
	}
	w.known[id] = true
	w.pending = append(w.pending, pendingBlob{id, k, bytes.Clone(plain)})
	w.waiting += len(plain)
	if len(w.pending) < lookupBlobs && w.waiting < lookupBytes {
		return id, nil
	}
	return id, w.resolve(ctx)
}

// resolve packs those of the pending blobs that the tenant does not have.
func (w *writer) resolve(ctx context.Context) error {
	if len(w.pending) == 0 {
		return nil
	}
	ids := make([]meta.BlobID, len(w.pending))
	for i := range w.pending {
		ids[i] = w.pending[i].id
	}
	var found map[meta.BlobID]meta.Blob
	if !w.alone {
		var err error
		if found, err = w.s.locate(ctx, w.tenant, ids); err != nil {
			return err
		}
	}
	for _, p := range w.pending {
		if p.kind == kindTree { // the next flush begins with it, wherever the store is
			w.s.trees.put(cacheKey{tenant: w.tenant, id: p.id}, p.plain)
		}
		if _, ok := found[p.id]; ok {
			w.reused = append(w.reused, p.id)
			continue
		}
		stored, codec := compress(p.plain)
		w.pack.add(p.id, p.kind, len(p.plain), stored, codec)
		if int64(w.pack.size()) >= w.s.cfg.PackSize || w.pack.rows() >= maxRows {
			if err := w.send(ctx); err != nil {
				return err
			}
		}
	}
	w.pending, w.waiting = w.pending[:0], 0
	return nil
}

// send puts the pack that is being filled into the store, or into the spool if the store
// is away or others wait there already.
func (w *writer) send(ctx context.Context) error {
	if w.pack.rows() == 0 {
		return nil
	}
	body, pack, blobs := w.pack.finish(fmt.Sprintf("%s-%d", w.txn, len(w.packs)))
	w.s.cfg.Fault("persist.pack")
	if err := w.put(ctx, pack.ID, body); err != nil {
		return fmt.Errorf("store pack: %w", err)
	}
	w.packs, w.blobs = append(w.packs, pack), append(w.blobs, blobs...)
	w.stored += pack.Size
	return nil
}

func (w *writer) put(ctx context.Context, id string, body []byte) error {
	if w.spool == "" && !w.s.spool.holds(w.tenant) {
		_, err := w.s.cfg.Objects.Put(ctx, packKey(w.tenant, id), body, object.Condition{})
		if err == nil || w.s.spool.dir == "" || ctx.Err() != nil || !holt.KindOf(err).Retryable() {
			return err
		}
		w.s.log.Warn("the store cannot be reached: what is new waits on the disk", "tenant", w.tenant, "err", err)
	}
	if err := w.s.spool.room(w.stored + int64(len(body))); err != nil {
		return err
	}
	if w.spool == "" {
		var err error
		if w.spool, err = w.s.spool.begin(w.txn); err != nil {
			return err
		}
	}
	return spaceError(durable.WriteFile(filepath.Join(w.spool, id), body, 0o600))
}

// abandon removes what waits of a publication that failed.
func (w *writer) abandon() {
	if w.spool != "" {
		if err := os.RemoveAll(w.spool); err != nil {
			w.s.log.Warn("cannot clean the spool", "err", err)
		}
	}
}

// publish publishes p, or leaves it to wait: then it returns ErrQueued.
func (w *writer) publish(ctx context.Context, p meta.Publication) (Revision, error) {
	var events []meta.Event
	if w.s.cfg.Announce != nil {
		events = w.s.cfg.Announce(p.Revision)
	}
	if w.spool == "" {
		r, err := w.s.cfg.Revisions.Publish(ctx, p, events...)
		if err != nil {
			return Revision{}, fmt.Errorf("publish revision: %w", err)
		}
		w.s.cfg.Fault("persist.published")
		if w.s.cfg.Published != nil {
			w.s.cfg.Published(r)
		}
		return r, nil
	}
	text, err := json.Marshal(spooled{Version: 1, Publication: p, Events: events})
	if err == nil {
		err = durable.WriteFile(filepath.Join(w.spool, rowsFile), text, 0o600)
	}
	if err != nil {
		return Revision{}, spaceError(fmt.Errorf("write spool: %w", err))
	}
	w.s.cfg.Fault("persist.spooled")
	w.s.spool.add(&queued{dir: w.spool, p: p, events: events})
	return p.Revision, ErrQueued
}

// buffers are what chunkers read into. Clearing one for each flush would cost more than most
// flushes.
var buffers = sync.Pool{New: func() any { return new([2 * chunkMax]byte) }}

// content keeps size bytes of r as the content of a file. It returns io.ErrUnexpectedEOF
// if there are fewer, with what there are.
func (w *writer) content(ctx context.Context, r io.Reader, size int64) (stream, int64, error) {
	if size == 0 {
		return stream{}, 0, nil
	}
	buf := buffers.Get().(*[2 * chunkMax]byte)
	defer buffers.Put(buf)
	if size <= smallFile {
		n, err := io.ReadFull(r, buf[:size])
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return stream{}, 0, err
		}
		if n == 0 {
			return stream{}, 0, io.ErrUnexpectedEOF
		}
		id, aerr := w.add(ctx, kindData, buf[:n])
		if aerr != nil {
			return stream{}, 0, aerr
		}
		if err != nil {
			err = io.ErrUnexpectedEOF
		}
		return stream{roleDirect, id}, int64(n), err
	}
	cut, err := chunkers.NewChunkerBuffer(algorithm, io.LimitReader(r, size), &chunkers.ChunkerOpts{MinSize: chunkMin, NormalSize: chunkUsual, MaxSize: chunkMax}, buf[:])
	if err != nil {
		return stream{}, 0, fmt.Errorf("make chunker: %w", err)
	}
	var parts []part
	var sum int64
	for done := false; !done; {
		chunk, err := cut.Next()
		if err != nil && !errors.Is(err, io.EOF) {
			return stream{}, 0, err
		}
		done = err != nil
		if len(chunk) == 0 {
			continue
		}
		sum += int64(len(chunk))
		if allZero(chunk) {
			parts = appendHole(parts, int64(len(chunk)))
			continue
		}
		id, err := w.add(ctx, kindData, chunk)
		if err != nil {
			return stream{}, 0, err
		}
		parts = append(parts, part{size: int64(len(chunk)), id: id})
	}
	st, err := w.list(ctx, parts)
	if err == nil && sum < size {
		err = io.ErrUnexpectedEOF
	}
	return st, sum, err
}

func appendHole(parts []part, size int64) []part {
	if n := len(parts); n > 0 && parts[n-1].hole {
		parts[n-1].size += size
		return parts
	}
	return append(parts, part{hole: true, size: size})
}

var zeros [chunkMax]byte

func allZero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }

// list keeps a row of parts and returns the stream of their bytes.
func (w *writer) list(ctx context.Context, parts []part) (stream, error) {
	switch {
	case len(parts) == 0:
		return stream{}, nil
	case len(parts) == 1 && !parts[0].hole:
		return stream{roleDirect, parts[0].id}, nil
	}
	var b []byte
	for _, p := range parts {
		b = appendPart(b, p)
	}
	if len(b) > maxBlob {
		return stream{}, holt.Errorf(holt.KindLimit, "a file or folder in %d parts is too large to be kept", len(parts))
	}
	id, err := w.add(ctx, kindTree, b)
	return stream{roleList, id}, err
}

// Folders are cut into pieces of about this many entries, at names that say so, so that
// a change in a large folder writes one piece and the list of them.
const (
	pieceUsual = 128 // a power of two
	pieceMost  = 1024
	pieceBytes = 256 << 10
)

// folder keeps the entries of a folder.
func (w *writer) folder(ctx context.Context, list []entry) (stream, error) {
	var parts []part
	var b []byte
	flush := func() error {
		if len(b) == 0 {
			return nil
		}
		id, err := w.add(ctx, kindTree, b)
		parts, b = append(parts, part{size: int64(len(b)), id: id}), b[:0]
		return err
	}
	n := 0
	for i := range list {
		b = appendEntry(b, &list[i])
		n++
		if n >= pieceMost || len(b) >= pieceBytes || nameCuts(list[i].name) {
			if err := flush(); err != nil {
				return stream{}, err
			}
			n = 0
		}
	}
	if err := flush(); err != nil {
		return stream{}, err
	}
	return w.list(ctx, parts)
}

// nameCuts reports whether a piece of a folder ends after this name.
func nameCuts(name string) bool {
	h := uint32(2166136261) // FNV-1a
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return (h^h>>16)%pieceUsual == 0
}
