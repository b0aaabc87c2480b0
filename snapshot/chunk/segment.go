package chunk

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/zeebo/blake3"
	"github.com/zeebo/xxh3"

	"github.com/holt-ide/holt/object"
)

// Bounds of the format.
const (
	MinChunkSize = 4 << 10
	MaxChunkSize = 1 << 20

	maxSegmentChunks = 1 << 16
)

const (
	segmentMagic  = "holtseg\x01"
	segmentHeader = 16
	tableEntry    = 32
)

// contentID identifies a chunk by its plain bytes.
type contentID [16]byte

func idOf(plain []byte) (id contentID) {
	sum := blake3.Sum256(plain)
	copy(id[:], sum[:])
	return id
}

// tableSum identifies a segment's header and table.
type tableSum [16]byte

// segmentID names a segment of a transaction.
type segmentID struct {
	txn    txnID
	number uint32
}

func (s segmentID) String() string { return fmt.Sprintf("%s-%d", s.txn, s.number) }

// segmentRef is what an index knows of a segment.
type segmentRef struct {
	id     segmentID
	chunks uint32
	size   uint32 // of the whole object
	sum    tableSum
}

func (r segmentRef) headSize() int64 { return segmentHeader + tableEntry*int64(r.chunks) }

// segment is one under construction.
type segment struct {
	table []byte
	data  []byte
	count uint32
}

func (s *segment) size() int { return segmentHeader + len(s.table) + len(s.data) }

// add appends a chunk and returns its slot.
func (s *segment) add(id contentID, plain int, stored []byte, codec Codec) uint32 {
	s.table = append(s.table, id[:]...)
	s.table = binary.BigEndian.AppendUint64(s.table, xxh3.Hash(stored))
	s.table = binary.BigEndian.AppendUint32(s.table, uint32(plain))
	s.table = binary.BigEndian.AppendUint32(s.table, uint32(codec)<<24|uint32(len(stored)))
	s.data = append(s.data, stored...)
	s.count++
	return s.count - 1
}

// encode returns the object.
func (s *segment) encode() ([]byte, tableSum) {
	body := make([]byte, segmentHeader, s.size()+stripeSize)
	copy(body, segmentMagic)
	binary.BigEndian.PutUint32(body[8:], s.count)
	body = append(body, s.table...)
	sum := tableSum(idOf(body))
	body = append(body, s.data...)
	return append(body, parityOf(body)...), sum
}

// table is a segment's table, decoded and verified.
type table struct {
	raw    []byte   // tableEntry bytes per chunk
	starts []uint32 // where the stored form of each chunk is in the object, and where the last ends
}

// tableChunk is an entry of a table.
type tableChunk struct {
	id     contentID
	sum    uint64
	plain  int
	codec  Codec
	stored int
}

func (t *table) chunk(slot uint32) tableChunk {
	e := t.raw[slot*tableEntry : (slot+1)*tableEntry]
	form := binary.BigEndian.Uint32(e[28:])
	return tableChunk{
		id: contentID(e[:16]), sum: binary.BigEndian.Uint64(e[16:]), plain: int(binary.BigEndian.Uint32(e[24:])),
		codec: Codec(form >> 24), stored: int(form & 0xffffff),
	}
}

// decodeTable reads the head of a segment: its first ref.headSize() bytes.
func decodeTable(head []byte, ref segmentRef) (*table, error) {
	if int64(len(head)) != ref.headSize() {
		return nil, fmt.Errorf("it has %d bytes where %d should be", len(head), ref.headSize())
	}
	if tableSum(idOf(head)) != ref.sum {
		return nil, errors.New("the checksum of its table does not match")
	}
	return parseTable(head, ref.size)
}

// parseTable reads a head that is known to be what its writer wrote.
func parseTable(head []byte, size uint32) (*table, error) {
	if len(head) < segmentHeader || string(head[:8]) != segmentMagic {
		return nil, errors.New("it does not start like a segment")
	}
	n := binary.BigEndian.Uint32(head[8:])
	if n == 0 || n > maxSegmentChunks || len(head) != segmentHeader+tableEntry*int(n) || binary.BigEndian.Uint32(head[12:]) != 0 {
		return nil, errors.New("its header does not add up")
	}
	t := &table{raw: head[segmentHeader:], starts: make([]uint32, n+1)}
	at := len(head)
	for slot := range n {
		c := t.chunk(slot)
		if c.plain == 0 || c.plain > MaxChunkSize || c.stored == 0 || c.stored > c.plain || c.codec < None || c.codec > Zstd || c.codec == None && c.stored != c.plain {
			return nil, fmt.Errorf("entry %d of its table does not add up", slot)
		}
		t.starts[slot] = uint32(at)
		if at += c.stored; at > object.MaxSize {
			return nil, errors.New("its table describes more than an object can hold")
		}
	}
	t.starts[n] = uint32(at)
	if at += paritySize(at); uint32(at) != size {
		return nil, fmt.Errorf("its table describes %d bytes of %d", at, size)
	}
	return t, nil
}

// open verifies the stored form of a chunk and decompresses it into plain.
func (c tableChunk) open(plain, stored []byte) error {
	switch {
	case len(stored) != c.stored:
		return fmt.Errorf("the chunk has %d bytes where %d should be", len(stored), c.stored)
	case xxh3.Hash(stored) != c.sum:
		return errors.New("the checksum of the chunk does not match")
	case len(plain) != c.plain:
		return fmt.Errorf("the chunk holds %d bytes where %d should be", c.plain, len(plain))
	}
	return decompress(plain, stored, c.codec)
}
