package guestwire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A mux session carries everything a page needs beside its terminals over one
// WebSocket: requests, their answers, watches and searches. See the package
// comment for the frames and their order.

// MuxVersion is the version of the mux session that this source speaks.
const MuxVersion = 1

// Bounds of a mux session.
const (
	// MaxStreams is how many streams a page may have open at once.
	MaxStreams = 64
	// MaxPath is the longest path of a request, in bytes.
	MaxPath = 4096
)

// PacketType is the first byte of a packet.
type PacketType byte

// The packet types.
const (
	PacketOpen    PacketType = 0x20
	PacketData    PacketType = 0x21
	PacketEnd     PacketType = 0x22
	PacketCancel  PacketType = 0x23
	PacketCredit  PacketType = 0x24
	PacketItem    PacketType = 0x25
	PacketResult  PacketType = 0x26
	PacketFail    PacketType = 0x27
	PacketPing    PacketType = 0x28
	PacketPong    PacketType = 0x29
	PacketWelcome PacketType = 0x2a
)

// packetHeader is the bytes of a packet before its payload: type and stream.
const packetHeader = 5

// MaxPacketData is the largest payload of a packet.
const MaxPacketData = MaxFrame - packetHeader

// Packet is one message of a mux session. Stream is 0 for ping, pong and welcome
// and for nothing else.
type Packet struct {
	Type   PacketType
	Stream uint32
	Data   []byte // open, item, result, fail, welcome: JSON; data: bytes; ping, pong: 8 bytes that come back
	Credit uint32 // credit
}

// Append appends the packet's encoding to b and returns the result. It does not
// check the bounds; [DecodePacket] at the other end does.
func (p Packet) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, byte(p.Type)), p.Stream)
	if p.Type == PacketCredit {
		return binary.BigEndian.AppendUint32(b, p.Credit)
	}
	return append(b, p.Data...)
}

// ErrPacket is in the chain of every error of [DecodePacket].
var ErrPacket = errors.New("bad packet")

// DecodePacket reads one packet from one whole WebSocket message. Data in the
// result aliases b.
func DecodePacket(b []byte) (Packet, error) {
	if len(b) < packetHeader || len(b) > MaxFrame {
		return Packet{}, fmt.Errorf("%w: %d bytes, from %d to %d are possible", ErrPacket, len(b), packetHeader, MaxFrame)
	}
	p := Packet{Type: PacketType(b[0]), Stream: binary.BigEndian.Uint32(b[1:])}
	rest := b[packetHeader:]
	size := func(ok bool) error {
		if !ok {
			return fmt.Errorf("%w: type 0x%02x has a payload of %d bytes", ErrPacket, b[0], len(rest))
		}
		return nil
	}
	var err error
	switch p.Type {
	case PacketOpen, PacketData, PacketItem, PacketResult, PacketFail, PacketWelcome:
		p.Data, err = rest, size(len(rest) > 0)
	case PacketEnd, PacketCancel:
		err = size(len(rest) == 0)
	case PacketPing, PacketPong:
		p.Data, err = rest, size(len(rest) == 8)
	case PacketCredit:
		if err = size(len(rest) == 4); err == nil {
			p.Credit = binary.BigEndian.Uint32(rest)
			err = size(p.Credit > 0 && p.Credit <= 1<<30)
		}
	default:
		err = fmt.Errorf("%w: unknown type 0x%02x", ErrPacket, b[0])
	}
	if err != nil {
		return Packet{}, err
	}
	whole := p.Type == PacketPing || p.Type == PacketPong || p.Type == PacketWelcome
	if whole != (p.Stream == 0) {
		return Packet{}, fmt.Errorf("%w: type 0x%02x on stream %d", ErrPacket, b[0], p.Stream)
	}
	return p, nil
}

// MuxOp is what a stream of a mux session is for.
type MuxOp string

// The operations. The items and the result of each are in its comment; where
// none is named the result is an empty object.
const (
	MuxStat   MuxOp = "stat"   // result: Entry
	MuxList   MuxOp = "list"   // items: MuxItem.Entries, sorted by name
	MuxRead   MuxOp = "read"   // item: MuxItem.Entry, then data
	MuxPut    MuxOp = "put"    // data from the page, then end; result: Entry
	MuxMkdir  MuxOp = "mkdir"  // parents are made; one that exists is no error
	MuxDelete MuxOp = "delete" // Recursive for a tree
	MuxRename MuxOp = "rename" // From Path to To
	MuxWatch  MuxOp = "watch"  // items: MuxItem.Events, until cancelled
	MuxSearch MuxOp = "search" // items: MuxItem.Matches; result: MuxResult
	MuxIndex  MuxOp = "index"  // items: MuxItem.Paths, relative to Path; result: MuxResult
	MuxPorts  MuxOp = "ports"  // items: MuxItem.Ports, whenever they change, until cancelled
)

// MuxRequest opens a stream.
type MuxRequest struct {
	Op        MuxOp    `json:"op"`
	Path      string   `json:"path,omitempty"`
	To        string   `json:"to,omitempty"`        // rename
	Overwrite bool     `json:"overwrite,omitempty"` // rename
	Recursive bool     `json:"recursive,omitempty"` // delete
	IfMatch   string   `json:"if_match,omitempty"`  // put: only over this version
	New       bool     `json:"new,omitempty"`       // put: only where nothing is
	Offset    int64    `json:"offset,omitempty"`    // read
	Length    int64    `json:"length,omitempty"`    // read; 0 means to the end
	Ignore    []string `json:"ignore,omitempty"`    // watch: names of directories
	Query     string   `json:"query,omitempty"`     // search
	Globs     []string `json:"globs,omitempty"`     // search, index; as rg --glob
	Regex     bool     `json:"regex,omitempty"`     // search
	Word      bool     `json:"word,omitempty"`      // search: whole words
	Case      bool     `json:"case,omitempty"`      // search: exact case; else any
	All       bool     `json:"all,omitempty"`       // search, index: what .gitignore excludes too
	Max       int      `json:"max,omitempty"`       // search, index; 0 means 1,000 matches, or 50,000 paths
}

// Entry describes one path in short. Type is what a symbolic link leads to.
type Entry struct {
	Name  string   `json:"name"`
	Type  FileType `json:"type"`
	Link  bool     `json:"link,omitempty"`
	Size  int64    `json:"size"`
	MTime float64  `json:"mtime"` // milliseconds since 1970, with fractions
	Mode  uint32   `json:"mode"`
	ETag  string   `json:"etag,omitempty"`
}

// MuxItem is one item of a stream; one of the fields is set.
type MuxItem struct {
	Entry   *Entry        `json:"entry,omitempty"`
	Entries []Entry       `json:"entries,omitempty"`
	Events  []WatchEvent  `json:"events,omitempty"`
	Matches []SearchMatch `json:"matches,omitempty"`
	Paths   []string      `json:"paths,omitempty"`
	Ports   *[]Port       `json:"ports,omitempty"`
}

// MuxResult ends a search or an index.
type MuxResult struct {
	Truncated bool `json:"truncated,omitempty"` // Max was reached
}

// MuxWelcome is the first packet of a session.
type MuxWelcome struct {
	Version  int    `json:"version"`
	Dir      string `json:"dir"`
	Home     string `json:"home"`
	User     string `json:"user"`
	BootID   string `json:"boot_id"`
	ReadOnly bool   `json:"readonly,omitempty"`
}
