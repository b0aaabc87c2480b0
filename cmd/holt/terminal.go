package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api/client"
	guestwire "github.com/holt-ide/holt/wire/guest"
)

func newTerminal(a *app) *cobra.Command {
	var id string
	var readOnly bool
	cmd := &cobra.Command{
		Use:     "terminal NAME",
		Aliases: []string{"term"},
		Short:   "Attach to a terminal that lives in a workspace",
		Long: `Attach to a persistent terminal of a workspace; it is made if there is none of
that name, and the workspace is woken if it sleeps. The terminal lives on when
you leave: with ~. typed at the start of a line (~~ types a ~), or by losing the
connection, which is made again by itself without losing or repeating output.

Exits as the shell does; 0 after ~. .`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if !holt.ValidTerminalID(holt.TerminalID(id)) {
				return holt.Invalidf("id", "%q cannot name a terminal: use 1 to 64 letters, digits, dots, underscores and hyphens", id)
			}
			return a.terminal(cmd.Context(), c, args[0], holt.TerminalID(id), readOnly)
		},
	}
	cmd.Flags().StringVar(&id, "id", "main", "name of the terminal")
	cmd.Flags().BoolVar(&readOnly, "read-only", false, "watch without typing")
	return cmd
}

// attachment is one user at one terminal, over any number of connections.
type attachment struct {
	app      *app
	client   *client.Client
	name     string
	id       holt.TerminalID
	readOnly bool
	tty      *tty
	keys     <-chan []byte // closed at the end of standard input
	esc      escape
	next     *uint64 // number of the next byte to show; nil before the first
	acked    uint64
}

// errDetach ends an attachment because the user asked.
var errDetach = errors.New("detached")

func (a *app) terminal(ctx context.Context, c *client.Client, name string, id holt.TerminalID, readOnly bool) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGHUP, os.Interrupt)
	defer stop()
	keys := make(chan []byte)
	t := &attachment{app: a, client: c, name: name, id: id, readOnly: readOnly, tty: openTTY(a.in), keys: keys}

	session, err := t.connect(ctx, true)
	if err != nil {
		return c.Explain(ctx, err)
	}
	restore, err := t.tty.raw()
	if err != nil {
		session.Abort()
		return err
	}
	defer restore()
	go readKeys(ctx, a.in, keys) // a hanging read ends with the process
	for {
		exit, err := t.serve(ctx, session)
		switch {
		case errors.Is(err, errDetach):
			restore()
			a.notef("\ndetached from %s: its terminal lives on", name)
			return nil
		case ctx.Err() != nil:
			return errInterrupted
		case err == nil && exit != 0:
			return &exitError{code: exit}
		case err == nil:
			return nil
		case !holt.IsKind(err, holt.KindUnavailable):
			return err
		}
		if session, err = t.reconnect(ctx); err != nil {
			if errors.Is(err, errDetach) {
				return nil
			}
			return err
		}
	}
}

// readKeys delivers what is typed until the end of r or of ctx.
func readKeys(ctx context.Context, r io.Reader, keys chan<- []byte) {
	defer close(keys)
	for {
		buf := make([]byte, 4<<10)
		n, err := r.Read(buf)
		if n > 0 {
			select {
			case keys <- buf[:n]:
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (t *attachment) connect(ctx context.Context, wake bool) (*guestwire.Session, error) {
	cols, rows := t.tty.size()
	return t.client.Guest(t.name, wake).Attach(ctx, t.id, guestwire.Attach{
		Since: t.next, Create: true, Cols: cols, Rows: rows, ReadOnly: t.readOnly,
	})
}

// serve shows output and sends keys until the terminal's process exits, the user
// leaves, or the connection is lost (KindUnavailable).
func (t *attachment) serve(ctx context.Context, s *guestwire.Session) (exit int, err error) {
	defer s.Abort()
	type received struct {
		f   guestwire.Frame
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	frames := make(chan received)
	go func() { // ends with ctx: Receive and the send both do
		for {
			f, err := s.Receive(ctx)
			select {
			case frames <- received{f, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	sizes, stop := t.tty.resized()
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case r := <-frames:
			if errors.Is(r.err, io.EOF) {
				return 0, holt.Errorf(holt.KindUnavailable, "the connection was closed")
			}
			if r.err != nil {
				return 0, r.err
			}
			if r.f.Type == guestwire.TypeExit {
				return int(r.f.Code), nil
			}
			if err := t.show(ctx, s, r.f); err != nil {
				return 0, err
			}
		case in, ok := <-t.keys:
			out, leave := t.esc.feed(in)
			if len(out) > 0 {
				if err := s.Send(ctx, guestwire.Frame{Type: guestwire.TypeInput, Data: out}); err != nil {
					return 0, err
				}
			}
			if leave || !ok {
				return 0, errDetach
			}
		case <-sizes:
			if cols, rows := t.tty.size(); cols > 0 && rows > 0 {
				if err := s.Send(ctx, guestwire.Frame{Type: guestwire.TypeResize, Cols: cols, Rows: rows}); err != nil {
					return 0, err
				}
			}
		}
	}
}

// ackEvery is how much output is shown before it is acknowledged.
const ackEvery = guestwire.Window / 4

func (t *attachment) show(ctx context.Context, s *guestwire.Session, f guestwire.Frame) error {
	switch f.Type {
	case guestwire.TypeHello:
		if f.Truncated && t.next != nil { // what was on the screen no longer joins up
			fmt.Fprint(t.app.out, "\x1bc")
		}
		seq := f.Seq
		t.next, t.acked = &seq, seq
	case guestwire.TypeError:
		fmt.Fprintf(t.app.err, "\r\nholt: %s\r\n", printable(f.Text))
	case guestwire.TypeOutput:
		if _, err := t.app.out.Write(f.Data); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
		*t.next = f.Seq + uint64(len(f.Data))
		if *t.next-t.acked >= ackEvery {
			t.acked = *t.next
			return s.Send(ctx, guestwire.Frame{Type: guestwire.TypeAck, Seq: t.acked})
		}
	}
	return nil
}

// reconnect tries, more and more slowly, until the terminal is there again. It
// does not wake a workspace that was put to sleep, unless the user presses a key.
func (t *attachment) reconnect(ctx context.Context) (*guestwire.Session, error) {
	told, wake := "", false
	for try := 0; ; try++ {
		s, err := t.connect(ctx, wake)
		if err == nil {
			if told != "" {
				t.say("connected")
			}
			return s, nil
		}
		text := "connection lost: trying again, ~. leaves"
		switch {
		case holt.IsKind(err, holt.KindConflict):
			text = err.Error() + ": press Return to wake it, ~. leaves"
		case !holt.KindOf(err).Retryable():
			return nil, err
		}
		if text != told && (try > 2 || holt.IsKind(err, holt.KindConflict)) {
			t.say(text)
			told = text
		}
		select {
		case <-ctx.Done():
			return nil, errInterrupted
		case <-time.After(min(50*time.Millisecond<<min(try, 6), 2*time.Second)):
		case in, ok := <-t.keys:
			if _, leave := t.esc.feed(in); leave || !ok {
				return nil, errDetach
			}
			wake = true
		}
	}
}

// say prints a remark between lines of a terminal in raw mode.
func (t *attachment) say(text string) {
	if t.tty.present() {
		fmt.Fprintf(t.app.err, "\r\n[holt: %s]\r\n", printable(text))
	}
}
