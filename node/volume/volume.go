package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/durable"
	"github.com/holt-ide/holt/fault"
)

// The guest's user, who owns the volume's folders.
const devID = 1000

// Folders of a volume. Each is bind-mounted on its own, so the guest never sees
// the file system's root.
const (
	Home      = "home"      // /home/dev in the guest
	Workspace = "workspace" // /workspace in the guest
)

// mountOptions: deleted blocks go back to the pool at once (discard); the
// kernel's background zeroing of inode tables, which would fill the sparse file
// and part it from its copies, is off.
const mountOptions = "discard,noinit_itable,errors=remount-ro"

func (p *Pool) file(ws holt.WorkspaceID) string {
	return filepath.Join(p.root, "volumes", string(ws)+".img")
}

func (p *Pool) mountPoint(ws holt.WorkspaceID) string { return filepath.Join(p.dir, "mnt", string(ws)) }

// Exists reports whether the workspace has a volume.
func (p *Pool) Exists(ws holt.WorkspaceID) (bool, error) {
	_, err := os.Stat(p.file(ws))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Create makes an empty volume of size bytes. The workspace must have none.
func (p *Pool) Create(ctx context.Context, ws holt.WorkspaceID, size int64) error {
	return p.Build(ctx, ws, size, nil)
}

// Build makes a volume of size bytes with what fill writes into dir, its top, whose
// files have the volume's own IDs. It gets its name when all of that is on the disk;
// without that, nothing is left. The workspace must have none. A nil fill writes
// nothing.
func (p *Pool) Build(ctx context.Context, ws holt.WorkspaceID, size int64, fill func(dir string) error) error {
	if ok, err := p.Exists(ws); err != nil || ok {
		return errors.Join(err, holt.Errorf(holt.KindConflict, "workspace %s has a volume already", ws))
	}
	mkfs, err := exec.LookPath("mkfs.ext4")
	if err != nil {
		return holt.Errorf(holt.KindUnsupported, "mkfs.ext4 is missing: install e2fsprogs (`apt-get install e2fsprogs`)")
	}
	f, err := durable.Create(p.file(ws), 0o600)
	if err != nil {
		return fmt.Errorf("make volume: %w", err)
	}
	defer f.Abort()
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("size volume: %w", err)
	}
	out, err := exec.CommandContext(ctx, mkfs, "-q", "-F", "-m", "0", "-i", "8192", "-T", "default",
		"-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0", f.Name()).CombinedOutput()
	if err != nil {
		return spaceError(fmt.Errorf("mkfs.ext4: %w: %s", err, strings.TrimSpace(string(out))))
	}
	fault.Point("volume.formatted")
	if fill != nil {
		if err := p.fill(ws, f.Name(), fill); err != nil {
			return spaceError(err)
		}
		fault.Point("volume.filled")
	}
	if err := f.Commit(); err != nil {
		return spaceError(fmt.Errorf("make volume: %w", err))
	}
	return nil
}

// fill mounts a volume that has no name yet for as long as fill writes.
func (p *Pool) fill(ws holt.WorkspaceID, img string, fill func(dir string) error) (err error) {
	dir := p.mountPoint(ws) + ".build"
	if err := removeMount(dir); err != nil { // of a crash
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	defer func() { err = errors.Join(err, removeMount(dir)) }()
	if err := mountLoop(img, dir, "ext4", unix.MS_NODEV|unix.MS_NOSUID, mountOptions); err != nil {
		return err
	}
	for _, sub := range []string{Home, Workspace} {
		if err := ensureOwned(filepath.Join(dir, sub)); err != nil {
			return err
		}
	}
	if err := fill(dir); err != nil {
		return err
	}
	top, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open volume: %w", err)
	}
	defer top.Close()
	if err := unix.Syncfs(int(top.Fd())); err != nil {
		return fmt.Errorf("flush volume: %w", err)
	}
	return nil
}

