// Package durable writes files so that a crash at any moment leaves either the
// old content or the new content under a name, never a mixture and never an
// empty file.
//
// The rule, kept in this one place: write to a temporary file in the same
// directory, fsync it, close it, rename it over the name, fsync the directory.
// When a function here returns nil, the new content survives a power failure.
//
// Temporary files are named ".NAME.tmp-RANDOM" after the file they will become;
// [Clean] removes those that a crash left behind. Any package may import this
// one; it imports the standard library only.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// tmpMark separates the final name from the random part of a temporary name.
const tmpMark = ".tmp-"

// WriteFile makes data the content of the file path with permission bits perm
// (not reduced by the umask).
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	return Write(path, perm, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// Replace is WriteFile for facts that a power failure makes void, such as what
// runs on this host: a reader, or a next process after a crash of this one, finds
// the old content or the new, but nothing is flushed.
func Replace(path string, data []byte, perm fs.FileMode) error {
	f, err := Create(path, perm)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Replace()
}

// Write makes whatever fill writes the content of the file path. When fill
// fails, path is untouched and the temporary file is removed.
func Write(path string, perm fs.FileMode, fill func(w io.Writer) error) error {
	f, err := Create(path, perm)
	if err != nil {
		return err
	}
	defer f.Abort()
	if err := fill(f); err != nil {
		return err
	}
	return f.Commit()
}

// File is a file under construction: it has the temporary name until
// [File.Commit]. It is an [os.File], so that programs may also be handed its
// descriptor or, through [os.File.Name], its temporary path.
type File struct {
	*os.File
	path string
	done bool
}

// Create starts the file path. The caller ends it with Commit or Abort; Abort
// after Commit does nothing, so that it can be deferred.
func Create(path string, perm fs.FileMode) (*File, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+tmpMark+"*")
	if err != nil {
		return nil, fmt.Errorf("create temporary file: %w", err)
	}
	d := &File{File: f, path: path}
	if err := f.Chmod(perm); err != nil {
		d.Abort()
		return nil, fmt.Errorf("set mode of temporary file: %w", err)
	}
	return d, nil
}

// Commit gives the file its final name, durably. After an error the final name
// has its old content, except when only the fsync of the directory failed: then
// the new content is there but may not survive a power failure.
func (f *File) Commit() error { return f.CommitAs(f.path) }

// Replace is [File.Commit] without flushing anything: after a power failure there
// may be the old content, the new, or, on some file systems, none.
func (f *File) Replace() error {
	if f.done {
		return fmt.Errorf("replace %s: %w", f.path, os.ErrClosed)
	}
	f.done = true
	if err := f.Close(); err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("close temporary file: %w", err)
	}
	if err := os.Rename(f.Name(), f.path); err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("rename temporary file: %w", err)
	}
	return nil
}

// CommitAs is [File.Commit] under another name in the same directory, for
// content whose name follows from the content, such as its hash.
func (f *File) CommitAs(path string) error {
	if f.done {
		return fmt.Errorf("commit %s: %w", path, os.ErrClosed)
	}
	if filepath.Dir(path) != filepath.Dir(f.Name()) {
		return fmt.Errorf("commit %s: not in the directory of the temporary file", path)
	}
	if err := f.Sync(); err != nil {
		f.Abort()
		return fmt.Errorf("sync: %w", err)
	}
	f.done = true
	if err := f.Close(); err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("close: %w", err)
	}
	return Rename(f.Name(), path)
}

// Abort closes and removes the temporary file unless it was committed.
func (f *File) Abort() {
	if f.done {
		return
	}
	f.done = true
	_ = f.Close() // nothing of it is kept
	_ = os.Remove(f.Name())
}

// Rename moves the synced file or directory from to to within one file system
// and makes the move durable. When it fails before the move, from is removed if
// it is a temporary file of this package.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		if isTemp(filepath.Base(from)) {
			_ = os.Remove(from)
		}
		return fmt.Errorf("rename: %w", err)
	}
	if err := SyncDir(filepath.Dir(to)); err != nil {
		return err
	}
	if filepath.Dir(from) != filepath.Dir(to) {
		return SyncDir(filepath.Dir(from))
	}
	return nil
}

// Remove removes the file path durably. A file that is not there is no error.
func Remove(path string) error {
	if err := os.Remove(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("remove: %w", err)
	}
	return SyncDir(filepath.Dir(path))
}

// MkdirAll is [os.MkdirAll], and every directory it makes survives a power
// failure.
func MkdirAll(path string, perm fs.FileMode) error {
	path = filepath.Clean(path)
	if fi, err := os.Stat(path); err == nil && fi.IsDir() {
		return nil
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := MkdirAll(parent, perm); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make directory: %w", err)
	}
	return SyncDir(parent)
}

// SyncDir makes the names in directory dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

// SyncFile makes the content of an existing file durable, for files written by
// another program.
func SyncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

// Clean removes the temporary files of this package in directory dir (not below
// it) and returns their names. Only the one process that writes to dir may call
// it, before it writes.
func Clean(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read directory: %w", err)
	}
	var gone []string
	for _, e := range entries {
		if e.IsDir() || !isTemp(e.Name()) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return gone, fmt.Errorf("remove temporary file: %w", err)
		}
		gone = append(gone, e.Name())
	}
	return gone, nil
}

func isTemp(name string) bool {
	return strings.HasPrefix(name, ".") && strings.Contains(name, tmpMark)
}
