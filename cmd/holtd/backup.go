package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/backup"
	"github.com/holt-ide/holt/meta"
	metasql "github.com/holt-ide/holt/meta/sql"
	"github.com/holt-ide/holt/node/volume"
)

// A verb is what holtd does beside serving, for whoever runs the server.
type verb struct {
	name, args, text string
	run              func(ctx context.Context, cfg *config, stdout, stderr io.Writer) error
}

var verbs = []verb{
	{"backup", "TARGET", "copy the whole server, which may run, to the new directory TARGET", makeBackup},
	{"verify-backup", "BACKUP", "read all of a backup and name what is damaged", verifyBackup},
	{"restore", "BACKUP", "make the data directory anew from a backup", restoreBackup},
	{"fsck", "", "look whether everything is there and whole, and name what is not; changes nothing", check},
}

// operand returns the one argument of a verb.
func (c *config) operand(name string) (string, error) {
	if len(c.rest) != 1 {
		return "", holt.Invalidf("", "holtd %s takes one directory after the flags, see holtd -help", name)
	}
	path, err := filepath.Abs(c.rest[0])
	if err != nil {
		return "", fmt.Errorf("locate %s: %w", c.rest[0], err)
	}
	return path, nil
}

func makeBackup(ctx context.Context, cfg *config, stdout, stderr io.Writer) (err error) {
	target, err := cfg.operand("backup")
	if err != nil {
		return err
	}
	dir, err := serverDir(cfg)
	if err != nil {
		return err
	}
	free, _, err := standAside(ctx, cfg, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, free()) }()
	c := backup.Config{
		DataDir: dir, JournalDir: cfg.journalDir, Target: target, Server: version(), Progress: backupProgress(stderr),
		Changes: func(path string) bool { return filepath.Base(path) == "catalog" },
		Database: func(ctx context.Context, to string) error {
			return metasql.Copy(ctx, "sqlite:"+filepath.Join(dir, "holt.db"), to)
		},
		Rows: backupRows,
	}
	switch at := cfg.store; {
	case at.at == "none":
	case at.dir != "":
		c.Store = at.dir
	case at.bucket != "":
		c.StoreAt = at.at
	default:
		c.Store = filepath.Join(dir, "store")
	}
	begin := time.Now()
	man, err := backup.Make(ctx, c)
	if err != nil {
		return err
	}
	for _, what := range man.Missing {
		fmt.Fprintf(stderr, "holtd: not in the backup, because it is not on this server: %s\n", what)
	}
	if man.Store != "" {
		fmt.Fprintf(stderr, "holtd: the objects in %s were not copied: keep them, the backup needs them\n", man.Store)
	}
	return report(cfg, stdout, "backup", target, man, begin)
}

func verifyBackup(ctx context.Context, cfg *config, stdout, stderr io.Writer) error {
	dir, err := cfg.operand("verify-backup")
	if err != nil {
		return err
	}
	begin := time.Now()
	man, err := backup.Verify(ctx, dir, backupProgress(stderr))
	if err != nil {
		return err
	}
	return report(cfg, stdout, "verified", dir, man, begin)
}

func restoreBackup(ctx context.Context, cfg *config, stdout, stderr io.Writer) error {
	from, err := cfg.operand("restore")
	if err != nil {
		return err
	}
	dir, err := filepath.Abs(cfg.dataDir)
	if err != nil {
		return fmt.Errorf("locate data directory: %w", err)
	}
	file, ok := strings.CutPrefix(cfg.databaseOf(dir), "sqlite:")
	if !ok {
		return holt.Errorf(holt.KindUnsupported, "a backup holds a database in a file: restore without --database")
	}
	begin := time.Now()
	man, err := backup.Restore(ctx, backup.RestoreConfig{
		Backup: from, DataDir: dir, JournalDir: cfg.journalDir, Database: file, Progress: backupProgress(stderr),
		Pool: func(ctx context.Context, node string) (func() error, error) {
			p, err := volume.Open(ctx, volume.Config{Dir: node, Size: cfg.poolSize, Log: cfg.log})
			if err != nil {
				return nil, fmt.Errorf("make pool: %w", err)
			}
			return p.Detach, nil
		},
	})
	if err != nil {
		return err
	}
	// The copy of a local store is in the data directory now, wherever it was.
	if man.Store == "" {
		if err := os.Remove(filepath.Join(dir, "store-location")); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("forget place of the store: %w", err)
		}
	} else {
		fmt.Fprintf(stderr, "holtd: start the server with --store %s, and never beside the one that was copied: both would write there\n", man.Store)
	}
	return report(cfg, stdout, "restored", dir, man, begin)
}

