package persist

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// Destination is where a revision is restored to: a volume's top folder.
type Destination struct {
	Root *os.File // open for reading; not closed
	IDs  uint32   // what the mount adds to the volume's user and group IDs

	// Exact also removes what the revision does not have in the folders that are
	// restored, except what ignore rules leave out.
	Exact bool

	// Progress, if set, is called now and then, from one goroutine at a time.
	Progress func(Restored)
}

// Restored says what a restore has done.
type Restored struct {
	Files   int64 // files and links that were written
	Folders int64
	Bytes   int64 // of files
	Same    int64 // files that were there as they should be, and were left alone
	Removed int64
}

// Restore brings back what a revision has at the given paths, all of it without any.
// Each file appears as a whole, under its name, in place of what was there; what the
// revision does not have stays, unless Exact says otherwise. The files are on the disk when it returns.
// A path that the revision does not have is KindNotFound, and nothing is done; a folder
// in the place of a file, or the other way round, is KindConflict unless Exact is set.
//
// The guest may be at work in the destination: nothing outside of it is touched. After
// an error some files are restored and others not; it can be repeated.
func (s *Store) Restore(ctx context.Context, ws holt.WorkspaceID, number int64, paths []string, to Destination) (Restored, error) {
	t, err := s.Open(ctx, ws, number)
	if err != nil {
		return Restored{}, err
	}
	return t.Restore(ctx, paths, to)
}

// Restore is [Store.Restore] of an open revision.
func (t *Tree) Restore(ctx context.Context, paths []string, to Destination) (Restored, error) {
	if len(paths) == 0 {
		paths = []string{""}
	}
	r := &restorer{t: t, to: to}
	tops := map[string]entry{}
	for _, p := range paths {
		p = clean(p)
		e, err := t.find(ctx, p)
		if err != nil {
			return r.done, err
		}
		tops[p] = e
	}
	top, err := openFolder(int(to.Root.Fd()), ".")
	if err != nil {
		return r.done, fmt.Errorf("open destination: %w", err)
	}
	defer unix.Close(top)
	r.top = top
	if to.Exact {
		if r.rules, err = readRules(top); err != nil {
			return r.done, err
		}
	}
	for p, e := range tops {
		if err := r.parents(ctx, p); err != nil {
			return r.done, err
		}
		if err := r.plan(ctx, p, &e); err != nil {
			return r.done, err
		}
	}
	if err := r.write(ctx); err != nil {
		return r.done, err
	}
	if err := r.finishFolders(); err != nil {
		return r.done, err
	}
	if err := unix.Syncfs(top); err != nil {
		return r.done, spaceError(fmt.Errorf("flush destination: %w", err))
	}
	r.report()
	return r.done, nil
}

// spaceError marks an error that a full disk caused.
func spaceError(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return holt.Wrap(holt.KindNoSpace, err, "the workspace's disk is full")
	}
	return err
}

// TempPrefix begins the names of files that are being restored. Ignore rules leave them out.
const TempPrefix = ".holt-restore-"

// What is written at once: enough to ask for few large parts of packs.
const (
	batchFiles = 20_000
	batchParts = 50_000
)

type restorer struct {
	t     *Tree
	to    Destination
	top   int
	rules interface {
		Match(path string, dir bool) bool
	}

	files   []*target
	parts   int
	folders []madeFolder

	mu   sync.Mutex // guards done while files are written
	done Restored
}

// madeFolder is a folder that gets its mode and times when all is in it.
type madeFolder struct {
	path string
	e    entry
}

// target is a file that is being restored.
type target struct {
	path  string
	e     entry
	parts []part

	mu   sync.Mutex
	temp string // "" before the first part
	left int    // parts that are not written yet
}

func (r *restorer) report() {
	if r.to.Progress != nil {
		r.to.Progress(r.done)
	}
}

