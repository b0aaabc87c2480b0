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

type invitations struct{ s *Store }

var _ meta.Invitations = invitations{}

// Create implements [meta.Invitations].
func (t invitations) Create(ctx context.Context, i meta.Invitation) error {
	row := invitationRowOf(i)
	return t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewInsert().Model(&row).Exec(ctx)
		switch {
		case err == nil:
			return nil
		case duplicate(err):
			return holt.Wrap(holt.KindConflict, err, "this invitation exists already")
		}
		return fmt.Errorf("insert invitation: %w", err)
	})
}

// ByHash implements [meta.Invitations].
func (t invitations) ByHash(ctx context.Context, hash string) (meta.Invitation, error) {
	var row invitationRow
	err := t.s.db.NewSelect().Model(&row).Where("hash = ?", hash).Scan(ctx)
	if errors.Is(err, stdsql.ErrNoRows) {
		return meta.Invitation{}, noInvitation("")
	}
	if err != nil {
		return meta.Invitation{}, t.s.fault(fmt.Errorf("read invitation: %w", err))
	}
	return row.invitation(), nil
}

func noInvitation(id string) error {
	if id == "" {
		return holt.Errorf(holt.KindNotFound, "there is no such invitation")
	}
	return holt.Errorf(holt.KindNotFound, "there is no invitation %q", id)
}

// List implements [meta.Invitations].
func (t invitations) List(ctx context.Context) ([]meta.Invitation, error) {
	var rows []invitationRow
	if err := t.s.db.NewSelect().Model(&rows).OrderExpr("created_at DESC, id DESC").Scan(ctx); err != nil {
		return nil, t.s.fault(fmt.Errorf("list invitations: %w", err))
	}
	out := make([]meta.Invitation, len(rows))
	for i := range rows {
		out[i] = rows[i].invitation()
	}
	return out, nil
}

// Accept implements [meta.Invitations].
func (t invitations) Accept(ctx context.Context, id string, at time.Time, u meta.User, ids ...meta.Identity) error {
	return t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := insertUser(ctx, tx, u, ids); err != nil {
			return err
		}
		return useInvitation(ctx, tx, id, at, u.ID)
	})
}

// AcceptAs implements [meta.Invitations].
func (t invitations) AcceptAs(ctx context.Context, id string, at time.Time, user holt.UserID) error {
	return t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error { return useInvitation(ctx, tx, id, at, user) })
}

func useInvitation(ctx context.Context, tx bun.Tx, id string, at time.Time, user holt.UserID) error {
	at = stamp(at)
	var row invitationRow
	err := tx.NewUpdate().Model(&row).Set("used_at = ?", at).Set("used_by = ?", string(user)).
		Where("id = ? AND used_at IS NULL AND revoked_at IS NULL", id).Returning("*").Scan(ctx)
	if errors.Is(err, stdsql.ErrNoRows) {
		return meta.ErrInvitationUsed
	}
	if err != nil {
		return fmt.Errorf("use invitation: %w", err)
	}
	if row.Workspace == "" {
		return nil
	}
	m := meta.Member{
		Workspace: holt.WorkspaceID(row.Workspace), User: user, Role: meta.WorkspaceRole(row.WorkspaceRole), AddedBy: holt.UserID(row.CreatedBy), AddedAt: at,
	}
	have, err := roleOf(ctx, tx, m.Workspace, user)
	if err != nil {
		return err
	}
	if have.Rank() >= m.Role.Rank() {
		return nil
	}
	return setMember(ctx, tx, m)
}

// Revoke implements [meta.Invitations].
func (t invitations) Revoke(ctx context.Context, id string, at time.Time) (first bool, err error) {
	err = t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		var row invitationRow
		q := tx.NewSelect().Model(&row).Where("id = ?", id)
		if !t.s.serial {
			q = q.For("UPDATE")
		}
		if err := q.Scan(ctx); errors.Is(err, stdsql.ErrNoRows) {
			return noInvitation(id)
		} else if err != nil {
			return fmt.Errorf("read invitation: %w", err)
		}
		if !row.UsedAt.IsZero() {
			return holt.Errorf(holt.KindConflict, "this invitation was used already: disable the user instead")
		}
		if first = row.RevokedAt.IsZero(); !first {
			return nil
		}
		if _, err := tx.NewUpdate().Model((*invitationRow)(nil)).Set("revoked_at = ?", stamp(at)).Where("id = ?", id).Exec(ctx); err != nil {
			return fmt.Errorf("revoke invitation: %w", err)
		}
		return nil
	})
	return first && err == nil, err
}

// Purge implements [meta.Invitations].
func (t invitations) Purge(ctx context.Context, before time.Time) (n int, err error) {
	before = stamp(before)
	err = t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.NewDelete().Model((*invitationRow)(nil)).
			Where("expires_at < ? OR used_at < ? OR revoked_at < ?", before, before, before).Exec(ctx)
		if err != nil {
			return fmt.Errorf("purge invitations: %w", err)
		}
		gone, err := res.RowsAffected()
		n = int(gone)
		return err
	})
	return n, err
}
