package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/durable"
	"github.com/holt-ide/holt/fault"
	"github.com/holt-ide/holt/snapshot"
)

// Where things are in a data directory.
const (
	databaseName = "holt.db"
	storeDir     = "store"
	poolDir      = "node/pool"
	volumesDir   = poolDir + "/volumes"
	snapshotsDir = poolDir + "/snapshots"
	journalDir   = "node/journal"
	spoolDir     = "spool"
	notesDir     = "node/files" // which volumes have what no revision has
	mountsDir    = "node/mnt"
)

// steady are folders whose files never change once they have their names, or are
// replaced as a whole.
var steady = []string{"images", "node/tools", "node/gvisor/tools", snapshotsDir}

// single are the files at the top of a data directory, but for the database.
var single = []string{"token", "cookie-key", "store-owner", "store-location", "secrets-key", "version"}

// Config says what to copy, and where to.
type Config struct {
	DataDir string // of the server, which may run; its pool is mounted
	Target  string // the backup's name, which nothing has yet

	JournalDir string // "" for the one in the data directory

	// Store is the directory of the server's objects, "" for those in a bucket:
	// StoreAt is the place then.
	Store, StoreAt string
	// Changes reports whether the file of a store, by its path within, changes:
	// it names others and is written after them.
	Changes func(path string) bool

	// Database copies the database as it is at one moment to a new file, and Rows
	// tells what such a copy refers to.
	Database func(ctx context.Context, to string) error
	Rows     func(ctx context.Context, database string) ([]Row, error)

	Server   string // its version
	Progress func(Progress)
}

// Row is what the database needs of the other files, for one workspace.
type Row struct {
	Workspace holt.WorkspaceID
	Name      string
	Volume    bool            // it has one
	Snapshot  holt.SnapshotID // it would resume from, or ""
}

// Progress says how far a call is.
type Progress struct {
	Step  string // "copy images"
	Bytes int64  // read so far, holes not counted
}

// Make writes a backup. On an error nothing has the target's name, and what was
// copied so far is removed.
func Make(ctx context.Context, cfg Config) (_ *Manifest, err error) {
	if _, err := os.Lstat(cfg.Target); !errors.Is(err, fs.ErrNotExist) {
		return nil, holt.Errorf(holt.KindConflict, "%s exists already: choose a new name for the backup", cfg.Target)
	}
	m := &maker{cfg: cfg, partial: cfg.Target + ".partial", copied: map[string]copied{}, changing: map[string]fs.FileInfo{}}
	if err := os.RemoveAll(m.partial); err != nil { // of a run that was cut short
		return nil, fmt.Errorf("clear target: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(m.partial, dataName), 0o700); err != nil {
		return nil, diskError(fmt.Errorf("make target: %w", err))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(m.partial))
		}
	}()
	man, err := m.make(ctx)
	if err != nil {
		return nil, err
	}
	fault.Point("backup.copied")
	m.say("flush")
	if err := syncAll(m.partial); err != nil {
		return nil, fmt.Errorf("flush backup: %w", err)
	}
	if err := man.write(m.partial); err != nil {
		return nil, diskError(err)
	}
	if err := durable.Rename(m.partial, cfg.Target); err != nil {
		return nil, fmt.Errorf("name backup: %w", err)
	}
	return man, nil
}

// maker is one backup in the making.
type maker struct {
	cfg     Config
	partial string
	step    string
	bytes   int64

	copied   map[string]copied      // by path in the data directory
	changing map[string]fs.FileInfo // of the store, as they were when they were copied
}

// copied is a file of the backup, and which file of the server it was.
type copied struct {
	File
	from fs.FileInfo
}

// attempts is how often the database is copied again because what it refers to
// went in the meantime: workspaces come and go.
const attempts = 5

