// Package diff finds small edits between two versions of a text, and moves edits
// to a version that has changed meanwhile. It is for text that people edit at the
// same time: an edit that is too large takes somebody's cursor with it.
//
// Offsets are bytes and never inside a character. Time is bounded: what has little
// in common is replaced as a whole. The package imports the standard library only.
package diff

import (
	"sort"
	"strings"
	"unicode/utf8"
)

// Edit replaces Delete bytes at an offset of the old text. Edits of a list are in
// order, do not overlap, and all refer to the same old text.
type Edit struct {
	At, Delete int
	Insert     string
}

// Apply makes edits in a text.
func Apply(text string, edits []Edit) string {
	var b strings.Builder
	at := 0
	for _, e := range edits {
		b.WriteString(text[at:e.At])
		b.WriteString(e.Insert)
		at = e.At + e.Delete
	}
	b.WriteString(text[at:])
	return b.String()
}

// Size is the number of bytes that edits delete and insert.
func Size(edits []Edit) int {
	n := 0
	for _, e := range edits {
		n += e.Delete + len(e.Insert)
	}
	return n
}

// Between returns edits that make a new text of an old one.
func Between(old, new string) []Edit {
	var d differ
	d.compare(old, new, 0)
	return d.edits
}

type differ struct{ edits []Edit }

func (d *differ) add(at, del int, ins string) {
	if n := len(d.edits); n > 0 && d.edits[n-1].At+d.edits[n-1].Delete == at {
		d.edits[n-1].Delete += del
		d.edits[n-1].Insert += ins
		return
	}
	if del > 0 || ins != "" {
		d.edits = append(d.edits, Edit{at, del, ins})
	}
}

// compare adds the edits between two parts, of which the old is at an offset.
func (d *differ) compare(old, new string, at int) {
	p := commonPrefix(old, new)
	old, new, at = old[p:], new[p:], at+p
	s := commonSuffix(old, new)
	old, new = old[:len(old)-s], new[:len(new)-s]
	switch {
	case old == "" || new == "":
		d.add(at, len(old), new)
	case strings.Contains(old, "\n") && strings.Contains(new, "\n"):
		d.lines(old, new, at)
	default:
		d.characters(old, new, at)
	}
}

func commonPrefix(a, b string) int {
	n := min(len(a), len(b))
	i := 0
	for i < n && a[i] == b[i] {
		i++
	}
	for i > 0 && (i < len(a) && !utf8.RuneStart(a[i]) || i < len(b) && !utf8.RuneStart(b[i])) {
		i--
	}
	return i
}

func commonSuffix(a, b string) int {
	n := min(len(a), len(b))
	i := 0
	for i < n && a[len(a)-1-i] == b[len(b)-1-i] {
		i++
	}
	for i > 0 && !utf8.RuneStart(a[len(a)-i]) {
		i--
	}
	return i
}

// lines compares between lines that occur once in each part, in the longest
// common order of those: a patience diff.
func (d *differ) lines(old, new string, at int) {
	a, b := strings.SplitAfter(old, "\n"), strings.SplitAfter(new, "\n")
	pairs := anchors(a, b)
	if len(pairs) == 0 {
		if len(a) != len(b) {
			d.characters(old, new, at)
			return
		}
		for i := range a {
			d.compare(a[i], b[i], at)
			at += len(a[i])
		}
		return
	}
	i, j := 0, 0
	for _, p := range append(pairs, [2]int{len(a), len(b)}) {
		from, to := strings.Join(a[i:p[0]], ""), strings.Join(b[j:p[1]], "")
		d.compare(from, to, at)
		at += len(from)
		if p[0] < len(a) {
			at += len(a[p[0]])
		}
		i, j = p[0]+1, p[1]+1
	}
}

// anchors returns pairs of the indexes of equal lines, ascending in both.
func anchors(a, b []string) [][2]int {
	type count struct{ a, b, at int }
	counts := make(map[string]*count, len(b))
	for j, s := range b {
		if c := counts[s]; c != nil {
			c.b++
		} else {
			counts[s] = &count{b: 1, at: j}
		}
	}
	for _, s := range a {
		if c := counts[s]; c != nil {
			c.a++
		}
	}
	// The longest ascending sequence of places in b, by piles.
	var pairs [][2]int
	var before []int // of each pair: the one it follows
	var piles []int  // of each length: the pair with the lowest end
	for i, s := range a {
		c := counts[s]
		if c == nil || c.a != 1 || c.b != 1 {
			continue
		}
		k := sort.Search(len(piles), func(k int) bool { return pairs[piles[k]][1] > c.at })
		prev := -1
		if k > 0 {
			prev = piles[k-1]
		}
		pairs, before = append(pairs, [2]int{i, c.at}), append(before, prev)
		if k == len(piles) {
			piles = append(piles, 0)
		}
		piles[k] = len(pairs) - 1
	}
	out := make([][2]int, len(piles))
	if len(piles) > 0 {
		for k, p := len(piles)-1, piles[len(piles)-1]; p >= 0; k, p = k-1, before[p] {
			out[k] = pairs[p]
		}
	}
	return out
}

