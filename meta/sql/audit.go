package sql

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/holt-ide/holt/meta"
)

type audit struct{ s *Store }

var _ meta.Audit = audit{}

// Append implements [meta.Audit].
func (t audit) Append(ctx context.Context, entries ...meta.AuditEntry) error {
	if len(entries) == 0 {
		return nil
	}
	return t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		var last int64
		if err := tx.NewRaw("UPDATE counters SET value = value + ? WHERE name = 'audit' RETURNING value", len(entries)).Scan(ctx, &last); err != nil {
			return fmt.Errorf("number audit entries: %w", err)
		}
		rows := make([]auditRow, len(entries))
		for i, e := range entries {
			if e.At.IsZero() {
				e.At = now()
			}
			rows[i] = auditRow{
				Seq: last - int64(len(entries)-1-i), At: stamp(e.At), Actor: string(e.Actor), ActorName: e.ActorName, Token: e.Token, Action: e.Action,
				Target: e.Target, TargetName: e.Label, Address: e.Address, Outcome: string(e.Outcome), Detail: e.Detail, Request: e.Request,
			}
		}
		if _, err := tx.NewInsert().Model(&rows).Exec(ctx); err != nil {
			return fmt.Errorf("insert audit entries: %w", err)
		}
		return nil
	})
}

// List implements [meta.Audit].
func (t audit) List(ctx context.Context, p meta.AuditPage) ([]meta.AuditEntry, error) {
	limit := p.Limit
	if limit <= 0 {
		limit = meta.DefaultPage
	}
	var rows []auditRow
	q := t.s.db.NewSelect().Model(&rows).OrderExpr("seq DESC").Limit(int64(min(limit, meta.MaxPage)))
	if p.Before > 0 {
		q = q.Where("seq < ?", p.Before)
	}
	for _, f := range []struct{ column, value string }{{"actor", string(p.Actor)}, {"action", p.Action}, {"target", p.Target}} {
		if f.value != "" {
			q = q.Where("? = ?", bun.Ident(f.column), f.value)
		}
	}
	if err := q.Scan(ctx); err != nil {
		return nil, t.s.fault(fmt.Errorf("read audit log: %w", err))
	}
	out := make([]meta.AuditEntry, len(rows))
	for i := range rows {
		out[i] = rows[i].entry()
	}
	return out, nil
}

// Purge implements [meta.Audit].
func (t audit) Purge(ctx context.Context, before time.Time) (n int, err error) {
	err = t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.NewDelete().Model((*auditRow)(nil)).Where("at < ?", stamp(before)).Exec(ctx)
		if err != nil {
			return fmt.Errorf("purge audit log: %w", err)
		}
		gone, err := res.RowsAffected()
		n = int(gone)
		return err
	})
	return n, err
}
