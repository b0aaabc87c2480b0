package oci

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	holt "github.com/holt-ide/holt"
)

// tree is the directory into which layers are flattened, one after the other.
//
// Paths are resolved by os.Root, which refuses to leave the directory, to the
// directory that holds an entry; the entry itself is then made relative to that
// open directory and never followed. Not safe for concurrent use.
type tree struct {
	root *os.Root
	lim  Limits
	buf  []byte

	entries, bytes, names, visits int64 // used of lim
	skippedXattrs                 int

	parent parentDir // of the last entry: archives go directory by directory

	// made holds what the current layer made. A whiteout hides only what lower
	// layers made, wherever in the archive it stands.
	made map[place]struct{}
	// times holds when directories were modified. They are set at the end, since
	// every entry made in a directory changes it.
	times map[string]time.Time
}

// place is a name in a directory, the same by whatever path it was reached.
type place struct {
	dir  uint64 // inode
	name string
}

// parentDir is an open directory.
type parentDir struct {
	f    *os.File // nil when none is open
	path string
	ino  uint64
}

func newTree(dir string, lim Limits) (*tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open image tree: %w", err)
	}
	return &tree{root: root, lim: lim, buf: make([]byte, 256<<10), times: map[string]time.Time{".": time.Unix(0, 0)}}, nil
}

func (t *tree) close() {
	t.leave()
	t.root.Close()
}

// leave closes the remembered directory; needed whenever a directory is removed.
func (t *tree) leave() {
	if t.parent.f != nil {
		t.parent.f.Close()
	}
	t.parent = parentDir{}
}

// apply writes one layer's tar over the tree.
func (t *tree) apply(ctx context.Context, r io.Reader) error {
	t.made = map[place]struct{}{}
	tr := tar.NewReader(r)
	for first := true; ; first = false {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return tarError(err, first)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.entry(hdr, tr); err != nil {
			return entryError(hdr.Name, err)
		}
	}
}

// entry applies one entry.
func (t *tree) entry(hdr *tar.Header, content io.Reader) error {
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if err := t.count(hdr); err != nil {
		return err
	}
	name, err := cleanName(hdr.Name)
	if err != nil {
		return err
	}
	if name == "." {
		if hdr.Typeflag != tar.TypeDir {
			return refuse("takes the place of the root directory")
		}
		return t.rootAttributes(hdr)
	}
	dir, base := path.Split(name)
	dir = path.Clean(dir)
	if hidden, ok := strings.CutPrefix(base, whiteoutPrefix); ok {
		return t.whiteout(dir, hidden)
	}
	if err := t.enter(dir); err != nil {
		return err
	}
	if err := t.makeRoom(name, base, hdr.Typeflag == tar.TypeDir); err != nil {
		return err
	}
	if err := t.make(hdr, name, base, content); err != nil {
		return err
	}
	t.made[place{t.parent.ino, base}] = struct{}{}
	return nil
}

// count takes the entry out of the limits, before anything is written.
func (t *tree) count(hdr *tar.Header) error {
	t.entries++
	t.names += int64(len(hdr.Name) + len(hdr.Linkname))
	t.bytes += max(hdr.Size, 0)
	switch {
	case t.entries > t.lim.Entries:
		return refuse("is one too many: an image may have %d entries", t.lim.Entries)
	case t.names > t.lim.NameBytes:
		return refuse("exceeds the limit of %s for all names", holt.FormatSize(t.lim.NameBytes))
	case hdr.Size < 0 || hdr.Size > t.lim.FileBytes:
		return refuse("is larger than %s", holt.FormatSize(t.lim.FileBytes))
	case t.bytes > t.lim.Bytes:
		return refuse("exceeds the limit of %s for the image", holt.FormatSize(t.lim.Bytes))
	}
	return nil
}

// cleanName returns the entry's name relative to the root. A leading slash is
// common and harmless.
func cleanName(name string) (string, error) {
	switch {
	case name == "":
		return "", refuse("has no name")
	case len(name) >= unix.PathMax:
		return "", refuse("has a name longer than %d bytes", unix.PathMax-1)
	case strings.IndexByte(name, 0) >= 0:
		return "", refuse("has a zero byte in its name")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", refuse("has .. in its name")
		}
	}
	return path.Clean("./" + strings.TrimLeft(name, "/")), nil
}

// enter makes dir the open parent directory; missing directories are made, as
// some builders leave them out.
func (t *tree) enter(dir string) error {
	if t.parent.f != nil && t.parent.path == dir {
		return nil
	}
	t.leave()
	f, err := t.openDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = t.makeParents(dir); err == nil {
			f, err = t.openDir(dir)
		}
	}
	if err != nil {
		return err
	}
	ino, err := inode(f)
	if err != nil {
		f.Close()
		return err
	}
	t.parent = parentDir{f: f, path: dir, ino: ino}
	return nil
}

func (t *tree) openDir(dir string) (*os.File, error) {
	return t.root.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
}

func (t *tree) makeParents(dir string) error {
	for i := 0; i <= len(dir); i++ {
		if i < len(dir) && dir[i] != '/' {
			continue
		}
		d := dir[:i]
		switch err := t.root.Mkdir(d, 0o755); {
		case errors.Is(err, fs.ErrExist):
			continue
		case err != nil:
			return err
		}
		if err := t.root.Chmod(d, 0o755); err != nil {
			return err
		}
		t.times[d] = time.Unix(0, 0)
		f, err := t.openDir(path.Dir(d))
		if err != nil {
			return err
		}
		ino, err := inode(f)
		f.Close()
		if err != nil {
			return err
		}
		t.made[place{ino, path.Base(d)}] = struct{}{}
	}
	return nil
}

// makeRoom removes what has the entry's name, unless both are directories.
func (t *tree) makeRoom(name, base string, dir bool) error {
	var st unix.Stat_t
	err := unix.Fstatat(t.parentFd(), base, &st, unix.AT_SYMLINK_NOFOLLOW)
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return err
	case isDir && dir:
		return nil
	case !isDir:
		return unix.Unlinkat(t.parentFd(), base, 0)
	}
	if err := t.root.RemoveAll(name); err != nil {
		return err
	}
	dirPath := t.parent.path
	t.leave()
	return t.enter(dirPath)
}

func (t *tree) parentFd() int { return int(t.parent.f.Fd()) }

// finish sets the times of directories.
func (t *tree) finish() error {
	t.leave()
	for dir, when := range t.times {
		fi, err := t.root.Lstat(dir)
		if err != nil || !fi.IsDir() {
			continue // removed or replaced by a later layer
		}
		if err := t.root.Chtimes(dir, when, when); err != nil {
			return fmt.Errorf("set time of directory %q: %w", dir, err)
		}
	}
	return nil
}

func inode(f *os.File) (uint64, error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return inodeOf(fi), nil
}

func inodeOf(fi fs.FileInfo) uint64 { return fi.Sys().(*syscall.Stat_t).Ino }
