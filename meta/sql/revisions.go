package sql

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

type revisions struct{ s *Store }

var _ meta.Revisions = revisions{}

// batch is how many rows go into one statement: both engines bound the number of
// parameters.
const batch = 500

// revisionRow is a row of the table revisions.
type revisionRow struct {
	bun.BaseModel `bun:"table:revisions,alias:r"`

	Workspace   string    `bun:"workspace,pk"`
	Number      int64     `bun:"number,pk"`
	Tenant      string    `bun:"tenant"`
	Txn         string    `bun:"txn"`
	Base        int64     `bun:"base"`
	At          time.Time `bun:"at"`
	Reason      string    `bun:"reason"`
	Name        string    `bun:"name"`
	Root        []byte    `bun:"root"`
	Record      []byte    `bun:"record"`
	Files       int64     `bun:"files"`
	Bytes       int64     `bun:"bytes"`
	Stored      int64     `bun:"stored"`
	Torn        int64     `bun:"torn"`
	Skipped     int64     `bun:"skipped"`
	PublishedAt time.Time `bun:"published_at"`
	Damage      string    `bun:"damage"`
}

func revisionRowOf(r meta.Revision) revisionRow {
	return revisionRow{
		Workspace: string(r.Workspace), Number: r.Number, Tenant: string(r.Tenant), Txn: r.Txn, Base: r.Base, At: stamp(r.At), Reason: r.Reason, Name: r.Name,
		Root: r.Root[:], Record: r.Record[:], Files: r.Files, Bytes: r.Bytes, Stored: r.Stored, Torn: r.Torn, Skipped: r.Skipped,
		PublishedAt: stamp(r.PublishedAt), Damage: r.Damage,
	}
}

func (r *revisionRow) revision() meta.Revision {
	return meta.Revision{
		Workspace: holt.WorkspaceID(r.Workspace), Number: r.Number, Tenant: holt.UserID(r.Tenant), Txn: r.Txn, Base: r.Base, At: stamp(r.At),
		Reason: r.Reason, Name: r.Name, Root: blobID(r.Root), Record: blobID(r.Record), Files: r.Files, Bytes: r.Bytes, Stored: r.Stored, Torn: r.Torn,
		Skipped: r.Skipped, PublishedAt: stamp(r.PublishedAt), Damage: r.Damage,
	}
}

func blobID(b []byte) (id meta.BlobID) {
	copy(id[:], b)
	return id
}

// packRow is a row of the table packs.
type packRow struct {
	bun.BaseModel `bun:"table:packs,alias:p"`

	Tenant string    `bun:"tenant,pk"`
	ID     string    `bun:"id,pk"`
	Size   int64     `bun:"size"`
	Header int64     `bun:"header"`
	Blobs  int64     `bun:"blobs"`
	DeadAt time.Time `bun:"dead_at,nullzero"`
}

// blobRow is a row of the table blobs.
type blobRow struct {
	bun.BaseModel `bun:"table:blobs,alias:b"`

	Tenant string `bun:"tenant,pk"`
	ID     []byte `bun:"id,pk"`
	Pack   string `bun:"pack"`
	Start  int64  `bun:"start"`
	Length int64  `bun:"length"`
	Plain  int64  `bun:"plain"`
	Codec  int64  `bun:"codec"`
}

func (r *blobRow) blob() meta.Blob {
	return meta.Blob{ID: blobID(r.ID), Pack: r.Pack, Offset: r.Start, Length: r.Length, Plain: r.Plain, Codec: byte(r.Codec)}
}

func blobRowsOf(tenant holt.UserID, list []meta.Blob) []blobRow {
	rows := make([]blobRow, len(list))
	for i := range list {
		b := &list[i]
		rows[i] = blobRow{Tenant: string(tenant), ID: b.ID[:], Pack: b.Pack, Start: b.Offset, Length: b.Length, Plain: b.Plain, Codec: int64(b.Codec)}
	}
	return rows
}