// maxDistance bounds the edits by character that are searched for, and with its
// square the memory for that.
const maxDistance = 256

// characters compares character by character, with Myers' algorithm. Parts that
// have less than half in common are replaced.
func (d *differ) characters(old, new string, at int) {
	a, b := []rune(old), []rune(new)
	limit := min((len(a)+len(b))/2, maxDistance)
	path := shortest(a, b, limit)
	if path == nil {
		d.add(at, len(old), new)
		return
	}
	i, j := 0, 0
	for _, p := range append(path, [2]int{len(a), len(b)}) {
		del := len(string(a[i:p[0]]))
		if del > 0 || p[1] > j {
			d.add(at, del, string(b[j:p[1]]))
		}
		at += del
		i, j = p[0], p[1]
		if i < len(a) {
			at += utf8.RuneLen(a[i])
		}
		i, j = i+1, j+1
	}
}

// shortest returns the pairs of equal characters that the least number of edits
// leaves, or nil if those are more than limit.
func shortest(a, b []rune, limit int) [][2]int {
	v := make([]int, 2*limit+3)
	var trace [][]int
	for n := 0; n <= limit; n++ {
		trace = append(trace, append([]int(nil), v[limit+1-n:limit+2+n]...))
		for k := -n; k <= n; k += 2 {
			var x int
			if k == -n || k != n && v[limit+k] < v[limit+2+k] {
				x = v[limit+2+k]
			} else {
				x = v[limit+k] + 1
			}
			for x < len(a) && x-k < len(b) && a[x] == b[x-k] {
				x++
			}
			v[limit+1+k] = x
			if x >= len(a) && x-k >= len(b) {
				return retrace(trace, len(a), len(b))
			}
		}
	}
	return nil
}

// retrace walks back from the end. trace[n] holds the furthest x for each
// diagonal from -n to n before step n.
func retrace(trace [][]int, x, y int) [][2]int {
	pairs := [][2]int{}
	for n := len(trace) - 1; n >= 0; n-- {
		v := func(k int) int { return trace[n][k+n] }
		k := x - y
		px, py := 0, 0
		if n > 0 {
			pk := k - 1
			if k == -n || k != n && v(k-1) < v(k+1) {
				pk = k + 1
			}
			px = v(pk)
			py = px - pk
		}
		for x > px && y > py {
			x, y = x-1, y-1
			pairs = append(pairs, [2]int{x, y})
		}
		x, y = px, py
	}
	for i, j := 0, len(pairs)-1; i < j; i, j = i+1, j-1 {
		pairs[i], pairs[j] = pairs[j], pairs[i]
	}
	return pairs
}

// Rebase returns edits of the text that ours make, which do there what theirs do to
// the text that both start from. What only one side deletes is deleted, what either
// inserts is kept; where both insert, theirs comes after ours.
func Rebase(theirs, ours []Edit) []Edit {
	var d differ
	i, shift := 0, 0 // ours passed, and by how much they move what follows
	pass := func() {
		shift += len(ours[i].Insert) - ours[i].Delete
		i++
	}
	for _, t := range theirs {
		at, end := t.At, t.At+t.Delete
		for i < len(ours) && ours[i].At+ours[i].Delete <= at {
			pass()
		}
		to := at + shift
		if i < len(ours) && ours[i].At < at {
			to = ours[i].At + shift + len(ours[i].Insert)
		}
		if t.Insert != "" {
			d.edits = append(d.edits, Edit{to, 0, t.Insert})
		}
		for at < end {
			next := end
			if i < len(ours) {
				if stop := ours[i].At + ours[i].Delete; ours[i].At <= at {
					if stop > end {
						break
					}
					at = max(at, stop)
					pass()
					continue
				}
				next = min(end, ours[i].At)
			}
			d.edits = append(d.edits, Edit{at + shift, next - at, ""})
			at = next
		}
	}
	return d.edits
}
