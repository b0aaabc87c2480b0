package node

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/node/network"
	"github.com/holt-ide/holt/sandbox"
	guestwire "github.com/holt-ide/holt/wire/guest"
	hostwire "github.com/holt-ide/holt/wire/host"
)

// watchEnd reports a machine that ended without being told to.
func (m *machine) watchEnd(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-m.sb.Done():
	}
	m.mu.Lock()
	expected, fate := m.leaving, m.fate
	m.mu.Unlock()
	if expected || ctx.Err() != nil {
		return
	}
	name, text := "exited", "the machine ended by itself"
	if s, err := m.sb.Stats(ctx); err == nil && s.OOMKills > 0 {
		name, text = string(guestwire.EventMemoryLimit), fmt.Sprintf("the machine ended: it used all of its memory (%s)", holt.FormatSize(m.snapshotRecord().Limits.Memory))
	}
	if fate != "" {
		name, text = "memory-lost", fate
	}
	m.conns.closeAll()
	m.node.notify(m, name, text, true)
}

// watchEvents passes the agent's events on, from the last one seen.
func (m *machine) watchEvents(ctx context.Context) {
	h := hearing{rate: allowance{burst: eventBurst, each: eventEach}}
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := m.agent.Events(ctx, m.snapshotRecord().Event, func(e guestwire.Event) error {
			wait = 100 * time.Millisecond
			return m.hear(&h, e)
		})
		select {
		case <-ctx.Done():
			return
		case <-m.sb.Done():
			return
		case <-time.After(wait):
			m.node.log.Debug("event stream ended", "sandbox", m.rec.Sandbox, "err", err)
		}
	}
}

// eventBurst and eventEach bound the agent's events of one machine: so many at
// once, and one for each such time. Each costs a row and two writes, and a hostile
// guest sends what it likes.
const (
	eventBurst = 60
	eventEach  = time.Second
)

// hearing is what was heard of a machine's agent.
type hearing struct {
	rate    allowance
	dropped int
}

// hear passes one event on, if it is one of the agent's and there are not too many.
func (m *machine) hear(h *hearing, e guestwire.Event) error {
	switch e.Name {
	case guestwire.EventThaw:
		return m.update(func(r *record) { r.Event = e.Seq })
	case guestwire.EventMemoryLimit, guestwire.EventProcessLimit, guestwire.EventDiskFull, guestwire.EventInodesFull, guestwire.EventTmpfsFull:
		if h.rate.take(time.Now()) {
			m.node.notify(m, string(e.Name), bounded(e.Text), false)
			return m.update(func(r *record) { r.Event = e.Seq })
		}
	}
	h.dropped++
	m.say("events-dropped", fmt.Sprintf("the guest agent told more than is kept: %d events were dropped so far", h.dropped))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rec.Event = e.Seq // reaches the disk with the next one that is kept
	return nil
}

// allowance lets burst things happen at once, and then one each time.
type allowance struct {
	burst int
	each  time.Duration
	whole time.Time // when all of the burst is there again
}

// take reports whether one more may happen now.
func (a *allowance) take(now time.Time) bool {
	if a.whole.Before(now) {
		a.whole = now
	}
	if a.whole.Sub(now) > time.Duration(a.burst-1)*a.each {
		return false
	}
	a.whole = a.whole.Add(a.each)
	return true
}

// watchRefusals tells what the sandbox's kernel refused. The guest cannot forge it.
func (m *machine) watchRefusals(ctx context.Context) {
	o, ok := m.sb.(sandbox.Observer)
	if !ok {
		return
	}
	var missed uint64 // since the last one that was told
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.sb.Done():
			return
		case r := <-o.Refusals():
			missed += r.Missed
			text := fmt.Sprintf("a process tried to %s: refused", bounded(r.Text))
			if missed > 0 {
				text += fmt.Sprintf(" (%d system calls before it came too fast to be looked at)", missed)
			}
			if m.sayAs("probe-refused "+r.Probe, "probe-refused", text) {
				missed = 0
			}
		}
	}
}