// stat looks at a path in the destination. There is nothing if ok is false.
func (r *restorer) stat(at string) (st unix.Stat_t, ok bool, err error) {
	dir, name, err := r.folderOf(at)
	if err != nil {
		return st, false, gone(err)
	}
	defer unix.Close(dir)
	if st, err = statAt(dir, name); err != nil {
		return st, false, gone(err)
	}
	return st, true, nil
}

// folderOf opens the folder that holds a path.
func (r *restorer) folderOf(at string) (dir int, name string, err error) {
	folder, name := path.Split(at)
	if folder = strings.TrimSuffix(folder, "/"); folder == "" {
		folder = "."
	}
	dir, err = openAt(r.top, folder, unix.O_PATH|unix.O_DIRECTORY, 0)
	return dir, name, err
}

// parents makes the folders above a path that are not there.
func (r *restorer) parents(ctx context.Context, at string) error {
	for i := range len(at) {
		if at[i] != '/' {
			continue
		}
		e, err := r.t.find(ctx, at[:i])
		if err != nil {
			return err
		}
		made, err := r.mkdir(at[:i], false)
		if err != nil {
			return err
		}
		if made {
			r.folders = append(r.folders, madeFolder{at[:i], e})
		}
	}
	return nil
}

// mkdir makes a folder if there is none.
func (r *restorer) mkdir(at string, exact bool) (made bool, err error) {
	if at == "" {
		return false, nil
	}
	dir, name, err := r.folderOf(at)
	if err != nil {
		return false, fmt.Errorf("open folder of %.500q: %w", at, err)
	}
	defer unix.Close(dir)
	err = unix.Mkdirat(dir, name, 0o700)
	if !errors.Is(err, unix.EEXIST) {
		if err != nil {
			return false, spaceError(fmt.Errorf("make folder %.500q: %w", at, err))
		}
		r.done.Folders++
		return true, nil
	}
	st, err := statAt(dir, name)
	if err != nil {
		return false, fmt.Errorf("look at %.500q: %w", at, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return false, nil
	}
	if !exact {
		return false, holt.Errorf(holt.KindConflict, "%.500q is not a folder now: move it away, or restore the folder that it is in", at)
	}
	if err := unix.Unlinkat(dir, name, 0); err != nil {
		return false, fmt.Errorf("remove %.500q: %w", at, err)
	}
	r.done.Removed++
	return r.mkdir(at, false)
}

// plan makes the folders and links, and lists the files. It writes files when there
// are many.
func (r *restorer) plan(ctx context.Context, at string, e *entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if e.kind == Folder {
		return r.planFolder(ctx, at, e)
	}
	if st, ok, err := r.stat(at); err != nil {
		return fmt.Errorf("look at %.500q: %w", at, err)
	} else if ok && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if !r.to.Exact {
			return holt.Errorf(holt.KindConflict, "%.500q is a folder now: move it away, or restore the folder that it is in", at)
		}
		if err := r.remove(at); err != nil {
			return err
		}
	}
	if e.kind == Link {
		return r.link(at, e)
	}
	parts, err := r.t.s.parts(ctx, r.t.rev.Tenant, e.content, e.size)
	if err != nil {
		return fmt.Errorf("file %.500q: %w", at, err)
	}
	if r.same(at, e, parts) {
		r.done.Same++
		return nil
	}
	r.files = append(r.files, &target{path: at, e: *e, parts: parts})
	if r.parts += len(parts); len(r.files) >= batchFiles || r.parts >= batchParts {
		return r.write(ctx)
	}
	return nil
}

func (r *restorer) planFolder(ctx context.Context, at string, e *entry) error {
	if _, err := r.mkdir(at, r.to.Exact); err != nil {
		return err
	}
	list, err := r.t.s.entries(ctx, r.t.rev.Tenant, e.content)
	if err != nil {
		return fmt.Errorf("folder %.500q: %w", at, err)
	}
	if at != "" {
		r.folders = append(r.folders, madeFolder{at, *e})
		if r.to.Exact {
			if err := r.removeOthers(at, list); err != nil {
				return err
			}
		}
	}
	for i := range list {
		if err := r.plan(ctx, join(at, list[i].name), &list[i]); err != nil {
			return err
		}
	}
	return nil
}

