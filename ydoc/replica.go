package ydoc

import "slices"

// replica is what one client has made, by clock and without gaps.
type replica struct {
	client  uint64
	structs []*item
	hint    int // where find last ended

	// Of the transaction under way:
	changed bool
	before  uint32 // state at its start
	deletes []span
	touched []span // what may be merged now
}

// state is the number of units known, which is the next clock.
func (r *replica) state() uint32 {
	if len(r.structs) == 0 {
		return 0
	}
	return r.structs[len(r.structs)-1].end()
}

// find returns the place of the struct with a clock, which is below the state.
func (r *replica) find(clock uint32) int {
	s := r.structs
	hi := len(s) - 1
	if s[hi].clock <= clock {
		return hi
	}
	if h := r.hint; h < hi && s[h].clock <= clock {
		if clock < s[h+1].clock {
			return h
		}
		if h+1 < hi && clock < s[h+2].clock {
			r.hint = h + 1
			return h + 1
		}
	}
	lo := 0
	for hi-lo > 1 {
		if mid := int(uint(lo+hi) / 2); s[mid].clock <= clock {
			lo = mid
		} else {
			hi = mid
		}
	}
	r.hint = lo
	return lo
}

// get returns the struct with a clock, which is below the state.
func (r *replica) get(clock uint32) *item { return r.structs[r.find(clock)] }

// startingAt returns the struct that starts at a clock, cutting one in two if
// need be. What was collected is not cut.
func (d *Doc) startingAt(r *replica, clock uint32) *item {
	i := r.find(clock)
	it := r.structs[i]
	if it.clock == clock || it.kind == kindGC {
		return it
	}
	right := d.split(it, clock-it.clock)
	r.structs = slices.Insert(r.structs, i+1, right)
	return right
}

// endingAt returns the struct whose last unit has a clock, as startingAt.
func (d *Doc) endingAt(r *replica, clock uint32) *item {
	i := r.find(clock)
	it := r.structs[i]
	if it.last() == clock || it.kind == kindGC {
		return it
	}
	r.structs = slices.Insert(r.structs, i+1, d.split(it, clock-it.clock+1))
	return it
}

// compact merges the neighbours among the structs that touch s.
func (d *Doc) compact(r *replica, s span) {
	all := r.structs
	from := max(r.find(s.from)-1, 0)
	to := len(all) - 1
	if s.to < all[to].clock {
		to = r.find(s.to)
	}
	w := from
	for k := from + 1; k <= to; k++ {
		if !d.merge(all[w], all[k]) {
			w++
			all[w] = all[k]
		}
	}
	if w < to {
		r.structs = slices.Delete(all, w+1, to+1)
		r.hint = 0
		d.structs -= to - w
	}
}
