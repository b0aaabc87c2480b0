package persist

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/object"
)

// Collection says how to collect. Zero fields have defaults.
type Collection struct {
	// Live is the share of a pack that must be needed still; below, what is needed is
	// packed anew. Default 0.5; 1 packs anew what has any gap.
	Live float64
	// Rewrite bounds what is packed anew at once, in stored bytes; default 1 GiB.
	Rewrite int64
	// Grace is the age from which an object without rows is garbage. It spares those
	// that are being published from beginning again; nothing is lost without it. Default
	// an hour; negative for none.
	Grace time.Duration
	// Memory is for how long a removed pack is remembered, so that nothing is published into it:
	// longer than a put may take to arrive. Default two days; negative for not at all.
	Memory time.Duration
}

// Collected says what a collection has done.
type Collected struct {
	Blobs     int   // forgotten
	Packs     int   // objects that were removed
	Bytes     int64 // of them
	Rewritten int   // packs of which the rest was packed anew
}

// collector is one collection of a tenant.
type collector struct {
	s      *Store
	tenant holt.UserID
	c      Collection
	reach  *reach
	moved  map[meta.BlobID]meta.Blob // packed anew
	packs  []meta.Pack               // with what was packed anew
	from   map[string]bool           // the packs where that was
	given  map[string]bool           // packs that cannot be packed anew
	done   Collected
}

// Collect removes what no revision of a tenant needs any more. It may run beside
// flushes, restores and other collections, also of other processes, and be cut off
// anywhere: a publication and the step that makes garbage garbage follow each other in
// the database, and what was garbage then is never reused. KindCorrupt
// if a revision that is not known to be damaged cannot be read: then nothing is removed.
func (s *Store) Collect(ctx context.Context, tenant holt.UserID, c Collection) (Collected, error) {
	if c.Live == 0 {
		c.Live = 0.5
	}
	if c.Rewrite == 0 {
		c.Rewrite = 1 << 30
	}
	if c.Grace == 0 {
		c.Grace = time.Hour
	}
	if c.Memory == 0 {
		c.Memory = 48 * time.Hour
	}
	if s.spool.holds(tenant) {
		return Collected{}, nil // what waits may need blobs that no revision has yet
	}
	k := &collector{s: s, tenant: tenant, c: c, reach: s.newReach(tenant), moved: map[meta.BlobID]meta.Blob{}, from: map[string]bool{}, given: map[string]bool{}}
	objects := map[string]object.Info{}
	for info, err := range s.cfg.Objects.List(ctx, string(tenant)+"/pack/") {
		if err != nil {
			return k.done, fmt.Errorf("list packs: %w", err)
		}
		objects[strings.TrimPrefix(string(info.Key), string(tenant)+"/pack/")] = info
	}
	s.cfg.Fault("collect.listed")
	for n := 0; ; n++ {
		dead, h, err := k.sweep(ctx, objects)
		if errors.Is(err, meta.ErrRevisionStale) && n < 8 {
			continue // somebody has published meanwhile: what that needs is added
		}
		if err != nil {
			return k.done, err
		}
		s.cfg.Fault("collect.swept")
		return k.done, k.remove(ctx, h, dead, objects)
	}
}

