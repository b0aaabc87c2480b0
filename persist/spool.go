package persist

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/durable"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/object"
)

// spool holds publications whose packs wait for the store, in the order in which they
// were made: each is a folder NUMBER-TXN with the packs and, written last, a file with the
// rows.
type spool struct {
	dir  string
	most int64

	mu     sync.Mutex // guards what is below
	queue  []*queued  // the oldest first
	bytes  int64
	number int64
	blobs  map[holt.UserID]map[meta.BlobID]meta.Blob // in the packs of the queue
	packs  map[string]string                         // pack -> its file

	wake chan struct{} // something was added
}

// queued is one publication that waits.
type queued struct {
	dir    string // its folder
	bytes  int64
	events []meta.Event
	p      meta.Publication
}

// rowsFile is the file that makes a folder of the spool count.
const rowsFile = "rows.json"

// spooled is the content of rowsFile.
type spooled struct {
	Version     int              `json:"version"`
	Publication meta.Publication `json:"publication"`
	Events      []meta.Event     `json:"events,omitempty"`
}

// openSpool reads what waits since an earlier process. What it did not finish is removed.
func openSpool(dir string, most int64) (*spool, error) {
	q := &spool{dir: dir, most: most, blobs: map[holt.UserID]map[meta.BlobID]meta.Blob{}, packs: map[string]string{}, wake: make(chan struct{}, 1)}
	if dir == "" {
		return q, nil
	}
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make spool: %w", err)
	}
	entries, err := os.ReadDir(dir) // sorted, and numbers have a fixed width
	if err != nil {
		return nil, fmt.Errorf("read spool: %w", err)
	}
	for _, e := range entries {
		number, _, _ := strings.Cut(e.Name(), "-")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || !e.IsDir() {
			continue // not ours
		}
		q.number = max(q.number, n)
		folder := filepath.Join(dir, e.Name())
		text, err := os.ReadFile(filepath.Join(folder, rowsFile))
		if errors.Is(err, fs.ErrNotExist) {
			if err := os.RemoveAll(folder); err != nil {
				return nil, fmt.Errorf("clean spool: %w", err)
			}
			continue
		}
		var s spooled
		if err == nil {
			err = json.Unmarshal(text, &s)
		}
		if err == nil && s.Version != 1 {
			err = fmt.Errorf("its version is %d", s.Version)
		}
		if err != nil {
			return nil, holt.Wrap(holt.KindCorrupt, err, "what waits for the store in "+folder+" cannot be read: move it away to go on without it")
		}
		q.add(&queued{dir: folder, p: s.Publication, events: s.Events})
	}
	return q, nil
}

// add appends to the queue.
func (q *spool) add(e *queued) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queue = append(q.queue, e)
	known := q.blobs[e.p.Revision.Tenant]
	if known == nil {
		known = map[meta.BlobID]meta.Blob{}
		q.blobs[e.p.Revision.Tenant] = known
	}
	for _, b := range e.p.Blobs {
		known[b.ID] = b
	}
	for _, p := range e.p.Packs {
		if file := filepath.Join(e.dir, p.ID); exists(file) {
			q.packs[p.ID] = file
			e.bytes += p.Size
		}
	}
	q.bytes += e.bytes
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func exists(file string) bool {
	_, err := os.Lstat(file)
	return err == nil
}

// drop takes an entry out of the queue and removes its files.
func (q *spool) drop(e *queued) error {
	q.mu.Lock()
	if i := slices.Index(q.queue, e); i >= 0 {
		q.queue = slices.Delete(q.queue, i, i+1)
		q.bytes -= e.bytes
	}
	for _, p := range e.p.Packs {
		delete(q.packs, p.ID)
	}
	for _, b := range e.p.Blobs {
		if known := q.blobs[e.p.Revision.Tenant]; known[b.ID].Pack == b.Pack {
			delete(known, b.ID)
		}
	}
	q.mu.Unlock()
	// The rows go first: without them the rest does not count.
	return errors.Join(durable.Remove(filepath.Join(e.dir, rowsFile)), os.RemoveAll(e.dir))
}

// last returns what waits last of a workspace, nil for nothing; and since when and how
// many wait.
func (q *spool) last(ws holt.WorkspaceID) (e *queued, since time.Time, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, x := range q.queue {
		if x.p.Revision.Workspace == ws {
			if n++; n == 1 {
				since = x.p.Revision.At
			}
			e = x
		}
	}
	return e, since, n
}

func (q *spool) first() *queued {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) == 0 {
		return nil
	}
	return q.queue[0]
}

// holds reports whether anything of a tenant waits: then what is new waits behind it.
func (q *spool) holds(tenant holt.UserID) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.ContainsFunc(q.queue, func(e *queued) bool { return e.p.Revision.Tenant == tenant })
}

// find adds to found those of the blobs that are in the spool.
func (q *spool) find(tenant holt.UserID, ids []meta.BlobID, found map[meta.BlobID]meta.Blob) {
	q.mu.Lock()
	defer q.mu.Unlock()
	known := q.blobs[tenant]
	if len(known) == 0 {
		return
	}
	for _, id := range ids {
		if b, ok := known[id]; ok {
			found[id] = b
		}
	}
}

// file returns the file of a pack that waits, or "".
func (q *spool) file(pack string) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.packs[pack]
}

// begin makes the folder of a publication.
func (q *spool) begin(txn string) (string, error) {
	q.mu.Lock()
	q.number++
	dir := filepath.Join(q.dir, fmt.Sprintf("%016d-%s", q.number, txn))
	q.mu.Unlock()
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return "", spaceError(fmt.Errorf("make folder of spool: %w", err))
	}
	return dir, nil
}

