package ydoc

import "github.com/holt-ide/holt/ydoc/lib0"

// Position is a place in a text that stays with its neighbour while others edit,
// the relative position of Yjs. Exactly one of Item, Root and Type is set.
type Position struct {
	Item *ID     // the unit that it is beside
	Root *string // an end of the root type with a name
	Type *ID     // an end of the type that an item holds
	// Assoc is the side: 0 or more means before the unit, or at the end of the
	// type; less means behind the unit, or at the start.
	Assoc int
}

// Encode is the position in the v1 encoding.
func (p Position) Encode() []byte {
	var dst []byte
	switch {
	case p.Item != nil:
		dst = appendID(append(dst, 0), *p.Item)
	case p.Root != nil:
		dst = lib0.AppendBytes(append(dst, 1), *p.Root)
	case p.Type != nil:
		dst = appendID(append(dst, 2), *p.Type)
	}
	return lib0.AppendInt(dst, int64(p.Assoc))
}

// DecodePosition reads a position in the v1 encoding. Assoc may be missing, as in
// positions of old.
func DecodePosition(raw []byte) (Position, error) {
	var p Position
	r := lib0.NewReader(raw)
	switch r.Uint() {
	case 0:
		id := readID(&r)
		p.Item = &id
	case 1:
		name := string(r.Text())
		p.Root = &name
	case 2:
		id := readID(&r)
		p.Type = &id
	default:
		r.Fail("an unknown kind of position")
	}
	if r.OK() && r.Len() > 0 {
		p.Assoc = int(r.Int())
	}
	if r.OK() && r.Len() > 0 {
		r.Fail("bytes after the end")
	}
	if err := r.Err(); err != nil {
		return Position{}, err
	}
	return p, nil
}

// Position is the position at an index, in UTF-16 code units from 0 to Len.
func (t Text) Position(at, assoc int) (Position, error) {
	if at < 0 || at > t.Len() {
		return Position{}, ErrRange
	}
	p := Position{Root: &t.b.name, Assoc: assoc}
	if assoc < 0 {
		if at == 0 {
			return p, nil
		}
		at--
	}
	if at == t.Len() {
		return p, nil
	}
	it, unit := t.b.index.find(at)
	p.Root, p.Item = nil, &ID{it.owner.client, uint64(it.clock) + uint64(unit)}
	return p, nil
}

// Index is where a position is now. It is not known (ok is false) while what the
// position refers to has not come, in another root type, and after that was
// deleted together with the type it was in.
func (t Text) Index(p Position) (at int, ok bool) {
	switch {
	case p.Item != nil:
		if p.Item.Clock >= uint64(t.d.state(p.Item.Client)) {
			return 0, false
		}
		clock := uint32(p.Item.Clock)
		it := t.d.lookup(p.Item.Client).get(clock)
		if it.parent != t.b || it.leaf == nil {
			return 0, false
		}
		at = t.b.index.position(it)
		if it.size() > 0 {
			at += int(clock - it.clock)
			if p.Assoc < 0 {
				at++
			}
		}
		return at, true
	case p.Root != nil && *p.Root == t.b.name:
		if p.Assoc < 0 {
			return 0, true
		}
		return t.Len(), true
	}
	return 0, false
}
