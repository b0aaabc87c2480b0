package persist

import (
	"container/list"
	"context"
	"fmt"
	"sync"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/object"
)

// locate returns where those of the blobs are that the tenant has.
func (s *Store) locate(ctx context.Context, tenant holt.UserID, ids []meta.BlobID) (map[meta.BlobID]meta.Blob, error) {
	found := make(map[meta.BlobID]meta.Blob, len(ids))
	list, err := s.cfg.Revisions.Blobs(ctx, tenant, ids...)
	if err != nil {
		return nil, fmt.Errorf("look for blobs: %w", err)
	}
	for _, b := range list {
		found[b.ID] = b
	}
	s.spool.find(tenant, ids, found)
	return found, nil
}

// window is how much is fetched at once of the part of a pack in which trees are.
const window = 256 << 10

// tree returns the bytes of a blob that is part of a tree.
func (s *Store) tree(ctx context.Context, tenant holt.UserID, id meta.BlobID) ([]byte, error) {
	key := cacheKey{tenant: tenant, id: id}
	if b, ok := s.trees.get(key); ok {
		return b, nil
	}
	for again := false; ; again = true {
		found, err := s.locate(ctx, tenant, []meta.BlobID{id})
		if err != nil {
			return nil, err
		}
		b, ok := found[id]
		if !ok {
			return nil, holt.Errorf(holt.KindCorrupt, "blob %x is missing", id[:8])
		}
		plain, err := s.fetch(ctx, tenant, b)
		if holt.IsKind(err, holt.KindNotFound) && !again {
			continue // it was moved to another pack meanwhile
		}
		if err != nil {
			return nil, missing(b, err)
		}
		s.trees.put(key, plain)
		return plain, nil
	}
}

// missing makes of an object that is not there what it means.
func missing(b meta.Blob, err error) error {
	if holt.IsKind(err, holt.KindNotFound) {
		return holt.Wrap(holt.KindCorrupt, err, fmt.Sprintf("pack %s is missing in the store", b.Pack))
	}
	return err
}

// fetch reads one blob, with its neighbours within the same window.
func (s *Store) fetch(ctx context.Context, tenant holt.UserID, b meta.Blob) ([]byte, error) {
	first := b.Offset / window
	if last := (b.Offset + b.Length - 1) / window; first == last {
		key := cacheKey{tenant: tenant, pack: b.Pack, window: first}
		raw, ok := s.trees.get(key)
		if !ok {
			var err error
			raw, err = s.get(ctx, tenant, b.Pack, object.Range{Offset: first * window, Length: window})
			if err != nil {
				return nil, fmt.Errorf("read pack: %w", err)
			}
			s.trees.put(key, raw)
		}
		if from := b.Offset - first*window; from+b.Length <= int64(len(raw)) {
			return unpack(b, raw[from:from+b.Length])
		}
	}
	raw, err := s.get(ctx, tenant, b.Pack, object.Range{Offset: b.Offset, Length: b.Length})
	if err != nil {
		return nil, fmt.Errorf("read pack: %w", err)
	}
	return unpack(b, raw)
}

// blobCache holds bytes up to a bound; what was used longest ago goes first. The bytes
// must not be changed.
type blobCache struct {
	mu    sync.Mutex
	room  int
	items map[cacheKey]*list.Element
	order list.List // the latest used in front
}

// cacheKey is a blob, or a window of a pack.
type cacheKey struct {
	tenant holt.UserID
	id     meta.BlobID
	pack   string
	window int64
}

type cacheItem struct {
	key cacheKey
	b   []byte
}

func newBlobCache(room int) *blobCache {
	return &blobCache{room: room, items: map[cacheKey]*list.Element{}}
}

func (c *blobCache) get(key cacheKey) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.items[key]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*cacheItem).b, true
}

func (c *blobCache) put(key cacheKey, b []byte) {
	const overhead = 200
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.items[key]; ok {
		return
	}
	c.items[key] = c.order.PushFront(&cacheItem{key, b})
	c.room -= len(b) + overhead
	for c.room < 0 && c.order.Len() > 1 {
		old := c.order.Remove(c.order.Back()).(*cacheItem)
		delete(c.items, old.key)
		c.room += len(old.b) + overhead
	}
}

// parts returns the parts of a stream whose length is size, or unknown if that is negative.
func (s *Store) parts(ctx context.Context, tenant holt.UserID, st stream, size int64) ([]part, error) {
	switch st.role {
	case roleNone:
		if size > 0 {
			return nil, holt.Errorf(holt.KindCorrupt, "%d bytes are stored nowhere", size)
		}
		return nil, nil
	case roleDirect:
		return []part{{size: size, id: st.id}}, nil
	}
	b, err := s.tree(ctx, tenant, st.id)
	if err != nil {
		return nil, err
	}
	list, err := decodeParts(b, size)
	if err != nil {
		return nil, holt.Wrap(holt.KindCorrupt, err, fmt.Sprintf("blob %x cannot be read", st.id[:8]))
	}
	return list, nil
}

// entries returns what is in a folder, sorted by name.
func (s *Store) entries(ctx context.Context, tenant holt.UserID, folder stream) ([]entry, error) {
	parts, err := s.parts(ctx, tenant, folder, -1)
	if err != nil {
		return nil, err
	}
	var all []byte
	for _, p := range parts {
		if p.hole {
			return nil, holt.Errorf(holt.KindCorrupt, "a folder has a hole")
		}
		b, err := s.tree(ctx, tenant, p.id)
		if err != nil {
			return nil, err
		}
		if len(parts) == 1 {
			all = b
		} else {
			all = append(all, b...)
		}
	}
	list, err := decodeEntries(all)
	if err != nil {
		return nil, holt.Wrap(holt.KindCorrupt, err, fmt.Sprintf("blob %x cannot be read", folder.id[:8]))
	}
	return list, nil
}

// root returns the entry of a revision's top folder.
func (s *Store) root(ctx context.Context, r *Revision) (entry, error) {
	b, err := s.tree(ctx, r.Tenant, r.Root)
	if err != nil {
		return entry{}, err
	}
	e, err := decodeRoot(b)
	if err != nil {
		return entry{}, holt.Wrap(holt.KindCorrupt, err, fmt.Sprintf("blob %x cannot be read", r.Root[:8]))
	}
	return e, nil
}
