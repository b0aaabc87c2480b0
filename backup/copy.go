package backup

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
)

// blockSize is the unit of sums and of holes.
const blockSize = 1 << 20

// copySparse copies from's content into to, which is empty, leaving out what is
// nothing but zeros. With a nil to it only reads. The sum is the BLAKE3 of the number
// (8 bytes, big-endian) and the bytes of every block of 1 MiB that is not all zeros, so
// holes may be anywhere.
func copySparse(ctx context.Context, to, from *os.File, read func(n int64)) (size int64, sum string, err error) {
	info, err := from.Stat()
	if err != nil {
		return 0, "", err
	}
	size = info.Size()
	h := blake3.New()
	buf, zeros := make([]byte, blockSize), make([]byte, blockSize)
	for off := int64(0); off < size; off += blockSize {
		if err := ctx.Err(); err != nil {
			return 0, "", context.Cause(ctx)
		}
		data, err := from.Seek(off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // zeros to the end
			break
		} else if err != nil {
			return 0, "", err
		}
		off = data - data%blockSize
		n, err := from.ReadAt(buf[:min(blockSize, size-off)], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, "", err
		}
		block := buf[:n]
		read(int64(n))
		if bytes.Equal(block, zeros[:n]) {
			continue
		}
		number := binary.BigEndian.AppendUint64(nil, uint64(off/blockSize))
		for _, part := range [][]byte{number, block} {
			if _, err := h.Write(part); err != nil {
				return 0, "", err
			}
		}
		if to != nil {
			if _, err := to.WriteAt(block, off); err != nil {
				return 0, "", err
			}
		}
	}
	if to != nil {
		if err := to.Truncate(size); err != nil {
			return 0, "", err
		}
	}
	return size, hex.EncodeToString(h.Sum(nil)), nil
}

// copyFile copies the regular file src to dst, which must not exist.
func copyFile(ctx context.Context, dst, src string, read func(int64)) (_ File, err error) {
	from, err := os.OpenFile(src, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return File{}, err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return File{}, err
	}
	to, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return File{}, diskError(err)
	}
	defer func() {
		if err = errors.Join(err, to.Close()); err != nil {
			os.Remove(dst)
		}
	}()
	f := File{Mode: info.Mode().Perm()}
	if f.Size, f.Sum, err = copySparse(ctx, to, from, read); err != nil {
		return File{}, diskError(err)
	}
	return f, diskError(to.Chmod(info.Mode().Perm()))
}

// sumFile returns what a copy of the file would have as its size and sum.
func sumFile(ctx context.Context, path string, read func(int64)) (size int64, sum string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	return copySparse(ctx, nil, f, read)
}

// syncAll makes everything under dir durable.
func syncAll(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return diskError(os.NewSyscallError("syncfs", unix.Syncfs(int(d.Fd()))))
}

func diskError(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return holt.Wrap(holt.KindNoSpace, err, "the disk is full")
	}
	return err
}

// vanished reports whether a file went while it was looked at.
func vanished(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESTALE) }

func describe(what, path string, err error) error { return fmt.Errorf("%s %s: %w", what, path, err) }
