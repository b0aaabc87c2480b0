package gvisor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/sandbox"
)

// The runtime monitoring of a sandbox: its kernel sends a message for each of a
// few system calls when they return, over a socket that the server holds the
// other end of. The kernel never waits for it: a message that does not fit into
// the socket, or that nobody takes, is counted and gone.
//
// What it costs is decided by [traceFilter], which the host's kernel runs on the
// socket: of the calls that succeed or fail in ways that mean nothing, the server
// hears nothing at all.
const (
	traceSession = "Default" // the only name that the runtime allows
	traceFile    = "trace.json"
)

// traceBurst and traceRest bound what a guest can make the server do: after so
// many messages in a row it looks away for so long, and the sandbox's kernel drops.
const (
	traceBurst = 64
	traceRest  = 50 * time.Millisecond
)

// traceConfig is the runtime's description of a session, as of its package
// seccheck: which calls, and where to.
type traceConfig struct {
	Name   string       `json:"name"`
	Points []tracePoint `json:"points"`
	Sinks  []traceSink  `json:"sinks"`
	// IgnoreMissing leaves out points that an older build of the runtime, in an
	// adopted sandbox, does not have.
	IgnoreMissing bool `json:"ignore_missing"`
}

type tracePoint struct {
	Name string `json:"name"`
}

type traceSink struct {
	Name   string            `json:"name"`
	Config map[string]string `json:"config"`
}

// tracePoints names the points of a session.
func tracePoints() []string {
	points := slices.Clone(openPoints)
	for number := range calls {
		points = append(points, fmt.Sprintf("syscall/sysno/%d/exit", number))
	}
	slices.Sort(points)
	return points
}

// listenTrace listens for the sandbox's kernel and writes the description of the
// session that makes it call: whole for the first start, or the session alone to
// be added to a sandbox that runs. The listener ends with the machine.
//
// The socket has a name without a file, so that a server that is killed leaves
// nothing and a long directory is no obstacle; only root is answered.
func (m *machine) listenTrace(added bool) error {
	name := "@holt-trace-" + holt.NewSecret()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "unixpacket", name)
	if err != nil {
		return fmt.Errorf("listen for trace: %w", err)
	}
	c := traceConfig{
		Name: traceSession, IgnoreMissing: true,
		Sinks: []traceSink{{Name: "remote", Config: map[string]string{"endpoint": name}}},
	}
	for _, p := range tracePoints() {
		c.Points = append(c.Points, tracePoint{p})
	}
	var v any = c
	if !added {
		v = map[string]any{"trace_session": c}
	}
	body, err := json.Marshal(v)
	if err == nil {
		err = os.WriteFile(filepath.Join(m.dir, traceFile), body, 0o600)
	}
	if err != nil {
		l.Close()
		return fmt.Errorf("write trace session: %w", err)
	}
	go m.serveTrace(l.(*net.UnixListener))
	return nil
}

// serveTrace takes the one connection of the sandbox's kernel, and reads it
// until one of the two is gone.
func (m *machine) serveTrace(l *net.UnixListener) {
	var mu sync.Mutex
	var open io.Closer = l
	go func() {
		<-m.done
		mu.Lock()
		defer mu.Unlock()
		open.Close()
	}()
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return
		}
		if err := greetTrace(c); err != nil {
			m.driver.log.Warn("trace connection refused", "sandbox", m.spec.ID, "err", err)
			c.Close()
			continue
		}
		l.Close()
		mu.Lock()
		open = c
		mu.Unlock()
		select {
		case <-m.done:
			c.Close()
		default:
		}
		m.readTrace(c)
		return
	}
}

// greetTrace checks who calls, answers the handshake (field 1 of a message, the
// version, which is 1 on both sides) and filters what follows.
func greetTrace(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	control := func(f func(fd int) error) error {
		var inner error
		if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
			return err
		}
		return inner
	}
	if err := control(func(fd int) (err error) {
		peer, err = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		return err
	}); err != nil {
		return fmt.Errorf("ask for the peer: %w", err)
	}
	if peer.Uid != 0 {
		return fmt.Errorf("it comes from uid %d", peer.Uid)
	}
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	hello := make([]byte, 64)
	if _, err := c.Read(hello); err != nil {
		return fmt.Errorf("read handshake: %w", err)
	}
	program := traceFilter()
	filter := make([]unix.SockFilter, len(program))
	for i, p := range program {
		filter[i] = unix.SockFilter{Code: p.Op, Jt: p.Jt, Jf: p.Jf, K: p.K}
	}
	if err := control(func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	}); err != nil {
		return fmt.Errorf("filter trace: %w", err)
	}
	if _, err := c.Write([]byte{1 << 3, 1}); err != nil {
		return fmt.Errorf("answer handshake: %w", err)
	}
	return c.SetDeadline(time.Time{})
}

// readTrace passes refusals on until the connection ends.
func (m *machine) readTrace(c *net.UnixConn) {
	defer c.Close()
	buf := make([]byte, traceMost)
	rest := time.NewTimer(0)
	defer rest.Stop()
	var missed uint32 // what the kernel had dropped when the last refusal was passed on
	for begin, n := time.Now(), 1; ; n++ {
		size, err := c.Read(buf)
		if err != nil {
			return
		}
		if call, err := decodeTrace(buf[:size]); err == nil {
			if r, ok := call.refusal(); ok {
				r.Missed = uint64(call.dropped - missed)
				select {
				case m.refusals <- r:
					missed = call.dropped
				default: // nobody listens, or not fast enough
				}
			}
		}
		if n < traceBurst {
			continue
		}
		rest.Reset(traceRest - time.Since(begin))
		select {
		case <-m.done:
			return
		case <-rest.C:
		}
		begin, n = time.Now(), 0
	}
}

// Refusals implements [sandbox.Observer].
func (m *machine) Refusals() <-chan sandbox.Refusal { return m.refusals }

// traceAgain makes a sandbox that an earlier server started report to this one.
// That costs a call of the runtime, so adopted sandboxes take turns, and nobody
// waits for it. One that cannot be watched works as before.
func (m *machine) traceAgain() {
	m.driver.tracing.Lock()
	defer m.driver.tracing.Unlock()
	m.mu.Lock() // not while it is closed, which removes its folder
	defer m.mu.Unlock()
	select {
	case <-m.done:
		return
	default:
	}
	err := m.listenTrace(true)
	if err == nil {
		err = m.runsc.trace(context.Background(), m.spec.ID, filepath.Join(m.dir, traceFile))
	}
	select {
	case <-m.done: // it ended meanwhile
	default:
		if err != nil {
			m.driver.log.Warn("an adopted sandbox is not watched", "sandbox", m.spec.ID, "err", err)
		}
	}
}
