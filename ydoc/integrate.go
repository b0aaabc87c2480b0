package ydoc

import (
	"cmp"
	"math"
	"slices"
)

// integrateUpdate integrates what u has, lets the rest wait, and reports whether
// all of u was new and is in the document now.
func (d *Doc) integrateUpdate(u *update) bool {
	feeds := d.feeds[:0]
	for i := len(u.sections) - 1; i >= 0; i-- {
		feeds = append(feeds, u.sections[i].feed(u.raw))
	}
	whole := d.integrate(feeds)
	clear(feeds)
	if cap(feeds) <= 16 {
		d.feeds = feeds[:0]
	}
	return whole
}

// integrate takes the structs of the feeds, which are sorted by client, into the document in an order in which
// each finds what it refers to, the highest client first. Those that refer to
// something that is not there wait, and with them what follows of their clients.
// It reports whether every struct was new and is in the document now.
func (d *Doc) integrate(feeds []feed) (whole bool) {
	whole = true
	stack := d.stack[:0] // structs that need what the next ones bring
	var head block
	next := func() bool {
		if n := len(stack); n > 0 {
			head = stack[n-1]
			stack = stack[:n-1]
			return true
		}
		for n := len(feeds); n > 0; n-- {
			if feeds[n-1].next(&head) {
				return true
			}
			feeds = feeds[:n-1]
		}
		return false
	}
	for next() {
	again:
		if head.kind == kindSkip {
			continue
		}
		state := d.state(head.client)
		if head.end() <= state {
			whole = false
			continue
		}
		if head.clock < state {
			whole = false
			head.trim(state - head.clock)
		}
		missing, from := head.client, head.clock-1
		if head.clock == state {
			var waits bool
			if missing, waits = d.dependency(&head); !waits {
				d.admit(&head)
				continue
			}
			stack = append(stack, head)
			if f := feedOf(feeds, missing); f != nil && f.next(&head) {
				goto again
			}
			from = d.state(missing)
		} else {
			stack = append(stack, head)
		}
		// Nothing here brings what is missing.
		whole = false
		d.wait.until(missing, from)
		for i := range stack {
			d.wait.add(&stack[i], &d.opt.Limits)
			if f := feedOf(feeds, stack[i].client); f != nil {
				for f.next(&head) {
					d.wait.add(&head, &d.opt.Limits)
				}
			}
		}
		stack = stack[:0]
	}
	if cap(stack) <= 16 {
		clear(stack[:cap(stack)])
		d.stack = stack[:0]
	}
	return whole
}

func feedOf(feeds []feed, client uint64) *feed {
	i, ok := slices.BinarySearchFunc(feeds, client, func(f feed, c uint64) int { return cmp.Compare(f.client, c) })
	if !ok {
		return nil
	}
	return &feeds[i]
}

// dependency returns the client of something b refers to and that is not there.
func (d *Doc) dependency(b *block) (client uint64, waits bool) {
	if b.kind == kindGC {
		return 0, false
	}
	lacks := func(id ID) bool { return id.Client != b.client && id.Clock >= uint64(d.state(id.Client)) }
	switch {
	case b.flags&flagOrigin != 0 && lacks(b.origin):
		return b.origin.Client, true
	case b.flags&flagRight != 0 && lacks(b.right):
		return b.right.Client, true
	case b.bare() && b.root == nil && lacks(b.parent):
		return b.parent.Client, true
	}
	return 0, false
}

// admit makes a struct part of the document. It is the next one of its client, and
// what it refers to is there.
func (d *Doc) admit(b *block) {
	r := d.replica(b.client)
	d.growing(r)
	if b.kind == kindGC {
		d.admitGC(r, b.length)
		return
	}
	if d.extend(r, b) {
		return
	}
	it := &item{owner: r, clock: b.clock, length: b.length, kind: b.kind}
	var left, right *item
	if b.flags&flagOrigin != 0 {
		it.from, it.origin = d.lookup(b.origin.Client), uint32(b.origin.Clock)
		left = d.endingAt(it.from, it.origin)
	}
	if b.flags&flagRight != 0 {
		it.before, it.rightOri = d.lookup(b.right.Client), uint32(b.right.Clock)
		right = d.startingAt(it.before, it.rightOri)
	}
	parent := d.parentOf(b, left, right)
	if parent == nil {
		d.admitGC(r, b.length)
		return
	}
	if len(b.data) > 0 {
		it.data = append([]byte(nil), b.data...)
	}
	switch {
	case b.bare() && b.flags&flagKey != 0:
		it.more = &more{keyed: true, key: string(b.key)}
	case left != nil && left.keyed():
		it.more = &more{keyed: true, key: left.more.key}
	case left == nil && !b.bare() && right.keyed():
		it.more = &more{keyed: true, key: right.more.key}
	}
	d.insert(it, parent, left, right)
}

// admitGC adds n clocks of which nothing is left.
func (d *Doc) admitGC(r *replica, n uint32) {
	d.push(r, &item{owner: r, clock: r.state(), length: n, kind: kindGC, deleted: true})
}

func (d *Doc) push(r *replica, it *item) {
	r.structs = append(r.structs, it)
	d.structs++
}

