// Package local keeps objects in a directory of one host: package object's contract
// by the rule for durable writes.
//
//	ROOT/lock            taken shared by writes, exclusively by conditional ones
//	ROOT/data/KEY        one file per object, directories between the slashes
//	ROOT/data/.../.NAME.tmp-RANDOM  a Put under way; removed by the next [Open]
//
// # The file, version 1
//
//	offset  size  what
//	0       8     "holtobj" and the byte 1
//	8       8     length of the body, big-endian
//	16      16    xxh3-128 of the body, big-endian; its hexadecimal form is the ETag
//	32      -     the body
//
// A file whose length does not fit its header is damaged, and so is a whole body
// that does not fit its sum: KindCorrupt. A part of a body is not checked here.
//
// Any number of processes may use one directory. Directories that have become
// empty stay.
package local

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/zeebo/xxh3"
	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/durable"
	"github.com/holt-ide/holt/object"
)

const (
	magic      = "holtobj\x01"
	headerSize = 32
)

// Store is a directory of objects.
type Store struct{ data, lock string }

var _ object.Store = (*Store)(nil)

// Open prepares the directory and removes what puts left that a crash cut short:
// temporary files older than an hour, since other processes may be writing.
func Open(root string) (*Store, error) {
	s := &Store{data: filepath.Join(root, "data"), lock: filepath.Join(root, "lock")}
	if err := durable.MkdirAll(s.data, 0o700); err != nil {
		return nil, fmt.Errorf("make object directory: %w", err)
	}
	return s, filepath.WalkDir(s.data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasPrefix(d.Name(), ".") {
			return err
		}
		if info, err := d.Info(); err == nil && time.Since(info.ModTime()) > time.Hour {
			os.Remove(path)
		}
		return nil
	})
}

func (s *Store) path(key object.Key) string {
	return filepath.Join(s.data, filepath.FromSlash(string(key)))
}

// Put implements [object.Store].
func (s *Store) Put(ctx context.Context, key object.Key, body []byte, cond object.Condition) (object.ETag, error) {
	if err := object.CheckPut(key, body, cond); err != nil {
		return "", err
	}
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("put %s: %w", key, err)
	}
	header := make([]byte, headerSize)
	copy(header, magic)
	binary.BigEndian.PutUint64(header[8:], uint64(len(body)))
	sum := xxh3.Hash128(body).Bytes()
	copy(header[16:], sum[:])
	tag := object.ETag(hex.EncodeToString(sum[:]))

	path := s.path(key)
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", s.fail("put", key, err)
	}
	f, err := durable.Create(path, 0o600)
	if err != nil {
		return "", s.fail("put", key, err)
	}
	defer f.Abort()
	for _, part := range [][]byte{header, body} {
		if _, err := f.Write(part); err != nil {
			return "", s.fail("put", key, err)
		}
	}
	// Flushed before the lock is taken, which is then held for a rename only.
	if err := f.Sync(); err != nil {
		return "", s.fail("put", key, err)
	}
	unlock, err := s.locked(cond != object.Condition{})
	if err != nil {
		return "", s.fail("put", key, err)
	}
	defer unlock()
	if cond != (object.Condition{}) {
		was, err := s.Stat(ctx, key)
		if err != nil && !holt.IsKind(err, holt.KindNotFound) {
			return "", err
		}
		if cond.Absent != (err != nil) || was.ETag != cond.Match && !cond.Absent {
			return "", object.Conflict(key, cond)
		}
	}
	if err := f.Commit(); err != nil {
		return "", s.fail("put", key, err)
	}
	return tag, nil
}

