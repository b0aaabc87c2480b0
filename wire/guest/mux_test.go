package guestwire

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

func packets() []Packet {
	return []Packet{
		{Type: PacketOpen, Stream: 1, Data: []byte(`{"op":"stat"}`)},
		{Type: PacketData, Stream: 1 << 31, Data: bytes.Repeat([]byte("y"), MaxPacketData)},
		{Type: PacketEnd, Stream: 7},
		{Type: PacketCancel, Stream: 7},
		{Type: PacketCredit, Stream: 7, Credit: 1 << 30},
		{Type: PacketItem, Stream: 2, Data: []byte("{}")},
		{Type: PacketResult, Stream: 2, Data: []byte("{}")},
		{Type: PacketFail, Stream: 2, Data: []byte("{}")},
		{Type: PacketPing, Data: []byte("12345678")},
		{Type: PacketPong, Data: []byte("12345678")},
		{Type: PacketWelcome, Data: []byte(`{"version":1}`)},
	}
}

func TestPacketRoundTrip(t *testing.T) {
	for _, p := range packets() {
		got, err := DecodePacket(p.Append(nil))
		if err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("%+v became %+v, %v", p, got, err)
		}
	}
}

// The encoding is a promise to open pages.
func TestPacketBytes(t *testing.T) {
	for want, p := range map[string]Packet{
		"\x20\x00\x00\x01\x02{}":               {Type: PacketOpen, Stream: 258, Data: []byte("{}")},
		"\x21\x00\x00\x00\x01hi":               {Type: PacketData, Stream: 1, Data: []byte("hi")},
		"\x22\x00\x00\x00\x01":                 {Type: PacketEnd, Stream: 1},
		"\x24\x00\x00\x00\x01\x00\x01\x00\x00": {Type: PacketCredit, Stream: 1, Credit: 65536},
		"\x28\x00\x00\x00\x00abcdefgh":         {Type: PacketPing, Data: []byte("abcdefgh")},
	} {
		if got := p.Append(nil); string(got) != want {
			t.Errorf("%+v: %x, want %x", p, got, want)
		}
	}
}

func TestDecodePacketRefuses(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing": nil, "short": {0x20, 0, 0, 0}, "unknown": {0x2b, 0, 0, 0, 1}, "a frame of a terminal": {0x01, 0, 0, 0, 0, 0, 0, 0, 0, 65},
		"open without a request": {0x20, 0, 0, 0, 1}, "open on stream 0": {0x20, 0, 0, 0, 0, '{', '}'}, "end with data": {0x22, 0, 0, 0, 1, 1},
		"no credit": {0x24, 0, 0, 0, 1, 0, 0, 0, 0}, "too much credit": {0x24, 0, 0, 0, 1, 0x7f, 0, 0, 0}, "short credit": {0x24, 0, 0, 0, 1, 1},
		"short ping": {0x28, 0, 0, 0, 0, 1}, "ping on a stream": {0x28, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8},
		"too large": append([]byte{0x21, 0, 0, 0, 1}, make([]byte, MaxFrame)...),
	} {
		if p, err := DecodePacket(b); !errors.Is(err, ErrPacket) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

func FuzzDecodePacket(f *testing.F) {
	for _, p := range packets() {
		f.Add(p.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := DecodePacket(b)
		if err != nil {
			if !errors.Is(err, ErrPacket) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		if got := p.Append(nil); !bytes.Equal(got, b) {
			t.Fatalf("%x decodes to %+v, which encodes to %x", b, p, got)
		}
	})
}
