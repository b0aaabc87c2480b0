package ydoc

import (
	"bytes"
	"cmp"
	"slices"
)

// waiting is what came before something it refers to.
type waiting struct {
	structs map[uint64][]block // of each client, by clock; they own their memory
	missing map[uint64]uint32  // a state above one of these is worth a new try
	deletes map[uint64][]span
	count   int // structs and ranges
	size    int // bytes of content of the structs
	err     error
}

// until notes that a new try is worth it when the state of client is above clock.
func (w *waiting) until(client uint64, clock uint32) {
	if w.missing == nil {
		w.missing = map[uint64]uint32{}
	}
	if old, ok := w.missing[client]; !ok || clock < old {
		w.missing[client] = clock
	}
}

// add lets a struct wait, unless one that waits has all of it. Skips are not kept.
func (w *waiting) add(b *block, l *Limits) {
	if b.kind == kindSkip {
		return
	}
	list := w.structs[b.client]
	// Those with a lower clock are before i. Lists are long only when they are
	// filled in order, which is at their end.
	i := len(list)
	for i > 0 && list[i-1].clock > b.clock {
		i--
	}
	if i > 0 && list[i-1].end() >= b.end() {
		return
	}
	size := len(b.data) + len(b.root) + len(b.key)
	if w.full(size, l) {
		return
	}
	c := *b
	c.data, c.key = bytes.Clone(b.data), bytes.Clone(b.key)
	if b.root != nil {
		c.root = append([]byte{}, b.root...)
	}
	if w.structs == nil {
		w.structs = map[uint64][]block{}
	}
	if i > 0 && list[i-1].clock == c.clock {
		w.size += size - len(list[i-1].data)
		list[i-1] = c // the longer one
		return
	}
	w.structs[b.client] = slices.Insert(list, i, c)
	w.count++
	w.size += size
}

// full refuses what passes the limits.
func (w *waiting) full(size int, l *Limits) bool {
	switch {
	case w.count >= l.Pending:
		w.err = &LimitError{"structs and deletions that wait", l.Pending}
	case w.size+size > l.PendingBytes:
		w.err = &LimitError{"bytes that wait", l.PendingBytes}
	default:
		return false
	}
	return true
}

func (w *waiting) addDelete(client uint64, s span, l *Limits) {
	old := w.deletes[client]
	for _, o := range old {
		if o.from <= s.from && s.to <= o.to {
			return
		}
	}
	if w.full(0, l) {
		return
	}
	if w.deletes == nil {
		w.deletes = map[uint64][]span{}
	}
	w.deletes[client] = normalize(append(old, s))
	w.count += len(w.deletes[client]) - len(old)
}

// resume tries what waits, if anything it waits for has come. It reports whether
// the document has changed by that.
func (d *Doc) resume() bool {
	changed := false
	for d.wait.count > 0 {
		again := d.resumeDeletes()
		if d.ready() {
			d.retry()
			again = true
		}
		if !again {
			break
		}
		changed = true
	}
	return changed
}

func (d *Doc) ready() bool {
	for client, clock := range d.wait.missing {
		if d.state(client) > clock {
			return true
		}
	}
	return false
}

// retry integrates the structs that wait; those that still cannot be wait again.
func (d *Doc) retry() {
	old := d.wait.structs
	d.wait.structs, d.wait.missing = nil, nil
	d.wait.count, d.wait.size = 0, 0
	for _, s := range d.wait.deletes {
		d.wait.count += len(s)
	}
	feeds := make([]feed, 0, len(old))
	for client, list := range old {
		feeds = append(feeds, feed{client: client, queue: list})
	}
	slices.SortFunc(feeds, func(a, b feed) int { return cmp.Compare(a.client, b.client) })
	d.integrate(feeds)
}

func (d *Doc) resumeDeletes() bool {
	changed := false
	for client, spans := range d.wait.deletes {
		state := d.state(client)
		if spans[0].from >= state {
			continue
		}
		changed = true
		rest := spans[:0]
		for _, s := range spans {
			if s = d.deleteRange(client, s); s.from < s.to {
				rest = append(rest, s)
			}
		}
		d.wait.count -= len(spans) - len(rest)
		if len(rest) == 0 {
			delete(d.wait.deletes, client)
		} else {
			d.wait.deletes[client] = rest
		}
	}
	return changed
}

// deletions is the waiting ranges, for encoding together with others.
func (w *waiting) deletions(set []clientSpans) []clientSpans {
	if len(w.deletes) == 0 {
		return set
	}
	for client, spans := range w.deletes {
		i := slices.IndexFunc(set, func(c clientSpans) bool { return c.client == client })
		if i < 0 {
			set = append(set, clientSpans{client, slices.Clone(spans)})
		} else {
			set[i].spans = normalize(append(set[i].spans, spans...))
		}
	}
	slices.SortFunc(set, func(a, b clientSpans) int { return cmp.Compare(b.client, a.client) })
	return set
}
