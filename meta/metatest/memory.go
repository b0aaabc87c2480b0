package metatest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// Revisions are [meta.Revisions] in memory, for tests of many thousand steps and
// simulations. Its zero value is empty. Events go to Events, if it is set, after the change.
type Revisions struct {
	Events meta.Events

	mu        sync.Mutex
	revisions map[meta.RevisionID]meta.Revision
	latest    map[holt.WorkspaceID]int64
	txns      map[string]meta.RevisionID
	tenants   map[holt.UserID]*tenant
	published int
}

type tenant struct {
	version int64
	packs   map[string]meta.Pack
	blobs   map[meta.BlobID]meta.Blob
}

var _ meta.Revisions = (*Revisions)(nil)

func (m *Revisions) tenant(id holt.UserID) *tenant {
	if m.tenants == nil {
		m.tenants, m.revisions = map[holt.UserID]*tenant{}, map[meta.RevisionID]meta.Revision{}
		m.txns, m.latest = map[string]meta.RevisionID{}, map[holt.WorkspaceID]int64{}
	}
	t := m.tenants[id]
	if t == nil {
		t = &tenant{packs: map[string]meta.Pack{}, blobs: map[meta.BlobID]meta.Blob{}}
		m.tenants[id] = t
	}
	return t
}

// Published returns how many revisions were published.
func (m *Revisions) Published() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.published
}

// Publish implements [meta.Revisions].
func (m *Revisions) Publish(ctx context.Context, p meta.Publication, evs ...meta.Event) (meta.Revision, error) {
	if err := ctx.Err(); err != nil {
		return meta.Revision{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := p.Revision
	t := m.tenant(r.Tenant)
	if id, ok := m.txns[r.Txn]; ok {
		return m.revisions[id], nil
	}
	if !m.fits(t, p) {
		return meta.Revision{}, meta.ErrRevisionStale
	}
	t.version++
	for _, pack := range p.Packs {
		t.packs[pack.ID] = pack
	}
	for _, b := range p.Blobs {
		if _, ok := t.blobs[b.ID]; !ok || p.Replace {
			t.blobs[b.ID] = b
		}
	}
	r.At = r.At.UTC().Truncate(time.Microsecond)
	r.PublishedAt = time.Now().UTC().Truncate(time.Microsecond)
	id := meta.RevisionID{Workspace: r.Workspace, Number: r.Number}
	m.revisions[id], m.txns[r.Txn], m.latest[r.Workspace] = r, id, r.Number
	m.published++
	if m.Events != nil && len(evs) > 0 {
		if _, err := m.Events.Append(ctx, evs...); err != nil {
			return r, fmt.Errorf("append events: %w", err)
		}
	}
	return r, nil
}

func (m *Revisions) fits(t *tenant, p meta.Publication) bool {
	r := p.Revision
	if r.Number <= m.latest[r.Workspace] {
		return false
	}
	for _, base := range []meta.RevisionID{{Workspace: r.Workspace, Number: r.Base}, p.From} {
		if b, ok := m.revisions[base]; base.Number > 0 && (!ok || b.Tenant != r.Tenant) {
			return false
		}
	}
	for _, id := range p.Reused {
		if _, ok := t.blobs[id]; !ok {
			return false
		}
	}
	for _, pack := range p.Packs {
		if _, ok := t.packs[pack.ID]; ok {
			return false
		}
	}
	return true
}

// Get implements [meta.Revisions].
func (m *Revisions) Get(_ context.Context, id holt.WorkspaceID, number int64) (meta.Revision, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.revisions[meta.RevisionID{Workspace: id, Number: number}]
	if !ok {
		return r, holt.Errorf(holt.KindNotFound, "there is no revision %d", number)
	}
	return r, nil
}

// Latest implements [meta.Revisions].
func (m *Revisions) Latest(ctx context.Context, id holt.WorkspaceID) (meta.Revision, error) {
	m.mu.Lock()
	number := m.latest[id]
	m.mu.Unlock()
	return m.Get(ctx, id, number)
}

func (m *Revisions) all(want func(*meta.Revision) bool) []meta.Revision {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []meta.Revision
	for _, r := range m.revisions {
		if want(&r) {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b meta.Revision) int {
		return cmp.Or(cmp.Compare(a.Workspace, b.Workspace), cmp.Compare(a.Number, b.Number))
	})
	return list
}

// List implements [meta.Revisions].
func (m *Revisions) List(_ context.Context, id holt.WorkspaceID, before int64, limit int) ([]meta.Revision, error) {
	list := m.all(func(r *meta.Revision) bool { return r.Workspace == id && (before == 0 || r.Number < before) })
	slices.Reverse(list)
	if limit > 0 {
		list = list[:min(limit, len(list))]
	}
	return list, nil
}

func (m *Revisions) set(id holt.WorkspaceID, number int64, f func(*meta.Revision)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := meta.RevisionID{Workspace: id, Number: number}
	r, ok := m.revisions[key]
	if !ok {
		return holt.Errorf(holt.KindNotFound, "there is no revision %d", number)
	}
	f(&r)
	m.revisions[key] = r
	return nil
}

// Name implements [meta.Revisions].
func (m *Revisions) Name(_ context.Context, id holt.WorkspaceID, number int64, name string) error {
	return m.set(id, number, func(r *meta.Revision) { r.Name = name })
}

// Damage implements [meta.Revisions].
func (m *Revisions) Damage(_ context.Context, id holt.WorkspaceID, number int64, damage string) error {
	return m.set(id, number, func(r *meta.Revision) { r.Damage = damage })
}

// Remove implements [meta.Revisions].
func (m *Revisions) Remove(_ context.Context, id holt.WorkspaceID, numbers ...int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.revisions, func(key meta.RevisionID, r meta.Revision) bool {
		gone := key.Workspace == id && (len(numbers) == 0 || slices.Contains(numbers, key.Number))
		if gone {
			delete(m.txns, r.Txn)
		}
		return gone
	})
	delete(m.latest, id)
	for key := range m.revisions {
		if key.Workspace == id {
			m.latest[id] = max(m.latest[id], key.Number)
		}
	}
	return nil
}

// Blobs implements [meta.Revisions].
func (m *Revisions) Blobs(_ context.Context, id holt.UserID, ids ...meta.BlobID) ([]meta.Blob, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []meta.Blob
	if t := m.tenants[id]; t != nil {
		for _, id := range ids {
			if b, ok := t.blobs[id]; ok {
				list = append(list, b)
			}
		}
	}
	return list, nil
}

// PackBlobs implements [meta.Revisions].
func (m *Revisions) PackBlobs(_ context.Context, id holt.UserID, pack string) ([]meta.Blob, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []meta.Blob
	for _, b := range m.tenant(id).blobs {
		if b.Pack == pack {
			list = append(list, b)
		}
	}
	slices.SortFunc(list, func(a, b meta.Blob) int { return cmp.Compare(a.Offset, b.Offset) })
	return list, nil
}

// Tenants implements [meta.Revisions].
func (m *Revisions) Tenants(context.Context) ([]holt.UserID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.tenants)), nil
}

