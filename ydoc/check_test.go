package ydoc

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
)

// check looks for anything in a document that does not fit together.
func check(t testing.TB, d *Doc) {
	t.Helper()
	if err := d.check(); err != nil {
		t.Fatal(err)
	}
}

func (d *Doc) check() error {
	structs, content, listed := 0, 0, 0
	branches := map[*branch]bool{}
	for _, b := range d.roots {
		branches[b] = true
	}
	for client, r := range d.replicas {
		if r.client != client || len(r.structs) == 0 {
			return fmt.Errorf("client %d: replica of %d with %d structs", client, r.client, len(r.structs))
		}
		if r.changed || len(r.deletes) > 0 || len(r.touched) > 0 {
			return fmt.Errorf("client %d: something of the transaction is left", client)
		}
		next := uint32(0)
		for i, it := range r.structs {
			if it.owner != r || it.clock != next || it.length == 0 {
				return fmt.Errorf("client %d: struct %d is %d+%d, not at %d", client, i, it.clock, it.length, next)
			}
			next = it.end()
			structs++
			content += len(it.data)
			if it.kind == kindGC {
				continue
			}
			listed++
			if c := it.child(); c != nil {
				branches[c] = true
			}
			if it.kind == kindString && units(it.data) != int(it.length) {
				return fmt.Errorf("%d:%d has %d units for length %d", client, it.clock, units(it.data), it.length)
			}
			if (it.left != nil && it.left.right != it) || (it.right != nil && it.right.left != it) {
				return fmt.Errorf("%d:%d is linked one way", client, it.clock)
			}
		}
	}
	if structs != d.structs || content != d.content {
		return fmt.Errorf("%d structs counted as %d, %d bytes as %d", structs, d.structs, content, d.content)
	}
	for b := range branches {
		n, err := b.check(d)
		if err != nil {
			return err
		}
		listed -= n
	}
	if listed != 0 {
		return fmt.Errorf("%d items are in no list", listed)
	}
	waiting := 0
	for _, list := range d.wait.structs {
		waiting += len(list)
	}
	for _, list := range d.wait.deletes {
		waiting += len(list)
	}
	if waiting != d.wait.count {
		return fmt.Errorf("%d wait, counted as %d", waiting, d.wait.count)
	}
	return nil
}

// check returns the number of items of the branch.
func (b *branch) check(d *Doc) (items int, err error) {
	var leaves []*node
	for it := b.start; it != nil; it = it.right {
		if it.parent != b || it.leaf == nil || it.keyed() {
			return 0, fmt.Errorf("%d:%d is not of the list it is in", it.owner.client, it.clock)
		}
		if n := len(leaves); n == 0 || leaves[n-1] != it.leaf {
			if it.leaf.first != it {
				return 0, fmt.Errorf("%d:%d starts a leaf that starts elsewhere", it.owner.client, it.clock)
			}
			leaves = append(leaves, it.leaf)
		}
		items++
	}
	for key, it := range b.keys {
		if it.right != nil {
			return 0, fmt.Errorf("%q has a value that is not its last", key)
		}
		for ; it != nil; it = it.left {
			if it.parent != b || !it.keyed() || it.more.key != key || it.leaf != nil || (it.right != nil && !it.deleted) {
				return 0, fmt.Errorf("%d:%d is wrong for key %q", it.owner.client, it.clock, key)
			}
			items++
		}
	}
	var inTree []*node
	if b.index.root != nil {
		if _, err := b.index.root.check(nil, &inTree); err != nil {
			return 0, err
		}
	}
	if !slices.Equal(inTree, leaves) {
		return 0, fmt.Errorf("the index has %d leaves, the list %d", len(inTree), len(leaves))
	}
	return items, nil
}

func (n *node) check(up *node, leaves *[]*node) (units int, err error) {
	if n.up != up {
		return 0, fmt.Errorf("a node has another parent")
	}
	if n.kids == nil {
		it := n.first
		for range n.items {
			if it.leaf != n {
				return 0, fmt.Errorf("a leaf counts too many items")
			}
			units += it.size()
			it = it.right
		}
		*leaves = append(*leaves, n)
	}
	for _, k := range n.kids {
		u, err := k.check(n, leaves)
		if err != nil {
			return 0, err
		}
		units += u
	}
	if units != n.units {
		return 0, fmt.Errorf("a node counts %d units, not %d", n.units, units)
	}
	return units, nil
}

// same fails unless both documents hold the same.
func same(t testing.TB, a, b *Doc) {
	t.Helper()
	for name := range a.roots {
		if x, y := a.Text(name).String(), b.Text(name).String(); x != y {
			t.Fatalf("text %q: %q and %q", name, x, y)
		}
	}
	if x, y := a.StateVector().Encode(), b.StateVector().Encode(); !bytes.Equal(x, y) {
		t.Fatalf("state vectors: %x and %x", x, y)
	}
	for client, r := range a.replicas {
		if x, y := r.deleted(), b.replicas[client].deleted(); !slices.Equal(x, y) {
			t.Fatalf("deletions of %d: %v and %v", client, x, y)
		}
	}
}
