package files

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/holt-ide/holt/wire/guest"
	"golang.org/x/sys/unix"
)

// Archive writes a file or a tree to w as a tar stream. Names are relative to
// the path's parent. Symbolic links are archived as links, devices, FIFOs and
// sockets are left out. The user's rights apply to each entry; the first one
// that cannot be read ends the archive without a trailer and with an error.
// start is called before the first byte, once the path itself could be read.
func (f *Files) Archive(ctx context.Context, root string, start func(), w io.Writer) error {
	root, err := f.resolve("path", root)
	if err != nil {
		return err
	}
	if _, err := f.Stat(root); err != nil {
		return err
	}
	start()
	a := &archiver{ctx: ctx, f: f, tw: tar.NewWriter(w), buf: make([]byte, 64<<10)}
	if err := a.add(root, filepath.Base(root)); err != nil {
		return err
	}
	if err := a.tw.Close(); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return nil
}

type archiver struct {
	ctx context.Context
	f   *Files
	tw  *tar.Writer
	buf []byte
}

// add archives one entry and, for a directory, what is in it. The depth is
// bounded by the longest path that the kernel takes.
func (a *archiver) add(file, name string) error {
	if err := a.ctx.Err(); err != nil {
		return err
	}
	e, err := a.open(file)
	if err != nil {
		return explain("archive", file, err)
	}
	defer e.close()
	h := &tar.Header{
		Name: name, Mode: int64(e.info.Mode), Uid: int(e.info.UID), Gid: int(e.info.GID),
		ModTime: e.info.ModTime, Format: tar.FormatPAX,
	}
	switch e.info.Type {
	case guestwire.TypeDir:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case guestwire.TypeSymlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.info.Target
	case guestwire.TypeFile:
		h.Typeflag, h.Size = tar.TypeReg, e.info.Size
	default:
		return nil
	}
	if err := a.tw.WriteHeader(h); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	if h.Typeflag == tar.TypeReg {
		if err := a.copy(e); err != nil {
			return explain("archive", file, err)
		}
	}
	e.close()
	for _, child := range e.names {
		if err := a.add(filepath.Join(file, child), path.Join(name, child)); err != nil {
			return err
		}
	}
	return nil
}

// copy writes exactly as many bytes as the header says: a file that shrinks is
// filled with zeros, one that grows is cut.
func (a *archiver) copy(e *entry) error {
	n, err := io.CopyBuffer(onlyWriter{a.tw}, io.LimitReader(e.file, e.info.Size), a.buf)
	if err != nil {
		return err
	}
	clear(a.buf)
	for n < e.info.Size {
		m, err := a.tw.Write(a.buf[:min(int64(len(a.buf)), e.info.Size-n)])
		if err != nil {
			return err
		}
		n += int64(m)
	}
	return nil
}

// onlyWriter hides ReadFrom, which would take the buffer's place.
type onlyWriter struct{ io.Writer }

type entry struct {
	info  guestwire.FileInfo
	file  *os.File // of a regular file
	names []string // of a directory, sorted
}

func (e *entry) close() {
	if e.file != nil {
		e.file.Close()
		e.file = nil
	}
}

func (a *archiver) open(file string) (*entry, error) {
	e := &entry{}
	err := a.f.Rights.Do(func() (err error) {
		if e.info, err = stat(file); err != nil {
			return err
		}
		switch e.info.Type {
		case guestwire.TypeFile:
			e.file, e.info, err = openRegular(file, unix.O_NOFOLLOW)
		case guestwire.TypeDir:
			var dir *os.File
			if dir, err = os.OpenFile(file, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0); err != nil {
				return err
			}
			defer dir.Close()
			e.names, err = dir.Readdirnames(-1)
			slices.Sort(e.names)
		}
		return err
	})
	return e, err
}
