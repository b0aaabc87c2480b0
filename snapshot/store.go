package snapshot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/durable"
	"github.com/holt-ide/holt/fault"
)

// Store is the directory of a node's snapshots. Its methods may be called
// concurrently for different snapshots.
type Store struct{ root string }

// Open prepares the directory, removes unfinished snapshots, and ends evictions that
// were cut short.
func Open(root string) (*Store, error) {
	if err := durable.MkdirAll(root, 0o711); err != nil {
		return nil, fmt.Errorf("make snapshot directory: %w", err)
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			if err := os.RemoveAll(filepath.Join(root, e.Name())); err != nil {
				return nil, fmt.Errorf("remove unfinished snapshot: %w", err)
			}
		}
	}
	s := &Store{root: root}
	ids, err := s.List()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if s.Evicted(id) {
			if err := s.clear(id); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// At returns the store of a directory that another process may have opened, to read
// it. Nothing is made or cleaned.
func At(root string) *Store { return &Store{root: root} }

// Draft is a snapshot under construction.
type Draft struct {
	store *Store
	id    holt.SnapshotID
	dir   string
}

// Begin starts a snapshot. The caller fills [Draft.Dir] and ends with Commit or Abort.
func (s *Store) Begin(id holt.SnapshotID) (*Draft, error) {
	d := &Draft{store: s, id: id, dir: filepath.Join(s.root, "."+string(id)+".tmp")}
	if err := os.RemoveAll(d.dir); err != nil {
		return nil, fmt.Errorf("clear draft: %w", err)
	}
	if err := os.Mkdir(d.dir, 0o711); err != nil {
		return nil, diskError(fmt.Errorf("make draft: %w", err))
	}
	return d, nil
}

// Dir is where the files of the snapshot go, flat.
func (d *Draft) Dir() string { return d.dir }

// Abort removes the draft. After Commit it does nothing.
func (d *Draft) Abort() error {
	if d.dir == "" {
		return nil
	}
	return os.RemoveAll(d.dir)
}

// Commit makes the draft a snapshot: it flushes and sums every file, fills
// in m.Files, writes the manifest and gives the directory its name. When it
// returns nil, the snapshot survives a power failure.
func (d *Draft) Commit(ctx context.Context, m *Manifest) error {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return fmt.Errorf("list draft: %w", err)
	}
	m.ID, m.Files = d.id, make([]File, len(entries))
	g, gctx := errgroup.WithContext(ctx)
	for i, e := range entries {
		g.Go(func() (err error) {
			if m.Files[i], err = seal(gctx, filepath.Join(d.dir, e.Name())); err != nil {
				return diskError(fmt.Errorf("seal %s: %w", e.Name(), err))
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	fault.Point("snapshot.sealed")
	body, err := m.encode()
	if err != nil {
		return err
	}
	if err := d.describe(body); err != nil {
		return diskError(fmt.Errorf("write manifest: %w", err))
	}
	fault.Point("snapshot.described")
	if err := durable.Rename(d.dir, d.store.path(d.id)); err != nil {
		return diskError(fmt.Errorf("name snapshot: %w", err))
	}
	d.dir = ""
	fault.Point("snapshot.named")
	return nil
}

// describe writes the manifest. Until the draft gets its name nobody looks for
// it, so it needs no temporary name.
func (d *Draft) describe(body []byte) error {
	name := filepath.Join(d.dir, manifestName)
	if err := os.WriteFile(name, body, 0o600); err != nil {
		return err
	}
	var g errgroup.Group // one flush of the journal does for both
	g.Go(func() error { return durable.SyncFile(name) })
	g.Go(func() error { return durable.SyncDir(d.dir) })
	return g.Wait()
}

// Push sends what has been written into the draft on its way to the disk, until
// ctx ends, so that less is left for Commit to wait for. It promises nothing.
func (d *Draft) Push(ctx context.Context) {
	tick := time.NewTicker(pushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		entries, err := os.ReadDir(d.dir)
		if err != nil {
			return
		}
		for _, e := range entries {
			push(filepath.Join(d.dir, e.Name()))
		}
	}
}

// pushEvery is long enough to find some MiB of a fast writer.
const pushEvery = 20 * time.Millisecond

// push starts the writing of a file's dirty pages. Errors show up again in the
// flush that follows.
func push(name string) {
	f, err := os.Open(name)
	if err != nil {
		return
	}
	defer f.Close()
	_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
}

// seal flushes a file and sums what can be read of it.
func seal(ctx context.Context, name string) (File, error) {
	f, err := os.Open(name)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return File{}, err
	}
	flushed := make(chan error, 1)
	go func() { flushed <- f.Sync() }() // the disk works while the processor sums
	sums, err := sumFile(ctx, f, info.Size())
	return File{Name: info.Name(), Size: info.Size(), Sums: sums}, errors.Join(err, <-flushed)
}

func (s *Store) path(id holt.SnapshotID) string { return filepath.Join(s.root, string(id)) }

// Dir returns where the files of a snapshot are.
func (s *Store) Dir(id holt.SnapshotID) string { return s.path(id) }

// Get reads a snapshot's manifest. KindNotFound if there is no such snapshot,
// KindCorrupt if the manifest is damaged.
func (s *Store) Get(id holt.SnapshotID) (*Manifest, error) {
	f, err := os.Open(filepath.Join(s.path(id), manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, holt.Errorf(holt.KindNotFound, "there is no snapshot %s", id)
	} else if err != nil {
		return nil, fmt.Errorf("open manifest: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxManifest))
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	m, err := decode(data)
	if e, ok := errors.AsType[*holt.Error](err); ok {
		return nil, &holt.Error{Kind: e.Kind, Text: fmt.Sprintf("snapshot %s: %s", id, e.Text), Err: e.Err}
	}
	return m, err
}

// Verify reads the named files of a snapshot, or all when none is named, and
// compares them with the manifest. KindCorrupt names the first damaged file and
// where the damage is.
func (s *Store) Verify(ctx context.Context, m *Manifest, names ...string) error {
	want := map[string]bool{}
	for _, n := range names {
		want[n] = true
	}
	checked := 0
	for _, f := range m.Files {
		if len(want) > 0 && !want[f.Name] {
			continue
		}
		if err := s.verifyFile(ctx, m.ID, f); err != nil {
			return err
		}
		checked++
	}
	if checked < len(want) || len(m.Files) == 0 {
		return holt.Errorf(holt.KindCorrupt, "snapshot %s lacks a file that it needs: %s", m.ID, strings.Join(names, ", "))
	}
	return nil
}

func (s *Store) verifyFile(ctx context.Context, id holt.SnapshotID, want File) error {
	f, err := os.Open(filepath.Join(s.path(id), want.Name))
	if errors.Is(err, fs.ErrNotExist) {
		return holt.Errorf(holt.KindCorrupt, "snapshot %s: %s is missing", id, want.Name)
	} else if err != nil {
		return fmt.Errorf("open %s: %w", want.Name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("measure %s: %w", want.Name, err)
	}
	if info.Size() != want.Size {
		return holt.Errorf(holt.KindCorrupt, "snapshot %s: %s is damaged: it has %d bytes instead of %d", id, want.Name, info.Size(), want.Size)
	}
	got, err := sumFile(ctx, f, want.Size)
	if errors.Is(err, unix.EIO) {
		return holt.Wrap(holt.KindCorrupt, err, fmt.Sprintf("snapshot %s: %s is damaged: the disk cannot read it", id, want.Name))
	} else if err != nil {
		return fmt.Errorf("verify %s: %w", want.Name, err)
	}
	if bytes.Equal(got, want.Sums) {
		return nil
	}
	for i := 0; i < len(got); i += 8 {
		if binary.BigEndian.Uint64(got[i:]) != binary.BigEndian.Uint64(want.Sums[i:]) {
			return holt.Errorf(holt.KindCorrupt, "snapshot %s: %s is damaged between byte %d and %d", id, want.Name, i/8*BlockSize, (i/8+1)*BlockSize)
		}
	}
	return nil
}

// Copy makes an independent copy of a snapshot, sharing blocks where the file
// system can. Its files are not read: the copy has the source's sums.
func (s *Store) Copy(_ context.Context, from, to holt.SnapshotID) (*Manifest, error) {
	m, err := s.Get(from)
	if err != nil {
		return nil, err
	}
	d, err := s.Begin(to)
	if err != nil {
		return nil, err
	}
	defer d.Abort() //nolint:errcheck // what stays is removed by Open
	for _, f := range m.Files {
		if err := CloneFile(filepath.Join(s.path(from), f.Name), filepath.Join(d.dir, f.Name)); err != nil {
			return nil, diskError(fmt.Errorf("copy %s: %w", f.Name, err))
		}
	}
	fault.Point("snapshot.copied")
	m.ID = to
	body, err := m.encode()
	if err != nil {
		return nil, err
	}
	if err := d.describe(body); err != nil {
		return nil, diskError(fmt.Errorf("write manifest: %w", err))
	}
	if err := durable.Rename(d.dir, s.path(to)); err != nil {
		return nil, diskError(fmt.Errorf("name snapshot: %w", err))
	}
	d.dir = ""
	return m, nil
}

// CloneFile copies the file src to the new file dst by sharing blocks, or byte for
// byte where that cannot be, and flushes it.
func CloneFile(src, dst string) error {
	from, err := os.Open(src)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := unix.IoctlFileClone(int(to.Fd()), int(from.Fd())); err != nil {
		if _, err := io.Copy(to, from); err != nil {
			return errors.Join(err, to.Close())
		}
	}
	return errors.Join(to.Sync(), to.Close())
}

// Remove deletes a snapshot, finished or not. An unknown one is no error. It
// disappears at once under its name, whatever happens while its files go.
func (s *Store) Remove(id holt.SnapshotID) error {
	draft := filepath.Join(s.root, "."+string(id)+".tmp")
	if err := os.RemoveAll(draft); err != nil {
		return fmt.Errorf("remove draft: %w", err)
	}
	err := os.Rename(s.path(id), draft)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("remove snapshot: %w", err)
	}
	fault.Point("snapshot.unnamed")
	if err := os.RemoveAll(draft); err != nil {
		return fmt.Errorf("remove snapshot: %w", err)
	}
	return durable.SyncDir(s.root)
}

// List returns the complete snapshots. It does not look into them.
func (s *Store) List() ([]holt.SnapshotID, error) {
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var list []holt.SnapshotID
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && e.IsDir() {
			list = append(list, holt.SnapshotID(e.Name()))
		}
	}
	return list, nil
}

func diskError(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return holt.Wrap(holt.KindNoSpace, err, "the disk that holds the snapshots is full")
	}
	return err
}
