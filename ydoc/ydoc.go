package ydoc

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// Options configures a [Doc]. Its zero value works.
type Options struct {
	// Client is the ID of local edits, below 2^53; 0 means a random one of 32 bits.
	// No two documents that meet may use one ID.
	Client uint64
	// KeepDeleted keeps the content of what is deleted, as gc: false in Yjs.
	KeepDeleted bool
	// Limits bounds what is taken.
	Limits Limits
	// OnUpdate is called at the end of each transaction that changed the document,
	// with the update that makes the same change elsewhere. An update that came in
	// and was used whole is passed on as it came: the callee must not change the
	// slice, and copies what it keeps if the caller of Apply reuses its memory. It
	// must not call the document.
	OnUpdate func(update []byte)
}

// Doc is a document: root types by name, with all that was ever inserted and
// deleted. Its methods must not run at the same time.
type Doc struct {
	opt      Options
	replicas map[uint64]*replica
	recent   *replica // the last that was looked up
	roots    map[string]*branch
	structs  int    // in all replicas
	content  int    // bytes of item.data in all of them
	visits   uint32 // counts items seen by conflict resolution, see place

	again bool // deleteRange met what was deleted already

	wait waiting
	tx   transaction

	// Memory that is used again.
	in    update
	feeds []feed
	stack []block
}

// New returns an empty document.
func New(o Options) *Doc {
	o.Limits = o.Limits.withDefaults()
	d := &Doc{opt: o, replicas: map[uint64]*replica{}, roots: map[string]*branch{}}
	if d.opt.Client == 0 {
		d.opt.Client = randomClient()
	}
	return d
}

func randomClient() uint64 { return uint64(rand.Uint32()) | 1 }

// Client is the ID of local edits. It changes when an update turns out to use the
// same, as in Yjs.
func (d *Doc) Client() uint64 { return d.opt.Client }

// Pending reports whether structs or deletions wait for updates that have not come.
func (d *Doc) Pending() bool { return d.wait.count > 0 }

// Size is the bytes of content held and the number of structs, for [Limits].
func (d *Doc) Size() (content, structs int) { return d.content, d.structs }

// lookup returns a client's replica, or nil.
func (d *Doc) lookup(client uint64) *replica {
	if r := d.recent; r != nil && r.client == client {
		return r
	}
	r := d.replicas[client]
	if r != nil {
		d.recent = r
	}
	return r
}

// state is the number of units known of a client.
func (d *Doc) state(client uint64) uint32 {
	if r := d.lookup(client); r != nil {
		return r.state()
	}
	return 0
}

func (d *Doc) replica(client uint64) *replica {
	r := d.lookup(client)
	if r == nil {
		r = &replica{client: client}
		d.replicas[client] = r
	}
	return r
}

func (d *Doc) root(name string) *branch {
	b := d.roots[name]
	if b == nil {
		b = &branch{name: name}
		d.roots[name] = b
	}
	return b
}

// byClient is all replicas, the highest client first, as they are encoded.
func (d *Doc) byClient() []*replica {
	all := make([]*replica, 0, len(d.replicas))
	for _, r := range d.replicas {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *replica) int { return cmp.Compare(b.client, a.client) })
	return all
}

// Apply integrates an update. One that is malformed or passes a limit changes
// nothing. What depends on updates that have not come waits for them; what is
// known already is ignored, so that updates may come in any order and repeatedly.
//
// Where more would wait than [Limits] allow, the part that does not have to wait
// is integrated, the rest is dropped as if it had not come, and Apply returns a
// [LimitError]: to ask for what [Doc.StateVector] lacks brings it again.
func (d *Doc) Apply(raw []byte) error {
	u := &d.in
	if err := u.parse(raw, &d.opt.Limits); err != nil {
		return err
	}
	switch l := &d.opt.Limits; {
	case d.structs+u.structs > l.Structs:
		return &LimitError{"structs", l.Structs}
	case d.content+d.wait.size+len(raw) > l.Content:
		return &LimitError{"bytes of content", l.Content}
	}
	own := d.state(d.opt.Client)
	d.begin()
	whole := d.integrateUpdate(u)
	whole = d.deleteRanges(u) && whole
	whole = !d.resume() && whole
	d.tx.applied(raw, whole)
	if d.state(d.opt.Client) != own {
		d.opt.Client = randomClient() // somebody else uses it
	}
	err := d.wait.err
	d.wait.err = nil
	d.end()
	return err
}
