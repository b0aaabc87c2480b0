package persist

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// What is read lies on a volume to which a hostile guest writes at the same time. So a
// name is resolved one folder at a time from an open one, following nothing; what was
// opened is looked at before it is used.

const beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV

// openAt opens a path below the folder dir and never anything else.
func openAt(dir int, path string, flags int, mode uint32) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags) | unix.O_CLOEXEC | unix.O_NOFOLLOW, Mode: uint64(mode), Resolve: beneath}
	for {
		fd, err := unix.Openat2(dir, path, &how)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue // something was renamed on the way
		}
		return fd, err
	}
}

func openFolder(dir int, path string) (int, error) {
	return openAt(dir, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
}

// statAt looks at a name in a folder without following it.
func statAt(dir int, name string) (st unix.Stat_t, err error) {
	for {
		err = unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if !errors.Is(err, unix.EINTR) {
			return st, err
		}
	}
}

// names returns the names in a folder, sorted; at most most of them.
func names(dir int, most int64) ([]string, error) {
	// The descriptor of the caller stays where it is in the folder.
	fd, err := openFolder(dir, ".")
	if err != nil {
		return nil, fmt.Errorf("open folder: %w", err)
	}
	f := os.NewFile(uintptr(fd), "folder")
	defer f.Close()
	var list []string
	for int64(len(list)) <= most {
		some, err := f.Readdirnames(1024)
		list = append(list, some...)
		if errors.Is(err, io.EOF) || errors.Is(err, unix.ENOENT) {
			break // ENOENT: it has just been removed
		} else if err != nil {
			return nil, fmt.Errorf("read folder: %w", err)
		}
	}
	slices.SortFunc(list, strings.Compare)
	return slices.Compact(list), nil
}

func linkTarget(dir int, name string) (string, error) {
	buf := make([]byte, maxTarget+1)
	n, err := unix.Readlinkat(dir, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

func stampOf(t unix.Timespec) stamp { return stamp{t.Sec, uint32(t.Nsec)} }

// readSmall reads up to most bytes of a file; "" if there is no such file.
func readSmall(dir int, path string, most int64) (string, error) {
	fd, err := openAt(dir, path, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", gone(err)
	}
	f := os.NewFile(uintptr(fd), "file")
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(f, most))
	return string(b), err
}
