package ydoc

import (
	"cmp"
	"maps"
	"slices"

	"github.com/holt-ide/holt/ydoc/lib0"
)

// StateVector says of each client how many units are known, which is the next
// clock expected of it. Clients of which nothing is known are absent.
type StateVector map[uint64]uint64

// StateVector is what the document has, without what waits.
func (d *Doc) StateVector() StateVector {
	sv := make(StateVector, len(d.replicas))
	for client, r := range d.replicas {
		if state := r.state(); state > 0 {
			sv[client] = uint64(state)
		}
	}
	return sv
}

// Encode is the vector in the v1 encoding, the highest client first.
func (sv StateVector) Encode() []byte {
	dst := lib0.AppendUint(nil, uint64(len(sv)))
	clients := slices.SortedFunc(maps.Keys(sv), func(a, b uint64) int { return cmp.Compare(b, a) })
	for _, c := range clients {
		dst = lib0.AppendUint(lib0.AppendUint(dst, c), sv[c])
	}
	return dst
}

// DecodeStateVector reads a state vector in the v1 encoding.
func DecodeStateVector(raw []byte) (StateVector, error) {
	r := lib0.NewReader(raw)
	n := r.Uint()
	if n > uint64(len(raw))/2 {
		r.Fail("more clients than bytes")
	}
	sv := make(StateVector, min(n, uint64(len(raw))/2))
	for ; n > 0 && r.OK(); n-- {
		client := r.Uint()
		sv[client] = r.Uint()
	}
	if r.OK() && r.Len() > 0 {
		r.Fail("bytes after the end")
	}
	return sv, r.Err()
}

// Encode is the whole document as one update, with what waits.
func (d *Doc) Encode() []byte { return d.Diff(nil) }

// Diff is an update with all that a document with the state vector sv lacks, with
// what waits here, and with all deletions.
func (d *Doc) Diff(sv StateVector) []byte {
	all := d.byClient()
	set := make([]clientSpans, 0, len(all))
	sections := make([]sectionOf, 0, len(all))
	size := 0
	for _, r := range all {
		if s := r.deleted(); len(s) > 0 {
			set = append(set, clientSpans{r.client, s})
			size += 8 * len(s)
		}
		if from := sv[r.client]; uint64(r.state()) > from {
			sections = append(sections, sectionOf{r, uint32(from)})
		}
	}
	if sv == nil {
		size += d.content + 16*d.structs
	}
	dst := make([]byte, 0, size)
	if d.wait.count == 0 {
		dst = appendSections(dst, sections)
	} else {
		dst = d.appendWithWaiting(dst, all, sv)
		set = d.wait.deletions(set)
	}
	return appendDeletes(dst, set)
}

// sectionOf is what a replica has from a clock on, which is below its state.
type sectionOf struct {
	r    *replica
	from uint32
}

func appendSections(dst []byte, sections []sectionOf) []byte {
	dst = lib0.AppendUint(dst, uint64(len(sections)))
	for _, s := range sections {
		structs := s.r.structs[s.r.find(s.from):]
		dst = lib0.AppendUint(dst, uint64(len(structs)))
		dst = lib0.AppendUint(dst, s.r.client)
		dst = lib0.AppendUint(dst, uint64(s.from))
		dst = appendStructs(dst, structs, s.from)
	}
	return dst
}

func appendStructs(dst []byte, structs []*item, from uint32) []byte {
	for _, it := range structs {
		b := it.block()
		if b.clock < from {
			b.trim(from - b.clock)
		}
		dst = b.append(dst)
	}
	return dst
}

// appendWithWaiting is appendSections of what sv lacks, and of what waits: a skip
// stands for the clocks in between that nobody has seen.
func (d *Doc) appendWithWaiting(dst []byte, all []*replica, sv StateVector) []byte {
	clients := make([]uint64, 0, len(all)+len(d.wait.structs))
	for _, r := range all {
		clients = append(clients, r.client)
	}
	for c := range d.wait.structs {
		if d.replicas[c] == nil {
			clients = append(clients, c)
		}
	}
	slices.SortFunc(clients, func(a, b uint64) int { return cmp.Compare(b, a) })
	var out []byte
	sections := 0
	for _, c := range clients {
		from := uint32(min(sv[c], maxClock))
		count, first, body := d.sectionWithWaiting(c, from)
		if count == 0 {
			continue
		}
		sections++
		out = lib0.AppendUint(out, uint64(count))
		out = lib0.AppendUint(out, c)
		out = lib0.AppendUint(out, uint64(first))
		out = append(out, body...)
	}
	return append(lib0.AppendUint(dst, uint64(sections)), out...)
}

func (d *Doc) sectionWithWaiting(client uint64, from uint32) (count int, first uint32, body []byte) {
	at := from
	if r := d.replicas[client]; r != nil && r.state() > from {
		structs := r.structs[r.find(from):]
		count, first = len(structs), from
		body = appendStructs(body, structs, from)
		at = r.state()
	}
	for _, b := range d.wait.structs[client] {
		if b.end() <= at {
			continue
		}
		if b.clock < at {
			b.trim(at - b.clock)
		}
		switch {
		case count == 0:
			first = b.clock
		case b.clock > at:
			skip := block{kind: kindSkip, length: b.clock - at}
			body = skip.append(body)
			count++
		}
		body = b.append(body)
		count++
		at = b.end()
	}
	return count, first, body
}

// encodeChange is the update of the transaction that ends.
func (d *Doc) encodeChange() []byte {
	byClient := func(a, b *replica) int { return cmp.Compare(b.client, a.client) }
	slices.SortFunc(d.tx.replicas, byClient)
	slices.SortFunc(d.tx.deletes, byClient)
	sections := make([]sectionOf, 0, len(d.tx.replicas))
	for _, r := range d.tx.replicas {
		sections = append(sections, sectionOf{r, r.before})
	}
	set := make([]clientSpans, 0, len(d.tx.deletes))
	for _, r := range d.tx.deletes {
		set = append(set, clientSpans{r.client, r.deletes})
	}
	return appendDeletes(appendSections(nil, sections), set)
}
