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

type users struct{ s *Store }

var _ meta.Users = users{}

// Create implements [meta.Users].
func (t users) Create(ctx context.Context, u meta.User, ids ...meta.Identity) error {
	return t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error { return insertUser(ctx, tx, u, ids) })
}

func insertUser(ctx context.Context, tx bun.Tx, u meta.User, ids []meta.Identity) error {
	row := userRowOf(u)
	// Looked up first: after a failed insert PostgreSQL takes nothing more in the
	// transaction. The unique index decides between two at the same time.
	taken, err := tx.NewSelect().Model((*userRow)(nil)).Where("name = ?", row.Name).Exists(ctx)
	if err != nil {
		return fmt.Errorf("look for user: %w", err)
	}
	if taken {
		return meta.ErrUserTaken
	}
	if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
		if duplicate(err) {
			return meta.ErrUserTaken
		}
		return fmt.Errorf("insert user: %w", err)
	}
	for _, id := range ids {
		id.User = u.ID
		if err := insertIdentity(ctx, tx, id); err != nil {
			return err
		}
	}
	return nil
}

func insertIdentity(ctx context.Context, tx bun.Tx, id meta.Identity) error {
	row := identityRow{Issuer: id.Issuer, Subject: id.Subject, User: string(id.User), CreatedAt: stamp(id.CreatedAt)}
	if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
		if duplicate(err) {
			return meta.ErrIdentityTaken
		}
		return fmt.Errorf("insert identity: %w", err)
	}
	return nil
}

// Get implements [meta.Users].
func (t users) Get(ctx context.Context, id holt.UserID) (meta.User, error) {
	return t.one(ctx, string(id), "id = ?", string(id))
}

// ByName implements [meta.Users].
func (t users) ByName(ctx context.Context, name string) (meta.User, error) {
	return t.one(ctx, name, "name = ?", name)
}

// ByIdentity implements [meta.Users].
func (t users) ByIdentity(ctx context.Context, issuer, subject string) (meta.User, error) {
	return t.one(ctx, subject, "id IN (SELECT user_id FROM identities WHERE issuer = ? AND subject = ?)", issuer, subject)
}

func (t users) one(ctx context.Context, label, where string, args ...any) (meta.User, error) {
	var row userRow
	err := t.s.db.NewSelect().Model(&row).Where(where, args...).Scan(ctx)
	if errors.Is(err, stdsql.ErrNoRows) {
		return meta.User{}, noUser(label)
	}
	if err != nil {
		return meta.User{}, t.s.fault(fmt.Errorf("read user: %w", err))
	}
	return row.user(), nil
}

func noUser(label string) error {
	return holt.Errorf(holt.KindNotFound, "there is no user %q", label)
}

// List implements [meta.Users].
func (t users) List(ctx context.Context) ([]meta.User, error) {
	var rows []userRow
	if err := t.s.db.NewSelect().Model(&rows).OrderExpr("name ASC").Scan(ctx); err != nil {
		return nil, t.s.fault(fmt.Errorf("list users: %w", err))
	}
	out := make([]meta.User, len(rows))
	for i := range rows {
		out[i] = rows[i].user()
	}
	return out, nil
}

// Update implements [meta.Users].
func (t users) Update(ctx context.Context, id holt.UserID, change func(*meta.User) error) (out meta.User, err error) {
	err = t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		row, err := t.locked(ctx, tx, id)
		if err != nil {
			return err
		}
		before := row.user()
		after := before
		if err := change(&after); err != nil {
			return err
		}
		if after.Name != before.Name {
			taken, err := tx.NewSelect().Model((*userRow)(nil)).Where("name = ?", after.Name).Exists(ctx)
			if err != nil {
				return fmt.Errorf("look for user: %w", err)
			}
			if taken {
				return meta.ErrUserTaken
			}
		}
		if governs(before) && !governs(after) {
			if err := othersGovern(ctx, tx, id); err != nil {
				return err
			}
		}
		changed := userRowOf(after)
		changed.ID, changed.CreatedAt, changed.LastSeenAt = row.ID, row.CreatedAt, row.LastSeenAt
		_, err = tx.NewUpdate().Model(&changed).ExcludeColumn("id", "created_at", "last_seen_at").Where("id = ?", row.ID).Exec(ctx)
		if err != nil {
			if duplicate(err) {
				return meta.ErrUserTaken
			}
			return fmt.Errorf("update user: %w", err)
		}
		out = changed.user()
		return nil
	})
	if err != nil {
		return meta.User{}, err
	}
	return out, nil
}

