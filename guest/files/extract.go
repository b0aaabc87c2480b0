package files

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/holt-ide/holt"
	"golang.org/x/sys/unix"
)

// maxEntries bounds one extraction: the names of directories are held to its end.
const maxEntries = 2_000_000

// Extract unpacks a tar stream below a directory, which is made where missing.
// Everything belongs to the user; setuid and setgid bits are dropped. An entry
// that could leave the directory (an absolute name, "..", a way through
// a symbolic link) or is a device or FIFO is refused, and its name is in the
// error. Entries before it stay: an extraction is not one step.
func (f *Files) Extract(ctx context.Context, dir string, r io.Reader) error {
	dir, err := f.resolve("path", dir)
	if err != nil {
		return err
	}
	x := &extractor{f: f, tr: tar.NewReader(&counter{r: &reader{ctx: ctx, r: r}})}
	err = f.Rights.Do(func() error {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return err
		}
		x.root, err = os.Open(dir)
		return err
	})
	if err != nil {
		return explain("extract to", dir, err)
	}
	defer x.root.Close()
	if err := x.all(); err != nil {
		return err
	}
	return explain("extract to", dir, f.Rights.Do(func() error { return x.finish() }))
}

type extractor struct {
	f    *Files
	root *os.File
	tr   *tar.Reader
	dirs []*tar.Header // their modes and times are set last
	name string        // of the entry at hand, for errors
	n    int
}

// counter tells an empty stream, which package tar takes for an archive.
type counter struct {
	r     io.Reader
	bytes int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.bytes += int64(n)
	if errors.Is(err, io.EOF) && c.bytes == 0 {
		err = holt.Invalid("body", "the body is empty, not a tar stream")
	}
	return n, err
}

func (x *extractor) all() error {
	for {
		h, err := x.tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return x.broken(err)
		}
		x.name = h.Name
		if x.n++; x.n > maxEntries {
			return x.refuse(fmt.Sprintf("the archive has more than %d entries", maxEntries))
		}
		if err := x.entry(h); err != nil {
			return err
		}
	}
}

func (x *extractor) refuse(why string) error {
	return holt.Invalidf("body", "tar entry %q refused: %s", x.name, why)
}

func (x *extractor) broken(err error) error {
	if _, ok := errors.AsType[*holt.Error](err); ok {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	where := "at its beginning"
	if x.n > 0 {
		where = fmt.Sprintf("after %d entries, near %q", x.n, x.name)
	}
	return &holt.Error{Kind: holt.KindInvalid, Field: "body", Text: "not a tar stream " + where, Err: err}
}

func (x *extractor) entry(h *tar.Header) error {
	name := path.Clean(h.Name)
	switch {
	case h.Name == "" || path.IsAbs(h.Name) || strings.ContainsRune(h.Name, 0):
		return x.refuse("its name is absolute or empty")
	case !filepath.IsLocal(name):
		return x.refuse("its name leads out of the directory")
	}
	h.Name = name
	var err error
	switch h.Typeflag {
	case tar.TypeReg:
		err = x.file(h)
	case tar.TypeDir:
		x.dirs = append(x.dirs, h)
		err = x.dir(name)
	case tar.TypeSymlink:
		err = x.in(name, true, func(dir int, base string) error {
			if err := makeWay(dir, base); err != nil {
				return err
			}
			return unix.Symlinkat(h.Linkname, dir, base)
		})
	case tar.TypeLink:
		old := path.Clean(h.Linkname)
		if !filepath.IsLocal(old) {
			return x.refuse("it links to a file out of the directory")
		}
		err = x.link(old, name)
	case tar.TypeXGlobalHeader:
	default:
		return x.refuse("only files, directories and links are extracted")
	}
	return x.fault(err)
}

// fault names the entry in an error of the file system.
func (x *extractor) fault(err error) error {
	if errors.Is(err, errLink) {
		return x.refuse("it leads through a link, or through something that is no directory")
	}
	return explain("extract", fmt.Sprintf("tar entry %q", x.name), err)
}

// in runs do with the user's rights and the directory that holds name.
func (x *extractor) in(name string, create bool, do func(dir int, base string) error) error {
	return x.f.Rights.Do(func() error {
		dir, base, err := beneath(int(x.root.Fd()), name, create)
		if err != nil {
			return err
		}
		defer unix.Close(dir)
		return do(dir, base)
	})
}

// makeWay prepares for a new entry: it removes what is no directory.
func makeWay(dir int, base string) error {
	err := unix.Unlinkat(dir, base, 0)
	if err == unix.ENOENT {
		return nil
	}
	return err
}

func (x *extractor) dir(name string) error {
	if name == "." {
		return nil
	}
	return x.in(name, true, func(dir int, base string) error {
		if err := unix.Mkdirat(dir, base, 0o755); err != unix.EEXIST {
			return err
		}
		fd, err := openDir(dir, base)
		if err == nil {
			unix.Close(fd)
		}
		return err
	})
}

func (x *extractor) link(old, name string) error {
	return x.in(old, false, func(from int, oldBase string) error {
		to, base, err := beneath(int(x.root.Fd()), name, true)
		if err != nil {
			return err
		}
		defer unix.Close(to)
		if err := makeWay(to, base); err != nil {
			return err
		}
		return unix.Linkat(from, oldBase, to, base, 0)
	})
}

func (x *extractor) file(h *tar.Header) error {
	mode := uint32(h.Mode) & 0o777
	var file *os.File
	err := x.in(h.Name, true, func(dir int, base string) error {
		if err := makeWay(dir, base); err != nil {
			return err
		}
		fd, err := unix.Openat(dir, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err == nil {
			file = os.NewFile(uintptr(fd), h.Name)
		}
		return err
	})
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := io.Copy(file, entryReader{x}); err != nil {
		return err
	}
	return x.in(h.Name, false, func(dir int, base string) error {
		if err := file.Chmod(os.FileMode(mode)); err != nil {
			return err
		}
		return setTime(dir, base, h)
	})
}

func setTime(dir int, base string, h *tar.Header) error {
	mtime := unix.NsecToTimespec(h.ModTime.UnixNano())
	omit := unix.Timespec{Nsec: unix.UTIME_OMIT}
	return unix.UtimesNanoAt(dir, base, []unix.Timespec{omit, mtime}, unix.AT_SYMLINK_NOFOLLOW)
}

// entryReader tells errors of the stream from those of the file system.
type entryReader struct{ x *extractor }

func (e entryReader) Read(b []byte) (int, error) {
	n, err := e.x.tr.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = e.x.broken(err)
	}
	return n, err
}

// finish sets the directories' modes and times, the deepest first in the order
// of a tar, and writes everything out. It must run with the user's rights.
func (x *extractor) finish() error {
	for i := len(x.dirs) - 1; i >= 0; i-- {
		h := x.dirs[i]
		x.name = h.Name
		if err := x.finishDir(h); err != nil {
			return x.fault(err)
		}
	}
	return unix.Syncfs(int(x.root.Fd()))
}

func (x *extractor) finishDir(h *tar.Header) error {
	if h.Name == "." {
		return nil // the target's own mode is not the archive's to set
	}
	dir, base, err := beneath(int(x.root.Fd()), h.Name, false)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	// Without O_DIRECTORY, with which gVisor would follow a link.
	fd, err := unix.Openat(dir, base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fchmod(fd, uint32(h.Mode)&0o777); err != nil {
		return err
	}
	return setTime(dir, base, h)
}
