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

type tokens struct{ s *Store }

var _ meta.Tokens = tokens{}

// Create implements [meta.Tokens].
func (t tokens) Create(ctx context.Context, tok meta.Token) error {
	row := tokenRow{
		ID: tok.ID, Hash: tok.Hash, Name: tok.Name, Kind: string(tok.Kind), Scope: string(tok.Scope), Owner: string(tok.Owner),
		Workspace: string(tok.Workspace), Agent: tok.Agent, Address: tok.Address, StartedAt: stamp(tok.StartedAt),
		CreatedAt: stamp(tok.CreatedAt), ExpiresAt: stamp(tok.ExpiresAt), LastUsedAt: stamp(tok.LastUsedAt), RevokedAt: stamp(tok.RevokedAt),
	}
	return t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewInsert().Model(&row).Exec(ctx)
		switch {
		case err == nil:
			return nil
		case duplicate(err):
			return holt.Wrap(holt.KindConflict, err, "this token exists already")
		}
		return fmt.Errorf("insert token: %w", err)
	})
}

// ByHash implements [meta.Tokens].
func (t tokens) ByHash(ctx context.Context, hash string) (meta.Token, error) {
	var row tokenRow
	err := t.s.db.NewSelect().Model(&row).Where("hash = ?", hash).Scan(ctx)
	if errors.Is(err, stdsql.ErrNoRows) {
		return meta.Token{}, holt.Errorf(holt.KindNotFound, "there is no such token")
	}
	if err != nil {
		return meta.Token{}, t.s.fault(fmt.Errorf("read token: %w", err))
	}
	return row.token(), nil
}

// List implements [meta.Tokens].
func (t tokens) List(ctx context.Context, kind meta.TokenKind) ([]meta.Token, error) {
	return t.list(ctx, "kind = ?", string(kind))
}

// Of implements [meta.Tokens].
func (t tokens) Of(ctx context.Context, owner holt.UserID, kind meta.TokenKind) ([]meta.Token, error) {
	return t.list(ctx, "owner = ? AND kind = ?", string(owner), string(kind))
}

func (t tokens) list(ctx context.Context, where string, args ...any) ([]meta.Token, error) {
	var rows []tokenRow
	if err := t.s.db.NewSelect().Model(&rows).Where(where, args...).OrderExpr("created_at ASC, id ASC").Scan(ctx); err != nil {
		return nil, t.s.fault(fmt.Errorf("list tokens: %w", err))
	}
	out := make([]meta.Token, len(rows))
	for i := range rows {
		out[i] = rows[i].token()
	}
	return out, nil
}

// Touch implements [meta.Tokens].
func (t tokens) Touch(ctx context.Context, id string, at time.Time) error {
	at = stamp(at)
	return t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Model((*tokenRow)(nil)).Set("last_used_at = ?", at).
			Where("id = ? AND (last_used_at IS NULL OR last_used_at < ?)", id, at).Exec(ctx)
		if err != nil {
			return fmt.Errorf("touch token: %w", err)
		}
		return nil
	})
}

// Revoke implements [meta.Tokens].
func (t tokens) Revoke(ctx context.Context, id string, at time.Time) (first bool, err error) {
	err = t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.NewUpdate().Model((*tokenRow)(nil)).Set("revoked_at = ?", stamp(at)).
			Where("id = ? AND revoked_at IS NULL", id).Exec(ctx)
		if err != nil {
			return fmt.Errorf("revoke token: %w", err)
		}
		n, err := res.RowsAffected()
		if err != nil {
			return fmt.Errorf("revoke token: %w", err)
		}
		if first = n > 0; first {
			return nil
		}
		known, err := tx.NewSelect().Model((*tokenRow)(nil)).Where("id = ?", id).Exists(ctx)
		if err != nil {
			return fmt.Errorf("read token: %w", err)
		}
		if !known {
			return holt.Errorf(holt.KindNotFound, "there is no token %q", id)
		}
		return nil
	})
	return first && err == nil, err
}

// RevokeOf implements [meta.Tokens].
func (t tokens) RevokeOf(ctx context.Context, owner holt.UserID, kind meta.TokenKind, at time.Time, except string) error {
	at = stamp(at)
	return t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Model((*tokenRow)(nil)).Set("revoked_at = ?", at).
			Where("owner = ? AND kind = ? AND id <> ? AND (revoked_at IS NULL OR revoked_at > ?)", string(owner), string(kind), except, at).Exec(ctx)
		if err != nil {
			return fmt.Errorf("revoke tokens of user: %w", err)
		}
		return nil
	})
}

// Purge implements [meta.Tokens].
func (t tokens) Purge(ctx context.Context, before time.Time) (n int, err error) {
	before = stamp(before)
	err = t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.NewDelete().Model((*tokenRow)(nil)).Where("expires_at < ? OR revoked_at < ?", before, before).Exec(ctx)
		if err != nil {
			return fmt.Errorf("purge tokens: %w", err)
		}
		gone, err := res.RowsAffected()
		n = int(gone)
		return err
	})
	return n, err
}
