package mux

import (
	"sync"
	"time"

	"github.com/holt-ide/holt/wire/guest"
)

const (
	// batchBytes is how much a batch holds: one more value, which is much smaller
	// than a packet, never makes it too large for one.
	batchBytes = 16 << 10
	// batchTime is how long a value waits for others.
	batchTime = 20 * time.Millisecond
)

// batch gathers values so that a packet carries many: they are sent when there are
// enough bytes, or batchTime after the first.
type batch[T any] struct {
	send func([]T) error
	size func(T) int // in bytes, encoded, not too small

	mu     sync.Mutex // held while sending: values stay in order
	values []T
	bytes  int
	timer  *time.Timer
	err    error
}

func newBatch[T any](size func(T) int, send func([]T) error) *batch[T] {
	return &batch[T]{send: send, size: size}
}

// add adds a value. It waits while a batch is being sent, so that a slow page slows
// the source down. After an error of send it returns that.
func (b *batch[T]) add(v T) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return b.err
	}
	b.values = append(b.values, v)
	b.bytes += b.size(v)
	if b.bytes >= batchBytes {
		b.flush()
	} else if len(b.values) == 1 {
		b.timer = time.AfterFunc(batchTime, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.flush()
		})
	}
	return b.err
}

// flush sends what there is; mu is held.
func (b *batch[T]) flush() {
	if b.timer != nil {
		b.timer.Stop()
	}
	if len(b.values) > 0 && b.err == nil {
		b.err = b.send(b.values)
	}
	b.values, b.bytes = nil, 0
}

// close sends the rest. Nothing is sent after it.
func (b *batch[T]) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.flush()
	return b.err
}

// escaped bounds the bytes of a string in JSON: six for a byte that must be escaped.
func escaped(s string) int {
	n := len(s)
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f || c == '<' || c == '>' || c == '&' {
			n += 5
		}
	}
	return n
}

func entrySize(e guestwire.Entry) int      { return 160 + escaped(e.Name) }
func eventSize(e guestwire.WatchEvent) int { return 64 + escaped(e.Path) + escaped(e.Text) }
func pathSize(p string) int                { return 4 + escaped(p) }
func matchSize(m guestwire.SearchMatch) int {
	return 128 + escaped(m.Path) + escaped(m.Text) + 24*len(m.Ranges)
}
