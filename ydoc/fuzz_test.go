package ydoc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// small keeps what a fuzzed update can make the document hold within bounds that
// are noticed.
var small = Limits{Update: 1 << 16, Content: 1 << 18, Structs: 1 << 12, Pending: 1 << 8, PendingBytes: 1 << 16}

// FuzzApply gives a document arbitrary updates, one after the other. The first two
// bytes of each are its length.
func FuzzApply(f *testing.F) {
	framed := func(updates ...[]byte) []byte {
		var b []byte
		for _, u := range updates {
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(u))), u...)
		}
		return b
	}
	var typed [][]byte
	src := New(Options{Client: 3, OnUpdate: func(u []byte) { typed = append(typed, u) }})
	for i, s := range []string{"hello", "😀", "wörld", "x"} {
		must(f, src.Text("t").Insert(i, s))
		must(f, src.Text("t").Delete(i, 1))
	}
	f.Add(framed(typed...))
	f.Add(framed(typed[3], typed[1], typed[0], typed[2]))
	f.Add(framed(unbase64(f, fromYjs), []byte{0, 1, 5, 1, 0, 60}))
	f.Add(framed(unbase64(f, withZZ)[:40], unbase64(f, withZZ)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var relayed [][]byte
		d := New(Options{Client: 1, Limits: small, OnUpdate: func(u []byte) { relayed = append(relayed, bytes.Clone(u)) }})
		total := 0
		for len(raw) >= 2 {
			n := min(int(binary.BigEndian.Uint16(raw)), len(raw)-2)
			u := raw[2 : 2+n]
			raw = raw[2+n:]
			before := d.Encode()
			err := d.Apply(u)
			switch {
			case errors.Is(err, ErrMalformed):
				if !bytes.Equal(before, d.Encode()) {
					t.Fatal("a malformed update changed the document")
				}
			case err != nil && !errors.Is(err, ErrLimit):
				t.Fatalf("an error of no known kind: %v", err)
			}
			check(t, d)
			total += n
		}
		if content, structs := d.Size(); content > 3*total+16 || structs > 3*total+16 {
			t.Fatalf("%d bytes became %d bytes in %d structs", total, content, structs)
		}
		// The state is whole: it loads, and so do the relayed updates, as far. That
		// the text is the same is promised for consistent updates only; arbitrary
		// ones name neighbours that never were.
		e := New(Options{Client: 2})
		if err := e.Apply(d.Encode()); err != nil {
			t.Fatalf("the state does not load: %v", err)
		}
		check(t, e)
		want := d.StateVector().Encode()
		if got := e.StateVector().Encode(); !bytes.Equal(got, want) {
			t.Fatalf("the state loads up to %x of %x", got, want)
		}
		g := New(Options{Client: 2})
		for _, u := range relayed {
			if err := g.Apply(u); err != nil {
				t.Fatalf("a relayed update is refused: %v", err)
			}
		}
		check(t, g)
		if got := g.StateVector().Encode(); !bytes.Equal(got, want) {
			t.Fatalf("the relayed updates load up to %x of %x", got, want)
		}
		// Edits find their way in it.
		text := d.Text("t")
		if text.Insert(text.Len()/2, "é") == nil {
			must(t, text.Delete(text.Len()/3, min(2, text.Len()-text.Len()/3)))
		}
		check(t, d)
	})
}

func FuzzDecodeStateVector(f *testing.F) {
	f.Add(StateVector{1: 2, 900000: 1 << 40}.Encode())
	f.Fuzz(func(t *testing.T, raw []byte) {
		sv, err := DecodeStateVector(raw)
		if err != nil {
			return
		}
		back, err := DecodeStateVector(sv.Encode())
		if err != nil || len(back) != len(sv) {
			t.Fatalf("%v became %v: %v", sv, back, err)
		}
		d := load(t, unbase64(t, fromYjs))
		if err := Validate(d.Diff(sv), Limits{}); err != nil {
			t.Fatalf("a diff is malformed: %v", err)
		}
	})
}

func FuzzDecodePosition(f *testing.F) {
	f.Add([]byte{0, 5, 14, 0x41})
	f.Add([]byte{1, 4, 't', 'e', 'x', 't', 0})
	f.Add([]byte{2, 5, 16})
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := DecodePosition(raw)
		if err != nil {
			return
		}
		d := load(t, unbase64(t, fromYjs))
		if at, ok := d.Text("text").Index(p); ok && (at < 0 || at > d.Text("text").Len()) {
			t.Fatalf("%+v leads to %d", p, at)
		}
		if _, err := DecodePosition(p.Encode()); err != nil {
			t.Fatalf("%+v does not decode: %v", p, err)
		}
	})
}
