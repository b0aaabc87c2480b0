package sql

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/meta/metatest"
	"github.com/holt-ide/holt/meta/metatest/pg"
	"github.com/holt-ide/holt/meta/migrations"
)

var server *pg.Server // nil when PostgreSQL is not installed

func TestMain(m *testing.M) {
	code := 1
	defer func() { os.Exit(code) }()
	if pg.Binaries() != "" {
		var err error
		if server, err = pg.Start(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return
		}
		defer server.Stop()
	}
	code = m.Run()
}

func opener(dsn string) func(*testing.T) meta.Store {
	return func(t *testing.T) meta.Store {
		s, err := Open(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func postgres(t *testing.T) string {
	if server == nil {
		if os.Getenv("CI") != "" {
			t.Fatal("PostgreSQL is not installed: install the package postgresql")
		}
		t.Skip("PostgreSQL is not installed")
	}
	return server.Database(t)
}

func TestSQLite(t *testing.T) {
	metatest.Run(t, func(t *testing.T) func(*testing.T) meta.Store {
		return opener("sqlite:" + filepath.Join(t.TempDir(), "odd ?&#name.db"))
	})
}

func TestPostgres(t *testing.T) {
	metatest.Run(t, func(t *testing.T) func(*testing.T) meta.Store { return opener(postgres(t)) })
}

func TestNewerSchemaIsRefused(t *testing.T) {
	all, err := fs.Glob(migrations.Files, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	latest := strconv.Itoa(len(all))
	for name, dsn := range map[string]func(*testing.T) string{
		"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "x.db") },
		"postgres": postgres,
	} {
		t.Run(name, func(t *testing.T) {
			dsn := dsn(t)
			s, err := Open(t.Context(), dsn)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.db.ExecContext(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, ?)", true); err != nil {
				t.Fatal(err)
			}
			s.Close()
			_, err = Open(t.Context(), dsn)
			if !holt.IsKind(err, holt.KindUnsupported) || !strings.Contains(err.Error(), "version 99") || !strings.Contains(err.Error(), "up to "+latest) {
				t.Fatalf("open of a newer database: %v", err)
			}
		})
	}
}

func TestBadAddresses(t *testing.T) {
	for _, dsn := range []string{"", "mysql://x", "postgres://127.0.0.1:notaport/x"} {
		_, err := Open(t.Context(), dsn)
		if !holt.IsKind(err, holt.KindInvalid) {
			t.Errorf("%q: %v", dsn, err)
		}
	}
	_, err := Open(t.Context(), "postgres://test@127.0.0.1:1/x?sslmode=disable&connect_timeout=2")
	if !holt.IsKind(err, holt.KindUnavailable) {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestDamagedDatabase(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), "sqlite:"+garbage); !holt.IsKind(err, holt.KindCorrupt) {
		t.Errorf("garbage: %v", err)
	}

	torn := filepath.Join(dir, "torn.db")
	s, err := Open(t.Context(), "sqlite:"+torn)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	data, err := os.ReadFile(torn)
	if err != nil {
		t.Fatal(err)
	}
	for i := 4096; i < len(data); i++ { // all pages but the first
		data[i] ^= 0x55
	}
	if err := os.WriteFile(torn, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), "sqlite:"+torn); !holt.IsKind(err, holt.KindCorrupt) {
		t.Errorf("torn pages: %v", err)
	}
}

// A database that may not grow stands for a full disk: SQLite reports both as
// SQLITE_FULL. A write fails with the right kind and changes nothing; what was
// there stays readable, and when there is space again, writes go on.
func TestFullDisk(t *testing.T) {
	s, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.db.SetMaxOpenConns(1) // the limit below belongs to a connection
	ctx := t.Context()
	w, err := s.Workspaces().Create(ctx, meta.Workspace{ID: "ws-1", Name: "a", State: holt.Queued})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.ExecContext(ctx, "PRAGMA max_page_count = 1"); err != nil {
		t.Fatal(err)
	}
	w.Message = strings.Repeat("x", 100_000)
	if _, err := s.Workspaces().Update(ctx, w); !holt.IsKind(err, holt.KindNoSpace) {
		t.Fatalf("update on a full disk: %v", err)
	}
	got, err := s.Workspaces().Get(ctx, "ws-1")
	if err != nil || got.Version != 1 || got.Message != "" {
		t.Fatalf("after a failed write: %+v, %v", got, err)
	}
	if _, err := s.db.ExecContext(ctx, "PRAGMA max_page_count = 1000000"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Workspaces().Update(ctx, w); err != nil {
		t.Fatalf("update with space again: %v", err)
	}
}

func TestDurabilitySettings(t *testing.T) {
	s, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
		var got string
		if err := s.db.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q (%v), want %q", pragma, got, err, want)
		}
	}
}

func TestFaultKinds(t *testing.T) {
	s := &Store{}
	for code, want := range map[string]holt.Kind{"53100": holt.KindNoSpace, "XX001": holt.KindCorrupt, "57P01": holt.KindUnavailable, "40P01": holt.KindUnavailable, "42601": holt.KindInternal} {
		if got := holt.KindOf(faultPostgres(code, errors.New("x"))); got != want {
			t.Errorf("%s is %s, want %s", code, got, want)
		}
	}
	if got := holt.KindOf(s.fault(fmt.Errorf("write: %w", syscall.ENOSPC))); got != holt.KindNoSpace {
		t.Errorf("ENOSPC is %s", got)
	}
	if err := s.fault(fmt.Errorf("read: %w", context.Canceled)); !errors.Is(err, context.Canceled) || holt.KindOf(err) != holt.KindInternal {
		t.Errorf("a cancelled call is %v", err)
	}
}

// A database from before there were accounts: its one user keeps everything.
func TestAccountsForOldDatabases(t *testing.T) {
	for name, dsn := range map[string]func(*testing.T) string{
		"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "x.db") },
		"postgres": postgres,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, dsn := t.Context(), dsn(t)
			old, err := connect(dsn)
			if err != nil {
				t.Fatal(err)
			}
			p, err := old.provider()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.UpTo(ctx, 2); err != nil {
				t.Fatal(err)
			}
			for _, row := range []string{
				"INSERT INTO workspaces (id, name, owner, state, goal, version, image_ref, image, cpus, memory, disk, root, processes, bandwidth, git, egress, node, sandbox, " +
					"snapshot, snapshot_bytes, pending_snapshot, forked_from, message, attempts, restarts, idle_after, created_at, updated_at, boots) " +
					"VALUES ('ws-1', 'demo', 'owner', 'RUNNING', 'RUNNING', 7, '', '', 1, 1, 1, 1, 1, 1, '', 'internet', 'local', '', '', 0, '', '', '', 0, 0, 0, '2026-03-02 10:00:00+00:00', '2026-03-02 10:00:00+00:00', 1)",
				"INSERT INTO tokens (id, hash, name, kind, scope, owner, created_at) VALUES ('tk-1', 'h', 'bootstrap', 'api', 'admin', 'owner', '2026-03-01 10:00:00+00:00')",
				"INSERT INTO tokens (id, hash, name, kind, scope, owner, created_at) VALUES ('tk-2', 'h2', 'browser', 'session', 'admin', 'owner', '2026-03-03 10:00:00+00:00')",
			} {
				if _, err := old.db.ExecContext(ctx, row); err != nil {
					t.Fatal(err)
				}
			}
			if err := old.Close(); err != nil {
				t.Fatal(err)
			}
			s, err := Open(ctx, dsn)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			users, err := s.Users().List(ctx)
			want := meta.User{ID: "owner", Name: "owner", Role: meta.RoleAdmin, CreatedAt: time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)}
			if err != nil || len(users) != 1 || users[0] != want {
				t.Fatalf("users %+v, %v, want %+v", users, err, want)
			}
			if role, err := s.Members().RoleOf(ctx, "ws-1", "owner"); err != nil || role != meta.WorkspaceOwner {
				t.Errorf("role in the old workspace: %q, %v", role, err)
			}
			for _, hash := range []string{"h", "h2"} {
				if tok, err := s.Tokens().ByHash(ctx, hash); err != nil || tok.Owner != "owner" || tok.Scope != meta.ScopeAdmin || tok.Workspace != "" || !tok.StartedAt.IsZero() {
					t.Errorf("old token %+v, %v", tok, err)
				}
			}
		})
	}
}
