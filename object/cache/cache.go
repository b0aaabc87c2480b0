// Package cache wraps an object store with a bounded cache on the local disk, for
// objects that never change once they exist.
//
//	DIR/HASH    a cached object; HASH is the xxh3-128 of its key in hexadecimal
//	DIR/.new-*  one being written; removed by [Open]
//
// # The file, version 1
//
//	offset  size  what
//	0       8     "holtcch" and the byte 1
//	8       4     length n of the description, big-endian
//	12      8     xxh3 of the description, big-endian
//	20      n     the description, JSON: see type description
//	20+n    -     the body
//
// The description has an xxh3 sum for every [blockSize] bytes of the body. Every
// read verifies the blocks that it touches; a damaged file is dropped and the
// object fetched again. Nothing is flushed: a file that a crash tore is a damaged
// one.
//
// The least recently used objects go when the bound is crossed. A disk that is
// full or fails makes the cache smaller, never a call fail. One process may use a
// directory at a time.
package cache

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/zeebo/xxh3"
	"golang.org/x/sync/singleflight"

	"github.com/holt-ide/holt/durable"
	"github.com/holt-ide/holt/object"
)

// Config says what is cached and where.
type Config struct {
	Dir   string
	Limit int64 // bytes on the disk, descriptions included

	// Immutable reports whether an object of this key, once it exists, never
	// changes, and is not deleted but through this cache or because nobody wants
	// it. Only such objects are cached, and always as a whole. Nil means all.
	Immutable func(object.Key) bool
}

// Stats counts what a cache did since it was opened.
type Stats struct {
	Hits, Misses int64 // of Gets of immutable objects
	Damaged      int64 // files that were dropped because their sum did not match
	Evicted      int64 // objects
	Bytes        int64 // on the disk now
	Objects      int64 // on the disk now
}

// Store is the wrapped store.
type Store struct {
	next      object.Store
	dir       string
	immutable func(object.Key) bool
	fills     singleflight.Group

	mu      sync.Mutex
	limit   int64
	entries map[object.Key]*list.Element // of *entry
	order   *list.List                   // the most recently used first
	writes  [256]uint64                  // puts and deletes begun or ended, by a byte of the key's hash
	stats   Stats
}

var _ object.Store = (*Store)(nil)

// Open wraps next. It takes over what an earlier process left in the directory.
func Open(next object.Store, cfg Config) (*Store, error) {
	if err := durable.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make cache directory: %w", err)
	}
	s := &Store{next: next, dir: cfg.Dir, immutable: cfg.Immutable, limit: cfg.Limit,
		entries: map[object.Key]*list.Element{}, order: list.New()}
	if s.immutable == nil {
		s.immutable = func(object.Key) bool { return true }
	}
	return s, s.load()
}

// load reads the descriptions of what is there, the most recently written first.
func (s *Store) load() error {
	names, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("list cache: %w", err)
	}
	type aged struct {
		*entry
		at time.Time
	}
	var found []aged
	for _, d := range names {
		path := filepath.Join(s.dir, d.Name())
		e, at, err := readEntry(path)
		if err != nil || s.path(e.info.Key) != path {
			os.Remove(path)
			continue
		}
		found = append(found, aged{e, at})
	}
	slices.SortFunc(found, func(a, b aged) int { return a.at.Compare(b.at) })
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range found {
		s.add(e.entry)
	}
	return nil
}

func hash(key object.Key) xxh3.Uint128 { return xxh3.HashString128(string(key)) }

func (s *Store) path(key object.Key) string {
	return filepath.Join(s.dir, fmt.Sprintf("%x", hash(key).Bytes()))
}

// SetLimit changes the bound and evicts what is above it at once.
func (s *Store) SetLimit(limit int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = limit
	s.shrink()
}

// Stats returns the counts so far.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Objects = int64(s.order.Len())
	return st
}

// add makes e the entry of its key. The caller holds mu.
func (s *Store) add(e *entry) {
	s.forget(e.info.Key)
	s.entries[e.info.Key] = s.order.PushFront(e)
	s.stats.Bytes += e.bytes()
	s.shrink()
}

// forget takes an entry out of the books, but leaves its file. The caller holds mu.
func (s *Store) forget(key object.Key) {
	if el, ok := s.entries[key]; ok {
		s.stats.Bytes -= el.Value.(*entry).bytes()
		s.order.Remove(el)
		delete(s.entries, key)
	}
}

