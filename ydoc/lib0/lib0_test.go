package lib0

import (
	"bytes"
	"errors"
	"math"
	"testing"
)

func TestIntegers(t *testing.T) {
	for _, v := range []uint64{0, 1, 127, 128, 300, 1<<32 - 1, 1 << 32, MaxUint} {
		r := NewReader(AppendUint(nil, v))
		if got := r.Uint(); got != v || r.Err() != nil || r.Len() != 0 {
			t.Errorf("%d became %d, %v", v, got, r.Err())
		}
	}
	for _, v := range []int64{0, 1, -1, 63, 64, -64, 8191, -8192, MaxUint, -MaxUint} {
		r := NewReader(AppendInt(nil, v))
		if got := r.Int(); got != v || r.Err() != nil || r.Len() != 0 {
			t.Errorf("%d became %d, %v", v, got, r.Err())
		}
	}
	// As lib0 writes them.
	if got, want := AppendInt(AppendUint(nil, 300), -200), []byte{0xac, 0x02, 0xc8, 0x03}; !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
	r := NewReader(AppendUint(nil, math.MaxUint64))
	if r.Uint(); !errors.Is(r.Err(), ErrFormat) {
		t.Errorf("64 bits: %v", r.Err())
	}
}

func TestFirstErrorStays(t *testing.T) {
	r := NewReader([]byte{5, 'a', 'b'})
	r.Bytes()
	first := r.Err()
	var at *FormatError
	if r.Uint() != 0 || r.Text() != nil || r.Any() != nil || !errors.As(r.Err(), &at) || at.Offset != 1 {
		t.Errorf("error is %v, was %v", r.Err(), first)
	}
}

func TestAny(t *testing.T) {
	object := []byte{118, 1, 1, 'k', 117, 2, 125, 0x41, 119, 2, 0xc3, 0xa9}
	for _, v := range [][]byte{{127}, {126}, {121}, {120}, {124, 0, 0, 0, 0}, {123, 0, 0, 0, 0, 0, 0, 0, 0}, {116, 2, 1, 2}, object} {
		r := NewReader(append(bytes.Clone(v), 99))
		if got := r.Any(); !bytes.Equal(got, v) || r.Err() != nil {
			t.Errorf("%x became %x, %v", v, got, r.Err())
		}
	}
	for _, v := range [][]byte{{}, {115}, {128}, {117, 5, 126}, {119, 1, 0xff}, bytes.Repeat([]byte{117, 1}, 1000)} {
		r := NewReader(v)
		if r.Any(); !errors.Is(r.Err(), ErrFormat) {
			t.Errorf("%x was read", v)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte{0xac, 0x02, 0xc8, 0x03, 118, 1, 1, 'k', 126})
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := NewReader(raw)
		u, i, b, a := r.Uint(), r.Int(), r.Bytes(), r.Any()
		if r.Offset() > len(raw) {
			t.Fatal("read behind the end")
		}
		if r.Err() != nil {
			return
		}
		again := NewReader(append(AppendBytes(AppendInt(AppendUint(nil, u), i), b), a...))
		if again.Uint() != u || again.Int() != i || !bytes.Equal(again.Bytes(), b) || !bytes.Equal(again.Any(), a) || again.Err() != nil {
			t.Fatalf("%d %d %x %x do not come back", u, i, b, a)
		}
	})
}
