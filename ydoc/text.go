package ydoc

import (
	"strings"
	"unicode/utf8"
)

// Text is a root type used as text, as Y.Text in Yjs. Indexes and lengths are in
// UTF-16 code units; an embedded value counts as one.
type Text struct {
	d *Doc
	b *branch
}

// Text returns the root type with a name, which exists from then on.
func (d *Doc) Text(name string) Text { return Text{d, d.root(name)} }

// Len is the length in UTF-16 code units.
func (t Text) Len() int { return t.b.index.len() }

// String is the text, without embedded values and formats.
func (t Text) String() string {
	var s strings.Builder
	s.Grow(t.Len())
	for it := t.b.start; it != nil; it = it.right {
		if !it.deleted && it.kind == kindString {
			s.Write(it.data)
		}
	}
	return s.String()
}

// Insert puts s before the unit at an index. Bytes of s that are not UTF-8 become
// U+FFFD, and so do both halves of a surrogate pair with the index between them.
func (t Text) Insert(at int, s string) error {
	if at < 0 || at > t.Len() {
		return ErrRange
	}
	if s == "" {
		return nil
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, replacement)
	}
	d := t.d
	switch l := &d.opt.Limits; {
	case d.content+d.wait.size+len(s) > l.Content:
		return &LimitError{"bytes of content", l.Content}
	case d.structs+3 > l.Structs:
		return &LimitError{"structs", l.Structs}
	}
	b := block{client: d.opt.Client, clock: d.state(d.opt.Client), kind: kindString, data: []byte(s)}
	n := units(b.data)
	if uint64(n) > uint64(maxClock-b.clock) {
		return &LimitError{"units of one client", maxClock}
	}
	b.length = uint32(n)
	d.begin()
	defer d.end()
	d.tx.mixed = true
	var left *item
	right := t.b.start
	if at > 0 {
		left = t.endingAt(at)
		right = left.right
	}
	for right != nil && right.deleted {
		left, right = right, right.right // as Yjs: behind what is deleted there
	}
	if left != nil {
		b.flags |= flagOrigin
		b.origin = ID{left.owner.client, uint64(left.last())}
	}
	if right != nil {
		b.flags |= flagRight
		b.right = ID{right.owner.client, uint64(right.clock)}
	}
	if b.bare() {
		b.root = []byte(t.b.name)
	}
	d.admit(&b)
	return nil
}

// Delete removes n units from an index on. Half of a surrogate pair that stays
// becomes U+FFFD.
func (t Text) Delete(at, n int) error {
	if at < 0 || n < 0 || n > t.Len()-at {
		return ErrRange
	}
	if n == 0 {
		return nil
	}
	d := t.d
	if l := &d.opt.Limits; d.structs+2 > l.Structs {
		return &LimitError{"structs", l.Structs}
	}
	d.begin()
	defer d.end()
	d.tx.mixed = true
	it := t.b.start
	if at > 0 {
		it = t.endingAt(at).right
	}
	for n > 0 {
		if size := it.size(); size > 0 {
			if n < size {
				d.startingAt(it.owner, it.clock+uint32(n))
				size = n
			}
			d.delete(it)
			n -= size
		}
		it = it.right
	}
	return nil
}

// endingAt returns the item that ends before the visible unit at, which is above
// 0, cutting one in two if need be.
func (t Text) endingAt(at int) *item {
	it, unit := t.b.index.find(at - 1)
	return t.d.endingAt(it.owner, it.clock+uint32(unit))
}
