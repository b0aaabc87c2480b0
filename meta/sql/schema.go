package sql

import (
	"context"
	"fmt"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta/migrations"
)

// prepare checks the database and migrates it.
func (s *Store) prepare(ctx context.Context) error {
	if s.serial {
		if err := s.quickCheck(ctx); err != nil {
			return err
		}
	} else if err := s.db.PingContext(ctx); err != nil {
		return holt.Wrap(holt.KindUnavailable, err, "the database does not answer: check that PostgreSQL runs and the address is right")
	}
	p, err := s.provider()
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	have, want, err := p.GetVersions(ctx)
	if err != nil {
		return s.fault(fmt.Errorf("read schema version: %w", err))
	}
	if have > want {
		return holt.Errorf(holt.KindUnsupported,
			"the database has schema version %d and this program knows versions up to %d: start the newer version of Holt that last used it, or restore a backup made before that upgrade", have, want)
	}
	if _, err := p.Up(ctx); err != nil {
		return s.fault(fmt.Errorf("migrate schema: %w", err))
	}
	return nil
}

func (s *Store) provider() (*goose.Provider, error) {
	if s.serial {
		return goose.NewProvider(goose.DialectSQLite3, s.db.DB, migrations.Files, goose.WithDisableGlobalRegistry(true))
	}
	l, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectPostgres, s.db.DB, migrations.Files,
		goose.WithDisableGlobalRegistry(true), goose.WithSessionLocker(l))
}

// quickCheck reads the whole SQLite file, which is small, and reports damage.
func (s *Store) quickCheck(ctx context.Context) error {
	var verdict string
	if err := s.db.DB.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return s.fault(fmt.Errorf("check database: %w", err))
	}
	if verdict != "ok" {
		return holt.Wrap(holt.KindCorrupt, fmt.Errorf("quick_check: %s", verdict), corruptText)
	}
	return nil
}
