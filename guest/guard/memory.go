package guard

import (
	"context"
	"fmt"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/guest/stats"
	"github.com/holt-ide/holt/wire/guest"
)

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
	victim, err := g.sacrifice(total / 20)
	if err != nil {
		g.Log.Error("memory is not guarded", "err", err)
		return latest
	}
	if victim.pid == 0 {
		g.tell(guestwire.EventMemoryLimit, "", fmt.Sprintf(
			"%s of %s memory are left, and no process holds much: remove files from /tmp and /dev/shm",
			holt.FormatSize(available), holt.FormatSize(total)))
		return latest
	}
	g.Events.Add(guestwire.EventMemoryLimit, fmt.Sprintf("killed %s: %s of %s memory were left",
		victim, holt.FormatSize(available), holt.FormatSize(total)))
	g.awaitDeath(ctx, victim)
	return soonest
}

// sacrifice kills what holds most memory, if that is more than little; its zero
// value means that nothing does.
func (g *Guard) sacrifice(little int64) (victim, error) {
	procs, err := g.System.Processes()
	if err != nil {
		return victim{}, err
	}
	most := heaviest(procs, little)
	if most.rss < little {
		return victim{}, nil
	}
	return most, g.System.Kill(most.pid)
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
