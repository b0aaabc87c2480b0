package chunk

import "github.com/holt-ide/holt/object"

// Keys returns the objects that a snapshot needs.
func (s *Store) Keys(e Entry) []object.Key {
	keys := []object.Key{s.manifestKey(e.Txn), s.indexKey(e.Txn)}
	for _, id := range e.Segments.sorted() {
		keys = append(keys, s.segmentKey(id))
	}
	return keys
}

// SegmentKeys returns those of them that hold chunks.
func (s *Store) SegmentKeys(e Entry) []object.Key { return s.Keys(e)[2:] }
