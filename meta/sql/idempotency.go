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

type idempotency struct{ s *Store }

var _ meta.Idempotency = idempotency{}

// Claim implements [meta.Idempotency].
func (t idempotency) Claim(ctx context.Context, key meta.Key, hash string, at, expires time.Time) (c meta.Claim, err error) {
	row := keyRow{Token: key.Token, Value: key.Value, Hash: hash, ExpiresAt: stamp(expires)}
	err = t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		c = meta.Claim{}
		if taken, err := t.takeOver(ctx, tx, row, at, &c); err != nil || taken {
			return err
		}
		// Replaces an expired row and leaves a live one: the row lock of the
		// upsert makes callers on PostgreSQL take turns.
		res, err := tx.NewInsert().Model(&row).
			On("CONFLICT (token, value) DO UPDATE").
			Set("hash = EXCLUDED.hash, expires_at = EXCLUDED.expires_at, done = EXCLUDED.done, status = 0, media_type = '', body = NULL").
			Where("i.expires_at <= ?", stamp(at)).Exec(ctx)
		if err != nil {
			return fmt.Errorf("claim key: %w", err)
		}
		n, err := res.RowsAffected()
		if err != nil {
			return fmt.Errorf("claim key: %w", err)
		}
		if n > 0 {
			c.First = true
			return nil
		}
		return t.standing(ctx, tx, key, hash, &c)
	})
	return c, err
}

// takeOver claims the key of row if its claimer has died.
func (t idempotency) takeOver(ctx context.Context, tx bun.Tx, row keyRow, at time.Time, c *meta.Claim) (bool, error) {
	var old keyRow
	lifetime := row.ExpiresAt.Sub(at)
	err := tx.NewSelect().Model(&old).Where("token = ? AND value = ? AND hash = ? AND done = ?", row.Token, row.Value, row.Hash, false).
		Where("expires_at > ? AND expires_at <= ?", stamp(at), stamp(row.ExpiresAt.Add(-meta.ClaimPatience))).Scan(ctx)
	if errors.Is(err, stdsql.ErrNoRows) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("read key: %w", err)
	}
	res, err := tx.NewUpdate().Model((*keyRow)(nil)).Set("expires_at = ?", row.ExpiresAt).
		Where("token = ? AND value = ? AND done = ? AND expires_at = ?", row.Token, row.Value, false, old.ExpiresAt).Exec(ctx)
	if err != nil {
		return false, fmt.Errorf("take key over: %w", err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return false, fmt.Errorf("take key over: %w", err)
	}
	if n > 0 {
		c.First, c.Since = true, old.ExpiresAt.Add(-lifetime)
	}
	return n > 0, nil
}

// standing reads the claim that another request made before.
func (t idempotency) standing(ctx context.Context, tx bun.Tx, key meta.Key, hash string, c *meta.Claim) error {
	var row keyRow
	err := tx.NewSelect().Model(&row).Where("token = ? AND value = ?", key.Token, key.Value).Scan(ctx)
	if errors.Is(err, stdsql.ErrNoRows) { // abandoned between the two statements
		return holt.Errorf(holt.KindUnavailable, "the first request of this key has just failed: try again")
	}
	if err != nil {
		return fmt.Errorf("read key: %w", err)
	}
	if row.Hash != hash {
		return meta.ErrKeyReused
	}
	if row.Done {
		c.Reply = &meta.Reply{Status: row.Status, Type: row.MediaType, Body: row.Body}
	}
	return nil
}

// Complete implements [meta.Idempotency].
func (t idempotency) Complete(ctx context.Context, key meta.Key, reply meta.Reply) error {
	return t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.NewUpdate().Model((*keyRow)(nil)).Set("done = ?", true).Set("status = ?", reply.Status).
			Set("media_type = ?", reply.Type).Set("body = ?", reply.Body).
			Where("token = ? AND value = ?", key.Token, key.Value).Exec(ctx)
		if err != nil {
			return fmt.Errorf("complete key: %w", err)
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			if err == nil {
				err = holt.Errorf(holt.KindNotFound, "this idempotency key was not claimed")
			}
			return err
		}
		return nil
	})
}

// Abandon implements [meta.Idempotency].
func (t idempotency) Abandon(ctx context.Context, key meta.Key) error {
	return t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewDelete().Model((*keyRow)(nil)).
			Where("token = ? AND value = ? AND done = ?", key.Token, key.Value, false).Exec(ctx)
		if err != nil {
			return fmt.Errorf("abandon key: %w", err)
		}
		return nil
	})
}

// Purge implements [meta.Idempotency].
func (t idempotency) Purge(ctx context.Context, at time.Time) (n int, err error) {
	err = t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.NewDelete().Model((*keyRow)(nil)).Where("expires_at <= ?", stamp(at)).Exec(ctx)
		if err != nil {
			return fmt.Errorf("purge keys: %w", err)
		}
		gone, err := res.RowsAffected()
		n = int(gone)
		return err
	})
	return n, err
}
