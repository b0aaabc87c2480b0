package oci

import (
	"archive/tar"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// make creates the entry base in the open parent directory, where nothing has
// that name, except a directory if the entry is one.
func (t *tree) make(hdr *tar.Header, name, base string, content io.Reader) error {
	switch hdr.Typeflag {
	case tar.TypeDir:
		if err := unix.Mkdirat(t.parentFd(), base, 0o700); err != nil && err != unix.EEXIST {
			return err
		}
		t.times[name] = clampTime(hdr.ModTime)
		return t.attributes(hdr, base)
	case tar.TypeReg:
		return t.regular(hdr, base, content)
	case tar.TypeSymlink:
		if hdr.Linkname == "" || len(hdr.Linkname) >= unix.PathMax {
			return refuse("is a symbolic link with a target of %d bytes", len(hdr.Linkname))
		}
		if err := unix.Symlinkat(hdr.Linkname, t.parentFd(), base); err != nil {
			return err
		}
		if err := t.owner(hdr, base); err != nil {
			return err
		}
		return t.time(hdr, base)
	case tar.TypeLink:
		return t.hardLink(hdr.Linkname, base)
	case tar.TypeFifo:
		if err := unix.Mknodat(t.parentFd(), base, unix.S_IFIFO|0o600, 0); err != nil {
			return err
		}
		return t.attributes(hdr, base)
	case tar.TypeChar, tar.TypeBlock:
		return refuse("is a device: images may not bring devices")
	}
	return refuse("has the unknown type %q", hdr.Typeflag)
}

// regular writes a file with its content.
func (t *tree) regular(hdr *tar.Header, base string, content io.Reader) error {
	fd, err := unix.Openat(t.parentFd(), base, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), base)
	// A plain Reader and Writer, so that the one buffer is used.
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{content}, t.buf)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return t.attributes(hdr, base)
}

// hardLink links base to an entry made before. The target is named from the
// image's root.
func (t *tree) hardLink(target, base string) error {
	if strings.HasPrefix(target, "/") {
		return refuse("is a hard link to the absolute path %.200q", target)
	}
	name, err := cleanName(target)
	if err != nil {
		return refuse("is a hard link to %.200q", target)
	}
	i := strings.LastIndexByte(name, '/')
	dir := "."
	if i >= 0 {
		dir = name[:i]
	}
	d, err := t.openDir(dir)
	if err != nil {
		return fmt.Errorf("hard link to %.200q: %w", target, err)
	}
	defer d.Close()
	if err := unix.Linkat(int(d.Fd()), name[i+1:], t.parentFd(), base, 0); err != nil {
		return fmt.Errorf("hard link to %.200q: %w", target, err)
	}
	return nil
}

// attributes sets owner, extended attributes, mode and time, in the order in
// which they survive each other: chown clears setuid and capabilities. The entry
// was just made and is no symbolic link.
func (t *tree) attributes(hdr *tar.Header, base string) error {
	if err := t.owner(hdr, base); err != nil {
		return err
	}
	if err := unix.Fchmodat(t.parentFd(), base, uint32(hdr.Mode&0o7777), 0); err != nil {
		return err
	}
	if hdr.Typeflag != tar.TypeFifo {
		if err := t.xattrs(hdr, base); err != nil {
			return err
		}
	}
	return t.time(hdr, base)
}

func (t *tree) owner(hdr *tar.Header, base string) error {
	if hdr.Uid < 0 || hdr.Gid < 0 || hdr.Uid >= math.MaxUint32 || hdr.Gid >= math.MaxUint32 {
		return refuse("has the impossible owner %d:%d", hdr.Uid, hdr.Gid)
	}
	return unix.Fchownat(t.parentFd(), base, hdr.Uid, hdr.Gid, unix.AT_SYMLINK_NOFOLLOW)
}

func (t *tree) time(hdr *tar.Header, base string) error {
	ts, err := unix.TimeToTimespec(clampTime(hdr.ModTime))
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(t.parentFd(), base, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// clampTime brings a time into the years that every file system can hold.
func clampTime(m time.Time) time.Time {
	first, last := time.Unix(0, 0), time.Unix(4102444800, 0) // 1970, 2100
	switch {
	case m.Before(first):
		return first
	case m.After(last):
		return last
	}
	return m
}

const paxXattr = "SCHILY.xattr."

// xattrs sets the extended attributes that mean something in another place:
// file capabilities and those of users. Others (SELinux labels, overlayfs marks)
// are counted and left out.
func (t *tree) xattrs(hdr *tar.Header, base string) error {
	var f *os.File
	for key, value := range hdr.PAXRecords {
		name, ok := strings.CutPrefix(key, paxXattr)
		if !ok {
			continue
		}
		if name != "security.capability" && !strings.HasPrefix(name, "user.") {
			t.skippedXattrs++
			continue
		}
		if f == nil {
			fd, err := unix.Openat(t.parentFd(), base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			f = os.NewFile(uintptr(fd), base)
			defer f.Close()
		}
		switch err := unix.Fsetxattr(int(f.Fd()), name, []byte(value), 0); err {
		case nil:
		case unix.ENOTSUP:
			t.skippedXattrs++
		default:
			return fmt.Errorf("set attribute %.100q: %w", name, err)
		}
	}
	return nil
}

// rootAttributes applies an entry for the root directory itself.
func (t *tree) rootAttributes(hdr *tar.Header) error {
	if err := t.enter("."); err != nil {
		return err
	}
	t.times["."] = clampTime(hdr.ModTime)
	return t.attributes(hdr, ".")
}
