package chunk

import (
	"context"
	"errors"
	"fmt"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
)

// Touch is a part of a file that was read.
type Touch struct {
	File   string `json:"file"`
	Offset int64  `json:"offset"` // bytes
	Length int64  `json:"length"`
}

// Trace is what a resume read of a snapshot, in the order of the first reads: the
// next one reads ahead of it.
type Trace struct {
	Touches []Touch `json:"touches"`
}

// maxTouches bounds a trace.
const maxTouches = 1 << 16

// PutTrace keeps a trace for a snapshot, in place of an earlier one.
func (s *Store) PutTrace(ctx context.Context, id holt.SnapshotID, t Trace) error {
	t.Touches = t.Touches[:min(len(t.Touches), maxTouches)]
	data, err := seal(traceKind, t)
	if err != nil {
		return err
	}
	if _, err := s.origin.Put(ctx, s.traceKey(id), data, object.Condition{}); err != nil {
		return fmt.Errorf("write trace: %w", err)
	}
	return nil
}

// Trace returns the trace of a snapshot: an empty one if there is none, or if it
// cannot be read, because it is advice only.
func (s *Store) Trace(ctx context.Context, id holt.SnapshotID) (Trace, error) {
	o, err := s.origin.Get(ctx, s.traceKey(id), object.Range{})
	if holt.IsKind(err, holt.KindNotFound) || holt.IsKind(err, holt.KindCorrupt) {
		return Trace{}, nil
	} else if err != nil {
		return Trace{}, fmt.Errorf("read trace: %w", err)
	}
	t, err := decodeTrace(o.Body)
	if err != nil {
		return Trace{}, nil
	}
	return t, nil
}

func decodeTrace(data []byte) (Trace, error) {
	var t Trace
	if err := unseal(traceKind, data, &t); err != nil {
		return Trace{}, err
	}
	if len(t.Touches) > maxTouches {
		return Trace{}, errors.New("it is too long")
	}
	for _, touch := range t.Touches {
		if touch.Offset < 0 || touch.Length < 0 || touch.Offset > maxSize || touch.Length > maxSize {
			return Trace{}, errors.New("it does not add up")
		}
	}
	return t, nil
}
