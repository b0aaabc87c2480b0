package snapshot

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/zeebo/xxh3"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// BlockSize is the number of bytes under one checksum.
const BlockSize = 1 << 20

func blocks(size int64) int64 { return (size + BlockSize - 1) / BlockSize }

// sumFile returns the sums of the first size bytes of f, reading blocks in
// parallel and holes not at all.
func sumFile(ctx context.Context, f *os.File, size int64) ([]byte, error) {
	n := blocks(size)
	data, err := dataBlocks(f, size)
	if err != nil {
		return nil, err
	}
	sums := make([]byte, 8*n)
	workers := int64(runtime.GOMAXPROCS(0))
	g, ctx := errgroup.WithContext(ctx)
	for w := range workers {
		g.Go(func() error {
			buf := make([]byte, BlockSize)
			for i := w; i < n; i += workers {
				if err := ctx.Err(); err != nil {
					return err
				}
				length := min(BlockSize, size-i*BlockSize)
				sum := zeroSum(length)
				if data[i] {
					if _, err := f.ReadAt(buf[:length], i*BlockSize); err != nil {
						return fmt.Errorf("read at %d: %w", i*BlockSize, noEOF(err))
					}
					sum = xxh3.Hash(buf[:length])
				}
				binary.BigEndian.PutUint64(sums[8*i:], sum)
			}
			return nil
		})
	}
	return sums, g.Wait()
}

// dataBlocks marks the blocks that hold anything but a hole.
func dataBlocks(f *os.File, size int64) ([]bool, error) {
	marks := make([]bool, blocks(size))
	for at := int64(0); at < size; {
		from, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // only a hole up to the end
		} else if err != nil {
			return nil, fmt.Errorf("find data: %w", err)
		}
		to, err := unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE)
		if err != nil {
			return nil, fmt.Errorf("find hole: %w", err)
		}
		to = min(to, size)
		for i := from / BlockSize; i*BlockSize < to; i++ {
			marks[i] = true
		}
		at = to
	}
	return marks, nil
}

var zeros [BlockSize]byte

var fullZeroSum = xxh3.Hash(zeros[:])

func zeroSum(length int64) uint64 {
	if length == BlockSize {
		return fullZeroSum
	}
	return xxh3.Hash(zeros[:length])
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