func (m *maker) make(ctx context.Context) (*Manifest, error) {
	if err := m.pass(ctx); err != nil {
		return nil, err
	}
	fault.Point("backup.first-pass")
	man := &Manifest{Server: m.cfg.Server, Store: m.cfg.StoreAt}
	for i := 0; ; i++ {
		var err error
		if man.CreatedAt, err = m.moment(ctx); err != nil {
			return nil, err
		}
		if err := m.pass(ctx); err != nil {
			return nil, err
		}
		if err := m.dropHalves(); err != nil {
			return nil, err
		}
		before := man.Missing
		if man.Missing, err = m.missing(ctx); err != nil {
			return nil, err
		}
		// What went while it was copied is not referred to by the next copy of the
		// database. What that misses again is not there.
		if i > 0 && !slices.ContainsFunc(man.Missing, func(name string) bool { return !slices.Contains(before, name) }) || len(man.Missing) == 0 {
			break
		}
		if i == attempts {
			return nil, holt.Errorf(holt.KindUnavailable, "the server changes faster than it can be copied (%s): try again", man.Missing[0])
		}
	}
	for _, name := range single {
		if err := m.file(ctx, name, filepath.Join(m.cfg.DataDir, name)); err != nil && !vanished(err) {
			return nil, err
		}
	}
	for _, c := range m.copied {
		man.Files = append(man.Files, c.File)
	}
	slices.SortFunc(man.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return man, nil
}

// moment copies what changes all the time: the journal, then the database, then
// the volumes, each as it is now. What the journal has and the volume has too is
// not applied twice, so it comes first.
func (m *maker) moment(ctx context.Context) (time.Time, error) {
	m.say("copy database and volumes")
	m.forget(journalDir, spoolDir, notesDir, databaseName, volumesDir)
	journal := cmp.Or(m.cfg.JournalDir, filepath.Join(m.cfg.DataDir, journalDir))
	if err := m.tree(ctx, journalDir, journal, nil); err != nil {
		return time.Time{}, err
	}
	// What waits for the store is in the spool, or else in the database and the
	// store. A note that is older than its volume has that looked at once more.
	for _, dir := range []string{spoolDir, notesDir} {
		if err := m.tree(ctx, dir, filepath.Join(m.cfg.DataDir, dir), nil); err != nil {
			return time.Time{}, err
		}
	}
	database := m.to(databaseName)
	if err := m.cfg.Database(ctx, database); err != nil {
		return time.Time{}, diskError(fmt.Errorf("copy database: %w", err))
	}
	now := time.Now().UTC()
	size, sum, err := sumFile(ctx, database, m.count)
	if err != nil {
		return time.Time{}, fmt.Errorf("read copy of the database: %w", err)
	}
	m.copied[databaseName] = copied{File: File{Path: databaseName, Mode: 0o600, Size: size, Sum: sum}}
	fault.Point("backup.database-copied")
	return now, m.volumes(ctx)
}

// volumes copies every volume as it is now, by way of a reflink in the pool, where
// a crash leaves nothing that the next backup does not remove.
func (m *maker) volumes(ctx context.Context) (err error) {
	from := filepath.Join(m.cfg.DataDir, volumesDir)
	stage := filepath.Join(m.cfg.DataDir, poolDir, ".backup")
	if err := os.RemoveAll(stage); err != nil {
		return fmt.Errorf("clear copies of volumes: %w", err)
	}
	entries, err := os.ReadDir(from)
	if vanished(err) {
		return nil
	} else if err != nil {
		return fmt.Errorf("list volumes: %w", err)
	}
	if err := os.Mkdir(stage, 0o700); err != nil {
		return diskError(fmt.Errorf("make copies of volumes: %w", err))
	}
	defer func() { err = errors.Join(err, os.RemoveAll(stage)) }()
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || !e.Type().IsRegular() { // one that is being made
			continue
		}
		m.flush(strings.TrimSuffix(e.Name(), ".img"))
		if err := snapshot.CloneFile(filepath.Join(from, e.Name()), filepath.Join(stage, e.Name())); vanished(err) {
			continue
		} else if err != nil {
			return diskError(describe("copy volume", e.Name(), err))
		}
		names = append(names, e.Name())
	}
	fault.Point("backup.volumes-staged")
	for _, name := range names {
		if err := m.file(ctx, volumesDir+"/"+name, filepath.Join(stage, name)); err != nil {
			return err
		}
	}
	return nil
}

// flush writes what the volume's file system has in memory. It is worth a try: a
// volume that is not mounted needs none, and without one its copy is merely older.
func (m *maker) flush(ws string) {
	if d, err := os.Open(filepath.Join(m.cfg.DataDir, mountsDir, ws)); err == nil {
		defer d.Close()
		_ = unix.Syncfs(int(d.Fd()))
	}
}

// pass copies what is not copied yet of all that does not change, and the store.
func (m *maker) pass(ctx context.Context) error {
	for _, dir := range steady {
		m.say("copy " + filepath.Base(dir))
		if err := m.tree(ctx, dir, filepath.Join(m.cfg.DataDir, dir), nil); err != nil {
			return err
		}
	}
	if m.cfg.Store == "" {
		return nil
	}
	m.say("copy store")
	for i := 1; ; i++ {
		clear(m.changing)
		if err := m.tree(ctx, storeDir, m.cfg.Store, m.cfg.Changes); err != nil {
			return err
		}
		if err := m.tree(ctx, storeDir, m.cfg.Store, func(path string) bool { return !m.cfg.Changes(path) }); err != nil {
			return err
		}
		changed, err := m.changed()
		if err != nil || !changed {
			return err
		}
		if i == 2*attempts {
			return holt.Errorf(holt.KindUnavailable, "the store changes faster than it can be copied: try again")
		}
	}
}

