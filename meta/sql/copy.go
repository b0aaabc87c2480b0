package sql

import (
	"context"
	stdsql "database/sql"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/durable"
)

// Copy copies the SQLite database that dsn names to the new file to, as it is at
// one moment, while others use it. The original is only read, and may be of
// another schema version. A database on PostgreSQL is KindUnsupported.
func Copy(ctx context.Context, dsn, to string) (err error) {
	path, ok := strings.CutPrefix(dsn, "sqlite:")
	if !ok {
		return holt.Errorf(holt.KindUnsupported, "the database is on PostgreSQL: copy it with pg_dump")
	}
	if _, err := os.Stat(path); err != nil { // else SQLite makes one
		return fmt.Errorf("look for database: %w", err)
	}
	q := url.Values{"_pragma": {"busy_timeout(10000)"}}
	db, err := stdsql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}).String())
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer db.Close()
	// https://sqlite.org/lang_vacuum.html: the copy is one transaction's view. It
	// is not flushed.
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", to); err != nil {
		s := Store{serial: true}
		return s.fault(fmt.Errorf("copy database: %w", err))
	}
	if err := os.Chmod(to, 0o600); err != nil {
		return fmt.Errorf("copy database: %w", err)
	}
	if err := durable.SyncFile(to); err != nil {
		return fmt.Errorf("copy database: %w", err)
	}
	return nil
}
