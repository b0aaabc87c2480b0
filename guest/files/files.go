// Package files serves the guest's file system with the rights of the
// workspace's user: what the user cannot read or write in a shell cannot be
// read or written here. It is not confined to the workspace's directory.
//
// Writes are atomic and durable: a temporary file in the same directory, written,
// synced and renamed, and the directory synced. Lists and searches are bounded,
// streams hold one chunk at a time.
package files

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/guest/account"
	"github.com/holt-ide/holt/guest/process"
	"github.com/holt-ide/holt/wire/guest"
	"golang.org/x/sys/unix"
)

// MaxPage is the most entries of one page of a list.
const MaxPage = 2000

// Files serves files. Every field is required. It is safe for concurrent use.
type Files struct {
	Account   *account.Account
	Rights    *account.Rights
	Processes *process.Table // runs the search program
	Log       *slog.Logger

	commit sync.Mutex // held from checking a precondition to the rename
}

// resolve returns the absolute, cleaned path that the request field names.
func (f *Files) resolve(field, path string) (string, error) {
	switch {
	case path == "":
		return "", holt.Invalidf(field, "%s is missing: give a path, absolute or relative to %s", field, f.Account.Dir)
	case strings.ContainsRune(path, 0):
		return "", holt.Invalidf(field, "%s contains a zero byte", field)
	case len(path) >= unix.PathMax:
		return "", holt.Invalidf(field, "%s has %d bytes, at most %d", field, len(path), unix.PathMax-1)
	case !filepath.IsAbs(path):
		path = filepath.Join(f.Account.Dir, path)
	}
	return filepath.Clean(path), nil
}

// explain turns an error of the file system into one for the user.
func explain(op, path string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*holt.Error](err); ok {
		return err
	}
	fail := func(k holt.Kind, text string) error {
		return &holt.Error{Kind: k, Field: "path", Text: fmt.Sprintf("%s %s: %s", op, path, text)}
	}
	is := func(targets ...error) bool {
		return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
	}
	switch {
	case is(syscall.ENOENT):
		return fail(holt.KindNotFound, "no such file or directory")
	case is(syscall.ENOTEMPTY):
		return fail(holt.KindConflict, "the directory is not empty")
	case is(syscall.EEXIST):
		return fail(holt.KindConflict, "it exists already")
	case is(syscall.EBUSY, syscall.ETXTBSY):
		return fail(holt.KindConflict, "it is in use")
	case is(syscall.EACCES, syscall.EPERM):
		return fail(holt.KindForbidden, "permission denied")
	case is(syscall.EROFS):
		return fail(holt.KindForbidden, "the file system is read-only")
	case is(syscall.ENOSPC, syscall.EDQUOT):
		return fail(holt.KindNoSpace, "the disk is full; remove something")
	case is(syscall.EMFILE, syscall.ENFILE):
		return fail(holt.KindLimit, "too many open files")
	case is(syscall.ENOTDIR):
		return fail(holt.KindInvalid, "a part of the path is not a directory")
	case is(syscall.EISDIR):
		return fail(holt.KindInvalid, "it is a directory")
	case is(syscall.ENAMETOOLONG):
		return fail(holt.KindInvalid, "the name is too long")
	case is(syscall.ELOOP):
		return fail(holt.KindInvalid, "too many symbolic links")
	case is(syscall.EXDEV):
		return fail(holt.KindInvalid, "it is on another file system; copy and remove it")
	case is(syscall.EINVAL):
		return fail(holt.KindInvalid, "the file system refuses it")
	}
	return &holt.Error{Kind: holt.KindInternal, Field: "path", Text: op + " " + path, Err: err}
}

// Stat describes a path; a symbolic link is not followed.
func (f *Files) Stat(path string) (info guestwire.FileInfo, err error) {
	path, err = f.resolve("path", path)
	if err != nil {
		return info, err
	}
	err = f.Rights.Do(func() error {
		info, err = stat(path)
		return err
	})
	return info, explain("stat", path, err)
}

// stat must run with the user's rights.
func stat(path string) (guestwire.FileInfo, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return guestwire.FileInfo{}, err
	}
	info := describe(path, &st)
	if info.Type == guestwire.TypeSymlink {
		info.Target, _ = os.Readlink(path) // it may have just gone
		if err := unix.Stat(path, &st); err == nil {
			info.Points = typeOf(&st)
		}
	}
	return info, nil
}

