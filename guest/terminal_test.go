package guest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/guest"
	"github.com/holt-ide/holt/wire/guest"
)

// screen is a viewer that keeps and acknowledges what it gets.
type screen struct {
	t     *testing.T
	s     *guestwire.Session
	hello guestwire.Frame
	next  uint64
	out   bytes.Buffer
	exit  *guestwire.Frame
	last  map[guestwire.Type]guestwire.Frame
	mute  bool // does not acknowledge
}

func (s *served) attach(t *testing.T, id holt.TerminalID, a guestwire.Attach) *screen {
	t.Helper()
	ctx := within(t)
	session, err := s.Attach(ctx, id, a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Abort)
	f, err := session.Receive(ctx)
	if err != nil || f.Type != guestwire.TypeHello || f.Version != guestwire.Version {
		t.Fatalf("first frame %+v, %v", f, err)
	}
	return &screen{t: t, s: session, hello: f, next: f.Seq, last: map[guestwire.Type]guestwire.Frame{}}
}

// step handles one frame. It fails the test on a gap, an overlap or a resync.
func (v *screen) step(ctx context.Context) error {
	v.t.Helper()
	f, err := v.s.Receive(ctx)
	if err != nil {
		return err
	}
	v.last[f.Type] = f
	switch f.Type {
	case guestwire.TypeOutput:
		if f.Seq != v.next {
			v.t.Fatalf("output begins at %d, expected %d", f.Seq, v.next)
		}
		v.next += uint64(len(f.Data))
		v.out.Write(f.Data)
		if !v.mute {
			return v.s.Send(ctx, guestwire.Frame{Type: guestwire.TypeAck, Seq: v.next})
		}
	case guestwire.TypeHello:
		v.t.Fatalf("resync at %d after %d", f.Seq, v.next)
	case guestwire.TypeExit:
		v.exit = &f
	}
	return nil
}

// until steps until ok.
func (v *screen) until(what string, ok func() bool) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), 90*time.Second)
	defer cancel()
	for !ok() {
		if err := v.step(ctx); err != nil {
			tail := v.out.Bytes()
			v.t.Fatalf("waiting until %s: %v; output ends %q", what, err, tail[max(0, len(tail)-300):])
		}
	}
}

func (v *screen) shows(text string) {
	v.t.Helper()
	v.until("it shows "+text, func() bool { return strings.Contains(v.out.String(), text) })
}

func (v *screen) types(text string) {
	v.t.Helper()
	if err := v.s.Send(v.t.Context(), guestwire.Frame{Type: guestwire.TypeInput, Data: []byte(text)}); err != nil {
		v.t.Fatal(err)
	}
}

func TestTerminalShellWithJobs(t *testing.T) {
	s := serve(t)
	v := s.attach(t, "main", guestwire.Attach{Create: true, Cols: 100, Rows: 30})
	v.types("echo $((40+2)) $TERM; stty size; shopt -q login_shell && echo is-login\n")
	v.shows("42 xterm-256color")
	v.shows("30 100")
	v.shows("is-login\r\n")
	v.types("sh -c 'echo sl''eeping; exec sleep 1000'\n")
	v.shows("sleeping\r\n")
	v.types("\x1a")
	v.shows("Stopped")
	v.types("jobs; echo job-count-$(jobs | wc -l)\n")
	v.shows("job-count-1")
	v.types("exit 3\nexit 3\n") // the first only warns of the stopped job
	v.until("it exits", func() bool { return v.exit != nil })
	if v.exit.Code != 3 {
		t.Errorf("exit code %d, want 3", v.exit.Code)
	}
	if _, err := v.s.Receive(within(t)); !errors.Is(err, io.EOF) {
		t.Errorf("after the exit: %v, want EOF", err)
	}
	list, err := s.Terminals(within(t))
	if err != nil || len(list) != 1 || list[0].Exit == nil || list[0].Exit.Code != 3 {
		t.Fatalf("list %+v, %v", list, err)
	}

	// A viewer that comes back is shown the end, a new one gets a new shell.
	since := v.next
	again := s.attach(t, "main", guestwire.Attach{Create: true, Since: &since})
	again.until("the exit is shown again", func() bool { return again.exit != nil })
	fresh := s.attach(t, "main", guestwire.Attach{Create: true})
	fresh.types("echo fresh-$((1+1))\n")
	fresh.shows("fresh-2")
	if err := s.DeleteTerminal(within(t), "main"); err != nil {
		t.Fatal(err)
	}
	fresh.until("the deleted terminal ends", func() bool { return fresh.exit != nil })
	// On gVisor bash sleeps through the hangup and is killed after the grace.
	if fresh.exit.Text != "SIGHUP" && fresh.exit.Text != "SIGKILL" {
		t.Errorf("ended by %q, want SIGHUP", fresh.exit.Text)
	}
}

