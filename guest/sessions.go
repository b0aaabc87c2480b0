package guest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/guest/exec"
	"github.com/holt-ide/holt/guest/process"
	"github.com/holt-ide/holt/wire/guest"
)

func (a *Agent) listTerminals(w http.ResponseWriter, _ *http.Request) error {
	return reply(w, a.terminals.List())
}

func (a *Agent) createTerminal(w http.ResponseWriter, r *http.Request) error {
	var req guestwire.NewTerminal
	if err := read(w, r, &req); err != nil {
		return err
	}
	t, err := a.terminals.Create(req)
	if err != nil {
		return err
	}
	return reply(w, t)
}

func (a *Agent) deleteTerminal(w http.ResponseWriter, r *http.Request) error {
	if err := a.terminals.Delete(holt.TerminalID(r.PathValue("id"))); err != nil {
		return err
	}
	return done(w)
}

func attachOptions(r *http.Request) (o guestwire.Attach, err error) {
	q := r.URL.Query()
	number := func(name string, bits int) uint64 {
		s := q.Get(name)
		if s == "" || err != nil {
			return 0
		}
		n, perr := strconv.ParseUint(s, 10, bits)
		if perr != nil {
			err = holt.Invalidf(name, "%s=%q is not a number that fits", name, s)
		}
		return n
	}
	if q.Has("since") {
		since := number("since", 64)
		o.Since = &since
	}
	o.Cols, o.Rows = uint16(number("cols", 16)), uint16(number("rows", 16))
	o.Create, o.ReadOnly = flag(r, "create"), flag(r, "readonly")
	return o, err
}

// attachTerminal joins a viewer and a socket: one goroutine sends what the viewer
// should hear, this one handles what it says.
func (a *Agent) attachTerminal(w http.ResponseWriter, r *http.Request) error {
	o, err := attachOptions(r)
	if err != nil {
		return err
	}
	v, err := a.terminals.Attach(holt.TerminalID(r.PathValue("id")), o)
	if err != nil {
		return err
	}
	defer v.Close()
	ws, err := upgrade(w, r)
	if ws == nil {
		return err
	}
	defer ws.CloseNow()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		defer cancel()
		if sendTerminal(ctx, ws, v) {
			ws.Close(websocket.StatusNormalClosure, "the terminal has exited")
		}
	})
	receive(ctx, ws, v.Handle)
	cancel()
	return nil
}

type viewer interface {
	Next(ctx context.Context, buf []byte) (guestwire.Frame, error)
}

// sendTerminal reports whether everything up to the exit was sent.
func sendTerminal(ctx context.Context, ws *websocket.Conn, v viewer) bool {
	buf := make([]byte, guestwire.MaxChunk)
	msg := make([]byte, 0, guestwire.MaxFrame)
	for {
		f, err := v.Next(ctx, buf)
		if err != nil {
			return errors.Is(err, io.EOF)
		}
		if err := ws.Write(ctx, websocket.MessageBinary, f.Append(msg)); err != nil {
			return false
		}
	}
}

// receive gives each frame of a socket to handle until the socket ends. A peer
// that breaks the protocol is told why and dropped.
func receive(ctx context.Context, ws *websocket.Conn, handle func(guestwire.Frame) error) {
	for {
		typ, b, err := ws.Read(ctx)
		if err != nil {
			return
		}
		var f guestwire.Frame
		if typ != websocket.MessageBinary {
			err = guestwire.ErrFrame
		} else if f, err = guestwire.Decode(b); err == nil {
			err = handle(f)
		}
		if err != nil {
			reason := err.Error()
			ws.Close(websocket.StatusPolicyViolation, reason[:min(len(reason), 120)])
			return
		}
	}
}

const execRequestTimeout = 10 * time.Second

// exec runs one command for one socket.
func (a *Agent) exec(w http.ResponseWriter, r *http.Request) error {
	ws, err := upgrade(w, r)
	if ws == nil {
		return err
	}
	defer ws.CloseNow()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	req, err := readExec(ctx, ws)
	if err != nil {
		ws.Close(websocket.StatusPolicyViolation, "the first message is not an exec request")
		return nil
	}
	send := func(f guestwire.Frame) error { return ws.Write(ctx, websocket.MessageBinary, f.Append(nil)) }
	cmd, err := a.runner.Start(req)
	if err != nil {
		refuseExec(ws, send, err)
		return nil
	}
	a.counts.execs.Add(1)
	defer a.counts.execs.Add(-1)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		defer cancel()
		receive(ctx, ws, func(f guestwire.Frame) error { return handleExec(cmd, f) })
	})
	st := cmd.Run(ctx, send)
	if send(guestwire.Frame{Type: guestwire.TypeExit, Code: int32(st.Code), Text: st.Signal}) == nil {
		ws.Close(websocket.StatusNormalClosure, "")
	}
	ws.CloseNow()
	return nil
}

func readExec(ctx context.Context, ws *websocket.Conn) (req guestwire.Exec, err error) {
	ctx, cancel := context.WithTimeout(ctx, execRequestTimeout)
	defer cancel()
	ws.SetReadLimit(guestwire.MaxJSON)
	defer ws.SetReadLimit(guestwire.MaxFrame)
	typ, b, err := ws.Read(ctx)
	if err == nil && typ != websocket.MessageText {
		err = guestwire.ErrFrame
	}
	if err != nil {
		return req, err
	}
	return req, json.Unmarshal(b, &req)
}

// refuseExec tells why a command did not start, with the code of a shell.
func refuseExec(ws *websocket.Conn, send func(guestwire.Frame) error, err error) {
	code := process.ExitNotExecutable
	if f, ok := errors.AsType[*exec.Failure](err); ok {
		code = f.Code
	}
	if send(guestwire.Frame{Type: guestwire.TypeError, Text: err.Error()}) == nil &&
		send(guestwire.Frame{Type: guestwire.TypeExit, Code: int32(code)}) == nil {
		ws.Close(websocket.StatusNormalClosure, "")
	}
}

func handleExec(cmd *exec.Command, f guestwire.Frame) error {
	switch f.Type {
	case guestwire.TypeStdin:
		return cmd.Write(f.Data)
	case guestwire.TypeStdinClose:
		cmd.CloseInput()
		return nil
	case guestwire.TypeSignal:
		_ = cmd.Signal(f.Signal) // here and below: it may have ended
		return nil
	case guestwire.TypeResize:
		_ = cmd.Resize(f.Cols, f.Rows)
		return nil
	}
	return holt.Invalidf("type", "an exec client does not send frames of type 0x%02x", byte(f.Type))
}