// extend appends text that continues the client's last item where nobody else
// has inserted anything, which is what typing is. Such an item would merge later.
func (d *Doc) extend(r *replica, b *block) bool {
	if len(r.structs) == 0 || b.kind != kindString || b.flags&flagOrigin == 0 ||
		b.origin.Client != b.client || b.origin.Clock+1 != uint64(b.clock) {
		return false
	}
	it := r.structs[len(r.structs)-1]
	if it.kind != kindString || it.deleted || it.leaf == nil {
		return false
	}
	if b.flags&flagRight == 0 {
		if it.before != nil || it.right != nil {
			return false
		}
	} else if it.before == nil || it.before.client != b.right.Client || uint64(it.rightOri) != b.right.Clock ||
		!it.right.isAt(it.before, it.rightOri) {
		return false
	}
	it.data = append(it.data, b.data...)
	d.content += len(b.data)
	it.length += b.length
	it.leaf.grow(int(b.length))
	return true
}

// parentOf is the type that b goes into, or nil where that is gone.
func (d *Doc) parentOf(b *block, left, right *item) *branch {
	switch {
	case left != nil && left.kind == kindGC, right != nil && right.kind == kindGC:
		return nil
	case left != nil:
		return left.parent
	case right != nil:
		return right.parent
	case b.root != nil:
		return d.root(string(b.root))
	}
	return d.lookup(b.parent.Client).get(uint32(b.parent.Clock)).child()
}

// insert links it under parent, where YATA's rules put it, and makes it one of
// its owner's structs.
func (d *Doc) insert(it *item, parent *branch, left, right *item) {
	it.parent = parent
	if left == nil && (right == nil || right.left != nil) || left != nil && left.right != right {
		left = d.place(it, left, right)
	}
	d.link(it, left)
	if !it.keyed() {
		parent.index.add(it)
	}
	d.content += len(it.data)
	d.push(it.owner, it)
	switch it.kind {
	case kindDeleted:
		it.deleted = true
		d.noteDelete(it)
	case kindType:
		if it.more == nil {
			it.more = &more{}
		}
		it.more.child = &branch{item: it}
	}
	if parent.item != nil && parent.item.deleted || it.keyed() && it.right != nil {
		d.delete(it)
	}
}

// link puts it after left, or first where left is nil.
func (d *Doc) link(it, left *item) {
	p := it.parent
	it.left = left
	switch {
	case left != nil:
		it.right = left.right
		left.right = it
	case it.keyed():
		it.right = p.first(it.more.key)
	default:
		it.right = p.start
		p.start = it
	}
	switch {
	case it.right != nil:
		it.right.left = it
	case it.keyed():
		if p.keys == nil {
			p.keys = map[string]*item{}
		}
		p.keys[it.more.key] = it
		if left != nil {
			d.delete(left) // its value is replaced
		}
	}
}

// place resolves a conflict: between left and right there are items that others
// have inserted at the same time. It returns the one that it goes after, or nil.
//
// The rules are those of Yjs. Among items with the same origin the lower client is
// left; an item stays right of its origin, and what was inserted into it goes
// with it. Two sets are needed, of the items passed and of those since the last
// that it must follow. As items are passed in order, each is marked with a number:
// a set is the numbers from some one on.
func (d *Doc) place(it, left, right *item) *item {
	var o *item
	switch {
	case left != nil:
		o = left.right
	case it.keyed():
		o = it.parent.first(it.more.key)
	default:
		o = it.parent.start
	}
	if d.visits > math.MaxUint32/2 {
		d.forgetVisits()
	}
	passed := d.visits + 1 // first number of the items passed
	conflicts := passed    // first number of those in conflict with it
	for ; o != nil && o != right; o = o.right {
		d.visits++
		o.visit = d.visits
		switch {
		case o.from == it.from && (o.from == nil || o.origin == it.origin):
			if o.owner.client < it.owner.client {
				left = o
				conflicts = d.visits + 1
			} else if o.before == it.before && (o.before == nil || o.rightOri == it.rightOri) {
				return left
			}
		case o.from != nil:
			origin := o.from.get(o.origin).visit
			if origin < passed {
				return left
			}
			if origin < conflicts {
				left = o
				conflicts = d.visits + 1
			}
		default:
			return left
		}
	}
	return left
}

// forgetVisits starts the numbers of place anew before they run out.
func (d *Doc) forgetVisits() {
	for _, r := range d.replicas {
		for _, it := range r.structs {
			it.visit = 0
		}
	}
	d.visits = 0
}

// delete marks an item, and all below it, as deleted.
func (d *Doc) delete(it *item) {
	var todo []*item
	for {
		if !it.deleted {
			if it.leaf != nil {
				it.leaf.grow(-it.size())
			}
			it.deleted = true
			d.noteDelete(it)
			if c := it.child(); c != nil {
				for i := c.start; i != nil; i = i.right {
					todo = append(todo, i)
				}
				for _, i := range c.keys {
					todo = append(todo, i)
				}
			}
		}
		if len(todo) == 0 {
			return
		}
		it = todo[len(todo)-1]
		todo = todo[:len(todo)-1]
	}
}

func (d *Doc) noteDelete(it *item) {
	r := it.owner
	if len(r.deletes) == 0 {
		d.tx.deletes = append(d.tx.deletes, r)
	}
	r.deletes = append(r.deletes, span{it.clock, it.end()})
}
