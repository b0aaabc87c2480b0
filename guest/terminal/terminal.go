package terminal

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/guest/process"
	"github.com/holt-ide/holt/guest/pty"
	"github.com/holt-ide/holt/wire/guest"
)

const (
	// maxInput is how much input waits for a program that does not read.
	maxInput = 4 << 20
	// hangupGrace is how long a hung-up shell has before it is killed.
	hangupGrace = 2 * time.Second
	// drainWait ends the reading of an exited terminal: what its process wrote
	// is there at once, but a background process may hold the terminal open.
	drainWait = 100 * time.Millisecond
	// drainMost bounds that reading where the background process goes on writing.
	drainMost = 1 << 20
)

// Terminal is one pseudo-terminal and the process that leads it.
type Terminal struct {
	m       *Manager
	id      holt.TerminalID
	name    string
	cmd     []string
	created time.Time
	master  *os.File
	proc    *process.Process

	resume chan struct{} // capacity 1: reading may be possible again
	typed  chan struct{} // capacity 1: there is input
	ended  chan struct{} // closed when the process was collected

	mu       sync.Mutex
	ring     ring
	viewers  map[*Viewer]struct{}
	cols     uint16
	rows     uint16
	input    []byte
	flushes  uint64          // interrupts that threw input away
	exit     *guestwire.Exit // set after the last output
	released bool            // master is closed, or about to be
}

func newTerminal(m *Manager, req guestwire.NewTerminal, argv []string, master *os.File, p *process.Process) *Terminal {
	return &Terminal{
		m: m, id: req.ID, name: req.Name, cmd: argv, created: time.Now(), master: master, proc: p,
		resume: make(chan struct{}, 1), typed: make(chan struct{}, 1), ended: make(chan struct{}),
		ring: ring{max: m.opt.Ring}, viewers: map[*Viewer]struct{}{}, cols: req.Cols, rows: req.Rows,
	}
}

func (t *Terminal) describe() guestwire.Terminal {
	t.mu.Lock()
	defer t.mu.Unlock()
	return guestwire.Terminal{
		ID: t.id, Name: t.name, Cmd: t.cmd, PID: t.proc.PID(), Cols: t.cols, Rows: t.rows,
		Viewers: len(t.viewers), First: t.ring.first, Next: t.ring.next, CreatedAt: t.created, Exit: t.exit,
	}
}

func (t *Terminal) exited() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.exit != nil
}

// hangup ends the terminal as a closed window does, and returns at once: a shell
// that waits for input may sleep through the signal, but not through the loss of
// its terminal.
func (t *Terminal) hangup() {
	t.mu.Lock()
	t.released = true
	t.mu.Unlock()
	_ = t.proc.SignalGroup(syscall.SIGHUP) // it may have ended
	t.master.Close()
	t.m.wg.Go(func() { t.proc.Hangup(hangupGrace) })
}

// awaitExit interrupts the reader once the process has ended, and gives it a
// short time to drain.
func (t *Terminal) awaitExit() {
	<-t.proc.Done()
	close(t.ended)
	t.master.SetReadDeadline(time.Now().Add(drainWait))
	signal(t.resume)
	signal(t.typed)
}

// readOutput copies the terminal's output to the ring until the process has
// ended and everything was read.
func (t *Terminal) readOutput() {
	buf := make([]byte, 32<<10)
	drained := 0
	for drained < drainMost {
		ended := t.awaitRoom()
		if ended {
			t.master.SetReadDeadline(time.Now().Add(drainWait))
		}
		n, err := t.master.Read(buf)
		if n > 0 {
			t.m.output.Add(uint64(n))
			t.store(buf[:n])
		}
		if ended {
			drained += n
		}
		if err != nil && !(errors.Is(err, os.ErrDeadlineExceeded) && !ended) {
			// EIO: nobody holds the other end any more. EOF says the same elsewhere.
			break
		}
	}
	<-t.ended
}

