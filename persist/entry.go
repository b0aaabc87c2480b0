package persist

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/holt-ide/holt/meta"
)

// Type tells the kinds of entries.
type Type byte

// The types, as they are written.
const (
	File   Type = 1
	Folder Type = 2
	Link   Type = 3 // a symbolic one
)

// Entry is one name in a revision.
type Entry struct {
	Path    string // from the volume's top, "workspace/src/a.go"; "" is the top itself
	Type    Type
	Mode    uint32 // permissions and the bits above them, 07777 at most
	ModTime time.Time
	UID     uint32 // in the volume, without the shift of its mount
	GID     uint32
	Size    int64  // bytes of a file, or of all files in a folder
	Files   int64  // of a folder: files, links and folders in it, at every depth
	Target  string // of a link
	Torn    bool   // a file that changed while it was read, each time
}

// role says what the bytes of a blob mean to what refers to it. It is never guessed
// from the bytes: a guest can write a file that looks like a folder.
type role byte

const (
	roleNone   role = 0 // no bytes at all
	roleDirect role = 1 // the blob holds the bytes
	roleList   role = 2 // the blob lists the blobs that hold the bytes, side by side
)

// stream refers to a row of bytes: the content of a file, or the entries of a folder.
type stream struct {
	role role
	id   meta.BlobID
}

// entry is an [Entry] as it is stored, in its folder.
type entry struct {
	name    string
	kind    Type
	torn    bool
	mode    uint32
	mtime   stamp
	uid     uint32
	gid     uint32
	size    int64
	files   int64
	content stream // of a file or a folder
	target  string

	// How it was on the volume, to tell without reading it that it has not changed.
	inode uint64
	ctime stamp
}

// stamp is a time since the Unix epoch, as file systems keep it.
type stamp struct {
	sec  int64
	nsec uint32
}

func (s stamp) time() time.Time { return time.Unix(s.sec, int64(s.nsec)).UTC() }

// Who owns things in a workspace, unless something else is said.
const usualID = 1000

// Flags of an entry.
const (
	flagTorn  = 1 << 0
	flagOwner = 1 << 1 // owner and group follow
)

// Bounds of what is stored, also against a store that is not ours any more.
const (
	maxName   = 255
	maxTarget = 4096
	maxPath   = 4000 // bytes of a path from the top: below what the kernel resolves at once
	maxDepth  = 256  // folders in each other
)

// same reports whether a and b are the same to a person: all but how they were on
// the volume, and the time of a folder, which follows from others.
func same(a, b *entry) bool {
	return a.kind == b.kind && a.mode == b.mode && a.uid == b.uid && a.gid == b.gid && a.target == b.target && a.size == b.size && a.files == b.files &&
		a.content == b.content && (a.mtime == b.mtime || a.kind == Folder) && a.torn == b.torn
}

// appendEntry appends e in the form that the package comment gives.
func appendEntry(b []byte, e *entry) []byte {
	var flags byte
	if e.torn {
		flags |= flagTorn
	}
	if e.uid != usualID || e.gid != usualID {
		flags |= flagOwner
	}
	b = append(b, byte(len(e.name)))
	b = append(b, e.name...)
	b = append(b, byte(e.kind), flags)
	b = binary.AppendUvarint(b, uint64(e.mode))
	b = appendStamp(b, e.mtime)
	if flags&flagOwner != 0 {
		b = binary.AppendUvarint(b, uint64(e.uid))
		b = binary.AppendUvarint(b, uint64(e.gid))
	}
	b = binary.AppendUvarint(b, e.inode)
	b = appendStamp(b, e.ctime)
	if e.kind == Link {
		b = binary.AppendUvarint(b, uint64(len(e.target)))
		return append(b, e.target...)
	}
	b = binary.AppendUvarint(b, uint64(e.size))
	if e.kind == Folder {
		b = binary.AppendUvarint(b, uint64(e.files))
	}
	b = append(b, byte(e.content.role))
	if e.content.role != roleNone {
		b = append(b, e.content.id[:]...)
	}
	return b
}

func appendStamp(b []byte, s stamp) []byte {
	b = binary.AppendVarint(b, s.sec)
	return binary.AppendUvarint(b, uint64(s.nsec))
}