func governs(u meta.User) bool { return u.Role == meta.RoleAdmin && u.DisabledAt.IsZero() }

// locked reads a user and keeps all admins as they are until tx ends, so that two
// transactions cannot each remove the other's last one.
func (t users) locked(ctx context.Context, tx bun.Tx, id holt.UserID) (userRow, error) {
	var rows []userRow
	q := tx.NewSelect().Model(&rows).Where("id = ? OR role = ?", string(id), string(meta.RoleAdmin)).OrderExpr("id ASC")
	if !t.s.serial { // SQLite has one writer at a time
		q = q.For("UPDATE")
	}
	if err := q.Scan(ctx); err != nil {
		return userRow{}, fmt.Errorf("read user: %w", err)
	}
	for _, r := range rows {
		if r.ID == string(id) {
			return r, nil
		}
	}
	return userRow{}, noUser(string(id))
}

// othersGovern returns nil if there is an enabled admin beside id.
func othersGovern(ctx context.Context, tx bun.Tx, id holt.UserID) error {
	others, err := tx.NewSelect().Model((*userRow)(nil)).
		Where("id <> ? AND role = ? AND disabled_at IS NULL", string(id), string(meta.RoleAdmin)).Exists(ctx)
	if err != nil {
		return fmt.Errorf("look for admins: %w", err)
	}
	if !others {
		return meta.ErrLastAdmin
	}
	return nil
}

// Link implements [meta.Users].
func (t users) Link(ctx context.Context, id meta.Identity) error {
	return t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error { return insertIdentity(ctx, tx, id) })
}

// Identities implements [meta.Users].
func (t users) Identities(ctx context.Context, id holt.UserID) ([]meta.Identity, error) {
	var rows []identityRow
	if err := t.s.db.NewSelect().Model(&rows).Where("user_id = ?", string(id)).OrderExpr("created_at ASC, subject ASC").Scan(ctx); err != nil {
		return nil, t.s.fault(fmt.Errorf("list identities: %w", err))
	}
	out := make([]meta.Identity, len(rows))
	for i, r := range rows {
		out[i] = meta.Identity{Issuer: r.Issuer, Subject: r.Subject, User: holt.UserID(r.User), CreatedAt: stamp(r.CreatedAt)}
	}
	return out, nil
}

// Seen implements [meta.Users].
func (t users) Seen(ctx context.Context, id holt.UserID, at time.Time) error {
	at = stamp(at)
	return t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Model((*userRow)(nil)).Set("last_seen_at = ?", at).
			Where("id = ? AND (last_seen_at IS NULL OR last_seen_at < ?)", string(id), at).Exec(ctx)
		if err != nil {
			return fmt.Errorf("note that user was seen: %w", err)
		}
		return nil
	})
}

// Remove implements [meta.Users].
func (t users) Remove(ctx context.Context, id holt.UserID) error {
	return t.s.update(ctx, func(ctx context.Context, tx bun.Tx) error {
		row, err := t.locked(ctx, tx, id)
		if err != nil {
			return err
		}
		if governs(row.user()) {
			if err := othersGovern(ctx, tx, id); err != nil {
				return err
			}
		}
		n, err := tx.NewSelect().Model((*workspaceRow)(nil)).Where("owner = ? AND state <> ?", row.ID, string(holt.Deleted)).Count(ctx)
		if err != nil {
			return fmt.Errorf("look for workspaces: %w", err)
		}
		if n > 0 {
			return holt.Errorf(holt.KindConflict, "%s owns %d workspaces: delete them or give them to somebody else first", row.Name, n)
		}
		for _, d := range []*bun.DeleteQuery{
			tx.NewDelete().Model((*tokenRow)(nil)).Where("owner = ?", row.ID),
			tx.NewDelete().Model((*identityRow)(nil)).Where("user_id = ?", row.ID),
			tx.NewDelete().Model((*memberRow)(nil)).Where("user_id = ?", row.ID),
			tx.NewDelete().Model((*userRow)(nil)).Where("id = ?", row.ID),
		} {
			if _, err := d.Exec(ctx); err != nil {
				return fmt.Errorf("delete user: %w", err)
			}
		}
		return nil
	})
}