// room reports, as KindNoSpace, that n more bytes would be too many.
func (q *spool) room(n int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bytes+n > q.most {
		return &holt.Error{Kind: holt.KindNoSpace, Limit: holt.FormatSize(q.most),
			Text: "the store cannot be reached and the space for what waits for it is used up: the files are on this node only"}
	}
	return nil
}

// get reads a part of a pack, from the spool or from the store.
func (s *Store) get(ctx context.Context, tenant holt.UserID, pack string, r object.Range) ([]byte, error) {
	if name := s.spool.file(pack); name != "" {
		b, err := readRange(name, r)
		if !errors.Is(err, fs.ErrNotExist) {
			return b, err
		} // it was delivered meanwhile
	}
	o, err := s.cfg.Objects.Get(ctx, packKey(tenant, pack), r)
	return o.Body, err
}

func readRange(name string, r object.Range) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	offset, length, err := r.Clip("", info.Size())
	if err != nil {
		return nil, err
	}
	b := make([]byte, length)
	_, err = f.ReadAt(b, offset)
	return b, err
}

// Pending returns how many revisions of a workspace wait for the store, and since when
// the first of them does.
func (s *Store) Pending(ws holt.WorkspaceID) (since time.Time, n int) {
	_, since, n = s.spool.last(ws)
	return since, n
}

// Spooled returns how many revisions of all workspaces wait for the store, and their bytes.
func (s *Store) Spooled() (n int, bytes int64) {
	s.spool.mu.Lock()
	defer s.spool.mu.Unlock()
	return len(s.spool.queue), s.spool.bytes
}

// Pauses between attempts to deliver.
const (
	deliverFirst = time.Second
	deliverMost  = 30 * time.Second
)

// Run delivers what waits for the store, in order, as soon as the store can be reached,
// until ctx ends.
func (s *Store) Run(ctx context.Context) {
	pause := deliverFirst
	for ctx.Err() == nil {
		n, err := s.Deliver(ctx)
		if n > 0 {
			s.log.Info("delivered what had waited for the store", "revisions", n)
		}
		wait := s.spool.wake
		var timer <-chan time.Time
		if err != nil {
			if ctx.Err() == nil {
				s.log.Warn("cannot deliver what waits for the store", "err", err)
			}
			if n > 0 {
				pause = deliverFirst
			}
			// What is added meanwhile has to wait as well.
			wait, timer = nil, time.After(pause/2+rand.N(pause))
			pause = min(2*pause, deliverMost)
		} else {
			pause = deliverFirst
		}
		select {
		case <-ctx.Done():
		case <-wait:
		case <-timer:
		}
	}
}

// Deliver sends everything that waits to the store and publishes it, in order. It ends
// with the first error, and returns how many revisions were published.
func (s *Store) Deliver(ctx context.Context) (n int, err error) {
	s.delivering.Lock()
	defer s.delivering.Unlock()
	for e := s.spool.first(); e != nil; e = s.spool.first() {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		r, err := s.deliver(ctx, e)
		if errors.Is(err, meta.ErrRevisionStale) {
			// What it was made from is gone: another node was at work, or its blobs were
			// collected. The volume has it all, so the next flush begins anew.
			s.log.Error("a revision that waited for the store does not fit any more: it is made anew from the files",
				"workspace", e.p.Revision.Workspace, "revision", e.p.Revision.Number, "err", err)
			if err := s.spool.drop(e); err != nil {
				return n, fmt.Errorf("clean spool: %w", err)
			}
			s.restart(ctx, e.p.Revision.Workspace)
			continue
		}
		if err != nil {
			return n, err
		}
		s.cfg.Fault("persist.delivered")
		if err := s.spool.drop(e); err != nil {
			return n, fmt.Errorf("clean spool: %w", err)
		}
		n++
		s.published(r)
	}
	return n, nil
}

// restart makes the next flush of a workspace look at everything.
func (s *Store) restart(ctx context.Context, ws holt.WorkspaceID) {
	l := s.line(ws)
	l.mu.Lock()
	l.loaded = false
	l.mu.Unlock()
	if s.cfg.Dropped != nil {
		s.cfg.Dropped(ctx, ws)
	}
}

func (s *Store) deliver(ctx context.Context, e *queued) (Revision, error) {
	for _, p := range e.p.Packs {
		file := filepath.Join(e.dir, p.ID)
		body, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was in the store before the store was away
		} else if err != nil {
			return Revision{}, fmt.Errorf("read spool: %w", err)
		}
		rows, err := decodeHead(body, p.Size)
		if err != nil || len(rows) != int(p.Blobs) || int64(len(body)) != p.Size {
			s.log.Error("a pack that waited for the store is damaged", "file", file, "err", err)
			return Revision{}, meta.ErrRevisionStale
		}
		if _, err := s.cfg.Objects.Put(ctx, packKey(e.p.Revision.Tenant, p.ID), body, object.Condition{}); err != nil {
			return Revision{}, fmt.Errorf("store pack: %w", err)
		}
	}
	r, err := s.cfg.Revisions.Publish(ctx, e.p, e.events...)
	if err != nil {
		return Revision{}, fmt.Errorf("publish revision: %w", err)
	}
	return r, nil
}

// published tells who wants to know.
func (s *Store) published(r Revision) {
	l := s.line(r.Workspace)
	// Without the lock a flush that waits for this publication would be told late, and one that
	// holds it would be waited for: it learns from the queue that nothing waits any more.
	if l.mu.TryLock() {
		if l.last.Txn == r.Txn {
			l.last = r
		}
		l.mu.Unlock()
	}
	if s.cfg.Published != nil {
		s.cfg.Published(r)
	}
}
