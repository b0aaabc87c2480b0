package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/durable"
	"github.com/holt-ide/holt/fault"
)

// Config says where a pool is and how large it may become.
type Config struct {
	Dir string

	// Size bounds pool.xfs in bytes, where one is needed; the file is sparse.
	// Zero means what is free on Dir's file system now, less a tenth.
	Size int64

	Log *slog.Logger
}

// Pool is an open pool. Its methods may be called concurrently for different
// workspaces; the caller serialises calls for one workspace.
type Pool struct {
	dir  string
	root string
	log  *slog.Logger
}

// minPool is the smallest pool XFS accepts, with room for one volume.
const minPool = 512 * holt.MiB

// Open prepares the pool, making and mounting its file system if need be.
func Open(ctx context.Context, cfg Config) (*Pool, error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("locate pool: %w", err)
	}
	p := &Pool{dir: dir, root: filepath.Join(dir, "pool"), log: cfg.Log}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if err := durable.MkdirAll(p.root, 0o711); err != nil {
		return nil, fmt.Errorf("make pool: %w", err)
	}
	if _, err := durable.Clean(dir); err != nil { // a pool whose making was cut short
		return nil, fmt.Errorf("clean pool directory: %w", err)
	}
	if err := p.attach(ctx, cfg.Size); err != nil {
		return nil, err
	}
	for _, sub := range []string{filepath.Join(p.root, "volumes"), filepath.Join(dir, "mnt")} {
		if err := durable.MkdirAll(sub, 0o711); err != nil {
			return nil, fmt.Errorf("make pool: %w", err)
		}
	}
	if _, err := durable.Clean(filepath.Join(p.root, "volumes")); err != nil {
		return nil, fmt.Errorf("clean pool: %w", err)
	}
	return p, nil
}

// Root returns the pool's directory. Files under it can be copied in and out at once.
func (p *Pool) Root() string { return p.root }

// attach makes root a directory on a file system with reflinks.
func (p *Pool) attach(ctx context.Context, size int64) error {
	img := filepath.Join(p.dir, "pool.xfs")
	_, err := os.Stat(img)
	switch {
	case err == nil:
		if mounted(p.root) {
			return nil
		}
		p.log.Info("mount pool", "file", img)
		return p.mountPool(img)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("look for pool: %w", err)
	}
	if canReflink(p.root) {
		return nil
	}
	if err := p.format(ctx, img, size); err != nil {
		return err
	}
	return p.mountPool(img)
}

// format makes pool.xfs. It gets its name only when it is a whole file system.
func (p *Pool) format(ctx context.Context, img string, size int64) error {
	mkfs, err := exec.LookPath("mkfs.xfs")
	if err != nil {
		return holt.Errorf(holt.KindUnsupported, "the file system of %s cannot share blocks between files, and mkfs.xfs, which makes one that can, is missing: install xfsprogs (`apt-get install xfsprogs`), or use a data directory on XFS or Btrfs", p.dir)
	}
	if size == 0 {
		free, _, err := space(p.dir)
		if err != nil {
			return err
		}
		size = free - free/10
	}
	if size < minPool {
		return holt.Errorf(holt.KindNoSpace, "a pool needs at least %s on %s, there are %s", holt.FormatSize(minPool), p.dir, holt.FormatSize(size))
	}
	f, err := durable.Create(img, 0o600)
	if err != nil {
		return fmt.Errorf("make pool file: %w", err)
	}
	defer f.Abort()
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("size pool file: %w", err)
	}
	p.log.Info("make pool", "file", img, "size", holt.FormatSize(size))
	if out, err := exec.CommandContext(ctx, mkfs, "-q", "-m", "reflink=1", f.Name()).CombinedOutput(); err != nil {
		return fmt.Errorf("mkfs.xfs: %w: %s", err, strings.TrimSpace(string(out)))
	}
	fault.Point("pool.formatted")
	return f.Commit()
}

func (p *Pool) mountPool(img string) error {
	if err := mountLoop(img, p.root, "xfs", unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOATIME, ""); err != nil {
		return fmt.Errorf("mount pool: %w", err)
	}
	return nil
}

// Free returns the bytes that may still be written and the pool's size. A pool
// in a sparse file is also bounded by the file system that holds it.
func (p *Pool) Free() (free, total int64, err error) {
	free, total, err = space(p.root)
	if err != nil {
		return 0, 0, err
	}
	host, _, err := space(p.dir)
	return min(free, host), total, err
}

// Detach unmounts the pool's own file system, for uninstalling and for tests. No
// volume may be mounted.
func (p *Pool) Detach() error {
	if _, err := os.Stat(filepath.Join(p.dir, "pool.xfs")); err != nil {
		return nil //nolint:nilerr // a pool without its own file system has nothing to detach
	}
	return unmount(p.root)
}

func space(dir string) (free, total int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, fmt.Errorf("measure %s: %w", dir, err)
	}
	return int64(s.Bavail) * s.Bsize, int64(s.Blocks) * s.Bsize, nil
}

// canReflink tries it: file systems differ by version and by how they were made.
func canReflink(dir string) bool {
	a, err := os.CreateTemp(dir, ".reflink-*")
	if err != nil {
		return false
	}
	defer os.Remove(a.Name())
	defer a.Close()
	b, err := os.CreateTemp(dir, ".reflink-*")
	if err != nil {
		return false
	}
	defer os.Remove(b.Name())
	defer b.Close()
	if _, err := a.Write(make([]byte, 4096)); err != nil {
		return false
	}
	return unix.IoctlFileClone(int(b.Fd()), int(a.Fd())) == nil
}