// Look calls look with the top of the workspace's volume, which is not mounted, for
// reading; its files have the volume's own IDs. The caller keeps everybody from mounting it
// meanwhile.
func (p *Pool) Look(ws holt.WorkspaceID, look func(dir string) error) (err error) {
	dir := p.mountPoint(ws) + ".look"
	if err := removeMount(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	defer func() { err = errors.Join(err, removeMount(dir)) }()
	if err := mountLoop(p.file(ws), dir, "ext4", unix.MS_RDONLY|unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	return look(dir)
}

// Unshifted calls write with the top of the workspace's volume, which is mounted, once
// more: there its files have the volume's own IDs, so that the host can make some.
func (p *Pool) Unshifted(ws holt.WorkspaceID, write func(dir string) error) (err error) {
	if !mounted(p.mountPoint(ws)) {
		return holt.Errorf(holt.KindUnavailable, "the volume of %s is not in use", ws)
	}
	var st unix.Stat_t
	if err := unix.Stat(p.mountPoint(ws), &st); err != nil {
		return fmt.Errorf("look at volume: %w", err)
	}
	name, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		return fmt.Errorf("find loop device: %w", err)
	}
	dir := p.mountPoint(ws) + ".write"
	if err := removeMount(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	defer func() { err = errors.Join(err, removeMount(dir)) }()
	if err := unix.Mount(filepath.Join("/dev", filepath.Base(name)), dir, "ext4", unix.MS_NODEV|unix.MS_NOSUID, mountOptions); err != nil {
		return fmt.Errorf("mount volume once more: %w", err)
	}
	return write(dir)
}

// SetAside gives the volume, which cannot be used, another name, in the place of the
// one that was set aside before it. It must not be mounted.
func (p *Pool) SetAside(ws holt.WorkspaceID) (name string, err error) {
	if err := p.Unmount(ws); err != nil {
		return "", err
	}
	name = strings.TrimSuffix(p.file(ws), ".img") + ".damaged"
	if err := os.Rename(p.file(ws), name); err != nil {
		return "", fmt.Errorf("set volume aside: %w", err)
	}
	return name, durable.SyncDir(filepath.Dir(name))
}

// MountPoint is where the volume is while it is mounted.
func (p *Pool) MountPoint(ws holt.WorkspaceID) string { return p.mountPoint(ws) }

// Mount makes the volume's files appear with shifted IDs, and returns the directory
// that holds [Home] and [Workspace]. A volume that a former process left mounted is
// mounted anew.
func (p *Pool) Mount(_ context.Context, ws holt.WorkspaceID, shift *Shift) (dir string, err error) {
	dir = p.mountPoint(ws)
	if err := p.Unmount(ws); err != nil {
		return "", err
	}
	plain := dir + ".plain"
	for _, d := range []string{dir, plain} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			return "", fmt.Errorf("make mount point: %w", err)
		}
	}
	// The unshifted view exists only until its shifted clone is in place.
	defer func() { err = errors.Join(err, removeMount(plain)) }()
	if err := mountLoop(p.file(ws), plain, "ext4", unix.MS_NODEV|unix.MS_NOSUID, mountOptions); err != nil {
		return "", err
	}
	fault.Point("volume.mounted-plain")
	for _, sub := range []string{Home, Workspace} {
		if err := ensureOwned(filepath.Join(plain, sub)); err != nil {
			return "", spaceError(err)
		}
	}
	return dir, mountShifted(plain, dir, shift)
}

// ensureOwned makes a folder of the guest's user if it is not there.
func ensureOwned(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("make volume folder: %w", err)
	}
	if err := os.Chown(dir, devID, devID); err != nil {
		return fmt.Errorf("own volume folder: %w", err)
	}
	return nil
}

// Unmount flushes the volume and takes it away. A volume that is not mounted,
// or not there, is no error.
func (p *Pool) Unmount(ws holt.WorkspaceID) error {
	dir := p.mountPoint(ws)
	return errors.Join(removeMount(dir), removeMount(dir+".plain"))
}

// removeMount unmounts dir and removes it. The folder is removed only when it is
// empty: were the unmount to fail silently, no file would be lost.
func removeMount(dir string) error {
	if err := unmount(dir); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove mount point: %w", err)
	}
	return nil
}

// Sync writes what the volume's file system still holds in memory to its file.
// It does nothing for a volume that is not mounted.
func (p *Pool) Sync(ws holt.WorkspaceID) error {
	dir, err := os.Open(p.mountPoint(ws))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("open volume: %w", err)
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return spaceError(fmt.Errorf("flush volume: %w", err))
	}
	return nil
}

// CopyOut makes dst, a new file in the pool, an instant copy of the volume. While
// the volume is mounted the caller keeps the guest from writing. The copy itself
// is not flushed yet, so that a machine that waits for it waits only briefly.
func (p *Pool) CopyOut(ws holt.WorkspaceID, dst string) error {
	if err := p.Sync(ws); err != nil {
		return err
	}
	to, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return spaceError(fmt.Errorf("make copy: %w", err))
	}
	return errors.Join(share(to, p.file(ws)), to.Close())
}

// Staged is a copy of a volume that has not got its name yet, see [Pool.Stage].
type Staged struct {
	pool *Pool
	ws   holt.WorkspaceID
	file *durable.File
}

// Stage begins to make the volume an instant copy of src, a file in the pool. The
// volume stays as it is until [Staged.Place].
func (p *Pool) Stage(src string, ws holt.WorkspaceID) (*Staged, error) {
	to, err := durable.Create(p.file(ws), 0o600)
	if err != nil {
		return nil, spaceError(fmt.Errorf("make copy: %w", err))
	}
	if err := share(to.File, src); err != nil {
		to.Abort()
		return nil, err
	}
	return &Staged{pool: p, ws: ws, file: to}, nil
}

