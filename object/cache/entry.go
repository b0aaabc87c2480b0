package cache

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/holt-ide/holt/object"
)

// blockSize is the number of bytes of a body under one sum.
const blockSize = 32 << 10

const (
	magic          = "holtcch\x01"
	fixedSize      = 20
	maxDescription = 1 << 20
)

var errDamaged = errors.New("cached file is damaged")

// description is what a cached file says of itself.
type description struct {
	Key      object.Key  `json:"key"`
	ETag     object.ETag `json:"etag"`
	Size     int64       `json:"size"`
	Modified time.Time   `json:"modified"`
	Sums     []byte      `json:"sums"` // 8 bytes for each block
}

// entry is a cached object, as kept in memory.
type entry struct {
	info  object.Info
	sums  []byte
	start int64 // of the body in the file
}

func (e *entry) bytes() int64 { return e.start + e.info.Size }

func blocks(size int64) int64 { return (size + blockSize - 1) / blockSize }

// writeEntry writes an object to a temporary file and returns its path.
func writeEntry(dir string, o object.Object) (_ *entry, tmp string, err error) {
	d := description{Key: o.Key, ETag: o.ETag, Size: o.Size, Modified: o.Modified}
	if int64(len(o.Body)) != o.Size {
		return nil, "", errors.New("the body is not the whole object")
	}
	for at := int64(0); at < o.Size; at += blockSize {
		d.Sums = binary.BigEndian.AppendUint64(d.Sums, xxh3.Hash(o.Body[at:min(at+blockSize, o.Size)]))
	}
	text, err := json.Marshal(d)
	if err != nil {
		return nil, "", fmt.Errorf("encode description: %w", err)
	}
	head := binary.BigEndian.AppendUint32([]byte(magic), uint32(len(text)))
	head = append(binary.BigEndian.AppendUint64(head, xxh3.Hash(text)), text...)
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return nil, "", fmt.Errorf("create cached file: %w", err)
	}
	for _, part := range [][]byte{head, o.Body} {
		if err == nil {
			_, err = f.Write(part)
		}
	}
	if err := errors.Join(err, f.Close()); err != nil {
		os.Remove(f.Name())
		return nil, "", fmt.Errorf("write cached file: %w", err)
	}
	return &entry{info: o.Info, sums: d.Sums, start: int64(len(head))}, f.Name(), nil
}

// readEntry reads a file's description and when the file was written.
func readEntry(path string) (*entry, time.Time, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("open cached file: %w", err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("stat cached file: %w", err)
	}
	fixed := make([]byte, fixedSize)
	if _, err := f.ReadAt(fixed, 0); err != nil {
		return nil, time.Time{}, fmt.Errorf("read cached file: %w", err)
	}
	n := binary.BigEndian.Uint32(fixed[8:])
	if string(fixed[:8]) != magic || n > maxDescription {
		return nil, time.Time{}, errDamaged
	}
	text := make([]byte, n)
	if _, err := f.ReadAt(text, fixedSize); err != nil {
		return nil, time.Time{}, fmt.Errorf("read cached file: %w", err)
	}
	var d description
	if xxh3.Hash(text) != binary.BigEndian.Uint64(fixed[12:]) || json.Unmarshal(text, &d) != nil ||
		d.Size < 0 || int64(len(d.Sums)) != 8*blocks(d.Size) || fi.Size() != fixedSize+int64(n)+d.Size {
		return nil, time.Time{}, errDamaged
	}
	info := object.Info{Key: d.Key, ETag: d.ETag, Size: d.Size, Modified: d.Modified}
	return &entry{info: info, sums: d.Sums, start: fixedSize + int64(n)}, fi.ModTime(), nil
}

// read returns a part of the body after verifying the blocks that it lies in.
func (e *entry) read(path string, offset, length int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open cached file: %w", err)
	}
	defer f.Close()
	first := offset / blockSize
	end := min(blocks(offset+length)*blockSize, e.info.Size)
	if length == 0 {
		return []byte{}, nil
	}
	buf := make([]byte, end-first*blockSize)
	if _, err := f.ReadAt(buf, e.start+first*blockSize); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	for at := int64(0); at < int64(len(buf)); at += blockSize {
		want := binary.BigEndian.Uint64(e.sums[8*(first+at/blockSize):])
		if xxh3.Hash(buf[at:min(at+blockSize, int64(len(buf)))]) != want {
			return nil, errDamaged
		}
	}
	from := offset - first*blockSize
	return buf[from : from+length : from+length], nil
}
