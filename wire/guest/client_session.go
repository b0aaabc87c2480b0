package guestwire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"

	"github.com/coder/websocket"
	"github.com/holt-ide/holt"
)

// Terminals lists the terminals, the oldest first.
func (c *Client) Terminals(ctx context.Context) ([]Terminal, error) {
	var out []Terminal
	return out, c.call(ctx, http.MethodGet, "/v1/terminals", nil, nil, &out)
}

// CreateTerminal starts a terminal. A living one with the same ID is a conflict;
// an exited one is replaced.
func (c *Client) CreateTerminal(ctx context.Context, t NewTerminal) (Terminal, error) {
	var out Terminal
	return out, c.call(ctx, http.MethodPost, "/v1/terminals", nil, t, &out)
}

// DeleteTerminal hangs up a terminal and forgets it.
func (c *Client) DeleteTerminal(ctx context.Context, id holt.TerminalID) error {
	if !holt.ValidTerminalID(id) {
		return holt.Invalidf("id", "%q is not a terminal ID", id)
	}
	return c.call(ctx, http.MethodDelete, "/v1/terminals/"+string(id), nil, nil, nil)
}

// Attach says how to attach to a terminal.
type Attach struct {
	Since    *uint64 // replay from this byte; nil replays all that is held
	Create   bool    // start a shell where there is no such terminal; without Since also where it has exited
	Cols     uint16  // the viewer's size; 0 leaves the terminal's alone
	Rows     uint16
	ReadOnly bool // input and resize of this viewer are ignored
}

// Attach opens a terminal session. The first frame is hello.
func (c *Client) Attach(ctx context.Context, id holt.TerminalID, a Attach) (*Session, error) {
	if !holt.ValidTerminalID(id) {
		return nil, holt.Invalidf("id", "%q is not a terminal ID", id)
	}
	q := url.Values{}
	if a.Since != nil {
		q.Set("since", strconv.FormatUint(*a.Since, 10))
	}
	if a.Create {
		q.Set("create", "1")
	}
	if a.ReadOnly {
		q.Set("readonly", "1")
	}
	if a.Cols > 0 && a.Rows > 0 {
		q.Set("cols", strconv.Itoa(int(a.Cols)))
		q.Set("rows", strconv.Itoa(int(a.Rows)))
	}
	ws, err := c.socket(ctx, "/v1/terminals/"+string(id)+"/attach", q)
	if err != nil {
		return nil, err
	}
	return newSession(ws, false), nil
}

// Exec starts a command and returns its session.
func (c *Client) Exec(ctx context.Context, e Exec) (*Session, error) {
	b, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode exec: %w", err)
	}
	ws, err := c.socket(ctx, "/v1/exec", nil)
	if err != nil {
		return nil, err
	}
	if err := ws.Write(ctx, websocket.MessageText, b); err != nil {
		ws.CloseNow()
		return nil, unreachable(ctx, err)
	}
	return newSession(ws, true), nil
}

// Run executes a command to its end. A nil stdin means that it has none; nil
// outputs are dropped. The text of the agent's error frames goes to stderr. When
// ctx ends the command is killed. Run returns once the output is written; it
// does not wait for a Read of stdin that is still under way.
func (c *Client) Run(ctx context.Context, e Exec, stdin io.Reader, stdout, stderr io.Writer) (Exit, error) {
	e.Stdin = stdin != nil
	s, err := c.Exec(ctx, e)
	if err != nil {
		return Exit{}, err
	}
	defer s.Abort()
	if stdin != nil {
		// Not waited for: a Read of a terminal may never return. It ends with
		// the read that is under way.
		sending, stop := context.WithCancel(ctx)
		defer stop()
		go func() { _ = s.SendStdin(sending, stdin) }() // a command that does not read its input is no error
	}
	return s.Pump(ctx, stdout, stderr)
}

var chunks = sync.Pool{New: func() any { return new([MaxChunk]byte) }}

// SendStdin copies r to the command's standard input until its end, and then
// closes it. Another goroutine must be receiving. It is called once.
func (s *Session) SendStdin(ctx context.Context, r io.Reader) error {
	buf := chunks.Get().(*[MaxChunk]byte)
	defer chunks.Put(buf)
	var sent, acked uint64
	for {
		n, err := r.Read(buf[:])
		sent += uint64(n)
		for sent-acked > Window {
			select {
			case acked = <-s.acked:
			case <-ctx.Done():
				return ctx.Err()
			}
			if acked > sent {
				return fmt.Errorf("%w: byte %d of stdin acknowledged, sent %d", ErrFrame, acked, sent)
			}
		}
		if n > 0 {
			if err := s.Send(ctx, Frame{Type: TypeStdin, Data: buf[:n]}); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return s.Send(ctx, Frame{Type: TypeStdinClose})
		}
		if err != nil {
			return fmt.Errorf("read stdin: %w", err)
		}
	}
}

// Pump receives an exec session's output until its exit.
func (s *Session) Pump(ctx context.Context, stdout, stderr io.Writer) (Exit, error) {
	write := func(w io.Writer, b []byte) error {
		if w == nil {
			return nil
		}
		_, err := w.Write(b)
		return err
	}
	for {
		f, err := s.Receive(ctx)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = holt.Errorf(holt.KindUnavailable, "the session ended before the command did")
			}
			return Exit{}, err
		}
		switch f.Type {
		case TypeStdout:
			err = write(stdout, f.Data)
		case TypeStderr:
			err = write(stderr, f.Data)
		case TypeError:
			err = write(stderr, []byte(f.Text+"\n"))
		case TypeExit:
			return Exit{Code: int(f.Code), Signal: f.Text}, nil
		}
		if err != nil {
			return Exit{}, fmt.Errorf("write output: %w", err)
		}
	}
}