// removeOthers removes from a folder what the revision does not have.
func (r *restorer) removeOthers(at string, list []entry) error {
	dir, err := openFolder(r.top, at)
	if err != nil {
		return fmt.Errorf("open folder %.500q: %w", at, err)
	}
	defer unix.Close(dir)
	there, err := names(dir, r.t.s.cfg.Bounds.Entries)
	if err != nil {
		return fmt.Errorf("folder %.500q: %w", at, err)
	}
	for _, name := range there {
		if _, ok := search(list, name); ok {
			continue
		}
		st, err := statAt(dir, name)
		if err != nil || r.rules.Match(join(at, name), st.Mode&unix.S_IFMT == unix.S_IFDIR) {
			continue
		}
		if err := r.remove(join(at, name)); err != nil {
			return err
		}
	}
	return nil
}

// remove removes whatever is at a path.
func (r *restorer) remove(at string) error {
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", r.top))
	if err != nil {
		return fmt.Errorf("open destination: %w", err)
	}
	defer root.Close()
	if err := root.RemoveAll(at); err != nil {
		return fmt.Errorf("remove %.500q: %w", at, err)
	}
	r.done.Removed++
	return nil
}

// link makes a symbolic link.
func (r *restorer) link(at string, e *entry) error {
	dir, name, err := r.folderOf(at)
	if err != nil {
		return fmt.Errorf("open folder of %.500q: %w", at, err)
	}
	defer unix.Close(dir)
	if now, err := linkTarget(dir, name); err == nil && now == e.target {
		r.done.Same++
		return nil
	}
	temp := TempPrefix + holt.NewID()
	if err := unix.Symlinkat(e.target, dir, temp); err != nil {
		return spaceError(fmt.Errorf("make link %.500q: %w", at, err))
	}
	times := []unix.Timespec{e.mtime.timespec(), e.mtime.timespec()}
	err = unix.Fchownat(dir, temp, int(r.to.IDs+e.uid), int(r.to.IDs+e.gid), unix.AT_SYMLINK_NOFOLLOW)
	if err == nil {
		err = unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d/%s", dir, temp), times, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err == nil {
		err = unix.Renameat(dir, temp, dir, name)
	}
	if err != nil {
		_ = unix.Unlinkat(dir, temp, 0) // ignore rules leave it out
		return spaceError(fmt.Errorf("make link %.500q: %w", at, err))
	}
	r.done.Files++
	return nil
}

func (s stamp) timespec() unix.Timespec { return unix.Timespec{Sec: s.sec, Nsec: int64(s.nsec)} }