// Whatever the cuts, a viewer that names the next byte it wants sees exactly what
// the program wrote.
func TestTerminalReconnectSeesExactlyTheMissedBytes(t *testing.T) {
	s := serve(t)
	const lines = 20_000
	rng := rand.New(rand.NewPCG(1, 2))
	_, err := s.CreateTerminal(within(t), guestwire.NewTerminal{ID: "seq", Cmd: []string{"sh", "-c",
		fmt.Sprintf("stty -opost; read go; seq 1 %d; read stay", lines)}})
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	for i := range lines {
		fmt.Fprintln(&want, i+1)
	}
	var got bytes.Buffer
	var since uint64
	for cut := 0; !bytes.HasSuffix(got.Bytes(), []byte(fmt.Sprintf("\n%d\n", lines))); cut++ {
		v := s.attach(t, "seq", guestwire.Attach{Since: &since})
		if v.hello.Truncated || v.hello.Seq != since {
			t.Fatalf("cut %d: hello %+v, wanted from %d", cut, v.hello, since)
		}
		if cut == 0 {
			v.types("go\n")
		}
		most := 1 + rng.IntN(20_000)
		v.mute = rng.IntN(3) == 0
		v.until("cut", func() bool {
			return v.out.Len() >= most || strings.HasSuffix(v.out.String(), fmt.Sprintf("\n%d\n", lines))
		})
		got.Write(v.out.Bytes())
		since = v.next
		v.s.Abort()
	}
	text := strings.TrimPrefix(got.String(), "go\n") // the echo of the input
	text = strings.TrimPrefix(text, "go\r\n")
	if text != want.String() {
		t.Errorf("got %d bytes, want %d: they differ", len(text), want.Len())
	}
}

func TestTerminalTruncated(t *testing.T) {
	s := serve(t, func(_ *guestwire.Config, o *guest.Options) { o.Terminal.Ring = 4096 })
	_, err := s.CreateTerminal(within(t), guestwire.NewTerminal{ID: "t", Cmd: []string{"sh", "-c", "seq 1 10000; read stay"}})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "all output was read", func() bool {
		list, err := s.Terminals(within(t))
		return err == nil && list[0].Next == 48894+10000 // with \r\n
	})
	var since uint64 = 100
	v := s.attach(t, "t", guestwire.Attach{Since: &since})
	if !v.hello.Truncated || v.hello.Seq != 58894-4096 || v.hello.Next != 58894 {
		t.Errorf("hello %+v", v.hello)
	}
	v.shows("9999\r\n10000\r\n")
	since = 1 << 40
	if v := s.attach(t, "t", guestwire.Attach{Since: &since}); !v.hello.Truncated || v.hello.Seq != 58894-4096 {
		t.Errorf("hello to a viewer from the future: %+v", v.hello)
	}
}

