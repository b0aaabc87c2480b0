package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/zeebo/xxh3"
	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
)

// Reader reads a file of a snapshot and compares every block with its sum on the
// way. Its methods may be called concurrently.
type Reader struct {
	*os.File // for its holes, which [Store.Reader] has compared
	snapshot holt.SnapshotID
	file     File
}

var _ io.ReaderAt = (*Reader)(nil)

// Reader opens a file that m describes. The caller closes it. KindCorrupt if the file
// is missing, has another size, or a hole where there should be data.
func (s *Store) Reader(m *Manifest, name string) (_ *Reader, err error) {
	want := m.file(name)
	if want == nil {
		return nil, holt.Errorf(holt.KindCorrupt, "snapshot %s has no file %s", m.ID, name)
	}
	f, err := os.Open(filepath.Join(s.path(m.ID), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, holt.Errorf(holt.KindCorrupt, "snapshot %s: %s is missing", m.ID, name)
	} else if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("measure %s: %w", name, err)
	}
	if info.Size() != want.Size {
		return nil, holt.Errorf(holt.KindCorrupt, "snapshot %s: %s is damaged: it has %d bytes instead of %d", m.ID, name, info.Size(), want.Size)
	}
	data, err := dataBlocks(f, want.Size)
	if err != nil {
		return nil, err
	}
	r := &Reader{File: f, snapshot: m.ID, file: *want}
	for i, has := range data {
		if length := min(BlockSize, want.Size-int64(i)*BlockSize); !has && zeroSum(length) != want.sum(int64(i)) {
			return nil, r.damaged(int64(i))
		}
	}
	return r, nil
}

// ReadAt implements [io.ReaderAt]. A block that is not what was written is
// KindCorrupt, with its place.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, holt.Invalidf("offset", "%d is before the start of %s", off, r.file.Name)
	}
	if off >= r.file.Size {
		return 0, io.EOF
	}
	want := min(int64(len(p)), r.file.Size-off)
	first, end := off/BlockSize*BlockSize, min((off+want+BlockSize-1)/BlockSize*BlockSize, r.file.Size)
	buf := p[:want]
	if first != off || end != off+want { // whole blocks have sums
		buf = make([]byte, end-first)
	}
	if _, err := r.File.ReadAt(buf, first); errors.Is(err, unix.EIO) {
		return 0, holt.Wrap(holt.KindCorrupt, err, fmt.Sprintf("snapshot %s: %s is damaged: the disk cannot read it", r.snapshot, r.file.Name))
	} else if err != nil {
		return 0, fmt.Errorf("read %s at %d: %w", r.file.Name, first, noEOF(err))
	}
	for at := int64(0); at < int64(len(buf)); at += BlockSize {
		if i := (first + at) / BlockSize; xxh3.Hash(buf[at:min(at+BlockSize, int64(len(buf)))]) != r.file.sum(i) {
			return 0, r.damaged(i)
		}
	}
	if int64(len(buf)) != want {
		copy(p, buf[off-first:off-first+want])
	}
	if want < int64(len(p)) {
		return int(want), io.EOF
	}
	return int(want), nil
}

func (r *Reader) damaged(block int64) error {
	return holt.Errorf(holt.KindCorrupt, "snapshot %s: %s is damaged between byte %d and %d", r.snapshot, r.file.Name, block*BlockSize, (block+1)*BlockSize)
}

// file returns the file of a name, or nil.
func (m *Manifest) file(name string) *File {
	for i := range m.Files {
		if m.Files[i].Name == name {
			return &m.Files[i]
		}
	}
	return nil
}

// sum returns what block i should have.
func (f *File) sum(i int64) uint64 { return binary.BigEndian.Uint64(f.Sums[8*i:]) }

// Patch makes dst the file that m describes under name, whatever dst is now: blocks
// of dst that are right already stay, zeros become holes, and the others come from
// source. Nothing is flushed. It returns how many bytes source gave. KindCorrupt if
// source gives something else than was written.
func Patch(m *Manifest, name string, dst *os.File, source func(p []byte, off int64) error) (fetched int64, err error) {
	want := m.file(name)
	if want == nil {
		return 0, holt.Errorf(holt.KindCorrupt, "snapshot %s has no file %s", m.ID, name)
	}
	if err := dst.Truncate(want.Size); err != nil {
		return 0, diskError(fmt.Errorf("size %s: %w", name, err))
	}
	data, err := dataBlocks(dst, want.Size)
	if err != nil {
		return 0, err
	}
	buf := make([]byte, BlockSize)
	// Neighbours are fetched together: each request may go to another host.
	run := make([]byte, 0, patchRun)
	var from int64
	flush := func() error {
		if len(run) == 0 {
			return nil
		}
		if err := source(run, from); err != nil {
			return err
		}
		for at := 0; at < len(run); at += BlockSize {
			if i := (from + int64(at)) / BlockSize; xxh3.Hash(run[at:min(at+BlockSize, len(run))]) != want.sum(i) {
				return holt.Errorf(holt.KindCorrupt, "snapshot %s: %s differs between byte %d and %d from what was written", m.ID, name, i*BlockSize, (i+1)*BlockSize)
			}
		}
		if _, err := dst.WriteAt(run, from); err != nil {
			return diskError(fmt.Errorf("write %s: %w", name, err))
		}
		fetched += int64(len(run))
		run = run[:0]
		return nil
	}
	for i := range blocks(want.Size) {
		at := i * BlockSize
		length := min(BlockSize, want.Size-at)
		zero := want.sum(i) == zeroSum(length)
		if !data[i] && zero {
			continue
		}
		if data[i] {
			if _, err := dst.ReadAt(buf[:length], at); err != nil {
				return fetched, fmt.Errorf("read %s: %w", name, noEOF(err))
			}
			if xxh3.Hash(buf[:length]) == want.sum(i) {
				continue
			}
		}
		if zero {
			if err := unix.Fallocate(int(dst.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, length); err != nil {
				return fetched, fmt.Errorf("clear %s: %w", name, err)
			}
			continue
		}
		if len(run) > 0 && (from+int64(len(run)) != at || len(run)+int(length) > patchRun) {
			if err := flush(); err != nil {
				return fetched, err
			}
		}
		if len(run) == 0 {
			from = at
		}
		run = run[:len(run)+int(length)]
	}
	return fetched, flush()
}

// patchRun bounds what is fetched at once.
const patchRun = 4 << 20
