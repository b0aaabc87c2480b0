package sql

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

type events struct{ s *Store }

var _ meta.Events = events{}

// Append implements [meta.Events].
func (t events) Append(ctx context.Context, evs ...meta.Event) (last int64, err error) {
	err = t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		last, err = appendEvents(ctx, tx, evs)
		return err
	})
	return last, err
}

// appendEvents numbers and stores evs within tx. It locks the counter until tx
// ends, so it comes last in a transaction.
func appendEvents(ctx context.Context, tx bun.Tx, evs []meta.Event) (last int64, err error) {
	if len(evs) == 0 {
		return 0, nil
	}
	err = tx.NewRaw("UPDATE counters SET value = value + ? WHERE name = 'events' RETURNING value", len(evs)).Scan(ctx, &last)
	if err != nil {
		return 0, fmt.Errorf("number events: %w", err)
	}
	rows := make([]eventRow, len(evs))
	for i, e := range evs {
		if e.At.IsZero() {
			e.At = now()
		}
		rows[i] = eventRow{
			Seq: last - int64(len(evs)-1-i), Workspace: string(e.Workspace), Label: e.Label, At: stamp(e.At), Kind: string(e.Kind),
			StateWas: string(e.From), State: string(e.State), Goal: string(e.Goal), Name: e.Name, Text: e.Text,
		}
	}
	if _, err := tx.NewInsert().Model(&rows).Exec(ctx); err != nil {
		return 0, fmt.Errorf("insert events: %w", err)
	}
	return last, nil
}

// Since implements [meta.Events].
func (t events) Since(ctx context.Context, seq int64, limit int) ([]meta.Event, error) {
	return t.read(ctx, limit, func(q *bun.SelectQuery) { q.Where("seq > ?", seq) })
}

// Of implements [meta.Events].
func (t events) Of(ctx context.Context, id holt.WorkspaceID, seq int64, limit int, kinds ...meta.EventKind) ([]meta.Event, error) {
	return t.read(ctx, limit, func(q *bun.SelectQuery) {
		q.Where("workspace = ? AND seq > ?", string(id), seq)
		if len(kinds) > 0 {
			q.Where("kind IN (?)", bun.List(texts(kinds)))
		}
	})
}

func (t events) read(ctx context.Context, limit int, where func(*bun.SelectQuery)) ([]meta.Event, error) {
	if limit <= 0 {
		return nil, nil
	}
	var rows []eventRow
	q := t.s.db.NewSelect().Model(&rows).OrderExpr("seq ASC").Limit(int64(limit))
	where(q)
	if err := q.Scan(ctx); err != nil {
		return nil, t.s.fault(fmt.Errorf("read events: %w", err))
	}
	out := make([]meta.Event, len(rows))
	for i := range rows {
		out[i] = rows[i].event()
	}
	return out, nil
}

// Purge implements [meta.Events].
func (t events) Purge(ctx context.Context, before time.Time) (n int, err error) {
	err = t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.NewDelete().Model((*eventRow)(nil)).
			Where("workspace IN (SELECT id FROM workspaces WHERE state = ? AND updated_at < ?)", string(holt.Deleted), stamp(before)).Exec(ctx)
		if err != nil {
			return fmt.Errorf("purge events: %w", err)
		}
		gone, err := res.RowsAffected()
		n = int(gone)
		return err
	})
	return n, err
}

// Last implements [meta.Events].
func (t events) Last(ctx context.Context) (int64, error) {
	var last int64
	if err := t.s.db.NewRaw("SELECT value FROM counters WHERE name = 'events'").Scan(ctx, &last); err != nil {
		return 0, t.s.fault(fmt.Errorf("read counter: %w", err))
	}
	return last, nil
}
