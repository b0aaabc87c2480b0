package sql

import (
	"context"
	stdsql "database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/holt-ide/holt"
)

const (
	corruptText = "the database is damaged: restore it from a backup; workspaces that run are not affected"
	fullText    = "the disk that holds the database is full: free some space and try again"
	silentText  = "the database does not answer at the moment: try again"
)

// fault gives err the kind that its cause has in the engine. Errors that have a
// kind already, and cancelled contexts, pass unchanged.
func (s *Store) fault(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*holt.Error](err); ok {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if errors.Is(err, syscall.ENOSPC) {
		return holt.Wrap(holt.KindNoSpace, err, fullText)
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return faultSQLite(e.Code(), err)
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return faultPostgres(e.Code, err)
	}
	if cutOff(err) {
		return holt.Wrap(holt.KindUnavailable, err, silentText)
	}
	return err
}

// cutOff reports whether err came of a connection that could not be made or broke.
// What was asked may have been done.
func cutOff(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	for _, broken := range []error{driver.ErrBadConn, stdsql.ErrConnDone, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed} {
		if errors.Is(err, broken) {
			return true
		}
	}
	return pgconn.SafeToRetry(err) // a connection that was found broken before it was used
}

func faultSQLite(code int, err error) error {
	switch code & 0xff {
	case sqlite3.SQLITE_FULL:
		return holt.Wrap(holt.KindNoSpace, err, fullText)
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return holt.Wrap(holt.KindCorrupt, err, corruptText)
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return holt.Wrap(holt.KindUnavailable, err, silentText)
	}
	return err
}

func faultPostgres(code string, err error) error {
	switch {
	case code == "53100":
		return holt.Wrap(holt.KindNoSpace, err, fullText)
	case code == "XX001", code == "XX002":
		return holt.Wrap(holt.KindCorrupt, err, corruptText)
	case strings.HasPrefix(code, "08"), strings.HasPrefix(code, "53"), strings.HasPrefix(code, "57"), strings.HasPrefix(code, "40"):
		return holt.Wrap(holt.KindUnavailable, err, silentText)
	}
	return err
}

// duplicate reports whether err says that a unique value exists already.
func duplicate(err error) bool {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
	}
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "23505"
}
