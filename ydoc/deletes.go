package ydoc

import (
	"cmp"
	"slices"

	"github.com/holt-ide/holt/ydoc/lib0"
)

// normalize sorts ranges and joins those that meet. It works in place.
func normalize(s []span) []span {
	if len(s) < 2 {
		return s
	}
	slices.SortFunc(s, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	w := 0
	for _, x := range s[1:] {
		if x.from <= s[w].to {
			s[w].to = max(s[w].to, x.to)
		} else {
			w++
			s[w] = x
		}
	}
	return s[:w+1]
}

// deleteRanges applies the deletions of an update. Those of what has not come
// wait. It reports whether all of them were new and none had to.
func (d *Doc) deleteRanges(u *update) bool {
	whole := true
	d.again = false
	r := lib0.NewReaderAt(u.raw, u.deletes)
	readDeletes(&r, func(client uint64, s span) {
		if rest := d.deleteRange(client, s); rest.from < rest.to {
			whole = false
			d.wait.addDelete(client, rest, &d.opt.Limits)
		}
	})
	return whole && !d.again
}

// deleteRange deletes what is there of a range and returns the rest.
func (d *Doc) deleteRange(client uint64, s span) (rest span) {
	r := d.lookup(client)
	if r == nil {
		return s
	}
	state := r.state()
	rest = span{max(s.from, state), s.to}
	if s.from >= state {
		return rest
	}
	s.to = min(s.to, state)
	i := r.find(s.from)
	if it := r.structs[i]; it.clock < s.from {
		if it.deleted {
			d.again = true
		} else {
			r.structs = slices.Insert(r.structs, i+1, d.split(it, s.from-it.clock))
		}
		i++
	}
	for ; i < len(r.structs) && r.structs[i].clock < s.to; i++ {
		it := r.structs[i]
		if it.deleted {
			d.again = true
			continue
		}
		if s.to < it.end() {
			r.structs = slices.Insert(r.structs, i+1, d.split(it, s.to-it.clock))
		}
		d.delete(it)
	}
	return rest
}

// clientSpans are the ranges of one client.
type clientSpans struct {
	client uint64
	spans  []span
}

// appendDeletes encodes a delete set. The highest client must be first.
func appendDeletes(dst []byte, set []clientSpans) []byte {
	dst = lib0.AppendUint(dst, uint64(len(set)))
	for _, c := range set {
		dst = lib0.AppendUint(dst, c.client)
		dst = lib0.AppendUint(dst, uint64(len(c.spans)))
		for _, s := range c.spans {
			dst = lib0.AppendUint(dst, uint64(s.from))
			dst = lib0.AppendUint(dst, uint64(s.to-s.from))
		}
	}
	return dst
}

// deleted are the ranges of a replica that are deleted.
func (r *replica) deleted() []span {
	var out []span
	for _, it := range r.structs {
		if !it.deleted {
			continue
		}
		if n := len(out); n > 0 && out[n-1].to == it.clock {
			out[n-1].to = it.end()
		} else {
			out = append(out, span{it.clock, it.end()})
		}
	}
	return out
}
