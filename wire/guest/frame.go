package guestwire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Type is the first byte of a frame. See the table in the package comment.
type Type byte

// The frame types.
const (
	TypeOutput     Type = 0x01
	TypeInput      Type = 0x02
	TypeResize     Type = 0x03
	TypeAck        Type = 0x04
	TypeExit       Type = 0x05
	TypeHello      Type = 0x06
	TypeError      Type = 0x07
	TypePresence   Type = 0x08
	TypeStdin      Type = 0x10
	TypeStdinClose Type = 0x11
	TypeSignal     Type = 0x12
	TypeStdout     Type = 0x13
	TypeStderr     Type = 0x14
)

const maxSignalName = 16

// ErrFrame is in the chain of every error of [Decode].
var ErrFrame = errors.New("bad frame")

// Frame is one decoded frame. Type says which of the other fields count.
type Frame struct {
	Type      Type
	Seq       uint64 // output: number of the first byte of Data; ack: the next byte wanted; hello: first
	Next      uint64 // hello: number of the byte after what the agent holds now
	Data      []byte // output, input, stdin, stdout, stderr; aliases the buffer given to Decode
	Text      string // error: the text; exit: the signal's name such as "SIGKILL", "" when it exited
	Code      int32  // exit: the exit code; 128 + number when a signal ended it
	Cols      uint16 // resize, hello
	Rows      uint16 // resize, hello
	Viewers   uint16 // presence
	Signal    uint8  // signal: its number, 1 to 64
	Version   uint8  // hello
	Truncated bool   // hello: bytes before Seq are gone
}

// Append appends the frame's encoding to b and returns the result. It does not
// check the bounds; [Decode] at the other end does.
func (f Frame) Append(b []byte) []byte {
	b = append(b, byte(f.Type))
	be := binary.BigEndian
	switch f.Type {
	case TypeOutput:
		return append(be.AppendUint64(b, f.Seq), f.Data...)
	case TypeInput, TypeStdin, TypeStdout, TypeStderr:
		return append(b, f.Data...)
	case TypeResize:
		return be.AppendUint16(be.AppendUint16(b, f.Cols), f.Rows)
	case TypeAck:
		return be.AppendUint64(b, f.Seq)
	case TypeExit:
		return append(be.AppendUint32(b, uint32(f.Code)), f.Text...)
	case TypeHello:
		var flags byte
		if f.Truncated {
			flags = 1
		}
		b = be.AppendUint64(be.AppendUint64(append(b, f.Version, flags), f.Seq), f.Next)
		return be.AppendUint16(be.AppendUint16(b, f.Cols), f.Rows)
	case TypeError:
		return append(b, f.Text...)
	case TypePresence:
		return be.AppendUint16(b, f.Viewers)
	case TypeSignal:
		return append(b, f.Signal)
	}
	return b
}

// fixed is the payload length of the types that have one.
var fixed = map[Type]int{
	TypeResize: 4, TypeAck: 8, TypeHello: 22, TypePresence: 2, TypeStdinClose: 0, TypeSignal: 1,
}

// Decode reads one frame from one whole WebSocket message. Data in the result
// aliases b. An error says which frame is wrong and how; its chain holds
// [ErrFrame].
func Decode(b []byte) (Frame, error) {
	if len(b) == 0 {
		return Frame{}, fmt.Errorf("%w: empty message", ErrFrame)
	}
	if len(b) > MaxFrame {
		return Frame{}, fmt.Errorf("%w: %d bytes, at most %d", ErrFrame, len(b), MaxFrame)
	}
	f, p := Frame{Type: Type(b[0])}, b[1:]
	if want, ok := fixed[f.Type]; ok && len(p) != want {
		return Frame{}, fmt.Errorf("%w: type 0x%02x has a payload of %d bytes, not %d", ErrFrame, b[0], len(p), want)
	}
	return f.decode(p)
}

func (f Frame) decode(p []byte) (Frame, error) {
	be := binary.BigEndian
	switch f.Type {
	case TypeOutput:
		if len(p) < 9 {
			return Frame{}, fmt.Errorf("%w: output of %d bytes has no data", ErrFrame, len(p))
		}
		f.Seq, f.Data = be.Uint64(p), p[8:]
	case TypeInput, TypeStdin, TypeStdout, TypeStderr:
		f.Data = p
	case TypeResize:
		f.Cols, f.Rows = be.Uint16(p), be.Uint16(p[2:])
	case TypeAck:
		f.Seq = be.Uint64(p)
	case TypeExit:
		if len(p) < 4 || len(p) > 4+maxSignalName {
			return Frame{}, fmt.Errorf("%w: exit of %d bytes", ErrFrame, len(p))
		}
		f.Code, f.Text = int32(be.Uint32(p)), string(p[4:])
	case TypeHello:
		if p[1] > 1 {
			return Frame{}, fmt.Errorf("%w: hello with unknown flags 0x%02x", ErrFrame, p[1])
		}
		f.Version, f.Truncated = p[0], p[1] == 1
		f.Seq, f.Next = be.Uint64(p[2:]), be.Uint64(p[10:])
		f.Cols, f.Rows = be.Uint16(p[18:]), be.Uint16(p[20:])
	case TypeError:
		f.Text = string(p)
	case TypePresence:
		f.Viewers = be.Uint16(p)
	case TypeStdinClose:
	case TypeSignal:
		if p[0] < 1 || p[0] > 64 {
			return Frame{}, fmt.Errorf("%w: no signal %d", ErrFrame, p[0])
		}
		f.Signal = p[0]
	default:
		return Frame{}, fmt.Errorf("%w: unknown type 0x%02x", ErrFrame, byte(f.Type))
	}
	return f, nil
}