var errFormat = errors.New("is not in the form of this version")

// reader takes apart what appendEntry made. The first error stays.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail() {
	if r.err == nil {
		r.err = errFormat
	}
	r.b = nil
}

func (r *reader) bytes(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail()
		return make([]byte, 0)
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) byte() byte {
	if b := r.bytes(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

// number reads an unsigned number up to most.
func (r *reader) number(most uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > most {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) stamp() (s stamp) {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return s
	}
	r.b = r.b[n:]
	return stamp{v, uint32(r.number(999_999_999))}
}

func (r *reader) stream() (s stream) {
	s.role = role(r.byte())
	switch s.role {
	case roleNone:
	case roleDirect, roleList:
		copy(s.id[:], r.bytes(len(s.id)))
	default:
		r.fail()
	}
	return s
}

// goodName reports whether a name may stand in a folder.
func goodName(name string) bool {
	return name != "" && len(name) <= maxName && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}

func (r *reader) entry() (e entry) {
	e.name = string(r.bytes(int(r.byte())))
	e.kind = Type(r.byte())
	flags := r.byte()
	if flags&^(flagTorn|flagOwner) != 0 {
		r.fail()
	}
	e.torn = flags&flagTorn != 0
	e.mode = uint32(r.number(0o7777))
	e.mtime = r.stamp()
	e.uid, e.gid = usualID, usualID
	if flags&flagOwner != 0 {
		e.uid, e.gid = uint32(r.number(math.MaxUint32)), uint32(r.number(math.MaxUint32))
	}
	e.inode = r.number(math.MaxUint64)
	e.ctime = r.stamp()
	switch e.kind {
	case Link:
		e.target = string(r.bytes(int(r.number(maxTarget))))
	case Folder:
		e.size = int64(r.number(math.MaxInt64))
		e.files = int64(r.number(math.MaxInt64))
		e.content = r.stream()
	case File:
		e.size = int64(r.number(math.MaxInt64))
		e.content = r.stream()
	default:
		r.fail()
	}
	return e
}

// decodeEntries takes apart the entries of a folder: sorted by their names, which
// are all different.
func decodeEntries(b []byte) ([]entry, error) {
	r := reader{b: b}
	var list []entry
	for len(r.b) > 0 {
		e := r.entry()
		if r.err == nil && (!goodName(e.name) || len(list) > 0 && list[len(list)-1].name >= e.name) {
			r.fail()
		}
		list = append(list, e)
	}
	if r.err != nil {
		return nil, fmt.Errorf("folder %w", r.err)
	}
	return list, nil
}

// decodeRoot takes apart the entry of the top folder, which has no name.
func decodeRoot(b []byte) (entry, error) {
	r := reader{b: b}
	e := r.entry()
	if r.err == nil && (e.name != "" || e.kind != Folder || len(r.b) > 0) {
		r.fail()
	}
	if r.err != nil {
		return entry{}, fmt.Errorf("top folder %w", r.err)
	}
	return e, nil
}

// part is one piece of a stream: bytes in a blob, or zeros that are stored nowhere.
type part struct {
	hole bool
	size int64
	id   meta.BlobID
}

func appendPart(b []byte, p part) []byte {
	if p.hole {
		return binary.AppendUvarint(b, uint64(p.size)<<1|1)
	}
	b = binary.AppendUvarint(b, uint64(p.size)<<1)
	return append(b, p.id[:]...)
}

// decodeParts takes apart a list of parts, which are size bytes together.
func decodeParts(b []byte, size int64) ([]part, error) {
	r := reader{b: b}
	var list []part
	var sum int64
	for len(r.b) > 0 && r.err == nil {
		n := r.number(math.MaxInt64)
		p := part{hole: n&1 == 1, size: int64(n >> 1)}
		if !p.hole {
			copy(p.id[:], r.bytes(len(p.id)))
			if p.size > maxBlob {
				r.fail()
			}
		}
		if p.size == 0 || p.size > math.MaxInt64-sum {
			r.fail()
		}
		sum += p.size
		list = append(list, p)
	}
	if r.err == nil && size >= 0 && sum != size {
		r.fail()
	}
	if r.err != nil {
		return nil, fmt.Errorf("list of blobs %w", r.err)
	}
	return list, nil
}
