package guestwire

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"testing"
)

func frames() []Frame {
	return []Frame{
		{Type: TypeOutput, Seq: 1 << 40, Data: []byte("x")},
		{Type: TypeOutput, Seq: math.MaxUint64, Data: bytes.Repeat([]byte("y"), MaxChunk)},
		{Type: TypeInput, Data: []byte("\x03")},
		{Type: TypeInput, Data: []byte{}},
		{Type: TypeResize, Cols: 80, Rows: 65535},
		{Type: TypeAck, Seq: 7},
		{Type: TypeExit, Code: -1},
		{Type: TypeExit, Code: 137, Text: "SIGKILL"},
		{Type: TypeHello, Version: 1, Seq: 3, Next: 9, Cols: 80, Rows: 24, Truncated: true},
		{Type: TypeError, Text: "no"},
		{Type: TypePresence, Viewers: 3},
		{Type: TypeStdin, Data: []byte("in")},
		{Type: TypeStdinClose},
		{Type: TypeSignal, Signal: 64},
		{Type: TypeStdout, Data: []byte("out")},
		{Type: TypeStderr, Data: []byte("err")},
	}
}

func TestFrameRoundTrip(t *testing.T) {
	for _, f := range frames() {
		got, err := Decode(f.Append(nil))
		if err != nil || !reflect.DeepEqual(got, f) {
			t.Errorf("%+v became %+v, %v", f, got, err)
		}
		if kept := f.Append([]byte("kept")); !bytes.Equal(kept, append([]byte("kept"), f.Append(nil)...)) {
			t.Errorf("type 0x%02x: Append does not append", byte(f.Type))
		}
	}
}

// The encoding is a promise to running agents and open browsers.
func TestFrameBytes(t *testing.T) {
	for want, f := range map[string]Frame{
		"\x01\x00\x00\x00\x00\x00\x00\x01\x02hi": {Type: TypeOutput, Seq: 258, Data: []byte("hi")},
		"\x03\x00\x50\x00\x18":                   {Type: TypeResize, Cols: 80, Rows: 24},
		"\x04\x00\x00\x00\x00\x00\x00\x00\x05":   {Type: TypeAck, Seq: 5},
		"\x05\x00\x00\x00\x89SIGKILL":            {Type: TypeExit, Code: 137, Text: "SIGKILL"},
		"\x06\x01\x01\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x09\x00P\x00\x18": {Type: TypeHello, Version: 1, Truncated: true, Seq: 3, Next: 9, Cols: 80, Rows: 24},
		"\x08\x00\x02": {Type: TypePresence, Viewers: 2},
		"\x12\x0f":     {Type: TypeSignal, Signal: 15},
	} {
		if got := f.Append(nil); string(got) != want {
			t.Errorf("%+v: %x, want %x", f, got, want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing": nil, "unknown": {0x99}, "zero": {0}, "output without data": {1, 0, 0, 0, 0, 0, 0, 0, 0},
		"short ack": {4, 1}, "long ack": make([]byte, 20), "short exit": {5, 0}, "long exit": append([]byte{5}, make([]byte, 21)...),
		"short hello": {6, 1}, "flags": append([]byte{6, 1, 2}, make([]byte, 20)...), "signal 0": {0x12, 0}, "signal 65": {0x12, 65},
		"stdin-close with data": {0x11, 1}, "too large": append([]byte{2}, make([]byte, MaxFrame)...), "no presence": {8},
	} {
		if name == "long ack" {
			b[0] = 4
		}
		if f, err := Decode(b); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, fr := range frames() {
		f.Add(fr.Append(nil))
	}
	f.Add([]byte{})
	f.Add([]byte{6, 0, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, err := Decode(b)
		if err != nil {
			if !errors.Is(err, ErrFrame) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		if got := fr.Append(nil); !bytes.Equal(got, b) {
			t.Fatalf("%x decodes to %+v, which encodes to %x", b, fr, got)
		}
	})
}

func FuzzJournalEntry(f *testing.F) {
	e := JournalEntry{Seq: 300, Kind: JournalUpdate, Path: "/workspace/a", Data: []byte{1, 2}}
	f.Add(e.Append(nil))
	f.Add([]byte{0x80, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeJournalEntry(b)
		if err != nil {
			return
		}
		again, err := DecodeJournalEntry(e.Append(nil))
		if err != nil || again.Seq != e.Seq || again.Kind != e.Kind || again.Path != e.Path || !bytes.Equal(again.Data, e.Data) {
			t.Fatalf("%x decodes to %+v, and that to %+v, %v", b, e, again, err)
		}
	})
}
