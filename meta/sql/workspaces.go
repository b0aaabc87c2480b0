package sql

import (
	"context"
	stdsql "database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

type workspaces struct{ s *Store }

var _ meta.Workspaces = workspaces{}

// Create implements [meta.Workspaces].
func (t workspaces) Create(ctx context.Context, w meta.Workspace, evs ...meta.Event) (meta.Workspace, error) {
	w.Version = 1
	if w.CreatedAt.IsZero() {
		w.CreatedAt = now()
	}
	w.UpdatedAt = w.CreatedAt
	row := rowOf(w)
	err := t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
			if duplicate(err) {
				return meta.ErrNameTaken
			}
			return fmt.Errorf("insert workspace: %w", err)
		}
		_, err := appendEvents(ctx, tx, evs)
		return err
	})
	if err != nil {
		return meta.Workspace{}, err
	}
	return row.workspace(), nil
}

// Get implements [meta.Workspaces].
func (t workspaces) Get(ctx context.Context, id holt.WorkspaceID) (meta.Workspace, error) {
	return t.one(ctx, string(id), "id = ?", string(id))
}

// ByName implements [meta.Workspaces].
func (t workspaces) ByName(ctx context.Context, name string) (meta.Workspace, error) {
	return t.one(ctx, name, "name = ? AND state <> ?", name, string(holt.Deleted))
}

func (t workspaces) one(ctx context.Context, label, where string, args ...any) (meta.Workspace, error) {
	var row workspaceRow
	err := t.s.db.NewSelect().Model(&row).Where(where, args...).Scan(ctx)
	if errors.Is(err, stdsql.ErrNoRows) {
		return meta.Workspace{}, holt.Errorf(holt.KindNotFound, "there is no workspace %q", label)
	}
	if err != nil {
		return meta.Workspace{}, t.s.fault(fmt.Errorf("read workspace: %w", err))
	}
	return row.workspace(), nil
}

// List implements [meta.Workspaces].
func (t workspaces) List(ctx context.Context, p meta.Page) ([]meta.Workspace, string, error) {
	limit := p.Limit
	if limit <= 0 {
		limit = meta.DefaultPage
	}
	limit = min(limit, meta.MaxPage)

	var rows []workspaceRow
	q := t.s.db.NewSelect().Model(&rows).Limit(int64(limit) + 1)
	if len(p.States) > 0 {
		q = q.Where("state IN (?)", bun.List(texts(p.States)))
	} else {
		q = q.Where("state <> ?", string(holt.Deleted))
	}
	if p.Owner != "" {
		q = q.Where("owner = ?", string(p.Owner))
	}
	if p.Visible != "" {
		q = q.Where("(owner = ? OR id IN (SELECT workspace FROM members WHERE user_id = ?))", string(p.Visible), string(p.Visible))
	}
	after, order := ">", "created_at ASC, id ASC"
	if p.Reverse {
		after, order = "<", "created_at DESC, id DESC"
	}
	if p.Cursor != "" {
		at, id, err := parseCursor(p.Cursor)
		if err != nil {
			return nil, "", err
		}
		q = q.Where("(created_at "+after+" ? OR (created_at = ? AND id "+after+" ?))", at, at, id)
	}
	if err := q.OrderExpr(order).Scan(ctx); err != nil {
		return nil, "", t.s.fault(fmt.Errorf("list workspaces: %w", err))
	}
	next := ""
	if len(rows) > limit {
		rows = rows[:limit]
		next = formatCursor(&rows[limit-1])
	}
	out := make([]meta.Workspace, len(rows))
	for i := range rows {
		out[i] = rows[i].workspace()
	}
	return out, next, nil
}

// A cursor is the creation time in microseconds and the ID of the last row seen.
func formatCursor(r *workspaceRow) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d %s", r.CreatedAt.UnixMicro(), r.ID))
}

func parseCursor(s string) (time.Time, string, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	us, id, ok := strings.Cut(string(b), " ")
	n, err2 := strconv.ParseInt(us, 10, 64)
	if err != nil || err2 != nil || !ok {
		return time.Time{}, "", holt.Invalid("cursor", "this cursor is not one that a list returned: start without a cursor")
	}
	return time.UnixMicro(n).UTC(), id, nil
}

// Count implements [meta.Workspaces].
func (t workspaces) Count(ctx context.Context, states ...holt.State) (int, error) {
	if len(states) == 0 {
		return 0, nil
	}
	n, err := t.s.db.NewSelect().Model((*workspaceRow)(nil)).Where("state IN (?)", bun.List(texts(states))).Count(ctx)
	if err != nil {
		return 0, t.s.fault(fmt.Errorf("count workspaces: %w", err))
	}
	return int(n), nil
}

// Update implements [meta.Workspaces].
func (t workspaces) Update(ctx context.Context, w meta.Workspace, evs ...meta.Event) (meta.Workspace, error) {
	was := w.Version
	w.Version++
	w.UpdatedAt = now()
	row := rowOf(w)
	err := t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.NewUpdate().Model(&row).ExcludeColumn("id", "created_at", "last_active_at").
			Where("id = ? AND version = ?", row.ID, was).Returning("created_at, last_active_at").Exec(ctx)
		if err != nil {
			if duplicate(err) {
				return meta.ErrNameTaken
			}
			return fmt.Errorf("update workspace: %w", err)
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			if err == nil {
				err = meta.ErrStale
			}
			return err
		}
		_, err = appendEvents(ctx, tx, evs)
		return err
	})
	if err != nil {
		return meta.Workspace{}, err
	}
	return row.workspace(), nil
}

// Touch implements [meta.Workspaces].
func (t workspaces) Touch(ctx context.Context, id holt.WorkspaceID, at time.Time) error {
	at = stamp(at)
	return t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Model((*workspaceRow)(nil)).Set("last_active_at = ?", at).
			Where("id = ? AND (last_active_at IS NULL OR last_active_at < ?)", string(id), at).Exec(ctx)
		if err != nil {
			return fmt.Errorf("touch workspace: %w", err)
		}
		return nil
	})
}

func texts[T ~string](in []T) []string {
	out := make([]string, len(in))
	for i, v := range in {
		out[i] = string(v)
	}
	return out
}
