package mux

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/wire/guest"
)

// stream is one request. It is an [io.Reader] of the data that the page sends; one
// goroutine reads and writes it.
type stream struct {
	*session
	id     uint32
	ctx    context.Context
	cancel context.CancelFunc

	// changed holds a word when something below has changed.
	changed chan struct{}

	// Guarded by session.mu.
	credit int64  // bytes that may still be sent
	in     []byte // data not read yet
	owed   int    // bytes read and not yet given back as credit
	ended  bool   // the page sent end
}

func (st *stream) wake() {
	select {
	case st.changed <- struct{}{}:
	default:
	}
}

// put adds data of the page. session.mu is held.
func (st *stream) put(b []byte) error {
	if st.ended || len(st.in)+st.owed+len(b) > guestwire.Window {
		return fmt.Errorf("%w: data on stream %d beyond its end or credit", guestwire.ErrPacket, st.id)
	}
	st.in = append(st.in, b...)
	st.wake()
	return nil
}

// Read implements [io.Reader]: its end is the page's end packet.
func (st *stream) Read(b []byte) (int, error) {
	for {
		st.mu.Lock()
		n := copy(b, st.in)
		st.in = st.in[n:]
		if len(st.in) == 0 {
			st.in = nil
		}
		st.owed += n
		give := 0
		if st.owed >= guestwire.Window/4 && !st.ended {
			give, st.owed = st.owed, 0
		}
		end := st.ended && len(st.in) == 0
		st.mu.Unlock()
		if give > 0 {
			if err := st.send(guestwire.Packet{Type: guestwire.PacketCredit, Stream: st.id, Credit: uint32(give)}); err != nil {
				return n, err
			}
		}
		switch {
		case n > 0 || len(b) == 0:
			return n, nil
		case end:
			return 0, io.EOF
		}
		select {
		case <-st.changed:
		case <-st.ctx.Done():
			return 0, st.ctx.Err()
		}
	}
}

// spend waits for credit of n bytes and takes it.
func (st *stream) spend(n int) error {
	for {
		if err := st.ctx.Err(); err != nil {
			return err
		}
		st.mu.Lock()
		ok := st.credit >= int64(n)
		if ok {
			st.credit -= int64(n)
		}
		st.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-st.changed:
		case <-st.ctx.Done():
			return st.ctx.Err()
		}
	}
}

// Write sends data to the page. It implements [io.Writer].
func (st *stream) Write(b []byte) (int, error) {
	sent := 0
	for len(b) > 0 {
		part := b[:min(len(b), guestwire.MaxChunk)]
		if err := st.spend(len(part)); err != nil {
			return sent, err
		}
		if err := st.send(guestwire.Packet{Type: guestwire.PacketData, Stream: st.id, Data: part}); err != nil {
			return sent, err
		}
		sent += len(part)
		b = b[len(part):]
	}
	return sent, nil
}

// item sends one item.
func (st *stream) item(it guestwire.MuxItem) error {
	b, err := json.Marshal(it)
	if err != nil {
		return err
	}
	if len(b) > guestwire.MaxPacketData {
		return holt.Errorf(holt.KindInternal, "an item of %d bytes does not fit", len(b))
	}
	if err := st.spend(len(b)); err != nil {
		return err
	}
	return st.send(guestwire.Packet{Type: guestwire.PacketItem, Stream: st.id, Data: b})
}
