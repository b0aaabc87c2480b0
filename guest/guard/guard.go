// Package guard watches the limits of the machine from inside, names what
// happens at them, and keeps the machine alive when memory runs out: it kills
// what holds most, one process or a crowd of small ones, before the sandbox
// itself would be killed.
package guard

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/guest/event"
	"github.com/holt-ide/holt/guest/stats"
	"github.com/holt-ide/holt/wire/guest"
)

const (
	// Memory is looked at again before it could be gone: fillRate bytes per
	// second is faster than a guest can touch fresh pages.
	fillRate = 4 * holt.GiB
	soonest  = 50 * time.Millisecond
	latest   = time.Second
	// Between looks at processes and disks; less when many processes run.
	lookAround = 2 * time.Second
	lookCloser = 200 * time.Millisecond
	// quiet is the least time between two events of one name and place.
	quiet = 30 * time.Second
)

// System is what the guard sees and does. [NewSystem] is the real one.
type System interface {
	Memory() (total, available int64, err error)
	Processes() ([]stats.Process, error)
	// Tasks counts the processes and threads; it must be cheap, because it is
	// asked for when there are too many of them.
	Tasks() (int64, error)
	Disks() []guestwire.Disk
	// Kill sends SIGKILL; a negative pid is a process group, as in kill(2).
	Kill(pid int) error
}

// Guard watches one machine.
type Guard struct {
	System    System
	Events    *event.Log
	Log       *slog.Logger
	Processes int64 // most processes and threads; 0 is not watched
	Memory    int64 // bytes for processes and tmpfs; 0 is all that the machine shows

	told    map[string]time.Time
	crowded bool // more than half of the processes are in use
}

// Run watches until ctx ends.
func (g *Guard) Run(ctx context.Context) {
	g.told = map[string]time.Time{}
	var around time.Time
	for {
		wait := g.memory(ctx)
		if now := time.Now(); now.Sub(around) >= lookAround {
			around = now
			g.disks()
		}
		if g.crowded = g.processes(); g.crowded {
			wait = min(wait, lookCloser)
		}
		if !sleep(ctx, wait) {
			return
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// processes reports whether more than half of the allowed are in use.
func (g *Guard) processes() (crowded bool) {
	if g.Processes <= 0 {
		return false
	}
	have, err := g.System.Tasks()
	if err != nil {
		g.Log.Error("processes are not guarded", "err", err)
		return false
	}
	// A bomb at the limit comes and goes between two looks.
	if have >= g.Processes-g.Processes/10 {
		g.tell(guestwire.EventProcessLimit, "", fmt.Sprintf("%d of %d processes and threads are in use: at the limit no new ones start", have, g.Processes))
	}
	return have > g.Processes/2
}

func (g *Guard) disks() {
	full := func(used, total int64) bool { return total > 0 && used >= total-total/200 }
	for _, d := range g.System.Disks() {
		switch {
		case full(d.Used, d.Total) && d.Tmpfs:
			g.tell(guestwire.EventTmpfsFull, d.Path, fmt.Sprintf("%s (in memory) is full: %s", d.Path, holt.FormatSize(d.Total)))
		case full(d.Used, d.Total):
			g.tell(guestwire.EventDiskFull, d.Path, fmt.Sprintf("%s is full: %s", d.Path, holt.FormatSize(d.Total)))
		case full(d.InodesUsed, d.InodesTotal):
			g.tell(guestwire.EventInodesFull, d.Path, fmt.Sprintf("%s has no more room for files: %d exist", d.Path, d.InodesUsed))
		}
	}
}

// tell adds an event unless the same was told a short time ago.
func (g *Guard) tell(name guestwire.EventName, place, text string) {
	key := string(name) + " " + place
	if last, ok := g.told[key]; ok && time.Since(last) < quiet {
		return
	}
	g.told[key] = time.Now()
	g.Events.Add(name, text)
}
