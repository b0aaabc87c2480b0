package guest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/guest/identity"
	"github.com/holt-ide/holt/guest/ports"
	"github.com/holt-ide/holt/guest/stats"
	"github.com/holt-ide/holt/wire/guest"
	"golang.org/x/sys/unix"
)

func (a *Agent) health(w http.ResponseWriter, _ *http.Request) error {
	return reply(w, guestwire.Health{
		Version: guestwire.Version, BootID: a.bootID, PID: os.Getpid(), WorkspaceID: *a.id.Load(),
		Uptime: time.Since(a.started).Seconds(), Thaws: a.thaws.Load(),
	})
}

func (a *Agent) stats(w http.ResponseWriter, _ *http.Request) error {
	s, err := stats.Read(proc, os.Getpid(), a.watched())
	if err != nil {
		return err
	}
	s.Activity.Terminals, s.Activity.Viewers = a.terminals.Counts()
	s.Activity.Input, s.Activity.Output = a.terminals.Traffic()
	s.Activity.Execs = int(a.counts.execs.Load())
	s.Activity.Forwards = int(a.counts.forwards.Load())
	s.Activity.Watches = int(a.counts.watches.Load())
	s.Activity.Requests = a.counts.requests.Load()
	s.Activity.Forwarded = a.counts.forwarded.Load()
	return reply(w, s)
}

const keepAlive = 15 * time.Second

// streamEvents sends held events and then each new one, and an empty object as
// a sign of life.
func (a *Agent) streamEvents(w http.ResponseWriter, r *http.Request) error {
	var since uint64
	if s := r.URL.Query().Get("since"); s != "" {
		var err error
		if since, err = strconv.ParseUint(s, 10, 64); err != nil {
			return holt.Invalidf("since", "since=%q is not a number", s)
		}
	}
	out := newLines(w)
	if err := out.send(struct{}{}); err != nil { // the header must not wait for an event
		return nil
	}
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		events, more := a.events.Since(since)
		for _, e := range events {
			if out.send(e) != nil {
				return nil
			}
			since = e.Seq
		}
		select {
		case <-more:
		case <-tick.C:
			if out.send(struct{}{}) != nil {
				return nil
			}
		case <-r.Context().Done():
			return nil
		}
	}
}

// holdTime is how long nobody's edits are taken after a freeze that nothing follows.
const holdTime = 3 * time.Second

// unfreeze is for a machine that runs on.
func (a *Agent) unfreeze(w http.ResponseWriter, _ *http.Request) error {
	a.documents.Release()
	return done(w)
}

// freeze gets the machine ready for a checkpoint: dirty data is written out, and
// memory that the agent does not need is given back, so that it is not saved.
func (a *Agent) freeze(w http.ResponseWriter, r *http.Request) error {
	a.documents.Hold(holdTime)
	a.documents.Flush(r.Context())
	unix.Sync()
	debug.FreeOSMemory()
	return done(w)
}

// writeDocuments writes what is in open documents and not in their files yet.
func (a *Agent) writeDocuments(w http.ResponseWriter, r *http.Request) error {
	a.documents.Flush(r.Context())
	return done(w)
}

// thaw gives the machine its new identity. The new secret holds, and the old
// connections are gone, before anything else is tried.
func (a *Agent) thaw(w http.ResponseWriter, r *http.Request) error {
	var t guestwire.Thaw
	if err := read(w, r, &t); err != nil {
		return err
	}
	if err := identity.Check(t); err != nil {
		return err
	}
	a.thawing.Lock()
	defer a.thawing.Unlock()
	a.secret.set(t.Secret)
	closed := a.conns.closeAll(r.Context())
	var out guestwire.ThawResult
	if a.opt.Machine != nil {
		out = a.opt.Machine.Apply(t)
	} else {
		out.Warnings = []string{"host name, machine ID and clock are left alone: the agent does not own this machine"}
	}
	out.Closed = closed
	if t.Name != "" {
		a.account.SetWorkspace(t.Name)
	}
	if t.WorkspaceID != "" {
		a.id.Store(&t.WorkspaceID)
	}
	a.thaws.Add(1)
	a.documents.Release()
	for _, warning := range out.Warnings {
		a.log.Warn("thaw", "warning", warning)
	}
	a.events.Add(guestwire.EventThaw, fmt.Sprintf("continued as %s (%s); the clock was off by %.3f s",
		t.Name, t.Hostname, out.ClockStep))
	return reply(w, out)
}

const (
	defaultGrace = 5 * time.Second
	maxGrace     = time.Minute
)

