package files

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/wire/guest"
	"golang.org/x/sys/unix"
)

func timeOf(ts unix.Timespec) time.Time { return time.Unix(ts.Unix()).UTC() }

// Rename moves a path. Without Overwrite an existing target is a conflict.
func (f *Files) Rename(r guestwire.Rename) error {
	from, err := f.resolve("from", r.From)
	if err != nil {
		return err
	}
	to, err := f.resolve("to", r.To)
	if err != nil {
		return err
	}
	f.commit.Lock()
	defer f.commit.Unlock()
	err = f.Rights.Do(func() error {
		if r.Overwrite {
			return os.Rename(from, to)
		}
		return renameNew(from, to)
	})
	return explain("rename", from, err)
}

// renameNew renames where nothing has the name to. It must run with the user's
// rights.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if err != unix.EINVAL && err != unix.ENOSYS {
		return err
	}
	// A file system without the flag: a moment remains in which another process
	// may make the target.
	if _, err := os.Lstat(to); err == nil {
		return unix.EEXIST
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Rename(from, to)
}

// Mkdir makes a directory.
func (f *Files) Mkdir(m guestwire.Mkdir) error {
	path, err := f.resolve("path", m.Path)
	if err != nil {
		return err
	}
	return explain("make directory", path, f.Rights.Do(func() error {
		if m.Parents {
			return os.MkdirAll(path, 0o777)
		}
		return os.Mkdir(path, 0o777)
	}))
}

// Remove deletes a path, or with recursive a whole tree. The roots of the file
// system, the home and the workspace are refused.
func (f *Files) Remove(path string, recursive bool) error {
	path, err := f.resolve("path", path)
	if err != nil {
		return err
	}
	switch path {
	case "/", f.Account.Home, f.Account.Dir:
		return holt.Invalidf("path", "%s is not removed as a whole; remove what is in it", path)
	}
	return explain("remove", path, f.Rights.Do(func() error {
		if !recursive {
			return os.Remove(path)
		}
		return removeTree(unix.AT_FDCWD, path, 0)
	}))
}

// Chmod sets permission bits; it follows a symbolic link.
func (f *Files) Chmod(m guestwire.Chmod) error {
	path, err := f.resolve("path", m.Path)
	if err != nil {
		return err
	}
	if m.Mode&^0o7777 != 0 {
		return holt.Invalidf("mode", "mode %#o has more than permission bits (07777)", m.Mode)
	}
	return explain("change mode of", path, f.Rights.Do(func() error { return unix.Chmod(path, m.Mode) }))
}

// syncDir makes the names in a directory durable. It must run with the user's
// rights.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// target follows the links of path to the file that a write changes. It must run
// with the user's rights.
func target(path string) (string, error) {
	st, err := os.Lstat(path)
	if err != nil || st.Mode()&os.ModeSymlink == 0 {
		return path, nil // an error shows again when the file is made
	}
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", holt.Invalidf("path", "%s is a symbolic link to nothing; remove it first", path)
	}
	return real, err
}
