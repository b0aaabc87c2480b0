package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/node/network"
	"github.com/holt-ide/holt/sandbox"
	guestwire "github.com/holt-ide/holt/wire/guest"
	hostwire "github.com/holt-ide/holt/wire/host"
)

// machine is one living sandbox with what belongs to it.
type machine struct {
	node   *Node
	sb     sandbox.Sandbox
	slot   network.Slot
	agent  *guestwire.Client
	conns  connSet
	cancel context.CancelFunc     // ends its watchers
	filing atomic.Pointer[filing] // nil while its files are not kept

	// op serialises freeze, unfreeze and shutdown.
	op sync.Mutex

	mu       sync.Mutex
	rec      record
	frozen   bool
	leaving  bool   // it is being released: its end is no news
	fate     string // why it is being ended by this node, for its user; or ""
	activity tracker
	closed   map[string]time.Time // documents that are in their files, but in no revision yet, and when they were closed
}

// machine returns the value for a sandbox with a record.
func (n *Node) machine(r record, sb sandbox.Sandbox) *machine {
	slot, _ := n.networks.Slot(r.Slot, r.SlotTag) // a slot that is gone fails when it is used
	m := &machine{node: n, sb: sb, slot: slot, rec: r}
	m.agent = guestwire.NewDial(m.dial, m.secret)
	return m
}

// enlist makes the machine known and starts watching it.
func (n *Node) enlist(m *machine) {
	ctx, cancel := context.WithCancel(n.run)
	m.cancel = cancel
	n.mu.Lock()
	n.machines[m.rec.Sandbox] = m
	n.mu.Unlock()
	n.wg.Go(func() { m.watchEnd(ctx) })
	n.wg.Go(func() { m.watchEvents(ctx) })
	n.wg.Go(func() { m.watchJournal(ctx) })
	n.files.begin(m)
	if n.driver.Capabilities().Observe {
		n.wg.Go(func() { m.watchRefusals(ctx) })
	}
}

func (m *machine) dial(ctx context.Context) (net.Conn, error) {
	c, err := m.sb.Dial(ctx)
	if err != nil {
		return nil, holt.Wrap(holt.KindUnavailable, errors.Join(errUnreached, err), "the machine does not answer")
	}
	return m.conns.add(c), nil
}

// errUnreached is in the chain of errors of requests that were never sent.
var errUnreached = errors.New("no connection to the machine")

func (m *machine) secret() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rec.Secret
}

func (m *machine) snapshotRecord() record {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rec
}

// update changes the record, on the disk too.
func (m *machine) update(change func(*record)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.rec
	change(&r)
	if err := m.node.writeRecord(r); err != nil {
		return err
	}
	m.rec = r
	return nil
}

func (m *machine) setFrozen(v bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.frozen = v
}

func (m *machine) info() hostwire.SandboxInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	alive := true
	select {
	case <-m.sb.Done():
		alive = false
	default:
	}
	return hostwire.SandboxInfo{ID: m.rec.Sandbox, Workspace: m.rec.Workspace, Frozen: m.frozen, Alive: alive}
}

// meet gives the agent its identity, and the time, as soon as it listens. Only
// attempts that did not reach it are repeated: what it was told may be in force.
func (m *machine) meet(ctx context.Context, t guestwire.Thaw) (guestwire.ThawResult, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, agentPatience,
		holt.Errorf(holt.KindTimeout, "the machine started but its agent does not answer"))
	defer cancel()
	ended := fmt.Errorf("machine ended before its agent answered: %w", sandbox.ErrGone)
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	go func() {
		select {
		case <-m.sb.Done(): // nothing resets the connections of a sandbox that is gone
			end(ended)
		case <-ctx.Done():
		}
	}()
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		t.TimeUnixNano = time.Now().UnixNano()
		result, err := m.agent.Thaw(ctx, t)
		switch {
		case err == nil:
			return result, nil
		case ctx.Err() != nil:
			return result, context.Cause(ctx)
		case !errors.Is(err, errUnreached):
			return result, err
		}
		select {
		case <-ctx.Done():
			return result, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// agentPatience is how long a starting agent may take on a loaded host.
const agentPatience = 30 * time.Second

// connSet is the open streams into one machine, which a checkpoint would leave
// hanging: the guest's side is reset, the host's side hears nothing.
type connSet struct {
	mu  sync.Mutex
	set map[*trackedConn]struct{}
}

type trackedConn struct {
	net.Conn
	owner *connSet
}

func (s *connSet) add(c net.Conn) net.Conn {
	t := &trackedConn{Conn: c, owner: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.set == nil {
		s.set = map[*trackedConn]struct{}{}
	}
	s.set[t] = struct{}{}
	return t
}

func (s *connSet) closeAll() {
	s.mu.Lock()
	set := s.set
	s.set = nil
	s.mu.Unlock()
	for c := range set {
		c.Conn.Close()
	}
}

// Close closes the stream and forgets it.
func (c *trackedConn) Close() error {
	c.owner.mu.Lock()
	delete(c.owner.set, c)
	c.owner.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite ends the sending half, as forwarded ports need it.
func (c *trackedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}
