package journal

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"

	"github.com/holt-ide/holt"
)

// record is an entry as it is in the log.
type record struct {
	kind      Kind
	workspace holt.WorkspaceID
	document  string
	data      []byte
}

const (
	headSize = 8
	// holtIDRoom is room for a workspace's ID and the lengths.
	holtIDRoom = 256
)

var table = crc32.MakeTable(crc32.Castagnoli)

var (
	errTorn = errors.New("the record is not whole")
	errSum  = errors.New("the record is not what was written")
)

func (r *record) size() int64 {
	n := headSize + 1 + len(r.data)
	for _, s := range []int{len(r.workspace), len(r.document)} {
		n += len(binary.AppendUvarint(nil, uint64(s))) + s
	}
	return int64(n)
}

// append adds the record's bytes to b.
func (r *record) append(b []byte) []byte {
	at := len(b)
	b = append(b, make([]byte, headSize)...)
	b = append(b, byte(r.kind))
	for _, s := range []string{string(r.workspace), r.document} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	b = append(b, r.data...)
	body := b[at+headSize:]
	binary.LittleEndian.PutUint32(b[at:], uint32(len(body)))
	binary.LittleEndian.PutUint32(b[at+4:], crc32.Checksum(body, table))
	return b
}

// decode reads a record from exactly its bytes. The data is part of b.
func decode(b []byte) (record, error) {
	if len(b) < headSize+1 || int64(binary.LittleEndian.Uint32(b)) != int64(len(b)-headSize) {
		return record{}, errTorn
	}
	return decodeBody(b[headSize:], binary.LittleEndian.Uint32(b[4:]))
}

func decodeBody(body []byte, sum uint32) (record, error) {
	if crc32.Checksum(body, table) != sum {
		return record{}, errSum
	}
	rest := body[1:]
	var names [2]string
	for i := range names {
		n, used := binary.Uvarint(rest)
		if used <= 0 || n > uint64(len(rest)-used) {
			return record{}, errSum
		}
		names[i] = string(rest[used : used+int(n)])
		rest = rest[used+int(n):]
	}
	return record{kind: Kind(body[0]), workspace: holt.WorkspaceID(names[0]), document: names[1], data: rest}, nil
}

// reader reads a log from its beginning.
type reader struct {
	r  *bufio.Reader
	at int64
}

func newReader(r io.Reader) *reader { return &reader{r: bufio.NewReaderSize(r, 1<<20)} }

func (r *reader) head() error {
	got := make([]byte, len(magic))
	if _, err := io.ReadFull(r.r, got); err != nil || string(got) != magic {
		return holt.Errorf(holt.KindCorrupt, "this is no journal of a version that this program knows: start the version of Holt that wrote it, or move the file away")
	}
	r.at = int64(len(magic))
	return nil
}

// next returns the next record. The error is [io.EOF] at the end of the log, errTorn
// where it goes no further, and errSum for a record that was passed over.
func (r *reader) next() (record, error) {
	var head [headSize]byte
	n, err := io.ReadFull(r.r, head[:])
	switch {
	case errors.Is(err, io.EOF) && n == 0:
		return record{}, io.EOF
	case errors.Is(err, io.ErrUnexpectedEOF):
		return record{}, errTorn
	case err != nil:
		return record{}, err
	}
	length := binary.LittleEndian.Uint32(head[:])
	if length == 0 || length > MaxRecord {
		return record{}, errTorn
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r.r, body); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return record{}, errTorn
	} else if err != nil {
		return record{}, err
	}
	r.at += headSize + int64(length)
	return decodeBody(body, binary.LittleEndian.Uint32(head[4:]))
}