// Publish implements [meta.Revisions]. The tenant's row is locked first, so that
// publications and sweeps of a tenant come one after the other.
func (t revisions) Publish(ctx context.Context, p meta.Publication, evs ...meta.Event) (meta.Revision, error) {
	row := revisionRowOf(p.Revision)
	row.PublishedAt = now()
	err := t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := raise(ctx, tx, p.Revision.Tenant); err != nil {
			return err
		}
		var same revisionRow
		err := tx.NewSelect().Model(&same).Where("txn = ?", row.Txn).Scan(ctx)
		if err == nil {
			row = same
			return nil
		} else if !errors.Is(err, stdsql.ErrNoRows) {
			return fmt.Errorf("look for publication: %w", err)
		}
		if err := t.fits(ctx, tx, p); err != nil {
			return err
		}
		if err := addPacks(ctx, tx, p.Revision.Tenant, p.Packs); err != nil {
			return err
		}
		if err := addBlobs(ctx, tx, p.Revision.Tenant, p.Blobs, p.Replace); err != nil {
			return err
		}
		if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
			if duplicate(err) {
				return meta.ErrRevisionStale
			}
			return fmt.Errorf("insert revision: %w", err)
		}
		_, err = appendEvents(ctx, tx, evs)
		return err
	})
	if err != nil {
		return meta.Revision{}, err
	}
	return row.revision(), nil
}

// fits reports whether everything that p needs is still there.
func (t revisions) fits(ctx context.Context, tx bun.Tx, p meta.Publication) error {
	r := &p.Revision
	var last int64
	if err := tx.NewSelect().Model((*revisionRow)(nil)).ColumnExpr("COALESCE(MAX(number), 0)").Where("workspace = ?", string(r.Workspace)).Scan(ctx, &last); err != nil {
		return fmt.Errorf("read latest revision: %w", err)
	}
	if r.Number <= last {
		return meta.ErrRevisionStale
	}
	for _, base := range []meta.RevisionID{{Workspace: r.Workspace, Number: r.Base}, p.From} {
		if base.Number == 0 {
			continue
		}
		ok, err := tx.NewSelect().Model((*revisionRow)(nil)).Where("workspace = ? AND number = ? AND tenant = ?", string(base.Workspace), base.Number, string(r.Tenant)).Exists(ctx)
		if err != nil {
			return fmt.Errorf("look for base: %w", err)
		} else if !ok {
			return meta.ErrRevisionStale
		}
	}
	ids := slices.Clone(p.Reused)
	slices.SortFunc(ids, func(a, b meta.BlobID) int { return slices.Compare(a[:], b[:]) })
	for ids := range slices.Chunk(slices.Compact(ids), batch) {
		n, err := tx.NewSelect().Model((*blobRow)(nil)).Where("tenant = ? AND id IN (?)", string(r.Tenant), bun.List(keys(ids))).Count(ctx)
		if err != nil {
			return fmt.Errorf("look for blobs: %w", err)
		} else if int(n) != len(ids) {
			return meta.ErrRevisionStale
		}
	}
	return nil
}

func keys(ids []meta.BlobID) [][]byte {
	out := make([][]byte, len(ids))
	for i := range ids {
		out[i] = ids[i][:]
	}
	return out
}

// raise locks a tenant until tx ends, and returns its next version.
func raise(ctx context.Context, tx bun.Tx, tenant holt.UserID) (version int64, err error) {
	err = tx.NewRaw("INSERT INTO tenants (tenant, version) VALUES (?, 1) ON CONFLICT (tenant) DO UPDATE SET version = tenants.version + 1 RETURNING version", string(tenant)).Scan(ctx, &version)
	if err != nil {
		return 0, fmt.Errorf("lock tenant: %w", err)
	}
	return version, nil
}

func addPacks(ctx context.Context, tx bun.Tx, tenant holt.UserID, packs []meta.Pack) error {
	if len(packs) == 0 {
		return nil
	}
	rows := make([]packRow, len(packs))
	for i, p := range packs {
		rows[i] = packRow{Tenant: string(tenant), ID: p.ID, Size: p.Size, Header: p.Header, Blobs: p.Blobs}
	}
	if _, err := tx.NewInsert().Model(&rows).Exec(ctx); err != nil {
		if duplicate(err) {
			return meta.ErrRevisionStale // it is dead, or another's
		}
		return fmt.Errorf("insert packs: %w", err)
	}
	return nil
}

// addBlobs stores where blobs are, in place of what is known of them or not.
func addBlobs(ctx context.Context, tx bun.Tx, tenant holt.UserID, blobs []meta.Blob, replace bool) error {
	for rows := range slices.Chunk(blobRowsOf(tenant, blobs), batch) {
		q := tx.NewInsert().Model(&rows)
		if replace {
			q = q.On("CONFLICT (tenant, id) DO UPDATE").Set("pack = EXCLUDED.pack").Set("start = EXCLUDED.start").
				Set("length = EXCLUDED.length").Set("plain = EXCLUDED.plain").Set("codec = EXCLUDED.codec")
		} else {
			q = q.On("CONFLICT (tenant, id) DO NOTHING")
		}
		if _, err := q.Exec(ctx); err != nil {
			return fmt.Errorf("insert blobs: %w", err)
		}
	}
	return nil
}

