package exec

import (
	"os"
	"sync"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/wire/guest"
)

const endOfTransmission = 0x04

// input is what waits to be read by the command: at most a window, because the
// client waits for acknowledgements. So the session's reader never blocks.
type input struct {
	file *os.File // the pipe's end or the terminal's master; nil where there is no stdin
	tty  bool
	more chan struct{} // capacity 1: something changed below

	mu      sync.Mutex
	waiting []byte
	ending  bool // the client has closed it
	over    bool // nothing is written any more
	closed  bool // file is closed
}

func (in *input) init(f *os.File, tty bool) {
	in.file, in.tty, in.more = f, tty, make(chan struct{}, 1)
}

func (in *input) wake() {
	select {
	case in.more <- struct{}{}:
	default:
	}
}

// Write queues input for the command. An error means that the client has sent
// more than it may. The input of a command that has none is dropped.
func (c *Command) Write(p []byte) error {
	in := &c.in
	if in.file == nil {
		return nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.waiting)+len(p) > guestwire.Window {
		return holt.Invalidf("stdin", "more than %d bytes of input unacknowledged", guestwire.Window)
	}
	if !in.ending {
		in.waiting = append(in.waiting, p...)
		in.wake()
	}
	return nil
}

// CloseInput ends the command's input after what is queued; on a terminal it
// types ^D.
func (c *Command) CloseInput() {
	in := &c.in
	if in.file == nil {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.tty {
		in.waiting = append(in.waiting, endOfTransmission)
	}
	in.ending = true
	in.wake()
}

// feed writes the queue to the command until its end or release, and tells how
// many bytes were consumed. What the command refuses counts as consumed.
func (in *input) feed(consumed func(uint64)) {
	if in.file == nil {
		return
	}
	var total uint64
	for {
		in.mu.Lock()
		chunk, ending, over := in.waiting, in.ending, in.over
		chunk = chunk[:min(len(chunk), guestwire.MaxChunk)]
		in.mu.Unlock()
		switch {
		case over:
			return
		case len(chunk) > 0:
			_, _ = in.file.Write(chunk) // EPIPE: the command has closed it, which is its right
			in.mu.Lock()
			in.waiting = in.waiting[len(chunk):]
			in.mu.Unlock()
			total += uint64(len(chunk))
			consumed(total)
		case ending && !in.tty:
			in.shut()
			return
		default:
			<-in.more
		}
	}
}

// release ends feed and closes the file. It may be called more than once.
func (in *input) release() {
	if in.file == nil {
		return
	}
	in.mu.Lock()
	in.over = true
	in.mu.Unlock()
	in.wake()
	in.shut()
}

func (in *input) shut() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.closed {
		in.closed = true
		in.file.Close()
	}
}