// locked takes the directory's lock.
func (s *Store) locked(exclusive bool) (unlock func(), err error) {
	f, err := os.OpenFile(s.lock, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	how := unix.LOCK_SH
	if exclusive {
		how = unix.LOCK_EX
	}
	for {
		switch err := unix.Flock(int(f.Fd()), how); {
		case err == nil:
			return func() { f.Close() }, nil
		case !errors.Is(err, unix.EINTR):
			f.Close()
			return nil, fmt.Errorf("take lock: %w", err)
		}
	}
}

// Get implements [object.Store].
func (s *Store) Get(ctx context.Context, key object.Key, r object.Range) (object.Object, error) {
	f, info, err := s.open(ctx, key)
	if err != nil {
		return object.Object{}, err
	}
	defer f.Close()
	offset, length, err := r.Clip(key, info.Size)
	if err != nil {
		return object.Object{}, err
	}
	if length > object.MaxSize {
		return object.Object{}, damaged(key, "it is larger than an object can be")
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(io.NewSectionReader(f, headerSize+offset, length), body); err != nil {
		return object.Object{}, s.fail("read", key, err)
	}
	if length == info.Size {
		if sum := xxh3.Hash128(body).Bytes(); hex.EncodeToString(sum[:]) != string(info.ETag) {
			return object.Object{}, damaged(key, "its checksum does not match")
		}
	}
	return object.Object{Info: info, Body: body}, nil
}

// Stat implements [object.Store].
func (s *Store) Stat(ctx context.Context, key object.Key) (object.Info, error) {
	f, info, err := s.open(ctx, key)
	if err == nil {
		f.Close()
	}
	return info, err
}

// open opens an object's file and reads its header.
func (s *Store) open(ctx context.Context, key object.Key) (_ *os.File, info object.Info, err error) {
	if err := object.CheckKey(key); err != nil {
		return nil, info, err
	}
	if err := ctx.Err(); err != nil {
		return nil, info, fmt.Errorf("open %s: %w", key, err)
	}
	f, err := os.Open(s.path(key))
	if err != nil {
		return nil, info, s.fail("open", key, err)
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	fi, err := f.Stat()
	if err != nil {
		return nil, info, s.fail("stat", key, err)
	}
	if fi.IsDir() {
		return nil, info, object.NotFound(key)
	}
	header := make([]byte, headerSize)
	if _, err := f.ReadAt(header, 0); errors.Is(err, io.EOF) {
		return nil, info, damaged(key, "it is cut short")
	} else if err != nil {
		return nil, info, s.fail("read", key, err)
	}
	size := int64(binary.BigEndian.Uint64(header[8:]))
	if string(header[:8]) != magic || size != fi.Size()-headerSize {
		return nil, info, damaged(key, "its header does not fit it")
	}
	return f, object.Info{Key: key, Size: size, ETag: object.ETag(hex.EncodeToString(header[16:])), Modified: fi.ModTime()}, nil
}

// List implements [object.Store].
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[object.Info, error] {
	return func(yield func(object.Info, error) bool) {
		if err := object.CheckPrefix(prefix); err != nil {
			yield(object.Info{}, err)
			return
		}
		dir := prefix[:strings.LastIndexByte(prefix, '/')+1]
		if err := s.list(ctx, dir, prefix, yield); err != nil && !errors.Is(err, errStop) {
			yield(object.Info{}, fmt.Errorf("list %s: %w", prefix, err))
		}
	}
}

var errStop = errors.New("the caller has seen enough")

// list yields what is below dir ("" or "a/b/") in the order of the keys' bytes: a
// directory sorts as its name and a slash.
func (s *Store) list(ctx context.Context, dir, prefix string, yield func(object.Info, error) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(s.data, filepath.FromSlash(dir)))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	} else if err != nil {
		return err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		name := dir + e.Name()
		if e.IsDir() {
			name += "/"
		}
		if !strings.HasPrefix(e.Name(), ".") && (strings.HasPrefix(name, prefix) || strings.HasPrefix(prefix, name)) {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			if err := s.list(ctx, name, prefix, yield); err != nil {
				return err
			}
			continue
		}
		fi, err := os.Stat(s.path(object.Key(name)))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted since
		} else if err != nil {
			return err
		}
		info := object.Info{Key: object.Key(name), Size: max(0, fi.Size()-headerSize), Modified: fi.ModTime()}
		if strings.HasPrefix(name, prefix) && !yield(info, nil) {
			return errStop
		}
	}
	return nil
}

// Delete implements [object.Store].
func (s *Store) Delete(ctx context.Context, key object.Key) error {
	if err := object.CheckKey(key); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	unlock, err := s.locked(false)
	if err != nil {
		return s.fail("delete", key, err)
	}
	defer unlock()
	if err := durable.Remove(s.path(key)); err != nil && !errors.Is(err, unix.ENOTDIR) {
		return s.fail("delete", key, err)
	}
	return nil
}

func damaged(key object.Key, how string) error {
	return holt.Errorf(holt.KindCorrupt, "object %s is damaged: %s", key, how)
}

// fail gives an error of the file system its kind.
func (s *Store) fail(verb string, key object.Key, err error) error {
	cause := fmt.Errorf("%s %s: %w", verb, key, err)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR) && verb == "open":
		return object.NotFound(key)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return holt.Wrap(holt.KindNoSpace, cause, "the disk that holds the objects is full")
	case errors.Is(err, unix.EIO):
		return holt.Wrap(holt.KindCorrupt, cause, fmt.Sprintf("object %s is damaged: the disk cannot read or write it", key))
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return holt.Wrap(holt.KindCorrupt, cause, fmt.Sprintf("object %s is damaged: it is cut short", key))
	case errors.Is(err, unix.EISDIR), errors.Is(err, unix.EEXIST), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENOTEMPTY):
		return holt.Wrap(holt.KindInvalid, cause, fmt.Sprintf("%s cannot be an object's key: another key continues it, or it continues another", key))
	}
	return cause
}
