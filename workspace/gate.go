package workspace

import (
	"context"
	"sync"

	"github.com/holt-ide/holt"
)

// gates is a lock per workspace whose waiters can give up.
type gates struct {
	mu   sync.Mutex
	held map[holt.WorkspaceID]chan struct{} // closed when the holder leaves
}

// enter waits until nobody else is inside and returns how to leave.
func (g *gates) enter(ctx context.Context, id holt.WorkspaceID) (leave func(), err error) {
	for {
		g.mu.Lock()
		ch, taken := g.held[id]
		if !taken {
			if g.held == nil {
				g.held = map[holt.WorkspaceID]chan struct{}{}
			}
			mine := make(chan struct{})
			g.held[id] = mine
			g.mu.Unlock()
			return func() {
				g.mu.Lock()
				delete(g.held, id)
				g.mu.Unlock()
				close(mine)
			}, nil
		}
		g.mu.Unlock()
		select {
		case <-ch:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// take waits for one of the places and returns how to give it back.
func take(ctx context.Context, places chan struct{}) (leave func(), err error) {
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// bell wakes everybody who listens.
type bell struct {
	mu sync.Mutex
	ch chan struct{}
}

// listen returns a channel that is closed at the next ring.
func (b *bell) listen() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}