// bounded cuts a hostile guest's text.
func bounded(s string) string {
	const most = 300
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// tracker turns counters into activity and outcomes. Its fields belong to the
// machine's mu.
type tracker struct {
	activity hostwire.Activity
	guest    guestwire.Activity
	seen     bool // guest holds a reading

	stats   sandbox.Stats
	statsAt time.Time
	blocked network.Blocked
	said    map[string]time.Time // when each outcome was last reported
}

// sampleLoop looks at every machine at regular intervals.
func (n *Node) sampleLoop() {
	tick := time.NewTicker(n.cfg.Sample)
	defer tick.Stop()
	for {
		select {
		case <-n.run.Done():
			return
		case <-tick.C:
		}
		n.mu.Lock()
		list := make([]*machine, 0, len(n.machines))
		for _, m := range n.machines {
			list = append(list, m)
		}
		n.mu.Unlock()
		// Several at once, so that a guest that does not answer delays few others.
		var g errgroup.Group
		g.SetLimit(8)
		for _, m := range list {
			g.Go(func() error { m.sample(n.run); return nil })
		}
		_ = g.Wait() // no sample fails: what cannot be read stays as it was
	}
}

// sample looks at one machine, unless it is frozen.
func (m *machine) sample(ctx context.Context) {
	if m.info().Frozen {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	m.sampleHost(ctx)
	m.sampleGuest(ctx)
}

// sampleHost reports what the host's own counters say; the guest cannot forge them.
func (m *machine) sampleHost(ctx context.Context) {
	now, err := m.sb.Stats(ctx)
	if err != nil {
		return
	}
	blocked, err := m.slot.Blocked()
	if err != nil {
		blocked = m.activity.blocked
	}
	traffic, trafficErr := m.slot.Traffic()
	at := time.Now()
	m.mu.Lock()
	t := &m.activity
	if trafficErr == nil {
		t.activity.NetBytes = traffic
	}
	before, beforeAt, wasBlocked := t.stats, t.statsAt, t.blocked
	t.stats, t.statsAt, t.blocked = now, at, blocked
	limits := m.rec.Limits
	m.mu.Unlock()
	if !beforeAt.IsZero() {
		wall := at.Sub(beforeAt)
		if held := now.Throttled - before.Throttled; held > wall/2 {
			m.say("cpu-limit", fmt.Sprintf("the processes want more than the %g cores they have: they are held back", limits.CPUs))
		}
		if now.OOMKills > before.OOMKills {
			m.say("memory-limit", fmt.Sprintf("the host ended %d process(es): the memory of %s is used up", now.OOMKills-before.OOMKills, holt.FormatSize(limits.Memory)))
		}
	}
	m.sayBlocked(wasBlocked, blocked)
}

func (m *machine) sayBlocked(before, now network.Blocked) {
	for _, b := range []struct {
		was, is uint64
		where   string
	}{
		{before.Host, now.Host, "the server itself"},
		{before.Private, now.Private, "other workspaces or private networks"},
		{before.Metadata, now.Metadata, "a metadata service"},
		{before.SMTP, now.SMTP, "mail servers"},
		{before.Other, now.Other, "somewhere that its policy forbids"},
	} {
		if b.is > b.was {
			m.sayAs("egress-blocked "+b.where, "egress-blocked", fmt.Sprintf("%d packets to %s were refused", b.is-b.was, b.where))
		}
	}
}

// say reports an outcome, at most once a minute each, and returns whether it did.
func (m *machine) say(name, text string) bool { return m.sayAs(name, name, text) }

func (m *machine) sayAs(key, name, text string) bool {
	m.mu.Lock()
	if m.activity.said == nil {
		m.activity.said = map[string]time.Time{}
	}
	recent := time.Since(m.activity.said[key]) < time.Minute
	if !recent {
		m.activity.said[key] = time.Now()
	}
	m.mu.Unlock()
	if !recent {
		m.node.notify(m, name, text, false)
	}
	return !recent
}

// sampleGuest asks the agent how busy the guest is. An agent that does not answer
// leaves the last reading: a hostile guest gains only that it looks as before.
func (m *machine) sampleGuest(ctx context.Context) {
	s, err := m.agent.Stats(ctx)
	if err != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t := &m.activity
	g := s.Activity
	if moved := g.Output != t.guest.Output || g.Input != t.guest.Input || g.Requests != t.guest.Requests || g.Forwarded != t.guest.Forwarded; moved || !t.seen {
		t.activity.LastIO = time.Now()
	}
	t.guest, t.seen = g, true
	t.activity.Connections = g.Viewers + g.Forwards + g.Watches
	t.activity.Jobs = g.Execs
	t.activity.CPUSeconds = s.CPUSeconds
}

// Activity returns counters for idle detection; see package workspace. They are
// as old as the last sample.
func (n *Node) Activity(_ context.Context, id holt.SandboxID) (hostwire.Activity, error) {
	m, err := n.find(id)
	if err != nil {
		return hostwire.Activity{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.activity.activity, nil
}