// same reports whether the destination has the file already, as it should be.
func (r *restorer) same(at string, e *entry, parts []part) bool {
	fd, err := openAt(r.top, at, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	f := os.NewFile(uintptr(fd), "file")
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != e.size || st.Mode&0o7777 != e.mode ||
		stampOf(st.Mtim) != e.mtime || st.Uid != r.to.IDs+e.uid || st.Gid != r.to.IDs+e.gid || st.Nlink != 1 {
		return false
	}
	var offset int64
	for _, p := range parts {
		for left := p.size; left > 0; {
			buf := make([]byte, min(left, chunkMax))
			if !p.hole {
				buf = make([]byte, left)
			}
			if n, _ := f.ReadAt(buf, offset); n < len(buf) || p.hole && !allZero(buf) || !p.hole && idOf(buf) != p.id {
				return false
			}
			left -= int64(len(buf))
			offset += int64(len(buf))
		}
	}
	return true
}

// place is where a part of a file belongs.
type placement struct {
	to     *target
	offset int64
}

// write fetches and writes the files that were planned.
func (r *restorer) write(ctx context.Context) error {
	places := map[meta.BlobID][]placement{}
	var ids []meta.BlobID
	for _, f := range r.files {
		var offset int64
		for _, p := range f.parts {
			if !p.hole {
				if places[p.id] == nil {
					ids = append(ids, p.id)
				}
				places[p.id] = append(places[p.id], placement{f, offset})
				f.left++
			}
			offset += p.size
		}
	}
	for _, f := range r.files {
		if f.left == 0 {
			if err := r.writePart(f, 0, nil); err != nil {
				return err
			}
		}
	}
	err := r.t.s.read(ctx, r.t.rev.Tenant, ids, func(id meta.BlobID, plain []byte) error {
		for _, p := range places[id] {
			if err := r.writePart(p.to, p.offset, plain); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		for _, f := range r.files {
			r.abandon(f)
		}
		return err
	}
	r.files, r.parts = r.files[:0], 0
	r.report()
	return nil
}

// abandon removes what was written of a file that will not be complete.
func (r *restorer) abandon(f *target) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.temp == "" {
		return
	}
	if dir, _, err := r.folderOf(f.path); err == nil {
		_ = unix.Unlinkat(dir, f.temp, 0) // ignore rules leave it out
		unix.Close(dir)
	}
}

// writePart writes a part of a file, and gives the file its name after the last one.
func (r *restorer) writePart(f *target, offset int64, plain []byte) (err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer func() {
		if err != nil {
			err = spaceError(fmt.Errorf("write %.500q: %w", f.path, err))
		}
	}()
	dir, name, err := r.folderOf(f.path)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	flags := unix.O_WRONLY | unix.O_NONBLOCK
	if f.temp == "" {
		f.temp = TempPrefix + holt.NewID()
		flags |= unix.O_CREAT | unix.O_EXCL
	}
	fd, err := openAt(dir, f.temp, flags, 0o600&boolMode(flags&unix.O_CREAT != 0))
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), "file")
	defer func() { err = cmp.Or(err, file.Close()) }()
	if len(plain) > 0 {
		if _, err := file.WriteAt(plain, offset); err != nil {
			return err
		}
		f.left--
	}
	if f.left > 0 {
		return nil
	}
	if err := file.Truncate(f.e.size); err != nil { // a hole at the end
		return err
	}
	if err := unix.Fchown(fd, int(r.to.IDs+f.e.uid), int(r.to.IDs+f.e.gid)); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, f.e.mode); err != nil {
		return err
	}
	if err := setTimes(fd, f.e.mtime); err != nil {
		return err
	}
	if err := unix.Renameat(dir, f.temp, dir, name); err != nil {
		return err
	}
	f.temp = ""
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done.Files++
	r.done.Bytes += f.e.size
	return nil
}

func boolMode(on bool) uint32 {
	if on {
		return 0o7777
	}
	return 0
}

func setTimes(fd int, mtime stamp) error {
	times := []unix.Timespec{mtime.timespec(), mtime.timespec()}
	return unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), times, 0)
}

// finishFolders gives folders their owners, modes and times, the deepest first.
func (r *restorer) finishFolders() error {
	for _, f := range slices.Backward(r.folders) {
		fd, err := openFolder(r.top, f.path)
		if err != nil {
			if gone(err) == nil {
				continue // the guest took it away
			}
			return fmt.Errorf("open folder %.500q: %w", f.path, err)
		}
		err = unix.Fchown(fd, int(r.to.IDs+f.e.uid), int(r.to.IDs+f.e.gid))
		if err == nil {
			err = unix.Fchmod(fd, f.e.mode)
		}
		if err == nil {
			err = setTimes(fd, f.e.mtime)
		}
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("finish folder %.500q: %w", f.path, err)
		}
	}
	return nil
}
