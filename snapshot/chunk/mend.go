package chunk

import (
	"context"
	"crypto/subtle"
	"fmt"

	"github.com/zeebo/xxh3"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
)

// stripeSize is the size of the stripes of which a segment has the parity.
const stripeSize = 32 << 10

// parityOf returns the exclusive or of the stripes of a segment's head and chunks.
func parityOf(body []byte) []byte {
	p := make([]byte, paritySize(len(body)))
	for len(body) > 0 {
		n := min(len(body), stripeSize)
		subtle.XORBytes(p[:n], p[:n], body[:n])
		body = body[n:]
	}
	return p
}

// paritySize is the size of the parity of so many bytes.
func paritySize(body int) int { return min(body, stripeSize) }

// mend returns a segment as it was written, if all the damage is in one of its
// stripes or in its parity; nil if it is not.
func mend(object []byte, ref segmentRef) []byte {
	if len(object) != int(ref.size) {
		return nil
	}
	// The size of the parity follows from the whole: head and chunks are never
	// shorter than it.
	end := len(object) - min(len(object)/2, stripeSize)
	body := append([]byte(nil), object[:end]...)
	if intact(body, ref) {
		return append(body, parityOf(body)...)
	}
	syndrome := parityOf(body)
	subtle.XORBytes(syndrome, syndrome, object[end:])
	for at := 0; at < len(body); at += stripeSize {
		stripe := body[at:min(at+stripeSize, len(body))]
		subtle.XORBytes(stripe, stripe, syndrome[:len(stripe)])
		if intact(body, ref) {
			return append(body, parityOf(body)...)
		}
		subtle.XORBytes(stripe, stripe, syndrome[:len(stripe)])
	}
	return nil
}

// intact reports whether head and chunks are what was written.
func intact(body []byte, ref segmentRef) bool {
	if int64(len(body)) < ref.headSize() {
		return false
	}
	t, err := decodeTable(body[:ref.headSize()], ref)
	if err != nil {
		return false
	}
	for slot := range ref.chunks {
		if xxh3.Hash(body[t.starts[slot]:t.starts[slot+1]]) != t.chunk(slot).sum {
			return false
		}
	}
	return true
}

// mend repairs a damaged segment where it is kept. KindCorrupt if it cannot be done.
func (s *Store) mend(ctx context.Context, ref segmentRef) error {
	key := s.segmentKey(ref.id)
	var body []byte
	// In pieces, because a store that sees the damage itself refuses the whole.
	for piece := min(MaxChunkSize, int64(ref.size)/2); int64(len(body)) < int64(ref.size); {
		o, err := s.origin.Get(ctx, key, object.Range{Offset: int64(len(body)), Length: piece})
		if err != nil {
			return fmt.Errorf("read damaged segment %s: %w", ref.id, err)
		}
		if len(o.Body) == 0 {
			break
		}
		body = append(body, o.Body...)
	}
	fixed := mend(body, ref)
	if fixed == nil {
		return holt.Errorf(holt.KindCorrupt, "segment %s is damaged in more places than can be mended", ref.id)
	}
	if _, err := s.objects.Put(ctx, key, fixed, object.Condition{}); err != nil {
		return fmt.Errorf("write mended segment %s: %w", ref.id, err)
	}
	return nil
}
