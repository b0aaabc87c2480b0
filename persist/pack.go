package persist

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/blake3"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/object"
)

// kind says in a pack's table what a blob is for, so that an index can be made anew
// from packs alone, and what reads trees finds them side by side. Nothing else depends on it.
type kind byte

const (
	kindData   kind = 1 // content of files
	kindTree   kind = 2 // entries of folders, lists, top folders
	kindRecord kind = 3 // the description of a revision
)

// Codecs of stored forms.
const (
	codecNone byte = 1
	codecZstd byte = 2
)

// Bounds of blobs and packs, in bytes.
const (
	maxBlob   = 8 << 20
	headFixed = 16
	headRow   = 44
	headSum   = 32
	// packRoom is what a pack may hold of stored forms. With the table it is far below
	// [object.MaxSize].
	packRoom = 48 << 20
	maxRows  = 1 << 17
)

var packMagic = [8]byte{'h', 'o', 'l', 't', 'p', 'a', 'k', 1}

func idOf(plain []byte) meta.BlobID { return blake3.Sum256(plain) }

// packKey is the object of a pack.
func packKey(tenant holt.UserID, pack string) object.Key {
	return object.Key(string(tenant) + "/pack/" + pack)
}

// row is an entry of a pack's table.
type row struct {
	id     meta.BlobID
	plain  uint32
	stored uint32
	codec  byte
	kind   kind
}

// packBuilder collects blobs. Trees come after data, side by side.
type packBuilder struct {
	data, tree         []row
	dataBody, treeBody []byte
}

func (p *packBuilder) rows() int { return len(p.data) + len(p.tree) }

func (p *packBuilder) size() int { return len(p.dataBody) + len(p.treeBody) }

// add appends the stored form of a blob.
func (p *packBuilder) add(id meta.BlobID, k kind, plain int, stored []byte, codec byte) {
	r := row{id, uint32(plain), uint32(len(stored)), codec, k}
	if k == kindData {
		p.data, p.dataBody = append(p.data, r), append(p.dataBody, stored...)
	} else {
		p.tree, p.treeBody = append(p.tree, r), append(p.treeBody, stored...)
	}
}

// finish returns the object and what it holds, and empties the builder.
func (p *packBuilder) finish(id string) (body []byte, pack meta.Pack, blobs []meta.Blob) {
	rows := slices.Concat(p.data, p.tree)
	head := headFixed + headRow*len(rows) + headSum
	body = make([]byte, 0, head+p.size())
	body = append(body, packMagic[:]...)
	body = binary.BigEndian.AppendUint32(body, uint32(len(rows)))
	body = append(body, 0, 0, 0, 0)
	for _, r := range rows {
		body = append(body, r.id[:]...)
		body = binary.BigEndian.AppendUint32(body, r.plain)
		body = binary.BigEndian.AppendUint32(body, r.stored)
		body = append(body, r.codec, byte(r.kind), 0, 0)
	}
	sum := blake3.Sum256(body)
	body = append(body, sum[:]...)
	body = append(body, p.dataBody...)
	body = append(body, p.treeBody...)
	*p = packBuilder{}
	return body, meta.Pack{ID: id, Size: int64(len(body)), Header: int64(head), Blobs: int64(len(rows))}, place(id, rows)
}

// place returns where the blobs of a table are.
func place(pack string, rows []row) []meta.Blob {
	at := int64(headFixed + headRow*len(rows) + headSum)
	blobs := make([]meta.Blob, len(rows))
	for i, r := range rows {
		blobs[i] = meta.Blob{ID: r.id, Pack: pack, Offset: at, Length: int64(r.stored), Plain: int64(r.plain), Codec: r.codec}
		at += int64(r.stored)
	}
	return blobs
}

// headSize returns how long the header of a pack is that begins with b, at least headFixed bytes.
func headSize(b []byte) (int64, error) {
	if len(b) < headFixed || !bytes.Equal(b[:8], packMagic[:]) {
		return 0, fmt.Errorf("pack %w", errFormat)
	}
	n := binary.BigEndian.Uint32(b[8:])
	if n > maxRows || !bytes.Equal(b[12:16], make([]byte, 4)) {
		return 0, fmt.Errorf("pack %w", errFormat)
	}
	return headFixed + headRow*int64(n) + headSum, nil
}

// decodeHead takes apart a whole header. size is that of the object.
func decodeHead(b []byte, size int64) ([]row, error) {
	head, err := headSize(b)
	if err != nil {
		return nil, err
	}
	if int64(len(b)) < head {
		return nil, fmt.Errorf("header of pack %w", errFormat)
	}
	b = b[:head]
	table, sum := b[:head-headSum], b[head-headSum:]
	if want := blake3.Sum256(table); !bytes.Equal(sum, want[:]) {
		return nil, fmt.Errorf("header of pack does not have its sum")
	}
	var rows []row
	for t := table[headFixed:]; len(t) > 0; t = t[headRow:] {
		r := row{plain: binary.BigEndian.Uint32(t[32:]), stored: binary.BigEndian.Uint32(t[36:]), codec: t[40], kind: kind(t[41])}
		copy(r.id[:], t)
		if r.plain == 0 || r.plain > maxBlob || r.stored > r.plain || r.stored == 0 || (r.codec != codecNone && r.codec != codecZstd) || r.kind < kindData || r.kind > kindRecord {
			return nil, fmt.Errorf("row of pack %w", errFormat)
		}
		head += int64(r.stored)
		rows = append(rows, r)
	}
	if head != size {
		return nil, fmt.Errorf("pack has %d bytes, its header says %d", size, head)
	}
	return rows, nil
}

var encoders = sync.Pool{New: func() any {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
		zstd.WithSingleSegment(true), zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // the options are constant
	}
	return e
}}

var decoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxWindow(maxBlob))
})

// compress returns the stored form of plain and its codec. What does not become
// smaller by a sixteenth stays as it is.
func compress(plain []byte) ([]byte, byte) {
	e := encoders.Get().(*zstd.Encoder)
	defer encoders.Put(e)
	out := e.EncodeAll(plain, make([]byte, 0, len(plain)/2+64))
	if len(out) > len(plain)-len(plain)/16 || len(out) >= len(plain) {
		return plain, codecNone
	}
	return out, codecZstd
}

// unpack returns the bytes of a blob from its stored form, and verifies them.
func unpack(b meta.Blob, stored []byte) ([]byte, error) {
	plain, err := decompress(b, stored)
	if err == nil && idOf(plain) != b.ID {
		err = fmt.Errorf("its bytes do not have its sum")
	}
	if err != nil {
		return nil, holt.Wrap(holt.KindCorrupt, err, fmt.Sprintf("blob %x in pack %s is damaged", b.ID[:8], b.Pack))
	}
	return plain, nil
}

func decompress(b meta.Blob, stored []byte) ([]byte, error) {
	if b.Plain < 1 || b.Plain > maxBlob || int64(len(stored)) != b.Length {
		return nil, fmt.Errorf("%d stored bytes for %d %w", len(stored), b.Plain, errFormat)
	}
	if b.Codec == codecNone {
		if b.Length != b.Plain {
			return nil, fmt.Errorf("%d stored bytes for %d", b.Length, b.Plain)
		}
		return bytes.Clone(stored), nil
	}
	d, err := decoder()
	if err != nil {
		return nil, fmt.Errorf("make decompressor: %w", err)
	}
	out, err := d.DecodeAll(stored, make([]byte, 0, b.Plain))
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	if int64(len(out)) != b.Plain {
		return nil, fmt.Errorf("%d bytes, want %d", len(out), b.Plain)
	}
	return out, nil
}