func describe(path string, st *unix.Stat_t) guestwire.FileInfo {
	info := guestwire.FileInfo{
		Path: path, Name: filepath.Base(path), Type: typeOf(st), Size: st.Size, Mode: st.Mode & 0o7777,
		ModTime: timeOf(st.Mtim), UID: st.Uid, GID: st.Gid,
	}
	if info.Type == guestwire.TypeFile {
		info.ETag = etag(st)
	}
	return info
}

func typeOf(st *unix.Stat_t) guestwire.FileType {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return guestwire.TypeFile
	case unix.S_IFDIR:
		return guestwire.TypeDir
	case unix.S_IFLNK:
		return guestwire.TypeSymlink
	}
	return guestwire.TypeOther
}

// etag changes with each write: a write through the agent makes a new inode, and
// any other changes the time.
func etag(st *unix.Stat_t) string {
	return fmt.Sprintf(`"%x-%x-%x"`, st.Ino, st.Mtim.Nano(), st.Size)
}

// List returns one page of a directory: the entries, sorted by name, that follow
// the name after. A limit of 0, or above [MaxPage], means MaxPage.
func (f *Files) List(path, after string, limit int) (list guestwire.FileList, err error) {
	path, err = f.resolve("path", path)
	if err != nil {
		return list, err
	}
	if limit <= 0 || limit > MaxPage {
		limit = MaxPage
	}
	list = guestwire.FileList{Path: path, Entries: []guestwire.FileInfo{}}
	err = f.Rights.Do(func() error {
		names, more, err := page(path, after, limit)
		if err != nil {
			return err
		}
		for _, name := range names {
			info, err := stat(filepath.Join(path, name))
			if errors.Is(err, os.ErrNotExist) {
				continue // gone since
			}
			if err != nil {
				return err
			}
			list.Entries = append(list.Entries, info)
		}
		if more {
			list.Next = names[len(names)-1]
		}
		return nil
	})
	return list, explain("list", path, err)
}

// page returns the limit smallest names above after, without holding a large
// directory in memory.
func page(path, after string, limit int) (names []string, more bool, err error) {
	dir, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, false, err
	}
	defer dir.Close()
	for {
		batch, err := dir.Readdirnames(4096)
		for _, name := range batch {
			if name > after {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		if len(names) > limit {
			names, more = names[:limit], true
		}
		if err != nil || len(batch) == 0 {
			break // the end, or an error on a directory that was just removed
		}
	}
	return names, more, nil
}

// Real returns the absolute path of something that exists, with its links followed.
func (f *Files) Real(path string) (real string, err error) {
	path, err = f.resolve("path", path)
	if err != nil {
		return "", err
	}
	err = f.Rights.Do(func() error {
		real, err = filepath.EvalSymlinks(path)
		return err
	})
	return real, explain("open", path, err)
}

// Open opens a regular file for reading; the caller closes it.
func (f *Files) Open(path string) (file *os.File, info guestwire.FileInfo, err error) {
	path, err = f.resolve("path", path)
	if err != nil {
		return nil, info, err
	}
	err = f.Rights.Do(func() error {
		file, info, err = openRegular(path, 0)
		return err
	})
	return file, info, explain("read", path, err)
}

// openRegular opens without waiting for the writer of a FIFO. It must run with
// the user's rights.
func openRegular(path string, flags int) (*os.File, guestwire.FileInfo, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|flags, 0)
	if err != nil {
		return nil, guestwire.FileInfo{}, err
	}
	info, err := statFile(file, path)
	if err == nil && info.Type != guestwire.TypeFile {
		err = holt.Invalidf("path", "%s is not a regular file", path)
	}
	if err != nil {
		file.Close()
		return nil, info, err
	}
	return file, info, nil
}

func statFile(file *os.File, path string) (guestwire.FileInfo, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return guestwire.FileInfo{}, err
	}
	var st unix.Stat_t
	if cerr := raw.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &st) }); cerr != nil {
		err = cerr
	}
	return describe(path, &st), err
}
