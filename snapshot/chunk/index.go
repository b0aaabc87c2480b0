package chunk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"sort"

	"github.com/holt-ide/holt/object"
)

const (
	indexMagic  = "holtidx\x01"
	indexHeader = 24
	indexEntry  = 56

	maxFiles = 1 << 12
	maxSize  = 1 << 46 // bytes of a file: 64 TiB
)

var fileRE = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$`)

// run is a row of chunks of a file that are all zero, or lie side by side in one
// segment.
type run struct {
	first   uint64 // chunk of the file
	count   uint32
	zero    bool
	segment uint32 // number in the index
	slot    uint32 // of the first
}

// indexFile is one file of an index.
type indexFile struct {
	name string
	size int64
	runs []run
}

// index says where each chunk of each file is.
type index struct {
	chunkSize int
	segments  []segmentRef
	files     []indexFile
}

func (f *indexFile) chunks(chunkSize int) uint64 {
	return uint64((f.size + int64(chunkSize) - 1) / int64(chunkSize))
}

// add appends chunks, joining them with the last run where that is possible.
func (f *indexFile) add(zero bool, segment, slot uint32, count uint32) {
	next := uint64(0)
	if n := len(f.runs); n > 0 {
		last := &f.runs[n-1]
		if last.zero == zero && uint64(last.count)+uint64(count) < 1<<31 && (zero || last.segment == segment && last.slot+last.count == slot) {
			last.count += count
			return
		}
		next = last.first + uint64(last.count)
	}
	f.runs = append(f.runs, run{first: next, count: count, zero: zero, segment: segment, slot: slot})
}

// find returns the number of the run that holds a chunk.
func (f *indexFile) find(chunk uint64) int {
	return sort.Search(len(f.runs), func(i int) bool { return f.runs[i].first > chunk }) - 1
}

// file returns the file of a name.
func (x *index) file(name string) *indexFile {
	for i := range x.files {
		if x.files[i].name == name {
			return &x.files[i]
		}
	}
	return nil
}

// encode returns the object.
func (x *index) encode() []byte {
	b := append([]byte(indexMagic), make([]byte, indexHeader-8)...)
	binary.BigEndian.PutUint32(b[8:], uint32(x.chunkSize))
	binary.BigEndian.PutUint32(b[12:], uint32(len(x.segments)))
	binary.BigEndian.PutUint32(b[16:], uint32(len(x.files)))
	for _, s := range x.segments {
		b = append(b, s.id.txn...)
		b = append(b, 0, 0)
		b = binary.BigEndian.AppendUint32(b, s.id.number)
		b = binary.BigEndian.AppendUint32(b, s.chunks)
		b = binary.BigEndian.AppendUint32(b, s.size)
		b = append(b, s.sum[:]...)
	}
	for _, f := range x.files {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(f.name))), f.name...)
		b = binary.BigEndian.AppendUint64(b, uint64(f.size))
		b = binary.BigEndian.AppendUint32(b, uint32(len(f.runs)))
		for _, r := range f.runs {
			if r.zero {
				b = binary.AppendUvarint(b, uint64(r.count)<<1)
				continue
			}
			b = binary.AppendUvarint(b, uint64(r.count)<<1|1)
			b = binary.AppendUvarint(b, uint64(r.segment))
			b = binary.AppendUvarint(b, uint64(r.slot))
		}
	}
	return b
}

// cursor reads from the front of a slice; after an error it reads zeros.
type cursor struct {
	b   []byte
	err error
}

var errShort = errors.New("it is cut short")

func (c *cursor) take(n int) []byte {
	if c.err == nil && len(c.b) < n {
		c.err = errShort
	}
	if c.err != nil {
		return make([]byte, n)
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		if c.err == nil {
			c.err = errShort
		}
		return 0
	}
	c.b = c.b[n:]
	return v
}

// decodeIndex parses an index and checks that it adds up.
func decodeIndex(data []byte) (*index, error) {
	c := &cursor{b: data}
	head := c.take(indexHeader)
	if string(head[:8]) != indexMagic {
		return nil, errors.New("it does not start like an index")
	}
	x := &index{chunkSize: int(binary.BigEndian.Uint32(head[8:]))}
	segments, files := binary.BigEndian.Uint32(head[12:]), binary.BigEndian.Uint32(head[16:])
	if !validChunkSize(x.chunkSize) || binary.BigEndian.Uint32(head[20:]) != 0 || files > maxFiles || uint64(segments)*indexEntry > uint64(len(data)) {
		return nil, errors.New("its header does not add up")
	}
	for range segments {
		e := c.take(indexEntry)
		s := segmentRef{id: segmentID{txnID(e[:26]), binary.BigEndian.Uint32(e[28:])},
			chunks: binary.BigEndian.Uint32(e[32:]), size: binary.BigEndian.Uint32(e[36:]), sum: tableSum(e[40:])}
		if c.err == nil && (!s.id.txn.valid() || e[26] != 0 || e[27] != 0 || s.chunks == 0 || s.chunks > maxSegmentChunks || s.size > object.MaxSize || int64(s.size) < s.headSize()) {
			return nil, fmt.Errorf("segment %d does not add up", len(x.segments))
		}
		x.segments = append(x.segments, s)
	}
	for range files {
		f := indexFile{name: string(c.take(int(binary.BigEndian.Uint16(c.take(2)))))}
		f.size = int64(binary.BigEndian.Uint64(c.take(8)))
		n := binary.BigEndian.Uint32(c.take(4))
		if c.err != nil {
			return nil, c.err
		}
		if !fileRE.MatchString(f.name) || f.size < 0 || f.size > maxSize || int64(n) > int64(len(c.b)) || x.file(f.name) != nil {
			return nil, fmt.Errorf("file %.130q does not add up", f.name)
		}
		if err := f.decodeRuns(c, x, n); err != nil {
			return nil, fmt.Errorf("file %s: %w", f.name, err)
		}
		x.files = append(x.files, f)
	}
	if c.err == nil && len(c.b) > 0 {
		c.err = errors.New("something follows its end")
	}
	return x, c.err
}

func (f *indexFile) decodeRuns(c *cursor, x *index, n uint32) error {
	f.runs = make([]run, 0, n)
	next, all := uint64(0), f.chunks(x.chunkSize)
	for range n {
		v := c.uvarint()
		r := run{first: next, count: uint32(v >> 1), zero: v&1 == 0}
		if v>>1 == 0 || v>>1 >= 1<<31 || uint64(r.count) > all-next {
			return fmt.Errorf("run %d does not add up", len(f.runs))
		}
		if !r.zero {
			segment, slot := c.uvarint(), c.uvarint()
			if c.err == nil && (segment >= uint64(len(x.segments)) || slot+uint64(r.count) > uint64(x.segments[segment].chunks)) || slot > maxSegmentChunks {
				return fmt.Errorf("run %d does not add up", len(f.runs))
			}
			r.segment, r.slot = uint32(segment), uint32(slot)
		}
		if c.err != nil {
			return c.err
		}
		next += uint64(r.count)
		f.runs = append(f.runs, r)
	}
	if next != all {
		return fmt.Errorf("it has %d chunks instead of %d", next, all)
	}
	return nil
}

func validChunkSize(n int) bool { return n >= MinChunkSize && n <= MaxChunkSize && n&(n-1) == 0 }
