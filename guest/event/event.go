// Package event keeps the named outcomes that the agent reports to its node:
// a numbered ring, read from any number on.
package event

import (
	"sync"
	"time"

	"github.com/holt-ide/holt/wire/guest"
)

// Keep is how many events a [Log] holds; older ones are dropped.
const Keep = 256

// Log is a ring of events, numbered from 1. The zero value is ready. It is safe
// for concurrent use.
type Log struct {
	mu    sync.Mutex
	ring  []guestwire.Event
	last  uint64
	added chan struct{} // closed by the next Add; nil when nobody waits
}

// Add appends an event and gives it a number and the time.
func (l *Log) Add(name guestwire.EventName, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	l.ring = append(l.ring, guestwire.Event{Seq: l.last, Time: time.Now(), Name: name, Text: text})
	if len(l.ring) > Keep {
		l.ring = append(l.ring[:0], l.ring[len(l.ring)-Keep:]...)
	}
	if l.added != nil {
		close(l.added)
		l.added = nil
	}
}

// Since returns the held events with a number above seq, oldest first, and a
// channel that is closed when there is a newer one.
func (l *Log) Since(seq uint64) ([]guestwire.Event, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.added == nil {
		l.added = make(chan struct{})
	}
	for i, e := range l.ring {
		if e.Seq > seq {
			return append([]guestwire.Event{}, l.ring[i:]...), l.added
		}
	}
	return nil, l.added
}