// Holdings implements [meta.Revisions].
func (m *Revisions) Holdings(_ context.Context, id holt.UserID) (meta.Holdings, error) {
	m.mu.Lock()
	t := m.tenant(id)
	h := meta.Holdings{Version: t.version, Packs: slices.Collect(maps.Values(t.packs))}
	m.mu.Unlock()
	slices.SortFunc(h.Packs, func(a, b meta.Pack) int { return cmp.Compare(a.ID, b.ID) })
	h.Revisions = m.all(func(r *meta.Revision) bool { return r.Tenant == id })
	return h, nil
}

// Sweep implements [meta.Revisions].
func (m *Revisions) Sweep(ctx context.Context, id holt.UserID, s meta.Sweep) (dead []string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.tenant(id)
	if t.version != s.Version {
		return nil, meta.ErrRevisionStale
	}
	t.version++
	for _, id := range s.Forget {
		delete(t.blobs, id)
	}
	for _, p := range s.Packs {
		t.packs[p.ID] = p
	}
	for _, b := range s.Blobs {
		t.blobs[b.ID] = b
	}
	used := map[string]bool{}
	for _, b := range t.blobs {
		used[b.Pack] = true
	}
	for _, id := range s.Dead {
		if used[id] {
			continue
		}
		p := t.packs[id]
		if p.ID = id; p.DeadAt.IsZero() {
			p.DeadAt = s.At.UTC().Truncate(time.Microsecond)
		}
		t.packs[id] = p
		dead = append(dead, id)
	}
	return dead, nil
}

// Bury implements [meta.Revisions].
func (m *Revisions) Bury(_ context.Context, id holt.UserID, packs ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.tenant(id)
	for _, id := range packs {
		if p, ok := t.packs[id]; ok && !p.DeadAt.IsZero() {
			delete(t.packs, id)
		}
	}
	return nil
}
