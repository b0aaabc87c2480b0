package ydoc

import "slices"

// index finds items of a sequence by position, and positions of items, in time
// logarithmic in their number. It is a tree whose leaves are runs of the linked
// list; each node knows how many UTF-16 units are visible below it.
type index struct{ root *node }

// node is an inner node, with kids, or a leaf: the run of items from first.
type node struct {
	up    *node
	kids  []*node
	first *item
	items int // of the run
	units int // visible, of all below
}

const (
	maxRun  = 64 // items of a leaf
	maxKids = 32
)

// add puts it, which is linked already, into the index.
func (x *index) add(it *item) {
	switch {
	case it.left != nil:
		it.leaf = it.left.leaf
	case x.root == nil:
		x.root = &node{}
		it.leaf = x.root
	default:
		n := x.root
		for n.kids != nil {
			n = n.kids[0]
		}
		it.leaf = n
	}
	if it.left == nil {
		it.leaf.first = it
	}
	it.leaf.items++
	it.leaf.grow(it.size())
	if it.leaf.items > maxRun {
		x.splitLeaf(it.leaf)
	}
}

// split counts right, which was just cut off from left.
func (x *index) split(left, right *item) {
	right.leaf = left.leaf
	left.leaf.items++
	if left.leaf.items > maxRun {
		x.splitLeaf(left.leaf)
	}
}

// merge takes right out, whose units will be left's. Both are linked still.
func (x *index) merge(left, right *item) {
	l, r := left.leaf, right.leaf
	if l != r {
		size := right.size()
		l.grow(size)
		r.grow(-size)
	}
	r.items--
	if r.items == 0 {
		x.remove(r)
	} else if r.first == right {
		r.first = right.right
	}
}

// grow adds n visible units to the node and all above it.
func (n *node) grow(by int) {
	if by == 0 {
		return
	}
	for ; n != nil; n = n.up {
		n.units += by
	}
}

func (x *index) splitLeaf(n *node) {
	keep := n.items / 2
	it := n.first
	for range keep {
		it = it.right
	}
	m := &node{first: it, items: n.items - keep}
	n.items = keep
	for range m.items {
		it.leaf = m
		m.units += it.size()
		it = it.right
	}
	n.units -= m.units
	x.insert(n, m)
}

// insert puts m after its sibling n, whose units were reduced by m's.
func (x *index) insert(n, m *node) {
	up := n.up
	if up == nil {
		x.root = &node{kids: []*node{n, m}, units: n.units + m.units}
		n.up, m.up = x.root, x.root
		return
	}
	m.up = up
	up.kids = slices.Insert(up.kids, slices.Index(up.kids, n)+1, m)
	if len(up.kids) <= maxKids {
		return
	}
	keep := len(up.kids) / 2
	o := &node{kids: slices.Clone(up.kids[keep:])}
	clear(up.kids[keep:])
	up.kids = up.kids[:keep]
	for _, k := range o.kids {
		k.up = o
		o.units += k.units
	}
	up.units -= o.units
	x.insert(up, o)
}

// remove takes an empty node out.
func (x *index) remove(n *node) {
	for n.up != nil {
		up := n.up
		i := slices.Index(up.kids, n)
		up.kids = slices.Delete(up.kids, i, i+1)
		if len(up.kids) > 0 {
			return
		}
		n = up
	}
	x.root = nil
}

// len is the number of visible units.
func (x *index) len() int {
	if x.root == nil {
		return 0
	}
	return x.root.units
}

// find returns the item with the visible unit at position pos, which is less
// than len, and the unit's place in it.
func (x *index) find(pos int) (*item, int) {
	n := x.root
	for n.kids != nil {
		for _, k := range n.kids {
			if pos < k.units {
				n = k
				break
			}
			pos -= k.units
		}
	}
	it := n.first
	for pos >= it.size() {
		pos -= it.size()
		it = it.right
	}
	return it, pos
}

// position is the number of visible units before it.
func (x *index) position(it *item) int {
	pos := 0
	for i := it.leaf.first; i != it; i = i.right {
		pos += i.size()
	}
	for n := it.leaf; n.up != nil; n = n.up {
		for _, k := range n.up.kids {
			if k == n {
				break
			}
			pos += k.units
		}
	}
	return pos
}
