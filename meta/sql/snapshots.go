package sql

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

type snapshots struct{ s *Store }

var _ meta.Snapshots = snapshots{}

// snapshotRow is a row of the table snapshots.
type snapshotRow struct {
	bun.BaseModel `bun:"table:snapshots,alias:sn"`

	ID        string    `bun:"id,pk"`
	Workspace string    `bun:"workspace"`
	Parent    string    `bun:"parent"`
	Bytes     int64     `bun:"bytes"`
	Stored    int64     `bun:"stored"`
	CreatedAt time.Time `bun:"created_at"`
	DurableAt time.Time `bun:"durable_at,nullzero"`
	Damage    string    `bun:"damage"`
}

// Put implements [meta.Snapshots].
func (t snapshots) Put(ctx context.Context, s meta.Snapshot, evs ...meta.Event) error {
	row := snapshotRow{
		ID: string(s.ID), Workspace: string(s.Workspace), Parent: string(s.Parent), Bytes: s.Bytes, Stored: s.Stored,
		CreatedAt: stamp(s.CreatedAt), DurableAt: stamp(s.DurableAt), Damage: s.Damage,
	}
	return t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewInsert().Model(&row).On("CONFLICT (id) DO UPDATE").
			Set("workspace = EXCLUDED.workspace").Set("parent = EXCLUDED.parent").Set("bytes = EXCLUDED.bytes").Set("stored = EXCLUDED.stored").
			Set("created_at = EXCLUDED.created_at").Set("durable_at = EXCLUDED.durable_at").Set("damage = EXCLUDED.damage").Exec(ctx)
		if err != nil {
			return fmt.Errorf("write snapshot: %w", err)
		}
		_, err = appendEvents(ctx, tx, evs)
		return err
	})
}

// Of implements [meta.Snapshots].
func (t snapshots) Of(ctx context.Context, id holt.WorkspaceID) ([]meta.Snapshot, error) {
	return t.list(ctx, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("workspace = ?", string(id)) })
}

// All implements [meta.Snapshots].
func (t snapshots) All(ctx context.Context) ([]meta.Snapshot, error) {
	return t.list(ctx, func(q *bun.SelectQuery) *bun.SelectQuery { return q })
}

func (t snapshots) list(ctx context.Context, narrow func(*bun.SelectQuery) *bun.SelectQuery) ([]meta.Snapshot, error) {
	var rows []snapshotRow
	if err := narrow(t.s.db.NewSelect().Model(&rows)).OrderExpr("created_at DESC, id DESC").Scan(ctx); err != nil {
		return nil, t.s.fault(fmt.Errorf("list snapshots: %w", err))
	}
	out := make([]meta.Snapshot, len(rows))
	for i, r := range rows {
		out[i] = meta.Snapshot{
			ID: holt.SnapshotID(r.ID), Workspace: holt.WorkspaceID(r.Workspace), Parent: holt.SnapshotID(r.Parent), Bytes: r.Bytes, Stored: r.Stored,
			CreatedAt: stamp(r.CreatedAt), DurableAt: stamp(r.DurableAt), Damage: r.Damage,
		}
	}
	return out, nil
}

// Remove implements [meta.Snapshots].
func (t snapshots) Remove(ctx context.Context, ids ...holt.SnapshotID) error {
	if len(ids) == 0 {
		return nil
	}
	return t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewDelete().Model((*snapshotRow)(nil)).Where("id IN (?)", bun.List(texts(ids))).Exec(ctx); err != nil {
			return fmt.Errorf("delete snapshots: %w", err)
		}
		return nil
	})
}
