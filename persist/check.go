package persist

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/object"
)

// Report is what a check has found.
type Report struct {
	Revisions int   // that were looked at
	Packs     int   // that were read
	Blobs     int   // that were read
	Bytes     int64 // of packs

	Damaged []Damaged // revisions that cannot be read as a whole
	Missing []string  // packs that have rows and are not in the store
	Broken  []string  // packs of which something is damaged
	Unknown []string  // packs in the store that have no rows: garbage, or newer than the database
}

// Damaged is a revision of which something is lost.
type Damaged struct {
	Workspace holt.WorkspaceID
	Number    int64
	Paths     []string // some of what cannot be read
	Lost      int      // how many that are
}

// Err returns nil if nothing that a revision needs is damaged.
func (r *Report) Err() error {
	if len(r.Damaged) == 0 {
		return nil
	}
	d := r.Damaged[0]
	return holt.Errorf(holt.KindCorrupt, "%d revisions are damaged, such as %d of workspace %s: %d paths cannot be read, such as %.200q",
		len(r.Damaged), d.Number, d.Workspace, d.Lost, d.Paths[0])
}

// damagedPaths is how many paths a report names.
const damagedPaths = 20

// Check reads everything of a tenant: each blob of each pack, and the tree of each
// revision. Revisions that are found damaged are marked, those that are sound again are
// not any more. The next flush of a workspace whose latest revision is damaged stores all of
// its files anew, which mends the earlier ones as well where they are the same. Check may run beside everything else; what is published meanwhile is not looked at.
func (s *Store) Check(ctx context.Context, tenant holt.UserID) (*Report, error) {
	r := new(Report)
	h, err := s.cfg.Revisions.Holdings(ctx, tenant)
	if err != nil {
		return nil, err
	}
	objects, err := s.packs(ctx, tenant)
	if err != nil {
		return nil, err
	}
	c := &checker{s: s, tenant: tenant, r: r, sound: map[meta.BlobID]bool{}, trees: map[meta.BlobID][]byte{}, whole: map[stream]bool{}}
	known := map[string]bool{}
	for _, p := range h.Packs {
		known[p.ID] = true
		if !p.DeadAt.IsZero() {
			continue
		}
		if err := c.pack(ctx, p); err != nil {
			return nil, err
		}
	}
	for id := range objects {
		if !known[id] {
			r.Unknown = append(r.Unknown, id)
		}
	}
	slices.Sort(r.Unknown)
	for i := range h.Revisions {
		if err := c.revision(ctx, &h.Revisions[i]); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// packs lists the objects of a tenant.
func (s *Store) packs(ctx context.Context, tenant holt.UserID) (map[string]object.Info, error) {
	prefix := string(tenant) + "/pack/"
	objects := map[string]object.Info{}
	for info, err := range s.cfg.Objects.List(ctx, prefix) {
		if err != nil {
			return nil, fmt.Errorf("list packs: %w", err)
		}
		objects[strings.TrimPrefix(string(info.Key), prefix)] = info
	}
	return objects, nil
}

type checker struct {
	s      *Store
	tenant holt.UserID
	r      *Report
	sound  map[meta.BlobID]bool
	trees  map[meta.BlobID][]byte // bytes of trees, as they are in the store
	whole  map[stream]bool        // folders of which everything is sound
}

// pack reads a pack and the blobs that the rows say are in it.
func (c *checker) pack(ctx context.Context, p meta.Pack) error {
	blobs, err := c.s.cfg.Revisions.PackBlobs(ctx, c.tenant, p.ID)
	if err != nil {
		return err
	}
	o, err := c.s.cfg.Objects.Get(ctx, packKey(c.tenant, p.ID), object.Range{})
	switch {
	case holt.IsKind(err, holt.KindNotFound):
		if now, err := c.s.locateAll(ctx, c.tenant, blobs); err != nil || !now {
			return err // it was collected meanwhile
		}
		c.r.Missing = append(c.r.Missing, p.ID)
		return nil
	case holt.IsKind(err, holt.KindCorrupt):
		c.r.Broken = append(c.r.Broken, p.ID)
		return nil
	case err != nil:
		return fmt.Errorf("read pack: %w", err)
	}
	c.r.Packs++
	c.r.Bytes += int64(len(o.Body))
	_, err = decodeHead(o.Body, int64(len(o.Body)))
	broken := err != nil
	tree := map[meta.BlobID]bool{}
	if rows, err := decodeHead(o.Body, int64(len(o.Body))); err == nil {
		for _, row := range rows {
			tree[row.id] = row.kind != kindData
		}
	}
	for _, b := range blobs {
		var plain []byte
		err := errShort
		if b.Offset >= 0 && b.Length >= 0 && b.Offset+b.Length <= int64(len(o.Body)) {
			plain, err = unpack(b, o.Body[b.Offset:b.Offset+b.Length])
		}
		if err != nil {
			c.s.log.Error("a blob is damaged", "tenant", c.tenant, "pack", p.ID, "err", err)
			broken = true
			continue
		}
		c.r.Blobs++
		c.sound[b.ID] = true
		if tree[b.ID] || broken {
			c.trees[b.ID] = plain
		}
	}
	if broken {
		c.r.Broken = append(c.r.Broken, p.ID)
	}
	return nil
}

// locateAll reports whether any of the blobs is still where it was.
func (s *Store) locateAll(ctx context.Context, tenant holt.UserID, blobs []meta.Blob) (bool, error) {
	for list := range slices.Chunk(blobs, lookupBlobs) {
		ids := make([]meta.BlobID, len(list))
		for i := range list {
			ids[i] = list[i].ID
		}
		found, err := s.cfg.Revisions.Blobs(ctx, tenant, ids...)
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(found, func(b meta.Blob) bool { return slices.Contains(list, b) }) {
			return true, nil
		}
	}
	return false, nil
}

// revision walks a revision and marks it.
func (c *checker) revision(ctx context.Context, rev *Revision) error {
	d := Damaged{Workspace: rev.Workspace, Number: rev.Number}
	lost := func(path string) {
		if d.Lost++; len(d.Paths) < damagedPaths {
			d.Paths = append(d.Paths, path)
		}
	}
	if top, err := decodeRoot(c.trees[rev.Root]); err != nil || !c.sound[rev.Root] {
		lost("/")
	} else if err := c.folder(ctx, "", top.content, lost); err != nil {
		return err
	}
	if !c.sound[rev.Record] {
		lost("(its description)")
	}
	c.r.Revisions++
	text := ""
	if d.Lost > 0 {
		// It may have been removed, or moved by a collector, since the packs were read.
		if _, err := c.s.cfg.Revisions.Get(ctx, rev.Workspace, rev.Number); holt.IsKind(err, holt.KindNotFound) {
			return nil
		}
		c.r.Damaged = append(c.r.Damaged, d)
		c.s.line(rev.Workspace).doubt.Store(true)
		text = fmt.Sprintf("%d paths cannot be read, such as %.200q", d.Lost, d.Paths[0])
	}
	if text == rev.Damage {
		return nil
	}
	err := c.s.cfg.Revisions.Damage(ctx, rev.Workspace, rev.Number, text)
	if holt.IsKind(err, holt.KindNotFound) {
		return nil
	}
	return err
}

// bytes returns what a stream of a tree holds, as far as it is sound.
func (c *checker) parts(st stream, size int64) ([]part, bool) {
	switch {
	case st.role == roleNone:
		return nil, size <= 0
	case !c.sound[st.id]:
		return nil, false
	case st.role == roleDirect:
		return []part{{size: size, id: st.id}}, true
	}
	parts, err := decodeParts(c.trees[st.id], size)
	if err != nil {
		return nil, false
	}
	return parts, !slices.ContainsFunc(parts, func(p part) bool { return !p.hole && !c.sound[p.id] })
}

func (c *checker) folder(ctx context.Context, path string, st stream, lost func(string)) error {
	if c.whole[st] {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	parts, ok := c.parts(st, -1)
	if !ok {
		lost(path + "/")
		return nil
	}
	var b []byte
	for _, p := range parts {
		b = append(b, c.trees[p.id]...)
	}
	list, err := decodeEntries(b)
	if err != nil {
		lost(path + "/")
		return nil
	}
	whole := true
	note := func(p string) {
		whole = false
		lost(p)
	}
	for i := range list {
		e := &list[i]
		switch e.kind {
		case Folder:
			if err := c.folder(ctx, join(path, e.name), e.content, note); err != nil {
				return err
			}
		case File:
			if _, ok := c.parts(e.content, e.size); !ok {
				note(join(path, e.name))
			}
		}
	}
	c.whole[st] = whole
	return nil
}

// Rebuilt says what a rebuilding has found.
type Rebuilt struct {
	Packs     int // that had no rows
	Blobs     int
	Revisions []meta.RevisionID // that are back
}

// Rebuild makes rows anew from packs that have none: when the database is older than the
// store, or empty. Revisions come back whose numbers are above the latest that the database
// has, and of which everything is there; among them may be such as were thinned out.
// Nothing else is changed. A flush under way may have to begin again.
func (s *Store) Rebuild(ctx context.Context, tenant holt.UserID) (Rebuilt, error) {
	var done Rebuilt
	h, err := s.cfg.Revisions.Holdings(ctx, tenant)
	if err != nil {
		return done, err
	}
	objects, err := s.packs(ctx, tenant)
	if err != nil {
		return done, err
	}
	for _, p := range h.Packs {
		delete(objects, p.ID)
	}
	sweep := meta.Sweep{Version: h.Version, At: s.cfg.Now()}
	var records []meta.BlobID
	seen := map[meta.BlobID]bool{}
	for _, id := range slices.Sorted(maps.Keys(objects)) {
		rows, pack, err := s.head(ctx, tenant, id, objects[id].Size)
		if holt.IsKind(err, holt.KindCorrupt) || holt.IsKind(err, holt.KindNotFound) {
			s.log.Error("a pack without rows is left out", "tenant", tenant, "pack", id, "err", err)
			continue
		} else if err != nil {
			return done, err
		}
		sweep.Packs = append(sweep.Packs, pack)
		for i, b := range place(id, rows) {
			if !seen[b.ID] {
				seen[b.ID] = true
				sweep.Blobs = append(sweep.Blobs, b)
			}
			if rows[i].kind == kindRecord {
				records = append(records, b.ID)
			}
		}
	}
	if len(sweep.Packs) == 0 {
		return done, nil
	}
	if sweep.Blobs, err = s.unknown(ctx, tenant, sweep.Blobs); err != nil {
		return done, err
	}
	if _, err := s.cfg.Revisions.Sweep(ctx, tenant, sweep); err != nil {
		return done, err
	}
	done.Packs, done.Blobs = len(sweep.Packs), len(sweep.Blobs)
	return done, s.republish(ctx, tenant, records, &done)
}

// head reads the header of a pack.
func (s *Store) head(ctx context.Context, tenant holt.UserID, id string, size int64) ([]row, meta.Pack, error) {
	const guess = 64 << 10
	bad := func(err error) error { return holt.Wrap(holt.KindCorrupt, err, "pack "+id+" is damaged") }
	o, err := s.cfg.Objects.Get(ctx, packKey(tenant, id), object.Range{Length: guess})
	if err != nil {
		return nil, meta.Pack{}, fmt.Errorf("read pack: %w", err)
	}
	n, err := headSize(o.Body)
	if err != nil {
		return nil, meta.Pack{}, bad(err)
	}
	if n > int64(len(o.Body)) && int64(len(o.Body)) < size {
		if o, err = s.cfg.Objects.Get(ctx, packKey(tenant, id), object.Range{Length: n}); err != nil {
			return nil, meta.Pack{}, fmt.Errorf("read pack: %w", err)
		}
	}
	rows, err := decodeHead(o.Body, size)
	if err != nil {
		return nil, meta.Pack{}, bad(err)
	}
	return rows, meta.Pack{ID: id, Size: size, Header: n, Blobs: int64(len(rows))}, nil
}

// unknown returns those of the blobs that have no rows.
func (s *Store) unknown(ctx context.Context, tenant holt.UserID, blobs []meta.Blob) ([]meta.Blob, error) {
	ids := make([]meta.BlobID, len(blobs))
	for i := range blobs {
		ids[i] = blobs[i].ID
	}
	found, err := s.cfg.Revisions.Blobs(ctx, tenant, ids...)
	if err != nil {
		return nil, err
	}
	known := map[meta.BlobID]bool{}
	for _, b := range found {
		known[b.ID] = true
	}
	return slices.DeleteFunc(blobs, func(b meta.Blob) bool { return known[b.ID] }), nil
}

// republish publishes the revisions that the records describe.
func (s *Store) republish(ctx context.Context, tenant holt.UserID, ids []meta.BlobID, done *Rebuilt) error {
	type described struct {
		record
		id meta.BlobID
	}
	var list []described
	for _, id := range ids {
		b, err := s.tree(ctx, tenant, id)
		if err != nil {
			if holt.IsKind(err, holt.KindCorrupt) {
				continue
			}
			return err
		}
		d := described{id: id}
		if err := json.Unmarshal(b, &d.record); err == nil && d.Number > 0 && d.Workspace != "" {
			list = append(list, d)
		}
	}
	slices.SortFunc(list, func(a, b described) int {
		if c := strings.Compare(string(a.Workspace), string(b.Workspace)); c != 0 {
			return c
		}
		return int(a.Number - b.Number)
	})
	r := s.newReach(tenant)
	for _, d := range list {
		rev := Revision{
			Workspace: d.Workspace, Number: d.Number, Tenant: tenant, Txn: holt.NewID(), At: d.At, Reason: d.Reason, Name: d.Name,
			Root: d.Root, Record: d.id, Torn: d.Torn, Skipped: d.Skipped,
		}
		whole, err := r.complete(ctx, &rev)
		if err != nil {
			return err
		}
		if !whole {
			r = s.newReach(tenant) // what it has walked need not be whole
			s.log.Warn("a revision does not come back: a part of it is missing", "workspace", d.Workspace, "revision", d.Number)
			continue
		}
		top, err := s.root(ctx, &rev)
		if err != nil {
			return err
		}
		rev.Files, rev.Bytes = top.files, top.size
		if _, err := s.cfg.Revisions.Publish(ctx, meta.Publication{Revision: rev}); errors.Is(err, meta.ErrRevisionStale) {
			continue // the database has it, or a later one
		} else if err != nil {
			return err
		}
		done.Revisions = append(done.Revisions, meta.RevisionID{Workspace: d.Workspace, Number: d.Number})
	}
	return nil
}

// complete marks what a revision needs, and reports whether everything that was marked by
// this call has rows.
func (r *reach) complete(ctx context.Context, rev *Revision) (bool, error) {
	before := maps.Clone(r.live)
	if err := r.revision(ctx, rev); holt.IsKind(err, holt.KindCorrupt) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	var blobs []meta.Blob
	for id := range r.live {
		if !before[id] {
			blobs = append(blobs, meta.Blob{ID: id})
		}
	}
	lost, err := r.s.unknown(ctx, r.tenant, blobs)
	return len(lost) == 0, err
}
