package ydoc

import (
	"encoding/json"
	"math"

	"github.com/holt-ide/holt/ydoc/lib0"
)

// ID names one unit of content: the Clock-th that Client has made, from 0.
type ID struct{ Client, Clock uint64 }

// maxClock bounds clocks, which are kept in 32 bits.
const maxClock = math.MaxUint32

// The kinds of struct in an update: the low five bits of the info byte.
const (
	kindGC      = 0
	kindDeleted = 1
	kindJSON    = 2
	kindBinary  = 3
	kindString  = 4
	kindEmbed   = 5
	kindFormat  = 6
	kindType    = 7
	kindAny     = 8
	kindDoc     = 9
	kindSkip    = 10

	kindMask = 0x1f
)

// The flags of the info byte.
const (
	flagKey    = 0x20 // belongs to a key of the parent
	flagRight  = 0x40 // has a right origin
	flagOrigin = 0x80 // has an origin
)

// block is one struct as it is in an update: its references are IDs. Its slices
// share memory with the update, except in blocks that wait (see [Doc.pending]).
type block struct {
	client uint64
	clock  uint32
	length uint32
	kind   byte
	flags  byte

	origin, right ID     // valid where flags say so
	root          []byte // name of the root type that is the parent; nil for none
	parent        ID     // item of the type that is the parent, without origins and root
	key           []byte // valid with flagKey and without origins
	data          []byte // content as it is encoded, without its length
}

func (b *block) end() uint32 { return b.clock + b.length }

// bare reports whether the block names its parent, having no origins to tell it.
func (b *block) bare() bool { return b.flags&(flagOrigin|flagRight) == 0 }

// readBlock reads the struct of client at clock. The reader has the error.
func readBlock(r *lib0.Reader, b *block, client uint64, clock uint32) {
	*b = block{client: client, clock: clock}
	info := r.Byte()
	b.kind, b.flags = info&kindMask, info&^kindMask
	if b.kind == kindGC || b.kind == kindSkip {
		b.flags = 0
		b.setLength(r, r.Uint())
		return
	}
	if b.flags&flagOrigin != 0 {
		b.origin = readID(r)
	}
	if b.flags&flagRight != 0 {
		b.right = readID(r)
	}
	if b.bare() {
		switch r.Uint() {
		case 1:
			if b.root = r.Text(); b.root == nil {
				b.root = []byte{}
			}
		case 0:
			b.parent = readID(r)
		default:
			r.Fail("a parent that is neither a name nor an item")
		}
		if b.flags&flagKey != 0 {
			b.key = r.Text()
		}
	}
	b.readContent(r)
}

func readID(r *lib0.Reader) ID { return ID{r.Uint(), r.Uint()} }

func (b *block) setLength(r *lib0.Reader, n uint64) {
	switch {
	case n == 0:
		r.Fail("an empty struct")
	case n > uint64(maxClock-b.clock):
		r.Fail("a clock of more than 32 bits")
	default:
		b.length = uint32(n)
	}
}

func (b *block) readContent(r *lib0.Reader) {
	b.setLength(r, 1)
	from := *r
	switch b.kind {
	case kindDeleted:
		b.setLength(r, r.Uint())
		return
	case kindString:
		b.data = r.Text()
		b.setLength(r, uint64(units(b.data)))
		return
	case kindJSON, kindAny:
		n := r.Uint()
		b.setLength(r, n)
		from = *r
		for ; n > 0 && r.OK(); n-- {
			b.skipElement(r)
		}
	case kindBinary:
		r.Bytes()
	case kindEmbed:
		skipJSON(r)
	case kindFormat:
		r.Text()
		skipJSON(r)
	case kindType:
		switch r.Uint() {
		case 0, 1, 2, 4, 6:
		case 3, 5: // an XML element or hook has a name
			r.Text()
		default:
			r.Fail("an unknown type")
		}
	case kindDoc:
		r.Text()
		r.Any()
	default:
		r.Fail("an unknown kind of content")
	}
	if r.OK() {
		b.data = from.Take(uint64(r.Offset() - from.Offset()))
	}
}

// skipElement passes over one of the elements of JSON or any content.
func (b *block) skipElement(r *lib0.Reader) {
	if b.kind == kindAny {
		r.Any()
		return
	}
	from := *r
	if s := r.Text(); string(s) != "undefined" && r.OK() {
		*r = from
		skipJSON(r)
	}
}

func skipJSON(r *lib0.Reader) {
	if s := r.Text(); r.OK() && !json.Valid(s) {
		r.Fail("a value is not JSON")
	}
}

// counted reports whether content of a kind is counted by indexes into its parent.
func counted(kind byte) bool { return kind != kindDeleted && kind != kindFormat }

// cutContent splits content of n units before the unit at.
func cutContent(kind byte, data []byte, n, at int) (left, right []byte) {
	switch kind {
	case kindString:
		return cut(data, n, at)
	case kindJSON, kindAny:
		b := block{kind: kind}
		r := lib0.NewReader(data)
		for range at {
			b.skipElement(&r)
		}
		k := r.Offset()
		return data[:k:k], data[k:]
	}
	return nil, nil // a run of deleted content has none
}

// trim drops the first n units, which are known already: what is left continues
// them.
func (b *block) trim(n uint32) {
	if b.kind != kindGC && b.kind != kindSkip {
		_, b.data = cutContent(b.kind, b.data, int(b.length), int(n))
		b.flags |= flagOrigin
		b.origin = ID{b.client, uint64(b.clock + n - 1)}
	}
	b.clock += n
	b.length -= n
}

// append encodes the struct.
func (b *block) append(dst []byte) []byte {
	if b.kind == kindGC || b.kind == kindSkip {
		return lib0.AppendUint(append(dst, b.kind), uint64(b.length))
	}
	dst = append(dst, b.kind|b.flags)
	if b.flags&flagOrigin != 0 {
		dst = appendID(dst, b.origin)
	}
	if b.flags&flagRight != 0 {
		dst = appendID(dst, b.right)
	}
	if b.bare() {
		if b.root != nil {
			dst = lib0.AppendBytes(append(dst, 1), b.root)
		} else {
			dst = appendID(append(dst, 0), b.parent)
		}
		if b.flags&flagKey != 0 {
			dst = lib0.AppendBytes(dst, b.key)
		}
	}
	switch b.kind {
	case kindDeleted:
		return lib0.AppendUint(dst, uint64(b.length))
	case kindString:
		return lib0.AppendBytes(dst, b.data)
	case kindJSON, kindAny:
		dst = lib0.AppendUint(dst, uint64(b.length))
	}
	return append(dst, b.data...)
}

func appendID(dst []byte, id ID) []byte {
	return lib0.AppendUint(lib0.AppendUint(dst, id.Client), id.Clock)
}