// StageFill begins to make the volume what fill makes of a file, which is an instant
// copy of the volume as it is now, or empty if there is none.
func (p *Pool) StageFill(ws holt.WorkspaceID, fill func(f *os.File) error) (_ *Staged, err error) {
	to, err := durable.Create(p.file(ws), 0o600)
	if err != nil {
		return nil, spaceError(fmt.Errorf("make copy: %w", err))
	}
	defer func() {
		if err != nil {
			to.Abort()
		}
	}()
	ok, err := p.Exists(ws)
	if err == nil && ok {
		err = share(to.File, p.file(ws))
	}
	if err == nil {
		err = fill(to.File)
	}
	if err != nil {
		return nil, spaceError(err)
	}
	return &Staged{pool: p, ws: ws, file: to}, nil
}

// Place makes the copy the workspace's volume, which must not be mounted. After a
// power failure that comes before [Staged.Flush] has returned, the volume is the
// old one or the copy.
func (s *Staged) Place() error {
	if mounted(s.pool.mountPoint(s.ws)) {
		s.file.Abort()
		return holt.Errorf(holt.KindConflict, "volume of %s is in use", s.ws)
	}
	if err := s.file.Replace(); err != nil {
		return spaceError(fmt.Errorf("make copy: %w", err))
	}
	return nil
}

// Flush makes what Place did durable. The volume may be in use meanwhile.
func (s *Staged) Flush() error {
	file := s.pool.file(s.ws)
	if err := errors.Join(durable.SyncFile(file), durable.SyncDir(filepath.Dir(file))); err != nil {
		return spaceError(fmt.Errorf("flush copy: %w", err))
	}
	return nil
}

// Abort gives the copy up, unless it was placed.
func (s *Staged) Abort() { s.file.Abort() }

// CopyIn makes the volume an instant copy of src, a file in the pool. The volume
// must not be mounted; it is replaced whole and durably, or not at all.
func (p *Pool) CopyIn(src string, ws holt.WorkspaceID) error {
	s, err := p.Stage(src, ws)
	if err != nil {
		return err
	}
	defer s.Abort()
	if err := s.Place(); err != nil {
		return err
	}
	return s.Flush()
}

// Copy makes the volume of to an instant copy of that of from, whose guest does
// not write meanwhile. The same rules as for [Pool.CopyIn] hold.
func (p *Pool) Copy(from, to holt.WorkspaceID) error {
	if err := p.Sync(from); err != nil {
		return err
	}
	return p.CopyIn(p.file(from), to)
}

// Remove deletes the volume, and the one that was set aside. One that is not there is
// no error.
func (p *Pool) Remove(ws holt.WorkspaceID) error {
	if err := p.Unmount(ws); err != nil {
		return err
	}
	return errors.Join(durable.Remove(p.file(ws)), durable.Remove(strings.TrimSuffix(p.file(ws), ".img")+".damaged"))
}

// List returns the workspaces that have a volume.
func (p *Pool) List() ([]holt.WorkspaceID, error) {
	entries, err := os.ReadDir(filepath.Join(p.root, "volumes"))
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	var list []holt.WorkspaceID
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), ".img"); ok && !strings.HasPrefix(id, ".") {
			list = append(list, holt.WorkspaceID(id))
		}
	}
	return list, nil
}

// Usage is how full a volume is.
type Usage struct {
	Bytes, BytesTotal   int64
	Inodes, InodesTotal int64
}

// Usage measures a mounted volume.
func (p *Pool) Usage(ws holt.WorkspaceID) (Usage, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(p.mountPoint(ws), &s); err != nil {
		return Usage{}, fmt.Errorf("measure volume: %w", err)
	}
	return Usage{
		Bytes: int64(s.Blocks-s.Bavail) * s.Bsize, BytesTotal: int64(s.Blocks) * s.Bsize,
		Inodes: int64(s.Files - s.Ffree), InodesTotal: int64(s.Files),
	}, nil
}

// share makes the content of to that of the file src, without copying it.
func share(to *os.File, src string) error {
	from, err := os.Open(src)
	if err != nil {
		return fmt.Errorf("open source: %w", err)
	}
	defer from.Close()
	if err := unix.IoctlFileClone(int(to.Fd()), int(from.Fd())); err != nil {
		return spaceError(fmt.Errorf("share blocks: %w", err))
	}
	return nil
}

// spaceError marks an error that a full disk caused.
func spaceError(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || strings.Contains(err.Error(), "No space left") {
		return holt.Wrap(holt.KindNoSpace, err, "the disk that holds the volumes is full")
	}
	return err
}