func TestTerminalFlood(t *testing.T) {
	s := serve(t)
	ctx := within(t)
	v := s.attach(t, "flood", guestwire.Attach{Create: true})
	v.mute = true
	v.types("PS1='prompt> '; yes\n")
	// Nobody acknowledges: the terminal must stop at about the window.
	v.until("the window is full", func() bool { return v.next >= guestwire.Window })
	if v.next != guestwire.Window {
		t.Errorf("sent %d bytes unacknowledged, the window is %d", v.next, guestwire.Window)
	}
	before := uint64(0)
	same := 0
	eventually(t, "the terminal is not read any more", func() bool {
		list, err := s.Terminals(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if list[0].Next == before {
			same++
		} else {
			before, same = list[0].Next, 0
		}
		return same > 20
	})
	if before > guestwire.Window+64<<10 {
		t.Errorf("%d bytes were read for a viewer that takes none", before)
	}
	// An interrupt works although the output is blocked.
	v.types("\x03")
	v.mute = false
	if err := v.s.Send(ctx, guestwire.Frame{Type: guestwire.TypeAck, Seq: v.next}); err != nil {
		t.Fatal(err)
	}
	v.until("the prompt is back", func() bool { return bytes.HasSuffix(v.out.Bytes(), []byte("prompt> ")) })
	if v.next > before+256<<10 {
		t.Errorf("%d bytes after the interrupt", v.next-before)
	}
}

// A viewer that takes nothing does not slow another one, and is resynced.
func TestTerminalSlowViewerStallsNobody(t *testing.T) {
	s := serve(t)
	ctx := within(t)
	slow := s.attach(t, "t", guestwire.Attach{Create: true})
	fast := s.attach(t, "t", guestwire.Attach{})
	fast.until("presence", func() bool { return fast.last[guestwire.TypePresence].Viewers == 2 })
	fast.types("stty -echo -opost; head -c 1500000 /dev/zero | tr '\\0' x; echo; echo do''ne\n")
	fast.shows("done")
	if fast.out.Len() < 1_500_000 {
		t.Errorf("the fast viewer got %d bytes", fast.out.Len())
	}
	// The slow one is sent its window, and once it acknowledges, where it may go on.
	var sent uint64
	for sent < guestwire.Window {
		f, err := slow.s.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if f.Type == guestwire.TypeOutput {
			sent = f.Seq + uint64(len(f.Data))
		}
	}
	if err := slow.s.Send(ctx, guestwire.Frame{Type: guestwire.TypeAck, Seq: sent}); err != nil {
		t.Fatal(err)
	}
	for {
		f, err := slow.s.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if f.Type == guestwire.TypeOutput {
			t.Fatalf("output at %d: the ring has moved on from there", f.Seq)
		}
		if f.Type == guestwire.TypeHello {
			if !f.Truncated || f.Seq <= sent || f.Next-f.Seq != 1<<20 {
				t.Errorf("resync %+v after %d", f, sent)
			}
			break
		}
	}
}

// A viewer that never acknowledges loses its say, so that a frozen tab does not
// stop a build.
func TestTerminalStalledViewerLosesItsVote(t *testing.T) {
	s := serve(t, func(_ *guestwire.Config, o *guest.Options) { o.Terminal.Stall = 50 * time.Millisecond })
	v := s.attach(t, "t", guestwire.Attach{Create: true})
	v.types("head -c 1500000 /dev/zero | tr '\\0' x; touch built\n")
	eventually(t, "the program has ended", func() bool { _, err := os.Stat(s.dir + "/built"); return err == nil })
}

func TestTerminalSizeFollowsWhoIsActive(t *testing.T) {
	s := serve(t)
	ctx := within(t)
	a := s.attach(t, "t", guestwire.Attach{Create: true, Cols: 100, Rows: 40})
	b := s.attach(t, "t", guestwire.Attach{Cols: 60, Rows: 20})
	ro := s.attach(t, "t", guestwire.Attach{Cols: 10, Rows: 5, ReadOnly: true})
	a.until("it hears of the new size", func() bool { return a.last[guestwire.TypeResize].Cols == 60 })
	a.types("stty size\n")
	a.shows("40 100")
	b.until("it hears of the old size", func() bool { return b.last[guestwire.TypeResize].Cols == 100 })
	ro.types("echo from-read-only\n")
	if err := ro.s.Send(ctx, guestwire.Frame{Type: guestwire.TypeResize, Cols: 7, Rows: 7}); err != nil {
		t.Fatal(err)
	}
	if err := ro.s.Ping(ctxReceiving(ctx, ro)); err != nil { // it was handled
		t.Fatal(err)
	}
	b.types("echo from''-b; stty size\n")
	b.shows("20 60")
	if strings.Contains(b.out.String(), "read-only") {
		t.Error("a read-only viewer typed")
	}
}

// ctxReceiving receives for a viewer while a ping waits.
func ctxReceiving(ctx context.Context, v *screen) context.Context {
	go func() {
		for {
			if _, err := v.s.Receive(ctx); err != nil {
				return
			}
		}
	}()
	return ctx
}

// What a full-screen program draws is replayed byte for byte.
func TestTerminalReplaysEscapes(t *testing.T) {
	s := serve(t)
	script := `printf '\033[?1049h\033[2J\033[1;1H\033[7m%s\033[0m\033[24;1H:' 'status ✓'; printf '\033[?2004h\033]0;title\007'; read stay`
	_, err := s.CreateTerminal(within(t), guestwire.NewTerminal{ID: "vim", Cmd: []string{"sh", "-c", script}})
	if err != nil {
		t.Fatal(err)
	}
	want := "\x1b[?1049h\x1b[2J\x1b[1;1H\x1b[7mstatus ✓\x1b[0m\x1b[24;1H:\x1b[?2004h\x1b]0;title\x07"
	for range 2 {
		v := s.attach(t, "vim", guestwire.Attach{})
		v.shows("title\x07")
		if got := v.out.String(); got != want {
			t.Errorf("replayed %q, want %q", got, want)
		}
		v.s.Abort()
	}
}

func TestTerminalRefusals(t *testing.T) {
	s := serve(t, func(_ *guestwire.Config, o *guest.Options) { o.Terminal.Living, o.Terminal.Exited = 2, 1 })
	ctx := within(t)
	create := func(n guestwire.NewTerminal) error { _, err := s.CreateTerminal(ctx, n); return err }
	for name, c := range map[string]struct {
		req   guestwire.NewTerminal
		kind  holt.Kind
		field string
	}{
		"id":        {guestwire.NewTerminal{ID: "../x"}, holt.KindInvalid, "id"},
		"name":      {guestwire.NewTerminal{Name: strings.Repeat("n", 65)}, holt.KindInvalid, "name"},
		"directory": {guestwire.NewTerminal{Cwd: "/nowhere"}, holt.KindInvalid, "cwd"},
		"command":   {guestwire.NewTerminal{Cmd: []string{"no-such-command"}}, holt.KindNotFound, "cmd"},
	} {
		var e *holt.Error
		if err := create(c.req); !errors.As(err, &e) || e.Kind != c.kind || e.Field != c.field {
			t.Errorf("%s: %#v", name, err)
		}
	}
	if _, err := s.Attach(ctx, "nobody", guestwire.Attach{}); !holt.IsKind(err, holt.KindNotFound) {
		t.Errorf("attach to nothing: %v", err)
	}
	if err := create(guestwire.NewTerminal{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	if err := create(guestwire.NewTerminal{ID: "a"}); !holt.IsKind(err, holt.KindConflict) {
		t.Errorf("a second terminal a: %v", err)
	}
	counted, err := s.CreateTerminal(ctx, guestwire.NewTerminal{})
	if err != nil || !holt.ValidTerminalID(counted.ID) {
		t.Fatalf("%+v, %v", counted, err)
	}
	if err := create(guestwire.NewTerminal{}); !holt.IsKind(err, holt.KindLimit) {
		t.Errorf("a third terminal: %v", err)
	}
	// A viewer that acknowledges what it never got is dropped.
	v := s.attach(t, "a", guestwire.Attach{})
	if err := v.s.Send(ctx, guestwire.Frame{Type: guestwire.TypeAck, Seq: 1 << 50}); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = v.s.Receive(ctx)
	}
	if !holt.IsKind(err, holt.KindUnavailable) {
		t.Errorf("after a bad frame: %v", err)
	}
	for _, id := range []holt.TerminalID{"a", counted.ID} {
		if err := s.DeleteTerminal(ctx, id); err != nil {
			t.Error(err)
		}
	}
	for i := range 3 { // of the exited, one is kept
		if err := create(guestwire.NewTerminal{ID: holt.TerminalID(fmt.Sprintf("e%d", i)), Cmd: []string{"true"}}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it has exited", func() bool {
			list, err := s.Terminals(ctx)
			return err == nil && len(list) == 1 && list[0].Exit != nil
		})
	}
}

// An interrupt overtakes input that the program does not read.
func TestTerminalInterruptOvertakesInput(t *testing.T) {
	s := serve(t)
	v := s.attach(t, "t", guestwire.Attach{Create: true})
	v.types("stty -echo; bind 'set enable-bracketed-paste off'; sh -c 'echo sl''eeping; exec sleep 1000'\n")
	v.shows("sleeping\r\n")
	for range 64 {
		v.types(strings.Repeat("false\n", 5000))
	}
	v.types("\x03")
	eventually(t, "the program is interrupted", func() bool {
		st, err := s.Stats(within(t))
		return err == nil && st.Processes == 1
	})
	v.types("\x03\necho $((40+2))-and-back\n")
	v.shows("42-and-back")
}

// Input beyond the bound is dropped and told, not queued for ever.
func TestTerminalInputIsBounded(t *testing.T) {
	s := serve(t)
	if _, err := s.CreateTerminal(within(t), guestwire.NewTerminal{ID: "deaf", Cmd: []string{"sh", "-c", "stty raw -echo; echo raw; exec sleep 1000"}}); err != nil {
		t.Fatal(err)
	}
	v := s.attach(t, "deaf", guestwire.Attach{})
	v.shows("raw")
	for range 160 { // 5 MiB
		v.types(strings.Repeat("x", guestwire.MaxChunk))
	}
	v.until("it is told", func() bool { return strings.Contains(v.last[guestwire.TypeError].Text, "input dropped") })
}