// Get implements [meta.Revisions].
func (t revisions) Get(ctx context.Context, id holt.WorkspaceID, number int64) (meta.Revision, error) {
	list, err := t.list(ctx, func(q *bun.SelectQuery) { q.Where("workspace = ? AND number = ?", string(id), number) })
	if err == nil && len(list) == 0 {
		err = holt.Errorf(holt.KindNotFound, "there is no revision %d of this workspace: it may have been thinned out", number)
	}
	if err != nil {
		return meta.Revision{}, err
	}
	return list[0], nil
}

// Latest implements [meta.Revisions].
func (t revisions) Latest(ctx context.Context, id holt.WorkspaceID) (meta.Revision, error) {
	list, err := t.List(ctx, id, 0, 1)
	if err == nil && len(list) == 0 {
		err = holt.Errorf(holt.KindNotFound, "this workspace has no revision yet")
	}
	if err != nil {
		return meta.Revision{}, err
	}
	return list[0], nil
}

// List implements [meta.Revisions].
func (t revisions) List(ctx context.Context, id holt.WorkspaceID, before int64, limit int) ([]meta.Revision, error) {
	return t.list(ctx, func(q *bun.SelectQuery) {
		q.Where("workspace = ?", string(id)).OrderExpr("number DESC")
		if before > 0 {
			q.Where("number < ?", before)
		}
		if limit > 0 {
			q.Limit(int64(limit))
		}
	})
}

func (t revisions) list(ctx context.Context, narrow func(*bun.SelectQuery)) ([]meta.Revision, error) {
	out, err := listRevisions(ctx, t.s.db, narrow)
	return out, t.s.fault(err)
}

func listRevisions(ctx context.Context, db bun.IDB, narrow func(*bun.SelectQuery)) ([]meta.Revision, error) {
	var rows []revisionRow
	q := db.NewSelect().Model(&rows)
	narrow(q)
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("list revisions: %w", err)
	}
	out := make([]meta.Revision, len(rows))
	for i := range rows {
		out[i] = rows[i].revision()
	}
	return out, nil
}

// Name implements [meta.Revisions].
func (t revisions) Name(ctx context.Context, id holt.WorkspaceID, number int64, name string) error {
	return t.set(ctx, id, number, "name = ?", name)
}

// Damage implements [meta.Revisions].
func (t revisions) Damage(ctx context.Context, id holt.WorkspaceID, number int64, damage string) error {
	return t.set(ctx, id, number, "damage = ?", damage)
}

func (t revisions) set(ctx context.Context, id holt.WorkspaceID, number int64, column, value string) error {
	return t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.NewUpdate().Model((*revisionRow)(nil)).Set(column, value).Where("workspace = ? AND number = ?", string(id), number).Exec(ctx)
		if err != nil {
			return fmt.Errorf("update revision: %w", err)
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, holt.Errorf(holt.KindNotFound, "there is no revision %d of this workspace", number))
		}
		return nil
	})
}

// Remove implements [meta.Revisions].
func (t revisions) Remove(ctx context.Context, id holt.WorkspaceID, numbers ...int64) error {
	return t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		q := tx.NewDelete().Model((*revisionRow)(nil)).Where("workspace = ?", string(id))
		if len(numbers) > 0 {
			q = q.Where("number IN (?)", bun.List(numbers))
		}
		if _, err := q.Exec(ctx); err != nil {
			return fmt.Errorf("delete revisions: %w", err)
		}
		return nil
	})
}

// Blobs implements [meta.Revisions].
func (t revisions) Blobs(ctx context.Context, tenant holt.UserID, ids ...meta.BlobID) ([]meta.Blob, error) {
	var out []meta.Blob
	for ids := range slices.Chunk(ids, batch) {
		var rows []blobRow
		if err := t.s.db.NewSelect().Model(&rows).Where("tenant = ? AND id IN (?)", string(tenant), bun.List(keys(ids))).Scan(ctx); err != nil {
			return nil, t.s.fault(fmt.Errorf("look for blobs: %w", err))
		}
		for i := range rows {
			out = append(out, rows[i].blob())
		}
	}
	return out, nil
}

// PackBlobs implements [meta.Revisions].
func (t revisions) PackBlobs(ctx context.Context, tenant holt.UserID, pack string) ([]meta.Blob, error) {
	var rows []blobRow
	if err := t.s.db.NewSelect().Model(&rows).Where("tenant = ? AND pack = ?", string(tenant), pack).OrderExpr("start").Scan(ctx); err != nil {
		return nil, t.s.fault(fmt.Errorf("list blobs: %w", err))
	}
	out := make([]meta.Blob, len(rows))
	for i := range rows {
		out[i] = rows[i].blob()
	}
	return out, nil
}