// changed reports whether a file of the store that names others is not what was
// copied: then some that it names may have been missed.
func (m *maker) changed() (bool, error) {
	for path, was := range m.changing {
		is, err := os.Stat(path)
		if vanished(err) || err == nil && !same(was, is) {
			return true, nil
		} else if err != nil {
			return false, fmt.Errorf("look at store: %w", err)
		}
	}
	return false, nil
}

// tree copies the files below src that want (by their path below it) is true of,
// as rel. Names with a dot in front are of files in the making.
func (m *maker) tree(ctx context.Context, rel, src string, want func(path string) bool) error {
	err := filepath.WalkDir(src, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			if vanished(err) {
				return nil
			}
			return err
		}
		below, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		if strings.HasPrefix(e.Name(), ".") && below != "." {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !e.Type().IsRegular() || want != nil && !want(filepath.ToSlash(below)) {
			return nil
		}
		if err := m.file(ctx, rel+"/"+filepath.ToSlash(below), path); err != nil && !vanished(err) {
			return err
		}
		if want != nil && m.cfg.Changes(filepath.ToSlash(below)) {
			if c, ok := m.copied[rel+"/"+filepath.ToSlash(below)]; ok {
				m.changing[path] = c.from
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("copy %s: %w", rel, err)
	}
	return nil
}

// file copies one file, unless it was copied before and is still the same.
func (m *maker) file(ctx context.Context, rel, src string) error {
	info, err := os.Lstat(src)
	if err != nil {
		return err
	}
	if have, ok := m.copied[rel]; ok {
		if have.from != nil && same(have.from, info) {
			return nil
		}
		m.forget(rel)
	}
	dst := m.to(rel)
	if err := os.MkdirAll(filepath.Dir(dst), 0o711); err != nil {
		return diskError(err)
	}
	f, err := copyFile(ctx, dst, src, m.count)
	if vanished(err) {
		return err
	} else if err != nil {
		return describe("copy", rel, err)
	}
	f.Path = rel
	m.copied[rel] = copied{File: f, from: info}
	return nil
}

// forget removes copies, of files or of all in a folder.
func (m *maker) forget(rels ...string) {
	for path := range m.copied {
		for _, rel := range rels {
			if path == rel || strings.HasPrefix(path, rel+"/") {
				os.Remove(m.to(path))
				delete(m.copied, path)
				break
			}
		}
	}
}

// dropHalves removes snapshots that went while they were copied.
func (m *maker) dropHalves() error {
	dir := m.to(snapshotsDir)
	if _, err := os.Stat(dir); vanished(err) {
		return nil
	}
	store, err := snapshot.Open(dir)
	if err != nil {
		return fmt.Errorf("look at copied snapshots: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look at copied snapshots: %w", err)
	}
	for _, e := range entries {
		if id := holt.SnapshotID(e.Name()); !m.whole(store, id) {
			m.forget(snapshotsDir + "/" + e.Name())
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("remove part of a snapshot: %w", err)
			}
		}
	}
	return nil
}

// whole reports whether all of a snapshot was copied, or all that is here of one
// whose files are in the store. It does not read them: a damaged one is copied as
// it is.
func (m *maker) whole(store *snapshot.Store, id holt.SnapshotID) bool {
	man, err := store.Get(id)
	if err != nil {
		_, err := os.Stat(filepath.Join(m.cfg.DataDir, snapshotsDir, string(id)))
		return err == nil // it is damaged there as well
	}
	if store.Evicted(id) {
		return true
	}
	for _, f := range man.Files {
		if c, ok := m.copied[snapshotsDir+"/"+string(id)+"/"+f.Name]; !ok || c.Size != f.Size {
			return false
		}
	}
	return true
}

// missing returns what the copied database refers to and was not copied, by name.
func (m *maker) missing(ctx context.Context) (names []string, err error) {
	rows, err := m.cfg.Rows(ctx, m.to(databaseName))
	if err != nil {
		return nil, fmt.Errorf("read copy of the database: %w", err)
	}
	for _, r := range rows {
		if _, ok := m.copied[volumesDir+"/"+string(r.Workspace)+".img"]; !ok && r.Volume {
			names = append(names, fmt.Sprintf("the volume of workspace %s", r.Name))
		}
		if _, ok := m.copied[snapshotsDir+"/"+string(r.Snapshot)+"/manifest"]; !ok && r.Snapshot != "" {
			names = append(names, fmt.Sprintf("snapshot %s of workspace %s", r.Snapshot, r.Name))
		}
	}
	return names, nil
}

func (m *maker) to(rel string) string {
	return filepath.Join(m.partial, dataName, filepath.FromSlash(rel))
}

func (m *maker) say(step string) {
	m.step = step
	m.count(0)
}

func (m *maker) count(n int64) {
	m.bytes += n
	if m.cfg.Progress != nil {
		m.cfg.Progress(Progress{Step: m.step, Bytes: m.bytes})
	}
}

// same reports whether two looks at a path saw the same content.
func same(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
