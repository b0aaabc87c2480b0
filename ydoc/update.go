package ydoc

import (
	"cmp"
	"slices"

	"github.com/holt-ide/holt/ydoc/lib0"
)

// section is the structs of one client in an update.
type section struct {
	client uint64
	clock  uint32 // of the first struct
	count  int
	offset int // of the first struct, in bytes of the update
}

// span is a range of clocks; as a deletion, those are deleted.
type span struct{ from, to uint32 }

// update is an update that was read from its first byte to its last without an
// error. Its structs are read again where they are integrated, so that a large
// update needs no memory for all of them at once.
type update struct {
	raw      []byte
	sections []section
	structs  int // in all sections
	deletes  int // offset of the deletions
	ranges   int // of deletions
}

// parse checks all of raw and fills u, reusing its memory.
func (u *update) parse(raw []byte, l *Limits) error {
	*u = update{raw: raw, sections: u.sections[:0]}
	if len(raw) > l.Update {
		return &LimitError{"bytes of one update", l.Update}
	}
	r := lib0.NewReader(raw)
	var b block
	for n := r.Uint(); n > 0 && r.OK(); n-- {
		count := r.Uint()
		s := section{client: r.Uint()}
		clock := r.Uint()
		s.offset = r.Offset()
		if clock > maxClock {
			r.Fail("a clock of more than 32 bits")
		}
		s.clock = uint32(clock)
		at := s.clock
		for i := uint64(0); i < count && r.OK(); i++ {
			readBlock(&r, &b, s.client, at)
			if r.OK() && b.selfish() {
				r.Fail("a struct that refers to a later one")
			}
			at = b.end()
		}
		if !r.OK() {
			break
		}
		s.count = int(count) // each took two bytes at least
		if u.structs += s.count; u.structs > l.Structs {
			return &LimitError{"structs", l.Structs}
		}
		if s.count > 0 {
			u.sections = append(u.sections, s)
		}
	}
	if r.OK() && u.repeats() {
		r.Fail("two sections of one client")
	}
	u.deletes = r.Offset()
	readDeletes(&r, func(uint64, span) { u.ranges++ })
	if r.OK() && r.Len() > 0 {
		r.Fail("bytes after the end")
	}
	return r.Err()
}

// repeats reports whether two sections are of one client; Yjs would lose the first.
func (u *update) repeats() bool {
	descending := func(a, b section) int { return cmp.Compare(b.client, a.client) }
	if !slices.IsSortedFunc(u.sections, descending) {
		slices.SortFunc(u.sections, descending)
	}
	for i := 1; i < len(u.sections); i++ {
		if u.sections[i].client == u.sections[i-1].client {
			return true
		}
	}
	return false
}

// selfish reports whether a struct refers to one that its client made later, which
// no order of integration can satisfy.
func (b *block) selfish() bool {
	late := func(id ID) bool { return id.Client == b.client && id.Clock >= uint64(b.clock) }
	return b.flags&flagOrigin != 0 && late(b.origin) ||
		b.flags&flagRight != 0 && late(b.right) ||
		b.kind != kindGC && b.kind != kindSkip && b.bare() && b.root == nil && late(b.parent)
}

// readDeletes gives each range of a delete set that is not empty to f.
func readDeletes(r *lib0.Reader, f func(client uint64, s span)) {
	for n := r.Uint(); n > 0 && r.OK(); n-- {
		client := r.Uint()
		for m := r.Uint(); m > 0 && r.OK(); m-- {
			clock, length := r.Uint(), r.Uint()
			if clock > maxClock || length > maxClock-clock {
				r.Fail("a clock of more than 32 bits")
			}
			if r.OK() && length > 0 {
				f(client, span{uint32(clock), uint32(clock + length)})
			}
		}
	}
}

// Validate reports whether raw is an update in the format, within the limits. A
// zero field of l has its default.
func Validate(raw []byte, l Limits) error {
	l = l.withDefaults()
	var u update
	return u.parse(raw, &l)
}

// feed hands out the structs of one client in order.
type feed struct {
	client uint64
	rd     lib0.Reader // a section of an update
	left   int
	clock  uint32
	queue  []block // or structs that waited
}

func (s section) feed(raw []byte) feed {
	return feed{client: s.client, rd: lib0.NewReaderAt(raw, s.offset), left: s.count, clock: s.clock}
}

// next fills b and reports whether there was a struct left.
func (f *feed) next(b *block) bool {
	switch {
	case f.left > 0:
		readBlock(&f.rd, b, f.client, f.clock)
		f.left--
		f.clock = b.end()
	case len(f.queue) > 0:
		*b = f.queue[0]
		f.queue = f.queue[1:]
	default:
		return false
	}
	return true
}