// sweep finds out what is garbage and makes it so in the database.
func (k *collector) sweep(ctx context.Context, objects map[string]object.Info) (dead []string, h meta.Holdings, err error) {
	h, err = k.s.cfg.Revisions.Holdings(ctx, k.tenant)
	if err != nil {
		return nil, h, err
	}
	for i := range h.Revisions {
		r := &h.Revisions[i]
		if err := k.reach.revision(ctx, r); err != nil && r.Damage == "" {
			return nil, h, fmt.Errorf("revision %d of workspace %s cannot be read, so nothing is collected: %w", r.Number, r.Workspace, err)
		}
	}
	k.s.cfg.Fault("collect.marked")
	now := k.s.cfg.Now()
	sweep := meta.Sweep{Version: h.Version, At: now}
	known := map[string]bool{}
	room := k.c.Rewrite
	for _, p := range h.Packs {
		known[p.ID] = true
		if !p.DeadAt.IsZero() {
			continue
		}
		blobs, err := k.s.cfg.Revisions.PackBlobs(ctx, k.tenant, p.ID)
		if err != nil {
			return nil, h, err
		}
		var live []meta.Blob
		var bytes int64
		for _, b := range blobs {
			if k.reach.live[b.ID] {
				live, bytes = append(live, b), bytes+b.Length
			} else {
				sweep.Forget = append(sweep.Forget, b.ID)
			}
		}
		switch {
		case len(live) == 0:
			sweep.Dead = append(sweep.Dead, p.ID)
		case k.from[p.ID]: // packed anew before somebody else published
			sweep.Dead = append(sweep.Dead, p.ID)
			sweep.Blobs = append(sweep.Blobs, k.moves(live)...)
		case float64(bytes) < k.c.Live*float64(p.Size-p.Header) && bytes <= room && !k.given[p.ID]:
			room -= bytes
			if err := k.rewrite(ctx, p, live); err != nil {
				return nil, h, err
			}
			if k.from[p.ID] {
				sweep.Dead = append(sweep.Dead, p.ID)
				sweep.Blobs = append(sweep.Blobs, k.moves(live)...)
			}
		}
	}
	for id, info := range objects {
		if !known[id] && now.Sub(info.Modified) > k.c.Grace {
			sweep.Dead = append(sweep.Dead, id)
		}
	}
	sweep.Packs = k.packs
	if len(sweep.Dead)+len(sweep.Forget) == 0 {
		return nil, h, nil
	}
	k.s.cfg.Fault("collect.decided")
	dead, err = k.s.cfg.Revisions.Sweep(ctx, k.tenant, sweep)
	if err != nil {
		return nil, h, err
	}
	k.done.Blobs = len(sweep.Forget)
	k.done.Rewritten = len(k.from)
	return dead, h, nil
}

// moves returns where those of the blobs are that were packed anew.
func (k *collector) moves(live []meta.Blob) []meta.Blob {
	var list []meta.Blob
	for _, b := range live {
		if to, ok := k.moved[b.ID]; ok {
			list = append(list, to)
		}
	}
	return list
}

// rewrite packs blobs of a pack anew. A pack that is damaged is left alone.
func (k *collector) rewrite(ctx context.Context, p meta.Pack, live []meta.Blob) error {
	kinds := map[meta.BlobID]kind{}
	head, err := k.s.get(ctx, k.tenant, p.ID, object.Range{Length: p.Header})
	if err == nil {
		var rows []row
		if rows, err = decodeHead(head, p.Size); err != nil {
			err = holt.Wrap(holt.KindCorrupt, err, "pack "+p.ID+" is damaged")
		}
		for _, r := range rows {
			kinds[r.id] = r.kind
		}
	}
	plain := map[meta.BlobID][]byte{}
	if err == nil {
		// One goroutine writes the map: a pack's blobs come in few spans.
		for _, sp := range spans(slices.Clone(live)) {
			if err = k.s.readSpan(ctx, k.tenant, sp, func(id meta.BlobID, b []byte) error {
				plain[id] = b
				return nil
			}, func(_ []meta.BlobID, err error) error { return err }); err != nil {
				break
			}
		}
	}
	if holt.IsKind(err, holt.KindCorrupt) || holt.IsKind(err, holt.KindNotFound) {
		k.s.log.Error("a pack is damaged and stays as it is", "tenant", k.tenant, "pack", p.ID, "err", err)
		k.given[p.ID] = true
		return nil
	} else if err != nil {
		return fmt.Errorf("read pack: %w", err)
	}
	var b packBuilder
	for _, blob := range live {
		stored, codec := compress(plain[blob.ID])
		b.add(blob.ID, kinds[blob.ID], len(plain[blob.ID]), stored, codec)
	}
	body, pack, blobs := b.finish(holt.NewID() + "-0")
	if _, err := k.s.cfg.Objects.Put(ctx, packKey(k.tenant, pack.ID), body, object.Condition{}); err != nil {
		return fmt.Errorf("store pack: %w", err)
	}
	k.s.cfg.Fault("collect.rewritten")
	k.packs = append(k.packs, pack)
	for _, blob := range blobs {
		k.moved[blob.ID] = blob
	}
	k.from[p.ID] = true
	return nil
}