func (t *Terminal) store(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.ring.next
	t.ring.write(p)
	window := uint64(t.m.opt.Window)
	for v := range t.viewers {
		if before-v.acked < window && t.ring.next-v.acked >= window {
			v.progress = time.Now() // its time to stall begins
		}
	}
	t.wakeAll()
}

// awaitRoom waits until some viewer is within its window, there is none, or the
// process has ended, which it reports.
func (t *Terminal) awaitRoom() (ended bool) {
	for {
		wait, open := t.room(time.Now())
		if open {
			select {
			case <-t.ended:
				return true
			default:
				return false
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-t.resume:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// room reports whether the terminal may be read; where it may not, wait is when
// the first viewer loses its vote.
func (t *Terminal) room(now time.Time) (wait time.Duration, open bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	voters := 0
	wait = t.m.opt.Stall
	for v := range t.viewers {
		left := t.m.opt.Stall - now.Sub(v.progress)
		switch {
		case t.ring.next-v.acked < uint64(t.m.opt.Window):
			return 0, true
		case left > 0:
			voters++
			wait = min(wait, left)
		}
	}
	return wait, voters == 0
}

// finish records the exit and lets go of the terminal.
func (t *Terminal) finish() {
	st := t.proc.Status()
	t.mu.Lock()
	t.exit = &guestwire.Exit{Code: st.Code, Signal: st.Signal, At: st.At}
	t.released = true
	t.input = nil
	t.flushes++ // a write under way must not take its bytes off what is gone
	t.wakeAll()
	t.mu.Unlock()
	t.master.Close()
	t.m.mu.Lock()
	t.m.trim()
	t.m.mu.Unlock()
}

// writeInput feeds the program. It is a goroutine of its own because a program
// that does not read makes the write block.
func (t *Terminal) writeInput() {
	for {
		t.mu.Lock()
		// Small pieces, so that an interrupt can overtake a long paste.
		chunk, flushes := t.input[:min(len(t.input), 1024)], t.flushes
		t.master.SetWriteDeadline(time.Time{})
		t.mu.Unlock()
		if len(chunk) == 0 {
			select {
			case <-t.typed:
				continue
			case <-t.ended:
				return
			}
		}
		n, err := t.master.Write(chunk)
		t.mu.Lock()
		if t.flushes == flushes {
			t.input = t.input[n:]
		}
		t.mu.Unlock()
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
}

const interrupt = 0x03

// write queues input. An interrupt that would have to wait behind other input
// throws that away, as the kernel's own queue does.
func (t *Terminal) write(p []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.released {
		return io.EOF
	}
	t.m.input.Add(uint64(len(p)))
	if len(p) == 1 && p[0] == interrupt && len(t.input) > 0 {
		signalled, flushed := pty.Interrupt(t.master, interrupt)
		if signalled || flushed {
			t.input = nil
			t.flushes++
			// The write under way may not hear that there is room again.
			t.master.SetWriteDeadline(time.Unix(1, 0))
		}
		if signalled {
			return nil
		}
	}
	if len(t.input)+len(p) > maxInput {
		return holt.Errorf(holt.KindLimit, "input dropped: the program does not read and %s wait for it", holt.FormatSize(int64(len(t.input))))
	}
	t.input = append(t.input, p...)
	signal(t.typed)
	return nil
}

// resize sets the size for all; t.mu is held.
func (t *Terminal) resize(cols, rows uint16) {
	if cols == 0 || rows == 0 || t.released || (cols == t.cols && rows == t.rows) {
		return
	}
	if err := pty.SetSize(t.master, cols, rows); err != nil {
		t.m.opt.Log.Warn("terminal keeps its size", "terminal", t.id, "err", err)
		return
	}
	t.cols, t.rows = cols, rows
	t.wakeAll()
}

// wakeAll tells every viewer that something changed; t.mu is held.
func (t *Terminal) wakeAll() {
	for v := range t.viewers {
		signal(v.wake)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
