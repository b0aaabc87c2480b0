package sql

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

type checkpoints struct{ s *Store }

var _ meta.Checkpoints = checkpoints{}

// Create implements [meta.Checkpoints].
func (t checkpoints) Create(ctx context.Context, c meta.Checkpoint) error {
	row := checkpointRowOf(c)
	return t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		same, err := tx.NewSelect().Model((*checkpointRow)(nil)).Where("workspace = ? AND label = ?", row.Workspace, row.Label).Exists(ctx)
		if err != nil {
			return fmt.Errorf("look for checkpoint: %w", err)
		}
		if same {
			return meta.ErrLabelTaken
		}
		_, err = tx.NewInsert().Model(&row).Exec(ctx)
		switch {
		case err == nil:
			return nil
		case duplicate(err):
			return holt.Wrap(holt.KindConflict, err, "this checkpoint exists already")
		}
		return fmt.Errorf("insert checkpoint: %w", err)
	})
}

// Finish implements [meta.Checkpoints].
func (t checkpoints) Finish(ctx context.Context, c meta.Checkpoint) error {
	return t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.NewUpdate().Model((*checkpointRow)(nil)).Set("ready = ?", true).Set("bytes = ?", c.Bytes).
			Set("pause = ?", int64(c.Pause)).Set("created_at = ?", stamp(c.CreatedAt)).Where("snapshot = ?", string(c.Snapshot)).Exec(ctx)
		if err != nil {
			return fmt.Errorf("update checkpoint: %w", err)
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, noCheckpoint(c.Label))
		}
		return nil
	})
}

// Of implements [meta.Checkpoints].
func (t checkpoints) Of(ctx context.Context, id holt.WorkspaceID) ([]meta.Checkpoint, error) {
	return t.list(ctx, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("workspace = ?", string(id)) })
}

// All implements [meta.Checkpoints].
func (t checkpoints) All(ctx context.Context) ([]meta.Checkpoint, error) {
	return t.list(ctx, func(q *bun.SelectQuery) *bun.SelectQuery { return q })
}

func (t checkpoints) list(ctx context.Context, narrow func(*bun.SelectQuery) *bun.SelectQuery) ([]meta.Checkpoint, error) {
	var rows []checkpointRow
	if err := narrow(t.s.db.NewSelect().Model(&rows)).OrderExpr("created_at ASC, snapshot ASC").Scan(ctx); err != nil {
		return nil, t.s.fault(fmt.Errorf("list checkpoints: %w", err))
	}
	out := make([]meta.Checkpoint, len(rows))
	for i := range rows {
		out[i] = rows[i].checkpoint()
	}
	return out, nil
}

// ByLabel implements [meta.Checkpoints].
func (t checkpoints) ByLabel(ctx context.Context, id holt.WorkspaceID, label string) (meta.Checkpoint, error) {
	var row checkpointRow
	err := t.s.db.NewSelect().Model(&row).Where("workspace = ? AND label = ?", string(id), label).Scan(ctx)
	if errors.Is(err, stdsql.ErrNoRows) {
		return meta.Checkpoint{}, noCheckpoint(label)
	}
	if err != nil {
		return meta.Checkpoint{}, t.s.fault(fmt.Errorf("read checkpoint: %w", err))
	}
	return row.checkpoint(), nil
}

// Remove implements [meta.Checkpoints].
func (t checkpoints) Remove(ctx context.Context, id holt.SnapshotID) error {
	return t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewDelete().Model((*checkpointRow)(nil)).Where("snapshot = ?", string(id)).Exec(ctx); err != nil {
			return fmt.Errorf("delete checkpoint: %w", err)
		}
		return nil
	})
}

func noCheckpoint(label string) error {
	return holt.Errorf(holt.KindNotFound, "there is no checkpoint %q", label)
}
