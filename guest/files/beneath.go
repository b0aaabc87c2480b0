package files

import (
	"errors"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// This file is what os.Root and os.RemoveAll are for, and cannot be used for: they
// trust openat(2) with O_DIRECTORY|O_NOFOLLOW to refuse symbolic links, and
// gVisor follows them. With O_PATH it refuses them, as Linux does. A test on
// gVisor holds this; see TestFilesExtractRefusesHostileEntries.

// errLink is a way that leads through a symbolic link or something that is no
// directory.
var errLink = errors.New("a part of the path is a link or no directory")

// maxDepth bounds how deep a tree may be that is removed: one descriptor is open
// for each level.
const maxDepth = 512

// openDir opens a directory in another one, and no link to one. The descriptor is
// good for naming what is in it.
func openDir(parent int, name string) (int, error) {
	fd, err := unix.Openat(parent, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOTDIR || err == unix.ELOOP {
		err = errLink
	}
	return fd, err
}

// beneath opens the directory that holds name, which is local to root and
// clean, and returns it with name's last element. With create, missing
// directories are made. The caller closes the descriptor.
func beneath(root int, name string, create bool) (fd int, base string, err error) {
	dir, base := path.Split(name)
	fd, err = openDir(root, ".")
	for _, part := range strings.Split(strings.TrimSuffix(dir, "/"), "/") {
		if err != nil || part == "" {
			break
		}
		if create {
			if err := unix.Mkdirat(fd, part, 0o755); err != nil && err != unix.EEXIST {
				unix.Close(fd)
				return -1, "", err
			}
		}
		var next int
		next, err = openDir(fd, part)
		unix.Close(fd)
		fd = next
	}
	return fd, base, err
}

// removeTree removes a name and all that is below it, and follows no link.
func removeTree(parent int, name string, depth int) error {
	err := unix.Unlinkat(parent, name, 0)
	if err == nil || (err == unix.ENOENT && depth > 0) {
		return nil
	}
	if err == unix.ENOENT {
		return err
	}
	fd, derr := openDir(parent, name)
	if errors.Is(derr, errLink) {
		return err // no directory: the first error is the true one
	}
	if derr != nil {
		return derr
	}
	defer unix.Close(fd)
	if depth >= maxDepth {
		return unix.ELOOP
	}
	if err := removeEntries(fd, depth); err != nil {
		return err
	}
	return unix.Unlinkat(parent, name, unix.AT_REMOVEDIR)
}

// removeEntries empties a directory, a batch of names at a time.
func removeEntries(dir, depth int) error {
	for {
		fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), ".")
		names, err := f.Readdirnames(1024)
		f.Close()
		if errors.Is(err, io.EOF) || (err == nil && len(names) == 0) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := removeTree(dir, name, depth+1); err != nil {
				return err
			}
		}
	}
}
