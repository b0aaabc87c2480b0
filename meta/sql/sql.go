// Package sql implements the contracts of package meta on SQLite (one machine)
// and PostgreSQL (a fleet) with one code and one set of migrations.
//
// SQLite runs in WAL mode with synchronous=FULL, so that what was answered
// survives a power cut; its writers take turns on a mutex instead of polling the
// database's lock. On PostgreSQL the numbers of events come from a counter row
// that is locked until the transaction commits, which orders all writers: simple,
// and far above the rate at which workspaces change state.
//
// Lock order within a transaction: users by ID, an invitation, a workspace's row,
// then a counter.
package sql

import (
	"context"
	stdsql "database/sql"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// Store is one open database. See [meta.Store].
type Store struct {
	db      *bun.DB
	serial  bool       // writers take turns on writing
	writing sync.Mutex // held for each write transaction when serial
}

var _ meta.Store = (*Store)(nil)

// Open opens the database that dsn names, brings its schema up to date and
// checks that it is sound. dsn is "postgres://…", or "sqlite:PATH" with the path
// of a file that is made when it does not exist.
//
// A database whose schema is newer than this program is left as it is and
// refused with KindUnsupported; a damaged one is refused with KindCorrupt.
func Open(ctx context.Context, dsn string) (*Store, error) {
	s, err := connect(dsn)
	if err != nil {
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		s.db.Close()
		return nil, err
	}
	return s, nil
}

func connect(dsn string) (*Store, error) {
	switch {
	case strings.HasPrefix(dsn, "postgres://"), strings.HasPrefix(dsn, "postgresql://"):
		cfg, err := pgx.ParseConfig(dsn)
		if err != nil {
			return nil, &holt.Error{Kind: holt.KindInvalid, Field: "database", Text: "the database address cannot be read: use postgres://USER@HOST:PORT/NAME", Err: err}
		}
		db := stdlib.OpenDB(*cfg)
		db.SetMaxOpenConns(16)
		db.SetMaxIdleConns(4)
		return &Store{db: bun.NewDB(db, pgdialect.New())}, nil
	case strings.HasPrefix(dsn, "sqlite:"):
		db, err := stdsql.Open("sqlite", sqliteDSN(strings.TrimPrefix(dsn, "sqlite:")))
		if err != nil {
			return nil, fmt.Errorf("open database: %w", err)
		}
		db.SetMaxOpenConns(8)
		db.SetMaxIdleConns(8)
		return &Store{db: bun.NewDB(db, sqlitedialect.New()), serial: true}, nil
	}
	return nil, holt.Invalidf("database", "%q is not a database address: use sqlite:PATH or postgres://USER@HOST:PORT/NAME", dsn)
}

func sqliteDSN(path string) string {
	q := url.Values{
		"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)"},
		"_txlock": {"immediate"},
	}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}).String()
}

// Workspaces returns the store of workspaces.
func (s *Store) Workspaces() meta.Workspaces { return workspaces{s} }

// Checkpoints returns the store of checkpoints.
func (s *Store) Checkpoints() meta.Checkpoints { return checkpoints{s} }

// Snapshots returns the lines of snapshots.
func (s *Store) Snapshots() meta.Snapshots { return snapshots{s} }

// Revisions returns the store of revisions.
func (s *Store) Revisions() meta.Revisions { return revisions{s} }

// Events returns the history.
func (s *Store) Events() meta.Events { return events{s} }

// Users returns the store of accounts.
func (s *Store) Users() meta.Users { return users{s} }

// Invitations returns the store of invitations.
func (s *Store) Invitations() meta.Invitations { return invitations{s} }

// Members returns with whom workspaces are shared.
func (s *Store) Members() meta.Members { return members{s} }

// Audit returns the log of who did what.
func (s *Store) Audit() meta.Audit { return audit{s} }

// Tokens returns the store of tokens.
func (s *Store) Tokens() meta.Tokens { return tokens{s} }

// Idempotency returns the store of answered requests.
func (s *Store) Idempotency() meta.Idempotency { return idempotency{s} }

// Close ends all use of the database.
func (s *Store) Close() error { return s.db.Close() }

// update runs f in a write transaction, which commits if f returns nil.
func (s *Store) update(ctx context.Context, f func(context.Context, bun.Tx) error) error {
	if s.serial {
		s.writing.Lock()
		defer s.writing.Unlock()
	}
	return s.fault(s.db.RunInTx(ctx, nil, f))
}

// now returns the time as the database keeps it.
func now() time.Time { return stamp(time.Now()) }

// stamp rounds t to what both engines store.
func stamp(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}