// Tenants implements [meta.Revisions].
func (t revisions) Tenants(ctx context.Context) ([]holt.UserID, error) {
	var out []holt.UserID
	if err := t.s.db.NewRaw("SELECT tenant FROM tenants ORDER BY tenant").Scan(ctx, &out); err != nil {
		return nil, t.s.fault(fmt.Errorf("list tenants: %w", err))
	}
	return out, nil
}

// Holdings implements [meta.Revisions]. The version is read before the rest: whatever
// is published in between raises it, and a sweep at this version fails.
func (t revisions) Holdings(ctx context.Context, tenant holt.UserID) (meta.Holdings, error) {
	var h meta.Holdings
	err := t.s.db.NewRaw("SELECT version FROM tenants WHERE tenant = ?", string(tenant)).Scan(ctx, &h.Version)
	if err != nil && !errors.Is(err, stdsql.ErrNoRows) {
		return h, t.s.fault(fmt.Errorf("read version: %w", err))
	}
	h.Revisions, err = t.list(ctx, func(q *bun.SelectQuery) {
		q.Where("tenant = ?", string(tenant)).OrderExpr("workspace, number")
	})
	if err != nil {
		return h, err
	}
	var rows []packRow
	if err := t.s.db.NewSelect().Model(&rows).Where("tenant = ?", string(tenant)).OrderExpr("id").Scan(ctx); err != nil {
		return h, t.s.fault(fmt.Errorf("list packs: %w", err))
	}
	h.Packs = make([]meta.Pack, len(rows))
	for i, r := range rows {
		h.Packs[i] = meta.Pack{ID: r.ID, Size: r.Size, Header: r.Header, Blobs: r.Blobs, DeadAt: stamp(r.DeadAt)}
	}
	return h, nil
}

// Sweep implements [meta.Revisions].
func (t revisions) Sweep(ctx context.Context, tenant holt.UserID, s meta.Sweep) (dead []string, err error) {
	err = t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		version, err := raise(ctx, tx, tenant)
		if err != nil {
			return err
		}
		if version != s.Version+1 {
			return meta.ErrRevisionStale
		}
		for ids := range slices.Chunk(s.Forget, batch) {
			if _, err := tx.NewDelete().Model((*blobRow)(nil)).Where("tenant = ? AND id IN (?)", string(tenant), bun.List(keys(ids))).Exec(ctx); err != nil {
				return fmt.Errorf("forget blobs: %w", err)
			}
		}
		if err := addPacks(ctx, tx, tenant, s.Packs); err != nil {
			return err
		}
		if err := addBlobs(ctx, tx, tenant, s.Blobs, true); err != nil {
			return err
		}
		dead, err = t.kill(ctx, tx, tenant, s)
		return err
	})
	if err != nil {
		return nil, err
	}
	return dead, nil
}

// kill marks those packs as dead that hold nothing.
func (t revisions) kill(ctx context.Context, tx bun.Tx, tenant holt.UserID, s meta.Sweep) (dead []string, err error) {
	for ids := range slices.Chunk(s.Dead, batch) {
		var used []string
		if err := tx.NewSelect().Model((*blobRow)(nil)).ColumnExpr("DISTINCT pack").Where("tenant = ? AND pack IN (?)", string(tenant), bun.List(ids)).Scan(ctx, &used); err != nil {
			return nil, fmt.Errorf("look for blobs: %w", err)
		}
		var rows []packRow
		for _, id := range ids {
			if !slices.Contains(used, id) {
				rows = append(rows, packRow{Tenant: string(tenant), ID: id, DeadAt: stamp(s.At)})
				dead = append(dead, id)
			}
		}
		if len(rows) == 0 {
			continue
		}
		_, err := tx.NewInsert().Model(&rows).On("CONFLICT (tenant, id) DO UPDATE").Set("dead_at = COALESCE(p.dead_at, EXCLUDED.dead_at)").Exec(ctx)
		if err != nil {
			return nil, fmt.Errorf("mark packs: %w", err)
		}
	}
	return dead, nil
}

// Bury implements [meta.Revisions].
func (t revisions) Bury(ctx context.Context, tenant holt.UserID, packs ...string) error {
	if len(packs) == 0 {
		return nil
	}
	return t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewDelete().Model((*packRow)(nil)).Where("tenant = ? AND dead_at IS NOT NULL AND id IN (?)", string(tenant), bun.List(packs)).Exec(ctx)
		if err != nil {
			return fmt.Errorf("bury packs: %w", err)
		}
		return nil
	})
}
