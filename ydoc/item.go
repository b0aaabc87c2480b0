package ydoc

// item is one struct of the document: content at a place among its neighbours, or
// (kindGC) a range of clocks of which nothing is left.
type item struct {
	owner    *replica // whose clock it is
	left     *item    // neighbours under the same parent or key
	right    *item
	parent   *branch
	leaf     *node    // where the parent's index has it; nil under a key
	from     *replica // of the origin; nil for none
	before   *replica // of the right origin; nil for none
	more     *more    // what few items have
	data     []byte   // content as it is encoded, without its length
	clock    uint32
	length   uint32
	origin   uint32 // clock of the origin
	rightOri uint32 // clock of the right origin
	visit    uint32 // when integrate last passed here, see [Doc.visits]
	kind     byte
	deleted  bool
}

// more is what only items of a key, and those that hold a type, have.
type more struct {
	keyed bool
	key   string
	child *branch // the type that this item holds
}

// branch is a shared type: a sequence, and items by key.
type branch struct {
	name  string // of a root type
	item  *item  // that holds the type; nil for a root type
	start *item  // first of the sequence, deleted ones included
	index index
	keys  map[string]*item // the last, which is the present one, of each key
}

func (it *item) end() uint32 { return it.clock + it.length }

func (it *item) last() uint32 { return it.clock + it.length - 1 }

func (it *item) keyed() bool { return it.more != nil && it.more.keyed }

func (it *item) child() *branch {
	if it.more == nil {
		return nil
	}
	return it.more.child
}

// size is what the item adds to indexes into its parent.
func (it *item) size() int {
	if it.deleted || !counted(it.kind) {
		return 0
	}
	return int(it.length)
}

// first is the leftmost item of a key, or nil.
func (b *branch) first(key string) *item {
	it := b.keys[key]
	for it != nil && it.left != nil {
		it = it.left
	}
	return it
}

// isAt reports whether the item is the one that starts with the ID.
func (it *item) isAt(owner *replica, clock uint32) bool {
	return it != nil && it.owner == owner && it.clock == clock
}

// split cuts the item in two before its unit at and returns the second. The
// caller puts that into the owner's structs.
func (d *Doc) split(it *item, at uint32) *item {
	r := &item{
		owner: it.owner, clock: it.clock + at, length: it.length - at,
		left: it, right: it.right, parent: it.parent,
		from: it.owner, origin: it.clock + at - 1,
		before: it.before, rightOri: it.rightOri,
		kind: it.kind, deleted: it.deleted,
	}
	if it.keyed() {
		r.more = &more{keyed: true, key: it.more.key}
	}
	was := len(it.data)
	it.data, r.data = cutContent(it.kind, it.data, int(it.length), int(at))
	d.content += len(it.data) + len(r.data) - was
	d.structs++
	it.length = at
	it.right = r
	switch {
	case r.right != nil:
		r.right.left = r
	case r.keyed():
		r.parent.keys[r.more.key] = r
	}
	if it.leaf != nil {
		it.parent.index.split(it, r)
	}
	d.touch(r.owner, span{it.clock, r.end()})
	return r
}

// merge joins right to left, which precedes it in the owner's structs, if they
// could be one struct. The caller takes right out of the owner's structs.
func (d *Doc) merge(left, right *item) bool {
	if left.kind != right.kind || left.deleted != right.deleted {
		return false
	}
	if left.kind == kindGC {
		left.length += right.length
		return true
	}
	if left.right != right || right.from != left.owner || right.origin != left.last() ||
		left.before != right.before || left.rightOri != right.rightOri {
		return false
	}
	switch left.kind {
	case kindDeleted:
	case kindString, kindAny, kindJSON:
		left.data = append(left.data, right.data...)
	default:
		return false
	}
	if left.leaf != nil {
		left.parent.index.merge(left, right)
	}
	left.right = right.right
	switch {
	case left.right != nil:
		left.right.left = left
	case left.keyed():
		left.parent.keys[left.more.key] = left
	}
	left.length += right.length
	return true
}

// block describes the item as it is encoded.
func (it *item) block() block {
	b := block{client: it.owner.client, clock: it.clock, length: it.length, kind: it.kind, data: it.data}
	if it.kind == kindGC {
		return b
	}
	if it.from != nil {
		b.flags |= flagOrigin
		b.origin = ID{it.from.client, uint64(it.origin)}
	}
	if it.before != nil {
		b.flags |= flagRight
		b.right = ID{it.before.client, uint64(it.rightOri)}
	}
	if it.keyed() {
		b.flags |= flagKey
		b.key = []byte(it.more.key)
	}
	if b.bare() {
		if p := it.parent.item; p != nil {
			b.parent = ID{p.owner.client, uint64(p.clock)}
		} else {
			b.root = []byte(it.parent.name) // never nil
		}
	}
	return b
}
