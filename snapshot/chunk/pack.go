package chunk

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
)

// blockSize is how much of a file one worker reads and packs at a time.
const blockSize = 1 << 20

// packed is a chunk after a worker has looked at it.
type packed struct {
	zero   bool
	known  bool
	at     location // where it is known to be
	id     contentID
	plain  int
	stored []byte
	codec  Codec
}

// block is a part of a file on its way through the workers.
type block struct {
	offset, length int64
	hole           bool
	result         chan []packed // one value, or closed after an error
}

// Add adds a file of size bytes. It reads r in parallel, holes of a file (what
// has a method Fd, such as [os.File]) not at all, and every byte once; r must not change meanwhile. The name is 1 to 128
// of [A-Za-z0-9._-], without a dot in front.
func (w *Writer) Add(ctx context.Context, name string, r io.ReaderAt, size int64) error {
	if !fileRE.MatchString(name) || size < 0 || size > maxSize || w.index.file(name) != nil || len(w.index.files) == maxFiles {
		return holt.Invalidf("file", "%.130q with %d bytes cannot be a file of this snapshot", name, size)
	}
	data, err := dataRanges(r, size)
	if err != nil {
		return fmt.Errorf("look for holes of %s: %w", name, err)
	}
	// A segment that cannot be written ends this as well.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(w.uploadsCtx, cancel)()
	g, gctx := errgroup.WithContext(ctx)
	todo := make(chan *block)
	// As many blocks are in memory as this holds, and one for each worker.
	order := make(chan *block, 2*w.s.cfg.Workers)
	g.Go(func() error {
		defer close(order)
		defer close(todo)
		for b := range blocksOf(data, size) {
			select {
			case order <- b:
			case <-gctx.Done():
				return gctx.Err()
			}
			if b.hole {
				continue
			}
			select {
			case todo <- b:
			case <-gctx.Done():
				return gctx.Err()
			}
		}
		return nil
	})
	for range min(int64(w.s.cfg.Workers), (size+blockSize-1)/blockSize) {
		g.Go(func() error { return w.work(gctx, r, todo, min(size, blockSize)) })
	}
	f := &indexFile{name: name, size: size}
	g.Go(func() error { return w.collect(gctx, f, order) })
	err = g.Wait()
	if w.uploadsCtx.Err() != nil {
		err = context.Cause(w.uploadsCtx)
	}
	if err != nil {
		return fmt.Errorf("add %s: %w", name, err)
	}
	w.index.files = append(w.index.files, *f)
	return nil
}

// extent is a part of a file that is not a hole.
type extent struct{ from, to int64 }

// dataRanges returns where r may hold anything but zeros.
func dataRanges(r io.ReaderAt, size int64) ([]extent, error) {
	f, ok := r.(interface{ Fd() uintptr })
	if !ok {
		return []extent{{0, size}}, nil
	}
	var list []extent
	for at := int64(0); at < size; {
		from, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // only a hole up to the end
		} else if errors.Is(err, unix.EINVAL) && at == 0 {
			return []extent{{0, size}}, nil // the file system does not know
		} else if err != nil {
			return nil, err
		}
		to, err := unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE)
		if err != nil {
			return nil, err
		}
		list = append(list, extent{from, min(to, size)})
		at = to
	}
	return list, nil
}

// blocksOf cuts a file into blocks that hold data, and holes between them. Blocks
// start at multiples of blockSize.
func blocksOf(data []extent, size int64) func(yield func(*block) bool) {
	return func(yield func(*block) bool) {
		hole := int64(0) // where the hole that is being passed began
		for at := int64(0); at < size; at += blockSize {
			end := min(at+blockSize, size)
			for len(data) > 0 && data[0].to <= at {
				data = data[1:]
			}
			if len(data) == 0 || data[0].from >= end {
				continue
			}
			if hole < at && !yield(&block{offset: hole, length: at - hole, hole: true}) {
				return
			}
			if !yield(&block{offset: at, length: end - at, result: make(chan []packed, 1)}) {
				return
			}
			hole = end
		}
		if hole < size {
			yield(&block{offset: hole, length: size - hole, hole: true})
		}
	}
}

var zeroChunk [MaxChunkSize]byte

// work reads blocks, and packs the chunks that are neither zero nor known.
func (w *Writer) work(ctx context.Context, r io.ReaderAt, todo <-chan *block, largest int64) error {
	c, err := newCompressor(w.s.cfg.Codec, w.s.cfg.ChunkSize)
	if err != nil {
		return err
	}
	buf := make([]byte, largest)
	for b := range todo {
		if err := ctx.Err(); err != nil {
			return err
		}
		if n, err := r.ReadAt(buf[:b.length], b.offset); int64(n) < b.length {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read at %d: %w", b.offset, err)
		}
		b.result <- w.pack(c, buf[:b.length])
	}
	return nil
}

func (w *Writer) pack(c *compressor, data []byte) []packed {
	list := make([]packed, 0, len(data)/w.s.cfg.ChunkSize+1)
	for len(data) > 0 {
		plain := data[:min(w.s.cfg.ChunkSize, len(data))]
		data = data[len(plain):]
		p := packed{plain: len(plain)}
		if string(plain) == string(zeroChunk[:len(plain)]) {
			p.zero = true
		} else {
			p.id = idOf(plain)
			if p.at, p.known = w.find(p.id); !p.known {
				stored, codec := c.compress(plain)
				p.stored, p.codec = append([]byte(nil), stored...), codec
			}
		}
		list = append(list, p)
	}
	return list
}

// collect takes the blocks in the file's order and puts their chunks in their places.
func (w *Writer) collect(ctx context.Context, f *indexFile, order <-chan *block) error {
	for b := range order {
		if b.hole {
			w.stats.Plain += b.length
			w.stats.Zero += b.length
			// Holes start at blocks; only the last chunk of a file may be short.
			for n := (b.length + int64(w.s.cfg.ChunkSize) - 1) / int64(w.s.cfg.ChunkSize); n > 0; n -= 1 << 30 {
				f.add(true, 0, 0, uint32(min(n, 1<<30)))
			}
			continue
		}
		var list []packed
		select {
		case list = <-b.result:
		case <-ctx.Done():
			return ctx.Err()
		}
		for _, p := range list {
			w.stats.Plain += int64(p.plain)
			if p.zero {
				w.stats.Zero += int64(p.plain)
				f.add(true, 0, 0, 1)
				continue
			}
			if !p.known {
				p.at, p.known = w.find(p.id) // another block brought it meanwhile
			}
			if p.known {
				w.stats.Duplicate += int64(p.plain)
			} else {
				var err error
				if p.at, err = w.append(p.id, p.plain, p.stored, p.codec); err != nil {
					return err
				}
				w.stats.New += int64(p.plain)
			}
			f.add(false, p.at.segment, p.at.slot, 1)
		}
	}
	return nil
}