// serverDir returns the data directory, which a server has used.
func serverDir(cfg *config) (string, error) {
	dir, err := filepath.Abs(cfg.dataDir)
	if err != nil {
		return "", fmt.Errorf("locate data directory: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, versionName)); err != nil {
		return "", holt.Errorf(holt.KindNotFound, "%s is no Holt data directory: give the server's with --data-dir", dir)
	}
	return dir, nil
}

// standAside makes the data directory's pool visible: a server that runs has it
// mounted, and otherwise nobody may start one meanwhile.
func standAside(ctx context.Context, cfg *config, dir string) (free func() error, running bool, err error) {
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, false, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return func() error { return nil }, true, nil
		}
		return nil, false, fmt.Errorf("lock data directory: %w", err)
	}
	if _, err := volume.Open(ctx, volume.Config{Dir: filepath.Join(dir, "node"), Size: cfg.poolSize, Log: cfg.log}); err != nil {
		lock.Close()
		return nil, false, fmt.Errorf("open pool: %w", err)
	}
	return lock.Close, false, nil // the pool stays mounted, as it does when a server ends
}

// backupRows reads what a copy of the database refers to.
func backupRows(ctx context.Context, path string) (rows []backup.Row, err error) {
	scratch, err := os.MkdirTemp("", "holt-backup-")
	if err != nil {
		return nil, fmt.Errorf("make scratch directory: %w", err)
	}
	defer os.RemoveAll(scratch)
	// A copy of the copy: opening one may change it.
	again := filepath.Join(scratch, "holt.db")
	if err := metasql.Copy(ctx, "sqlite:"+path, again); err != nil {
		return nil, err
	}
	store, err := metasql.Open(ctx, "sqlite:"+again)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	for page := (meta.Page{}); ; {
		list, next, err := store.Workspaces().List(ctx, page)
		if err != nil {
			return nil, err
		}
		for _, w := range list {
			if w.State != holt.Deleted {
				rows = append(rows, backup.Row{Workspace: w.ID, Name: w.Name, Volume: w.Boots > 0, Snapshot: w.Snapshot})
			}
		}
		if next == "" {
			return rows, nil
		}
		page.Cursor = next
	}
}

// report says what was done.
func report(cfg *config, w io.Writer, what, where string, man *backup.Manifest, begin time.Time) error {
	if cfg.json {
		return json.NewEncoder(w).Encode(map[string]any{
			"done": what, "directory": where, "created_at": man.CreatedAt, "files": len(man.Files), "bytes": man.Bytes(),
			"store": man.Store, "missing": append([]string{}, man.Missing...), "seconds": time.Since(begin).Seconds(),
		})
	}
	_, err := fmt.Fprintf(w, "%s: %s, the server of %s: %d files in %.1f s\n", what, where,
		man.CreatedAt.Local().Format("2006-01-02 15:04:05"), len(man.Files), time.Since(begin).Seconds())
	return err
}

// progress returns what prints how far a long call is, on a terminal. Negative
// bytes end it.
func progress(w io.Writer) func(step string, bytes int64) {
	f, ok := w.(*os.File)
	if !ok {
		return func(string, int64) {}
	}
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
		return func(string, int64) {}
	}
	var last time.Time
	var was string
	return func(step string, bytes int64) {
		if step == was && time.Since(last) < 200*time.Millisecond {
			return
		}
		last, was = time.Now(), step
		fmt.Fprint(w, "\r\x1b[K", step)
		if bytes > 0 {
			fmt.Fprintf(w, ", %s read", holt.FormatSize(bytes))
		}
		fmt.Fprint(w, "\r")
	}
}

// backupProgress is progress for package backup.
func backupProgress(w io.Writer) func(backup.Progress) {
	say := progress(w)
	return func(p backup.Progress) { say(p.Step, p.Bytes) }
}
