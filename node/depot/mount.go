package depot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/snapshot"
	"github.com/holt-ide/holt/snapshot/chunk"
	"github.com/holt-ide/holt/snapshot/lazy"
)

// Lazy is a snapshot of the store whose files are fetched as they are touched.
type Lazy struct {
	d     *Depot
	store *chunk.Store
	id    holt.SnapshotID
	mount *lazy.Mount
	close func() error
}

// Mount presents an evicted snapshot. What it touched at its last resume is fetched
// before anybody asks. failed is called for every read that failed. The caller closes
// the mount when nobody reads from it any more.
func (d *Depot) Mount(ctx context.Context, id holt.SnapshotID, failed func(file string, err error)) (*Lazy, error) {
	place, ok := d.Stored(id)
	if !ok {
		return nil, holt.Errorf(holt.KindNotFound, "snapshot %s is not in the store", id)
	}
	t, err := d.tenant(ctx, place.Tenant)
	if err != nil {
		return nil, d.noted(err)
	}
	l := &Lazy{d: d, store: t.front, id: id}
	view, err := t.front.View(ctx, id)
	if err != nil {
		return nil, d.noted(err)
	}
	trace, err := t.front.Trace(ctx, id)
	if parent := view.Manifest().Parent; err == nil && len(trace.Touches) == 0 && parent != "" {
		trace, err = t.front.Trace(ctx, parent) // the machine was much the same then
	}
	if err != nil {
		d.log.Info("resume without reading ahead", "snapshot", id, "err", err)
	}
	dir, err := os.MkdirTemp(d.cfg.Mounts, "")
	if err == nil {
		err = os.Chmod(dir, 0o755) // the runtime reads as somebody else
	}
	if err == nil {
		l.mount, err = lazy.New(view, lazy.Config{Dir: dir, Trace: trace, Log: d.log, OnError: failed})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mount snapshot: %w", err), view.Close(), os.RemoveAll(dir))
	}
	l.close = sync.OnceValue(func() error { return errors.Join(l.mount.Close(), os.Remove(dir)) })
	return l, d.noted(nil)
}

// Dir is where the files are.
func (l *Lazy) Dir() string { return l.mount.Dir() }

// Idle is closed as soon as nobody has a file open.
func (l *Lazy) Idle() <-chan struct{} { return l.mount.Idle() }

// Close ends the mount. What still reads from it gets errors.
func (l *Lazy) Close() error { return l.close() }

// Remember stores what was touched for the next resume.
func (l *Lazy) Remember(ctx context.Context) {
	if err := l.store.PutTrace(ctx, l.id, l.mount.Trace()); err != nil {
		l.d.log.Info("what a resume touched is not remembered", "snapshot", l.id, "err", err)
	}
}

// Fetch makes dst a file of an evicted snapshot, whatever dst is now: what is right
// already is not fetched. See [snapshot.Patch].
func (d *Depot) Fetch(ctx context.Context, m *snapshot.Manifest, name string, dst *os.File) (fetched int64, err error) {
	place, ok := d.Stored(m.ID)
	if !ok {
		return 0, holt.Errorf(holt.KindNotFound, "snapshot %s is not in the store", m.ID)
	}
	t, err := d.tenant(ctx, place.Tenant)
	if err != nil {
		return 0, d.noted(err)
	}
	v, err := t.front.View(ctx, m.ID)
	if err != nil {
		return 0, d.noted(err)
	}
	defer v.Close()
	f, err := v.Open(name)
	if err != nil {
		return 0, err
	}
	return snapshot.Patch(m, name, dst, func(p []byte, off int64) error {
		if _, err := f.ReadContext(ctx, p, off); err != nil && !errors.Is(err, io.EOF) {
			return d.noted(err)
		}
		return nil
	})
}

// clearMounts removes what a process that died left mounted.
func clearMounts(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove mount point: %w", err)
		}
	}
	return nil
}
