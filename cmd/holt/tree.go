package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/holt-ide/holt"
)

// packTree writes the file or tree src to w as a tar stream in which src is
// called name, or with name "" its content has no common directory. A src that
// is a symbolic link is followed, links inside are kept.
func packTree(ctx context.Context, src, name string, w io.Writer, m *meter) error {
	tw := tar.NewWriter(w)
	if resolved, err := filepath.EvalSymlinks(src); err == nil {
		src = resolved
	}
	var sent int64
	err := filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		rel, err := filepath.Rel(src, p)
		if err != nil {
			return err
		}
		entry := path.Join(name, filepath.ToSlash(rel))
		if entry == "." {
			return nil
		}
		n, err := packOne(tw, p, entry, d)
		sent += n
		m.show("sent", sent, 0, holt.FormatSize)
		return err
	})
	if err != nil {
		return fmt.Errorf("pack %s: %w", src, err)
	}
	if err := tw.Close(); err != nil {
		return fmt.Errorf("pack %s: %w", src, err)
	}
	return nil
}

// packOne writes one entry. Sockets, devices and FIFOs are left out.
func packOne(tw *tar.Writer, p, entry string, d fs.DirEntry) (int64, error) {
	info, err := d.Info()
	if err != nil {
		return 0, err
	}
	mode := info.Mode()
	if !mode.IsRegular() && !mode.IsDir() && mode&fs.ModeSymlink == 0 {
		return 0, nil
	}
	link := ""
	if mode&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(p); err != nil {
			return 0, err
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return 0, err
	}
	h.Name, h.Uid, h.Gid, h.Uname, h.Gname = entry, 0, 0, "", ""
	h.Format = tar.FormatPAX
	if mode.IsDir() {
		h.Name += "/"
	}
	if !mode.IsRegular() {
		return 0, tw.WriteHeader(h)
	}
	f, err := os.Open(p)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := tw.WriteHeader(h); err != nil {
		return 0, err
	}
	n, err := io.CopyN(tw, f, h.Size) // a file that grows meanwhile is cut
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%s became shorter while it was read", p)
	}
	return n, err
}

// unpackTree reads a tar stream whose entries share their first directory, and
// makes them below root with that directory called name, or left out with name
// "". The stream comes from a guest and is not trusted: nothing outside root is
// touched, and special files are refused.
func unpackTree(root *os.Root, name string, r io.Reader, m *meter) error {
	tr := tar.NewReader(r)
	var got int64
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the copy broke off: %w", err)
		}
		entry, err := entryName(h.Name, name)
		if err != nil {
			return err
		}
		if err := unpackOne(root, name, entry, h, tr); err != nil {
			return fmt.Errorf("unpack %s: %w", printable(h.Name), err)
		}
		got += h.Size
		m.show("received", got, 0, holt.FormatSize)
	}
}

// entryName replaces the first element of an entry's path by name.
func entryName(p, name string) (string, error) {
	p = path.Clean(p)
	if path.IsAbs(p) || p == ".." || strings.HasPrefix(p, "../") {
		return "", holt.Errorf(holt.KindInvalid, "the workspace sent a path outside of the copy: %q", p)
	}
	_, rest, _ := strings.Cut(p, "/")
	return path.Join(".", name, rest), nil
}

func unpackOne(root *os.Root, top, name string, h *tar.Header, r io.Reader) error {
	perm := h.FileInfo().Mode().Perm()
	if name != "." {
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if name == "." {
			return nil
		}
		if err := root.Mkdir(name, perm|0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	case tar.TypeReg:
		return unpackFile(root, name, h, perm, r)
	case tar.TypeSymlink:
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		old, err := entryName(h.Linkname, top)
		if err != nil {
			return err
		}
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return root.Link(old, name)
	}
	return fmt.Errorf("it is neither a file, a directory nor a link (tar type %q)", h.Typeflag)
}

// unpackFile replaces the file name. A link that is there is replaced, not
// followed.
func unpackFile(root *os.Root, name string, h *tar.Header, perm fs.FileMode, r io.Reader) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := root.Chmod(name, perm); err != nil {
		return err
	}
	return root.Chtimes(name, h.ModTime, h.ModTime)
}
