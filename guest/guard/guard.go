// Package guard watches the limits of the machine from inside, names what
// happens at them, and keeps the machine alive when memory runs out: it kills
// what holds most, one process or a crowd of small ones, before the sandbox
// itself would be killed.
package guard

import (
	"context"
	"fmt"
	"log/slog"
	"syscall"
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
	Disks() []guestwire.Disk
	Kill(pid int) error // a negative one is a process group, as in kill(2)
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
		if now := time.Now(); now.Sub(around) >= lookAround || g.crowded {
			around = now
			g.crowded = g.processes()
			g.disks()
		}
		if g.crowded {
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

// memory frees memory when it runs out, and returns when to look again.
func (g *Guard) memory(ctx context.Context) time.Duration {
	total, available, err := g.System.Memory()
	if err != nil {
		g.Log.Error("memory is not guarded", "err", err)
		return latest
	}
	if g.Memory > 0 && g.Memory < total {
		// The rest is for the sandbox's own kernel, which the guest cannot see.
		total, available = g.Memory, max(0, available-(total-g.Memory))
	}
	if available >= total/20 {
		wait := time.Duration(float64(available) / float64(fillRate) * float64(time.Second))
		return min(max(wait, soonest), latest)
	}
	procs, err := g.System.Processes()
	if err != nil {
		g.Log.Error("memory is not guarded", "err", err)
		return latest
	}
	victim := heaviest(procs, total/20)
	if victim.rss < total/20 {
		g.tell(guestwire.EventMemoryLimit, "", fmt.Sprintf(
			"%s of %s memory are left, and no process holds much: remove files from /tmp and /dev/shm",
			holt.FormatSize(available), holt.FormatSize(total)))
		return latest
	}
	if err := g.System.Kill(victim.pid); err != nil {
		g.Log.Error("kill for memory", "pid", victim.pid, "err", err)
		return soonest
	}
	g.Events.Add(guestwire.EventMemoryLimit, fmt.Sprintf("killed %s: %s of %s memory were left",
		victim, holt.FormatSize(available), holt.FormatSize(total)))
	g.awaitDeath(ctx, victim)
	return soonest
}

// victim is one process, or the processes of one group that are small one by one.
type victim struct {
	pid   int // as for kill(2): a group is negative
	comm  string
	rss   int64 // bytes
	count int
}

// String names the victim for the user.
func (v victim) String() string {
	if v.pid < 0 {
		return fmt.Sprintf("%d processes such as %s (group %d, %s)", v.count, v.comm, -v.pid, holt.FormatSize(v.rss))
	}
	return fmt.Sprintf("%s (pid %d, %s)", v.comm, v.pid, holt.FormatSize(v.rss))
}

// has reports whether p is the victim or one of it.
func (v victim) has(p stats.Process) bool { return p.PID == v.pid || p.Group == -v.pid }

// heaviest returns what holds most memory. Processes below small count together
// with their group: a crowd of them is a fork bomb, where killing one frees
// nothing.
func heaviest(procs []stats.Process, small int64) victim {
	var most victim
	groups := map[int]victim{}
	for _, p := range procs {
		v := victim{p.PID, p.Comm, p.RSS, 1}
		if p.State == 'Z' {
			continue
		}
		if p.RSS < small && p.Group > 1 {
			g := groups[p.Group]
			v = victim{-p.Group, p.Comm, g.rss + p.RSS, g.count + 1}
			groups[p.Group] = v
		}
		if v.rss > most.rss {
			most = v
		}
	}
	return most
}

// awaitDeath waits at most a second, so that one shortage has one victim.
func (g *Guard) awaitDeath(ctx context.Context, v victim) {
	for range int(time.Second / soonest) {
		procs, err := g.System.Processes()
		if err != nil {
			return
		}
		alive := false
		for _, p := range procs {
			alive = alive || (v.has(p) && p.State != 'Z')
		}
		if !alive || !sleep(ctx, soonest) {
			return
		}
	}
}

// processes reports whether more than half of the allowed are in use.
func (g *Guard) processes() (crowded bool) {
	if g.Processes <= 0 {
		return false
	}
	procs, err := g.System.Processes()
	if err != nil {
		g.Log.Error("processes are not guarded", "err", err)
		return false
	}
	var have int64
	names := map[string]int64{}
	most := ""
	for _, p := range procs {
		have += p.Threads
		names[p.Comm] += p.Threads
		if names[p.Comm] > names[most] {
			most = p.Comm
		}
	}
	// A bomb at the limit comes and goes between two looks.
	if have >= g.Processes-g.Processes/10 {
		g.tell(guestwire.EventProcessLimit, "", fmt.Sprintf("%d of %d processes and threads are in use, %d by %s: at the limit no new ones start",
			have, g.Processes, names[most], most))
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

// NewSystem returns the machine whose proc file system is mounted at proc. Root
// is the agent's process ID, and paths are what Disks looks at.
func NewSystem(proc string, root int, paths []string) System { return system{proc, root, paths} }

type system struct {
	proc  string
	root  int
	paths []string
}

func (s system) Memory() (total, available int64, err error) { return stats.Memory(s.proc) }
func (s system) Processes() ([]stats.Process, error)         { return stats.Processes(s.proc, s.root) }
func (s system) Disks() []guestwire.Disk                     { return stats.Disks(s.paths) }
func (s system) Kill(pid int) error                          { return syscall.Kill(pid, syscall.SIGKILL) }