// shutdown ends all user processes and writes everything out.
func (a *Agent) shutdown(w http.ResponseWriter, r *http.Request) error {
	grace := defaultGrace
	if s := r.URL.Query().Get("grace"); s != "" {
		sec, err := strconv.ParseFloat(s, 64)
		if err != nil || !(sec >= 0 && sec <= maxGrace.Seconds()) {
			return holt.Invalidf("grace", "grace=%q is not a number of seconds up to %v", s, maxGrace.Seconds())
		}
		grace = time.Duration(sec * float64(time.Second))
	}
	a.documents.Flush(r.Context())
	if err := a.endProcesses(r.Context(), grace); err != nil {
		return err
	}
	unix.Sync()
	return done(w)
}

// endProcesses asks, and after grace kills, until nothing is left. Shells ignore
// SIGTERM and stopped processes do not see it: they also get SIGHUP and SIGCONT.
func (a *Agent) endProcesses(ctx context.Context, grace time.Duration) error {
	begun := time.Now()
	first := grace > 0
	var deadline time.Time // reading all processes may take longer than a short grace
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		procs, err := stats.Processes(proc, os.Getpid())
		if err != nil {
			return err
		}
		left := 0
		for _, p := range procs {
			if p.State == 'Z' {
				continue // its parent will see to it
			}
			left++
			switch {
			case first:
				syscall.Kill(p.PID, syscall.SIGTERM)
				syscall.Kill(p.PID, syscall.SIGHUP)
				syscall.Kill(p.PID, syscall.SIGCONT)
			case time.Now().After(deadline):
				syscall.Kill(p.PID, syscall.SIGKILL)
			}
		}
		if first {
			first, deadline = false, time.Now().Add(grace)
		}
		if left == 0 {
			return nil
		}
		if time.Since(begun) > grace+10*time.Second {
			return holt.Errorf(holt.KindTimeout, "%d processes do not end", left)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (a *Agent) listPorts(w http.ResponseWriter, _ *http.Request) error {
	list, err := a.listening()
	if err != nil {
		return err
	}
	return reply(w, list)
}

// listening returns the ports that listen, without the agent's own.
func (a *Agent) listening() ([]guestwire.Port, error) {
	return ports.List(proc, uint16(a.port.Load()))
}

// dialPort becomes a byte stream to a port on the loopback.
func (a *Agent) dialPort(w http.ResponseWriter, r *http.Request) error {
	n, err := strconv.ParseUint(r.PathValue("port"), 10, 16)
	if err != nil || n == 0 {
		return holt.Invalidf("port", "%q is not a port: 1 to 65535", r.PathValue("port"))
	}
	if uint32(n) == a.port.Load() {
		return &holt.Error{Kind: holt.KindForbidden, Field: "port", Text: "that is the guest agent's own port"}
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), guestwire.UpgradeTCP) {
		return holt.Invalidf("Upgrade", "the request must upgrade to %s", guestwire.UpgradeTCP)
	}
	up, err := ports.Dial(r.Context(), uint16(n))
	if err != nil {
		return err
	}
	defer up.Close()
	down, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return fmt.Errorf("dial port: %w", err)
	}
	defer down.Close()
	a.counts.forwards.Add(1)
	defer a.counts.forwards.Add(-1)
	down.SetDeadline(time.Time{})
	if _, err := io.WriteString(down, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+guestwire.UpgradeTCP+"\r\n\r\n"); err != nil {
		return nil
	}
	// Not through buf: its end of stream would cancel the request's context, and
	// with it what still comes the other way.
	early, err := buf.Reader.Peek(buf.Reader.Buffered())
	if err != nil {
		return nil
	}
	splice(r.Context(), down, io.MultiReader(bytes.NewReader(early), down), up, &a.counts.forwarded)
	return nil
}

// splice copies both ways until both ends have ended, one broke, or ctx ends.
// fromDown is what down sends.
func splice(ctx context.Context, down net.Conn, fromDown io.Reader, up net.Conn, moved *atomic.Uint64) {
	stop := context.AfterFunc(ctx, func() { down.Close(); up.Close() })
	defer stop()
	var wg sync.WaitGroup
	one := func(dst net.Conn, src io.Reader) {
		_, err := io.Copy(&counted{dst, moved}, src)
		cw, ok := dst.(interface{ CloseWrite() error })
		if err != nil || !ok || cw.CloseWrite() != nil {
			down.Close()
			up.Close()
		}
	}
	wg.Go(func() { one(up, fromDown) })
	wg.Go(func() { one(down, up) })
	wg.Wait()
}

type counted struct {
	io.Writer
	n *atomic.Uint64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.n.Add(uint64(n))
	return n, err
}