func (s *Store) shrink() {
	for s.stats.Bytes > s.limit && s.order.Len() > 0 {
		key := s.order.Back().Value.(*entry).info.Key
		s.forget(key)
		os.Remove(s.path(key))
		s.stats.Evicted++
	}
}

// drop removes an object from the cache.
func (s *Store) drop(key object.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(key)
	os.Remove(s.path(key))
}

// wrote counts a step of a put or delete, so that no fill which overlaps it keeps
// what it read.
func (s *Store) wrote(key object.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes[hash(key).Lo&255]++
}

func (s *Store) written(key object.Key) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes[hash(key).Lo&255]
}

// insert keeps a whole object unless a put or delete came between; since is what
// [Store.written] was before the object was read.
func (s *Store) insert(o object.Object, since uint64) {
	e, tmp, err := writeEntry(s.dir, o)
	if err != nil {
		return // the cache is smaller than it could be, nothing else
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writes[hash(o.Key).Lo&255] != since || e.bytes() > s.limit || os.Rename(tmp, s.path(o.Key)) != nil {
		os.Remove(tmp)
		return
	}
	s.add(e)
}

// lookup returns the entry of a key and makes it the most recently used.
func (s *Store) lookup(key object.Key) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	el, ok := s.entries[key]
	if !ok {
		s.stats.Misses++
		return nil
	}
	s.stats.Hits++
	s.order.MoveToFront(el)
	return el.Value.(*entry)
}

// Get implements [object.Store].
func (s *Store) Get(ctx context.Context, key object.Key, r object.Range) (object.Object, error) {
	if object.CheckKey(key) != nil || !s.immutable(key) {
		return s.next.Get(ctx, key, r)
	}
	if e := s.lookup(key); e != nil {
		offset, length, err := r.Clip(key, e.info.Size)
		if err != nil {
			return object.Object{}, err
		}
		body, err := e.read(s.path(key), offset, length)
		if err == nil {
			return object.Object{Info: e.info, Body: body}, nil
		}
		if errors.Is(err, errDamaged) {
			s.mu.Lock()
			s.stats.Damaged++
			s.mu.Unlock()
		}
		s.drop(key)
	}
	for {
		v, err, shared := s.fills.Do(string(key), func() (any, error) {
			since := s.written(key)
			o, err := s.next.Get(ctx, key, object.Range{})
			if err == nil {
				s.insert(o, since)
			}
			return o, err
		})
		if err != nil {
			if shared && ctx.Err() == nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
				continue // that was another caller's patience
			}
			return object.Object{}, err
		}
		o := v.(object.Object)
		offset, length, err := r.Clip(key, o.Size)
		if err != nil {
			return object.Object{}, err
		}
		o.Body = o.Body[offset : offset+length : offset+length]
		if shared {
			o.Body = slices.Clone(o.Body)
		}
		return o, nil
	}
}

// Put implements [object.Store].
func (s *Store) Put(ctx context.Context, key object.Key, body []byte, cond object.Condition) (object.ETag, error) {
	if object.CheckKey(key) != nil || !s.immutable(key) {
		return s.next.Put(ctx, key, body, cond)
	}
	s.wrote(key)
	tag, err := s.next.Put(ctx, key, body, cond)
	s.wrote(key)
	s.drop(key)
	if err == nil {
		s.insert(object.Object{Info: object.Info{Key: key, Size: int64(len(body)), ETag: tag, Modified: time.Now()}, Body: body}, s.written(key))
	}
	return tag, err
}

// Stat implements [object.Store]. It always asks the store behind.
func (s *Store) Stat(ctx context.Context, key object.Key) (object.Info, error) {
	return s.next.Stat(ctx, key)
}

// List implements [object.Store]. It always asks the store behind.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[object.Info, error] {
	return s.next.List(ctx, prefix)
}

// Delete implements [object.Store].
func (s *Store) Delete(ctx context.Context, key object.Key) error {
	if object.CheckKey(key) != nil || !s.immutable(key) {
		return s.next.Delete(ctx, key)
	}
	s.wrote(key)
	err := s.next.Delete(ctx, key)
	s.wrote(key)
	s.drop(key)
	return err
}