// remove removes the objects of dead packs, and forgets those that were removed long ago.
func (k *collector) remove(ctx context.Context, h meta.Holdings, dead []string, objects map[string]object.Info) error {
	var old []string
	now := k.s.cfg.Now()
	for _, p := range h.Packs {
		switch _, there := objects[p.ID]; {
		case p.DeadAt.IsZero():
		case there:
			dead = append(dead, p.ID) // an earlier collection was cut off, or the object came back
		case now.Sub(p.DeadAt) > k.c.Memory:
			old = append(old, p.ID)
		}
	}
	slices.Sort(dead)
	for _, id := range slices.Compact(dead) {
		if err := k.s.cfg.Objects.Delete(ctx, packKey(k.tenant, id)); err != nil {
			return fmt.Errorf("remove pack: %w", err)
		}
		k.done.Packs++
		k.done.Bytes += objects[id].Size
		k.s.cfg.Fault("collect.removed")
	}
	if len(old) == 0 {
		return nil
	}
	return k.s.cfg.Revisions.Bury(ctx, k.tenant, old...)
}

// reach finds out what revisions need.
type reach struct {
	s      *Store
	tenant holt.UserID
	live   map[meta.BlobID]bool
	walked map[stream]bool // folders
	listed map[stream]bool // content of files. Apart from folders: the same bytes may be both
	tops   map[meta.BlobID]bool
}

func (s *Store) newReach(tenant holt.UserID) *reach {
	return &reach{s: s, tenant: tenant, live: map[meta.BlobID]bool{}, walked: map[stream]bool{}, listed: map[stream]bool{}, tops: map[meta.BlobID]bool{}}
}

// revision marks everything that a revision needs. After an error as much as could be
// read is marked.
func (r *reach) revision(ctx context.Context, rev *Revision) error {
	r.live[rev.Record], r.live[rev.Root] = true, true
	if r.tops[rev.Root] {
		return nil
	}
	top, err := r.s.root(ctx, rev)
	if err != nil {
		return err
	}
	if err := r.folder(ctx, top.content); err != nil {
		return err
	}
	r.tops[rev.Root] = true
	return nil
}

// stream marks the blobs of a stream.
func (r *reach) stream(ctx context.Context, st stream, size int64) error {
	if st.role == roleNone {
		return nil
	}
	r.live[st.id] = true
	if st.role == roleDirect {
		return nil
	}
	parts, err := r.s.parts(ctx, r.tenant, st, size)
	for _, p := range parts {
		if !p.hole {
			r.live[p.id] = true
		}
	}
	return err
}

func (r *reach) folder(ctx context.Context, st stream) error {
	if st.role == roleNone || r.walked[st] {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := r.stream(ctx, st, -1); err != nil {
		return err
	}
	list, err := r.s.entries(ctx, r.tenant, st)
	if err != nil {
		return err
	}
	var bad error
	for i := range list {
		e := &list[i]
		switch {
		case e.kind == Folder:
			err = r.folder(ctx, e.content)
		case e.kind == File && e.content.role == roleList && r.listed[e.content]:
			err = nil
		case e.kind == File:
			if err = r.stream(ctx, e.content, e.size); err == nil && e.content.role == roleList {
				r.listed[e.content] = true
			}
		default:
			err = nil
		}
		if bad == nil {
			bad = err
		}
	}
	if bad == nil {
		r.walked[st] = true
	}
	return bad
}

// Tenants returns who has anything in the store.
func (s *Store) Tenants(ctx context.Context) ([]holt.UserID, error) {
	return s.cfg.Revisions.Tenants(ctx)
}
