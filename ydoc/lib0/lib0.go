// Package lib0 reads and appends the primitive values of lib0's v1 encoding,
// which the Yjs update format and the y-protocols messages are made of.
//
//	uint     seven bits a byte, least significant first; the top bit says that
//	         more follow; at most 53 bits
//	int      as uint, but the first byte holds six bits and, as 0x40, the sign
//	bytes    a uint that counts them, then the bytes
//	string   bytes that are UTF-8
//	any      one tag byte, then: 127 undefined, 126 null, 125 int, 124 float32,
//	         123 float64, 122 int64 (numbers big-endian), 121 false, 120 true,
//	         119 string, 118 object (uint, then string and any for each entry),
//	         117 array (uint, then any for each element), 116 bytes
//
// It knows nothing of documents and imports the standard library only. Any
// package that speaks one of these formats may import it.
package lib0

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// MaxUint is the largest unsigned integer of the encoding: JavaScript's largest
// safe integer.
const MaxUint = 1<<53 - 1

// maxDepth is how deep arrays and objects may be nested in an any value.
const maxDepth = 128

// ErrFormat is matched by every error of this package.
var ErrFormat = errors.New("malformed encoding")

// FormatError says where a value cannot be read, and why.
type FormatError struct {
	Offset int // bytes from the start of what the reader was given
	Reason string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("%v at byte %d: %s", ErrFormat, e.Offset, e.Reason)
}

// Unwrap returns [ErrFormat].
func (e *FormatError) Unwrap() error { return ErrFormat }

// Reader reads values from a slice. After its first error every method returns
// zero and the position stays; the caller checks [Reader.Err] when it suits, and
// in each turn of a loop whose count was read. The zero value is an empty reader.
type Reader struct {
	b   []byte
	at  int
	err *FormatError
}

// NewReader returns a reader of b, which it never changes.
func NewReader(b []byte) Reader { return Reader{b: b} }

// NewReaderAt returns a reader of b that starts at a byte offset within it.
func NewReaderAt(b []byte, at int) Reader { return Reader{b: b, at: at} }

// Err returns the first error, or nil.
func (r *Reader) Err() error {
	if r.err == nil {
		return nil
	}
	return r.err
}

// OK reports whether everything so far could be read.
func (r *Reader) OK() bool { return r.err == nil }

// Offset is the number of bytes consumed.
func (r *Reader) Offset() int { return r.at }

// Len is the number of bytes left.
func (r *Reader) Len() int { return len(r.b) - r.at }

// Fail makes reason the error, unless there is one.
func (r *Reader) Fail(reason string) {
	if r.err == nil {
		r.err = &FormatError{Offset: r.at, Reason: reason}
	}
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if r.err != nil || r.at >= len(r.b) {
		r.Fail("unexpected end")
		return 0
	}
	v := r.b[r.at]
	r.at++
	return v
}

// Uint reads an unsigned integer of at most 53 bits.
func (r *Reader) Uint() uint64 {
	if r.err == nil && r.at < len(r.b) && r.b[r.at] < 0x80 {
		v := r.b[r.at]
		r.at++
		return uint64(v)
	}
	return r.longUint()
}

func (r *Reader) longUint() uint64 {
	if r.err != nil {
		return 0
	}
	var v uint64
	for i, shift := r.at, 0; i < len(r.b); i, shift = i+1, shift+7 {
		c := r.b[i]
		if shift > 49 || (shift == 49 && c&0x70 != 0) {
			r.Fail("integer of more than 53 bits")
			return 0
		}
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			r.at = i + 1
			return v
		}
	}
	r.Fail("unexpected end")
	return 0
}

// Int reads a signed integer of at most 53 bits.
func (r *Reader) Int() int64 {
	first := r.Byte()
	v := uint64(first & 0x3f)
	for shift := 6; first&0x80 != 0; shift += 7 {
		c := r.Byte()
		if r.err != nil {
			return 0
		}
		if shift > 48 || (shift == 48 && c&0x60 != 0) {
			r.Fail("integer of more than 53 bits")
			return 0
		}
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			break
		}
	}
	if first&0x40 != 0 {
		return -int64(v)
	}
	return int64(v)
}

// Bytes reads a counted byte string. The result shares memory with the input.
func (r *Reader) Bytes() []byte { return r.Take(r.Uint()) }

// Take reads n bytes. The result shares memory with the input.
func (r *Reader) Take(n uint64) []byte {
	if r.err != nil {
		return nil
	}
	if n > uint64(len(r.b)-r.at) {
		r.Fail("unexpected end")
		return nil
	}
	v := r.b[r.at : r.at+int(n) : r.at+int(n)]
	r.at += int(n)
	return v
}

// Text reads a string and checks that it is UTF-8. The result shares memory with
// the input.
func (r *Reader) Text() []byte {
	v := r.Bytes()
	if r.err == nil && !utf8.Valid(v) {
		r.at -= len(v)
		r.Fail("a string is not UTF-8")
		return nil
	}
	return v
}

// Any passes over one any value and returns its bytes, which share memory with
// the input.
func (r *Reader) Any() []byte {
	from := r.at
	r.skipAny(0)
	if r.err != nil {
		return nil
	}
	return r.b[from:r.at:r.at]
}

func (r *Reader) skipAny(depth int) {
	if depth > maxDepth {
		r.Fail("a value is nested too deep")
		return
	}
	tag := r.Byte()
	if r.err != nil {
		return
	}
	switch tag {
	case 127, 126, 121, 120: // undefined, null, false, true
	case 125:
		r.Int()
	case 124:
		r.Take(4)
	case 123, 122:
		r.Take(8)
	case 119:
		r.Text()
	case 118:
		for n := r.Uint(); n > 0 && r.err == nil; n-- {
			r.Text()
			r.skipAny(depth + 1)
		}
	case 117:
		for n := r.Uint(); n > 0 && r.err == nil; n-- {
			r.skipAny(depth + 1)
		}
	case 116:
		r.Bytes()
	default:
		r.at--
		r.Fail("a value of unknown type")
	}
}

// AppendUint appends an unsigned integer, which must not be above [MaxUint].
func AppendUint(dst []byte, v uint64) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

// AppendInt appends a signed integer of at most 53 bits.
func AppendInt(dst []byte, v int64) []byte {
	var sign byte
	u := uint64(v)
	if v < 0 {
		sign, u = 0x40, uint64(-v)
	}
	if u < 0x40 {
		return append(dst, sign|byte(u))
	}
	return AppendUint(append(dst, 0x80|sign|byte(u&0x3f)), u>>6)
}

// AppendBytes appends a counted byte string; a string is appended the same way.
func AppendBytes[T ~[]byte | ~string](dst []byte, v T) []byte {
	return append(AppendUint(dst, uint64(len(v))), v...)
}
