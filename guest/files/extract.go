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
	"syscall"
	"time"

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
		x.root, err = os.OpenRoot(dir)
		return err
	})
	if err != nil {
		return explain("extract to", dir, err)
	}
	defer x.root.Close()
	if err := x.all(); err != nil {
		return err
	}
	return explain("extract to", dir, f.Rights.Do(func() error { return x.finish(dir) }))
}

type extractor struct {
	f    *Files
	root *os.Root
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
	if err == io.EOF && c.bytes == 0 {
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
		err = x.f.Rights.Do(func() error { return x.root.MkdirAll(name, 0o755) })
	case tar.TypeSymlink:
		err = x.f.Rights.Do(func() error {
			if err := x.clear(name); err != nil {
				return err
			}
			return x.root.Symlink(h.Linkname, name)
		})
	case tar.TypeLink:
		old := path.Clean(h.Linkname)
		if !filepath.IsLocal(old) {
			return x.refuse("it links to a file out of the directory")
		}
		err = x.f.Rights.Do(func() error {
			if err := x.clear(name); err != nil {
				return err
			}
			return x.root.Link(old, name)
		})
	case tar.TypeXGlobalHeader:
	default:
		return x.refuse("only files, directories and links are extracted")
	}
	return x.fault(err)
}

// fault names the entry in an error of the file system.
func (x *extractor) fault(err error) error {
	if err == nil {
		return nil
	}
	err = explain("extract", fmt.Sprintf("tar entry %q", x.name), err)
	if _, ok := errors.AsType[syscall.Errno](err); holt.KindOf(err) == holt.KindInternal && !ok {
		// os.Root has no error to test for; this one is not the kernel's.
		return x.refuse("it leads out of the directory through a link")
	}
	return err
}

// clear makes way for a new entry: it removes what is no directory, and makes
// the parents. It must run with the user's rights.
func (x *extractor) clear(name string) error {
	if parent := path.Dir(name); parent != "." {
		if err := x.root.MkdirAll(parent, 0o755); err != nil {
			return err
		}
	}
	st, err := x.root.Lstat(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.IsDir() {
		return unix.EISDIR
	}
	return x.root.Remove(name)
}

func (x *extractor) file(h *tar.Header) error {
	mode := os.FileMode(h.Mode) & 0o777
	var file *os.File
	err := x.f.Rights.Do(func() (err error) {
		if err := x.clear(h.Name); err != nil {
			return err
		}
		file, err = x.root.OpenFile(h.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	})
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := io.Copy(file, entryReader{x}); err != nil {
		return err
	}
	return x.f.Rights.Do(func() error {
		if err := file.Chmod(mode); err != nil {
			return err
		}
		return x.root.Chtimes(h.Name, time.Time{}, h.ModTime)
	})
}

// entryReader tells errors of the stream from those of the file system.
type entryReader struct{ x *extractor }

func (e entryReader) Read(b []byte) (int, error) {
	n, err := e.x.tr.Read(b)
	if err != nil && err != io.EOF {
		err = e.x.broken(err)
	}
	return n, err
}

// finish sets the directories' modes and times, the deepest first in the order
// of a tar, and writes everything out. It must run with the user's rights.
func (x *extractor) finish(dir string) error {
	for i := len(x.dirs) - 1; i >= 0; i-- {
		h := x.dirs[i]
		x.name = h.Name
		if err := x.root.Chmod(h.Name, os.FileMode(h.Mode)&0o777); err != nil {
			return x.fault(err)
		}
		if err := x.root.Chtimes(h.Name, time.Time{}, h.ModTime); err != nil {
			return x.fault(err)
		}
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}
