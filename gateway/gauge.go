package gateway

import (
	"sync"

	"github.com/holt-ide/holt"
)

// gauge counts what is open per workspace, and refuses what is too many.
type gauge struct {
	most int

	mu   sync.Mutex
	open map[holt.WorkspaceID]int
}

func newGauge(most int) *gauge { return &gauge{most: most, open: map[holt.WorkspaceID]int{}} }

// enter counts one more, or returns a KindLimit error. The caller calls leave.
func (g *gauge) enter(id holt.WorkspaceID) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open[id] >= g.most {
		return holt.Errorf(holt.KindLimit, "this workspace has %d open connections, which is the most: close some, or try again later", g.most)
	}
	g.open[id]++
	return nil
}

func (g *gauge) leave(id holt.WorkspaceID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open[id]--; g.open[id] <= 0 {
		delete(g.open, id)
	}
}

func (g *gauge) count(id holt.WorkspaceID) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open[id]
}

// Connections returns how many relays and forwarded requests of a workspace are
// open now.
func (g *Gateway) Connections(id holt.WorkspaceID) int { return g.relays.count(id) }
