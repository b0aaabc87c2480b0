package chunk

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// refs is a set of segments. Its JSON form has the numbers of each transaction as
// ranges: {"TXN": "0-3,7"}.
type refs map[segmentID]struct{}

func (r refs) add(id segmentID) { r[id] = struct{}{} }

func (r refs) has(id segmentID) bool { _, ok := r[id]; return ok }

func (r refs) addAll(more refs) { maps.Copy(r, more) }

func (r refs) valid() bool {
	for id := range r {
		if !id.txn.valid() {
			return false
		}
	}
	return true
}

// sorted returns the segments by transaction and number.
func (r refs) sorted() []segmentID {
	return slices.SortedFunc(maps.Keys(r), func(a, b segmentID) int {
		if c := strings.Compare(string(a.txn), string(b.txn)); c != 0 {
			return c
		}
		return int(int64(a.number) - int64(b.number))
	})
}

// MarshalJSON implements [json.Marshaler].
func (r refs) MarshalJSON() ([]byte, error) {
	text := map[txnID]string{}
	ids := r.sorted()
	for i := 0; i < len(ids); {
		j := i + 1
		for j < len(ids) && ids[j].txn == ids[i].txn && ids[j].number == ids[j-1].number+1 {
			j++
		}
		s := strconv.FormatUint(uint64(ids[i].number), 10)
		if j > i+1 {
			s += "-" + strconv.FormatUint(uint64(ids[j-1].number), 10)
		}
		if before := text[ids[i].txn]; before != "" {
			s = before + "," + s
		}
		text[ids[i].txn] = s
		i = j
	}
	return json.Marshal(text)
}

// maxRefs bounds what a damaged or hostile text can make us allocate: segments of half a TiB.
const maxRefs = 1 << 17

// UnmarshalJSON implements [json.Unmarshaler].
func (r *refs) UnmarshalJSON(data []byte) error {
	var text map[txnID]string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	*r = refs{}
	for txn, ranges := range text {
		for part := range strings.SplitSeq(ranges, ",") {
			low, high, isRange := strings.Cut(part, "-")
			if !isRange {
				high = low
			}
			from, err1 := strconv.ParseUint(low, 10, 32)
			to, err2 := strconv.ParseUint(high, 10, 32)
			if err := errors.Join(err1, err2); err != nil || from > to || to-from >= maxRefs || len(*r) > maxRefs {
				return fmt.Errorf("%q are not ranges of segments", ranges)
			}
			for n := from; n <= to; n++ {
				r.add(segmentID{txn, uint32(n)})
			}
		}
	}
	return nil
}
