package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/durable"
	"github.com/holt-ide/holt/fault"
)

const (
	versionName    = "version"   // the file by which a data directory is one: it comes last
	unfinishedName = "restoring" // comes first, and goes at the end
)

// Verify reads all of the backup in dir and returns its manifest: KindCorrupt names
// the files that are not what was copied.
func Verify(ctx context.Context, dir string, progress func(Progress)) (*Manifest, error) {
	m, err := Read(dir)
	if err != nil {
		return nil, err
	}
	var bad []error
	var read int64
	for _, f := range m.Files {
		size, sum, err := sumFile(ctx, filepath.Join(dir, dataName, filepath.FromSlash(f.Path)), func(n int64) {
			if read += n; progress != nil {
				progress(Progress{Step: "verify", Bytes: read})
			}
		})
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil:
			bad = append(bad, describe("read", f.Path, err))
		case size != f.Size || sum != f.Sum:
			bad = append(bad, fmt.Errorf("%s is damaged", f.Path))
		}
	}
	if len(bad) > 0 {
		return nil, holt.Wrap(holt.KindCorrupt, errors.Join(bad...), fmt.Sprintf("%d of the backup's %d files are damaged", len(bad), len(m.Files)))
	}
	return m, nil
}

// RestoreConfig says what to make a data directory of.
type RestoreConfig struct {
	Backup  string
	DataDir string // new or empty

	// Database and JournalDir are where these go if that is not in the data
	// directory; nothing may be there.
	Database, JournalDir string

	// Pool makes and mounts the pool for volumes in a folder of the new data
	// directory, and returns what unmounts it.
	Pool func(ctx context.Context, node string) (detach func() error, err error)

	Progress func(Progress)
}

// Restore makes a data directory of a backup and verifies every byte on the way. No
// server accepts the directory until it is whole. What a call leaves that failed or
// was killed, the next one for the directory removes.
func Restore(ctx context.Context, cfg RestoreConfig) (_ *Manifest, err error) {
	man, err := Read(cfg.Backup)
	if err != nil {
		return nil, err
	}
	if err := cfg.clear(ctx); err != nil {
		return nil, err
	}
	if err := durable.MkdirAll(filepath.Join(cfg.DataDir, "node"), 0o711); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	if err := durable.WriteFile(filepath.Join(cfg.DataDir, unfinishedName), nil, 0o600); err != nil {
		return nil, diskError(fmt.Errorf("mark data directory: %w", err))
	}
	detach, err := cfg.Pool(ctx, filepath.Join(cfg.DataDir, "node"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, detach()) }()
	r := restorer{cfg: cfg}
	var last *File
	for i, f := range man.Files {
		if f.Path == versionName {
			last = &man.Files[i]
			continue
		}
		if err := r.file(ctx, f); err != nil {
			return nil, err
		}
	}
	if last == nil {
		return nil, holt.Errorf(holt.KindCorrupt, "the backup has no file %q", versionName)
	}
	fault.Point("restore.copied")
	for _, dir := range []string{cfg.DataDir, filepath.Join(cfg.DataDir, poolDir)} {
		if err := syncAll(dir); err != nil {
			return nil, fmt.Errorf("flush data directory: %w", err)
		}
	}
	if err := r.file(ctx, *last); err != nil {
		return nil, err
	}
	if err := durable.Remove(filepath.Join(cfg.DataDir, unfinishedName)); err != nil {
		return nil, fmt.Errorf("unmark data directory: %w", err)
	}
	if err := syncAll(cfg.DataDir); err != nil {
		return nil, fmt.Errorf("flush data directory: %w", err)
	}
	return man, nil
}

// clear makes sure that the data directory is empty. It removes what a call left
// that was killed, and nothing else.
func (cfg *RestoreConfig) clear(ctx context.Context) error {
	entries, err := os.ReadDir(cfg.DataDir)
	if os.IsNotExist(err) || err == nil && len(entries) == 0 {
		return nil
	} else if err != nil {
		return fmt.Errorf("look at data directory: %w", err)
	}
	has := func(name string) bool {
		return slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == name })
	}
	if !has(unfinishedName) || has(versionName) {
		return holt.Errorf(holt.KindConflict, "%s is not empty: choose a new directory with --data-dir", cfg.DataDir)
	}
	detach, err := cfg.Pool(ctx, filepath.Join(cfg.DataDir, "node")) // which is mounted, or not
	if err != nil {
		return err
	}
	if err := detach(); err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(cfg.DataDir, e.Name())); err != nil {
			return fmt.Errorf("remove what a restore left: %w", err)
		}
	}
	return nil
}

type restorer struct {
	cfg   RestoreConfig
	bytes int64
}

func (r *restorer) file(ctx context.Context, want File) error {
	rel := filepath.FromSlash(want.Path)
	dst := filepath.Join(r.cfg.DataDir, rel)
	if below, ok := strings.CutPrefix(want.Path, journalDir+"/"); ok && r.cfg.JournalDir != "" {
		dst = filepath.Join(r.cfg.JournalDir, filepath.FromSlash(below))
	}
	if want.Path == databaseName && r.cfg.Database != "" {
		dst = r.cfg.Database
	}
	if err := os.MkdirAll(filepath.Dir(dst), 0o711); err != nil {
		return diskError(fmt.Errorf("make folder: %w", err))
	}
	have, err := copyFile(ctx, dst, filepath.Join(r.cfg.Backup, dataName, rel), func(n int64) {
		if r.bytes += n; r.cfg.Progress != nil {
			r.cfg.Progress(Progress{Step: "restore", Bytes: r.bytes})
		}
	})
	if err != nil {
		return describe("restore", want.Path, err)
	}
	if have.Size != want.Size || have.Sum != want.Sum {
		return holt.Errorf(holt.KindCorrupt, "%s is damaged in the backup: nothing was restored that a server would start with", want.Path)
	}
	if err := os.Chmod(dst, want.Mode.Perm()); err != nil {
		return fmt.Errorf("restore mode: %w", err)
	}
	return nil
}
