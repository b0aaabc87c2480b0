package ydoc

// transaction is what has changed since begin. What it knows of each client is in
// the replica.
type transaction struct {
	depth    int
	replicas []*replica // those with new structs
	deletes  []*replica // those with deletions
	touched  []*replica // those whose structs may merge now
	relay    []byte     // an update that is the whole change so far
	mixed    bool       // no single update is the whole change
}

// Transact makes one transaction, with one call of OnUpdate, of the edits that f
// makes. Transactions nest: the outermost counts.
func (d *Doc) Transact(f func()) {
	d.begin()
	defer d.end()
	f()
}

func (d *Doc) begin() { d.tx.depth++ }

func (d *Doc) end() {
	if d.tx.depth--; d.tx.depth > 0 {
		return
	}
	tx := &d.tx
	for _, r := range tx.deletes {
		r.deletes = normalize(r.deletes)
		for _, s := range r.deletes {
			if !d.opt.KeepDeleted {
				d.collect(r, s)
			}
			d.touch(r, s)
		}
	}
	for _, r := range tx.replicas {
		r.changed = false
		if r.before < r.state() {
			d.touch(r, span{r.before, r.state()})
		}
	}
	for _, r := range tx.touched {
		d.mergeTouched(r)
	}
	if d.opt.OnUpdate != nil && len(tx.replicas)+len(tx.deletes) > 0 {
		if tx.relay == nil || tx.mixed {
			tx.relay = d.encodeChange()
		}
		d.opt.OnUpdate(tx.relay)
	}
	for _, r := range tx.deletes {
		r.deletes = r.deletes[:0]
	}
	clear(tx.replicas)
	clear(tx.deletes)
	clear(tx.touched)
	*tx = transaction{replicas: tx.replicas[:0], deletes: tx.deletes[:0], touched: tx.touched[:0]}
}

// applied notes that raw was integrated; whole says that it had exactly what is
// new since the transaction began.
func (tx *transaction) applied(raw []byte, whole bool) {
	if tx.relay != nil || !whole {
		tx.mixed = true
	}
	tx.relay = raw
}

// growing notes that r is about to get new structs.
func (d *Doc) growing(r *replica) {
	if !r.changed {
		r.changed = true
		r.before = r.state()
		d.tx.replicas = append(d.tx.replicas, r)
	}
}

// touch notes that the structs in s, and those beside it, may merge at the end.
func (d *Doc) touch(r *replica, s span) {
	if len(r.touched) == 0 {
		d.tx.touched = append(d.tx.touched, r)
	}
	r.touched = append(r.touched, s)
}

// mergeTouched merges what it can, from right to left. Many ranges are treated
// as one, so that the structs behind them are not moved for each.
func (d *Doc) mergeTouched(r *replica) {
	r.touched = normalize(r.touched)
	if n := len(r.touched); n > 8 {
		r.touched = append(r.touched[:0], span{r.touched[0].from, r.touched[n-1].to})
	}
	for i := len(r.touched) - 1; i >= 0; i-- {
		d.compact(r, r.touched[i])
	}
	r.touched = r.touched[:0]
}

// collect drops the content of the deleted items in s, and all below them.
func (d *Doc) collect(r *replica, s span) {
	for i := r.find(s.from); i < len(r.structs) && r.structs[i].clock < s.to; i++ {
		it := r.structs[i]
		if !it.deleted || it.kind == kindGC {
			continue
		}
		if c := it.child(); c != nil {
			d.collectBelow(c)
			it.more.child = nil
		}
		d.content -= len(it.data)
		it.kind, it.data = kindDeleted, nil
	}
}

// collectBelow makes ranges of clocks of all items below a type that is gone.
func (d *Doc) collectBelow(b *branch) {
	for todo := []*branch{b}; len(todo) > 0; {
		b := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for it := b.start; it != nil; {
			it, todo = d.bury(it, it.right, todo)
		}
		for _, it := range b.keys {
			for it != nil {
				it, todo = d.bury(it, it.left, todo)
			}
		}
		*b = branch{name: b.name, item: b.item}
	}
}

func (d *Doc) bury(it, next *item, todo []*branch) (*item, []*branch) {
	if c := it.child(); c != nil {
		todo = append(todo, c)
	}
	d.content -= len(it.data)
	*it = item{owner: it.owner, clock: it.clock, length: it.length, kind: kindGC, deleted: true}
	d.touch(it.owner, span{it.clock, it.end()})
	return next, todo
}
