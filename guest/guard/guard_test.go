package guard

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/guest/event"
	"github.com/holt-ide/holt/guest/stats"
	"github.com/holt-ide/holt/wire/guest"
)

// script is a machine whose processes grow by a rate, as a memory bomb does.
type script struct {
	mu     sync.Mutex
	begun  time.Time
	total  int64
	other  int64 // used by no process
	procs  []stats.Process
	grows  map[int]int64 // bytes per second
	disks  []guestwire.Disk
	killed []int
	lowest int64
}

func (s *script) rss(p stats.Process) int64 {
	return p.RSS + int64(time.Since(s.begun).Seconds()*float64(s.grows[p.PID]))
}

func (s *script) Memory() (total, available int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	available = s.total - s.other
	for _, p := range s.procs {
		available -= s.rss(p)
	}
	s.lowest = min(s.lowest, available)
	return s.total, max(0, available), nil
}

func (s *script) Processes() ([]stats.Process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]stats.Process, len(s.procs))
	for i, p := range s.procs {
		out[i] = p
		out[i].RSS = s.rss(p)
	}
	return out, nil
}

func (s *script) Tasks() (int64, error) { return int64(len(s.procs)), nil }

func (s *script) Disks() []guestwire.Disk { return s.disks }

func (s *script) Kill(pid int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.killed = append(s.killed, pid)
	s.procs = slices.DeleteFunc(slices.Clone(s.procs), func(p stats.Process) bool { return p.PID == pid || p.Group == -pid })
	return nil
}

// watch runs the guard over s for d, and returns what it told.
func watch(t *testing.T, s *script, limit int64, d time.Duration) []guestwire.Event {
	t.Helper()
	s.begun, s.lowest = time.Now(), s.total
	var log event.Log
	g := Guard{System: s, Events: &log, Log: slog.New(slog.DiscardHandler), Processes: limit}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	g.Run(ctx)
	events, _ := log.Since(0)
	return events
}

func TestTheBombDiesAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{
			total: 2 * holt.GiB,
			procs: []stats.Process{{PID: 7, Comm: "bash", RSS: 5 * holt.MiB, State: 'S'}, {PID: 8, Comm: "node", RSS: 300 * holt.MiB, State: 'S'}, {PID: 41, Comm: "python3", State: 'R'}},
			grows: map[int]int64{41: 2 * holt.GiB},
		}
		events := watch(t, s, 0, 10*time.Second)
		if len(s.killed) != 1 || s.killed[0] != 41 {
			t.Fatalf("killed %v, want 41 alone", s.killed)
		}
		if s.lowest <= 0 {
			t.Errorf("memory ran out: %d bytes left", s.lowest)
		}
		if len(events) != 1 || events[0].Name != guestwire.EventMemoryLimit || !strings.HasPrefix(events[0].Text, "killed python3 (pid 41, 1.") {
			t.Errorf("events %+v", events)
		}
	})
}

func TestTheCrowdDiesAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{
			total: 704 * holt.MiB,
			procs: []stats.Process{{PID: 7, Group: 7, Comm: "bash", RSS: 5 * holt.MiB, State: 'S'}, {PID: 8, Parent: 7, Group: 8, Comm: "node", RSS: 100 * holt.MiB, State: 'S'}},
			grows: map[int]int64{},
		}
		for pid := 100; pid < 300; pid++ {
			s.procs = append(s.procs, stats.Process{PID: pid, Group: 100, Comm: "python3", State: 'R'})
			s.grows[pid] = 2 * holt.MiB
		}
		var log event.Log
		s.begun, s.lowest = time.Now(), s.total
		g := Guard{System: s, Events: &log, Log: slog.New(slog.DiscardHandler), Memory: 512 * holt.MiB}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		g.Run(ctx)
		if len(s.killed) != 1 || s.killed[0] != -100 {
			t.Fatalf("killed %v, want the group 100 alone", s.killed)
		}
		if s.lowest < 100*holt.MiB {
			t.Errorf("%d bytes were left of the machine; of its 704 MiB only 512 are the guest's", s.lowest)
		}
		events, _ := log.Since(0)
		if len(events) != 1 || !strings.HasPrefix(events[0].Text, "killed 200 processes such as python3 (group 100, ") {
			t.Errorf("events %+v", events)
		}
	})
}

func TestMemoryThatNoProcessHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{total: holt.GiB, other: holt.GiB - 20*holt.MiB, procs: []stats.Process{{PID: 7, Comm: "bash", RSS: 5 * holt.MiB, State: 'S'}}}
		events := watch(t, s, 0, 20*time.Second)
		if len(s.killed) != 0 {
			t.Errorf("killed %v, which does not hold the memory", s.killed)
		}
		if len(events) != 1 || !strings.Contains(events[0].Text, "/dev/shm") {
			t.Errorf("events %+v, want one that says where to look", events)
		}
	})
}

func TestFullPlacesAreNamedOnceInAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{total: holt.GiB, disks: []guestwire.Disk{
			{Path: "/", Used: 996, Total: 1000},
			{Path: "/workspace", Used: 10, Total: 1000, InodesUsed: 1000, InodesTotal: 1000},
			{Path: "/tmp", Used: 1000, Total: 1000, Tmpfs: true},
			{Path: "/home/dev", Used: 990, Total: 1000},
			{Path: "/odd"}, // counts nothing
		}}
		for i := range 60 {
			s.procs = append(s.procs, stats.Process{PID: i, Comm: "fork", Threads: 1, State: 'S'})
		}
		events := watch(t, s, 64, quiet+10*time.Second)
		count := map[guestwire.EventName]int{}
		for _, e := range events {
			count[e.Name]++
		}
		for _, name := range []guestwire.EventName{guestwire.EventDiskFull, guestwire.EventInodesFull, guestwire.EventTmpfsFull, guestwire.EventProcessLimit} {
			if count[name] != 2 {
				t.Errorf("%s: told %d times in %v, want 2", name, count[name], quiet+10*time.Second)
			}
		}
		if len(events) != 8 {
			t.Errorf("events %+v", events)
		}
	})
}
