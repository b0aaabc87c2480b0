package sql

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

type members struct{ s *Store }

var _ meta.Members = members{}

// Set implements [meta.Members].
func (t members) Set(ctx context.Context, m meta.Member) error {
	return t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error { return setMember(ctx, tx, m) })
}

func setMember(ctx context.Context, tx bun.Tx, m meta.Member) error {
	row := memberRow{Workspace: string(m.Workspace), User: string(m.User), Role: string(m.Role), AddedBy: string(m.AddedBy), AddedAt: stamp(m.AddedAt)}
	_, err := tx.NewInsert().Model(&row).On("CONFLICT (workspace, user_id) DO UPDATE").
		Set("role = EXCLUDED.role").Set("added_by = EXCLUDED.added_by").Set("added_at = EXCLUDED.added_at").Exec(ctx)
	if err != nil {
		return fmt.Errorf("store member: %w", err)
	}
	return nil
}

// Remove implements [meta.Members].
func (t members) Remove(ctx context.Context, id holt.WorkspaceID, user holt.UserID) error {
	return t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.NewDelete().Model((*memberRow)(nil)).Where("workspace = ? AND user_id = ?", string(id), string(user)).Exec(ctx)
		if err != nil {
			return fmt.Errorf("delete member: %w", err)
		}
		n, err := res.RowsAffected()
		if err == nil && n == 0 {
			err = holt.Errorf(holt.KindNotFound, "the workspace is not shared with this user")
		}
		return err
	})
}

// Of implements [meta.Members].
func (t members) Of(ctx context.Context, id holt.WorkspaceID) ([]meta.Member, error) {
	return t.list(ctx, "workspace = ?", string(id))
}

// ByUser implements [meta.Members].
func (t members) ByUser(ctx context.Context, user holt.UserID) ([]meta.Member, error) {
	return t.list(ctx, "user_id = ?", string(user))
}

func (t members) list(ctx context.Context, where string, args ...any) ([]meta.Member, error) {
	var rows []memberRow
	if err := t.s.db.NewSelect().Model(&rows).Where(where, args...).OrderExpr("added_at ASC, workspace ASC, user_id ASC").Scan(ctx); err != nil {
		return nil, t.s.fault(fmt.Errorf("list members: %w", err))
	}
	out := make([]meta.Member, len(rows))
	for i := range rows {
		out[i] = rows[i].member()
	}
	return out, nil
}

// RoleOf implements [meta.Members].
func (t members) RoleOf(ctx context.Context, id holt.WorkspaceID, user holt.UserID) (meta.WorkspaceRole, error) {
	role, err := roleOf(ctx, t.s.db, id, user)
	return role, t.s.fault(err)
}

func roleOf(ctx context.Context, db bun.IDB, id holt.WorkspaceID, user holt.UserID) (meta.WorkspaceRole, error) {
	if user == "" {
		return "", nil
	}
	var role string
	err := db.NewRaw("SELECT CASE WHEN w.owner = ? THEN 'owner' ELSE COALESCE(m.role, '') END FROM workspaces AS w "+
		"LEFT JOIN members AS m ON m.workspace = w.id AND m.user_id = ? WHERE w.id = ?", string(user), string(user), string(id)).Scan(ctx, &role)
	if errors.Is(err, stdsql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read role: %w", err)
	}
	return meta.WorkspaceRole(role), nil
}

// Purge implements [meta.Members].
func (t members) Purge(ctx context.Context, before time.Time) (n int, err error) {
	err = t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.NewDelete().Model((*memberRow)(nil)).
			Where("workspace IN (SELECT id FROM workspaces WHERE state = ? AND updated_at < ?)", string(holt.Deleted), stamp(before)).Exec(ctx)
		if err != nil {
			return fmt.Errorf("purge members: %w", err)
		}
		gone, err := res.RowsAffected()
		n = int(gone)
		return err
	})
	return n, err
}
