package collab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/guest/account"
	filesystem "github.com/holt-ide/holt/guest/files"
	"github.com/holt-ide/holt/wire/guest"
	"github.com/holt-ide/holt/ydoc"
	"github.com/holt-ide/holt/ydoc/lib0"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// desk is a directory with files, and rooms for them.
type desk struct {
	*testing.T
	dir   string
	opt   Options
	rooms *Rooms

	restored bool // files that a journal is replayed over come from a revision
}

func newDesk(t *testing.T, set func(*Options)) *desk {
	t.Helper()
	d := &desk{T: t, dir: t.TempDir()}
	acct := account.New(guestwire.Config{User: "dev", UID: os.Geteuid(), GID: os.Getegid(), Home: d.dir, Dir: d.dir}, nil)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	rights, err := account.NewRights(acct, 1, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rights.Close)
	d.opt = Options{Files: &filesystem.Files{Account: acct, Rights: rights, Log: log}, Dir: filepath.Join(d.dir, "state"), Log: log,
		SaveDelay: 5 * time.Millisecond, SaveMost: 20 * time.Millisecond, Check: 50 * time.Millisecond}
	if set != nil {
		set(&d.opt)
	}
	d.rooms = New(d.opt)
	t.Cleanup(func() { d.rooms.Close() })
	return d
}

// restart closes the rooms and opens them anew.
func (d *desk) restart() {
	d.rooms.Close()
	d.rooms = New(d.opt)
}

func (d *desk) put(name, text string) string {
	d.Helper()
	path := filepath.Join(d.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		d.Fatal(err)
	}
	return path
}

func (d *desk) content(path string) string {
	b, _ := os.ReadFile(path) // what is not there has no content
	return string(b)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not so: %s", what)
		}
	}
}

// editor is a client with a document of its own.
type editor struct {
	*testing.T
	peer *Peer
	stop context.CancelFunc
	done chan struct{}

	mu     sync.Mutex
	doc    *ydoc.Doc
	status guestwire.DocumentStatus
	out    [][]byte // what the document made and is not sent
	closed *Closed
	deaf   func() bool // nothing arrives any more; nil for never

	sent, journalled uint64 // sync messages with an update
	wrote            uint64 // request to write that was answered last
}

// open connects a client that holds nothing.
func (d *desk) open(path string, o Join) *editor {
	d.Helper()
	e := &editor{T: d.T}
	e.doc = ydoc.New(ydoc.Options{OnUpdate: func(u []byte) { e.out = append(e.out, u) }})
	d.connect(e, path, o)
	return e
}

func (d *desk) connect(e *editor, path string, o Join) {
	d.Helper()
	p, err := d.rooms.Join(path, o)
	if err != nil {
		d.Fatal(err)
	}
	e.peer, e.closed, e.done = p, nil, make(chan struct{})
	e.sent, e.journalled = 0, 0
	ctx, cancel := context.WithCancel(context.Background())
	e.stop = cancel
	go func() {
		defer close(e.done)
		e.receive(ctx, p)
	}()
	d.Cleanup(e.leave)
	e.mu.Lock()
	vector := e.doc.StateVector().Encode()
	e.mu.Unlock()
	_ = p.Handle(syncMessage(syncStep1, vector)) // the receiver is told
}

func (e *editor) leave() {
	e.stop()
	<-e.done
	e.peer.Close()
}

func (e *editor) receive(ctx context.Context, p *Peer) {
	for {
		m, err := p.Next(ctx)
		e.mu.Lock()
		if closed := (*Closed)(nil); errors.As(err, &closed) {
			e.closed = closed
		}
		var reply []byte
		if err == nil && (e.deaf == nil || !e.deaf()) {
			reply = e.take(m)
		}
		e.mu.Unlock()
		if err != nil {
			return
		}
		if reply != nil {
			_ = p.Handle(reply)
		}
	}
}

// take handles a message and returns the answer to it. mu is held.
func (e *editor) take(m []byte) (reply []byte) {
	r := lib0.NewReader(m)
	switch r.Uint() {
	case messageStatus:
		if err := json.Unmarshal(r.Bytes(), &e.status); err != nil {
			e.Error(err)
		}
	case messageSync:
		step, payload := r.Uint(), r.Bytes()
		if step == syncStep1 {
			sv, err := ydoc.DecodeStateVector(payload)
			if err != nil {
				e.Error(err)
			}
			e.sent++
			return syncMessage(syncStep2, e.doc.Diff(sv))
		}
		if err := e.doc.Apply(payload); err != nil {
			e.Error(err)
		}
		e.out = nil
	case messageJournal:
		e.journalled = r.Uint()
	case messageWrite:
		e.wrote = r.Uint()
	}
	return nil
}

func (e *editor) awaitsJournal() {
	e.Helper()
	eventually(e.T, "all is journalled", func() bool { e.mu.Lock(); defer e.mu.Unlock(); return e.sent > 0 && e.journalled == e.sent })
}

func (e *editor) text() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.doc.Text(root).String()
}

// edit replaces n units at an index, where at < 0 counts from the end.
func (e *editor) edit(at, n int, s string) {
	e.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	text := e.doc.Text(root)
	if at < 0 {
		at += text.Len() + 1
	}
	e.doc.Transact(func() {
		if err := errors.Join(text.Delete(at, n), text.Insert(at, s)); err != nil {
			e.Fatal(err)
		}
	})
	for _, u := range e.out {
		e.sent++
		_ = e.peer.Handle(syncMessage(syncUpdate, u)) // the receiver is told
	}
	e.out = nil
}

func (e *editor) awaits(text string) {
	e.Helper()
	eventually(e.T, fmt.Sprintf("the editor has %q", text), func() bool { return e.text() == text })
}

func (e *editor) epoch() string {
	eventually(e.T, "there is an epoch", func() bool { e.mu.Lock(); defer e.mu.Unlock(); return e.status.Epoch != "" })
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.status.Epoch
}

func (e *editor) awaitsClose(code websocket.StatusCode) {
	e.Helper()
	eventually(e.T, "the peer is dropped", func() bool { e.mu.Lock(); defer e.mu.Unlock(); return e.closed != nil })
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed.Code != code {
		e.Fatalf("dropped with %d %q, not %d", e.closed.Code, e.closed.Reason, code)
	}
}

// save asks for the file to be written.
func (e *editor) save(request uint64) {
	_ = e.peer.Handle(lib0.AppendUint([]byte{messageWrite}, request)) // the receiver is told
}

func (e *editor) answered(request uint64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.wrote == request
}

func TestAFileIsWrittenWhenAPeerAsks(t *testing.T) {
	d := newDesk(t, func(o *Options) { o.SaveDelay, o.SaveMost = time.Hour, time.Hour })
	dir := filepath.Join(d.dir, "sub")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := d.put("sub/a.txt", "one")
	a, reader := d.open(path, Join{}), d.open(path, Join{ReadOnly: true})
	a.awaits("one")
	a.save(1)
	eventually(t, "the answer, where nothing is to be written", func() bool { return a.answered(1) })
	a.edit(3, 0, " two")
	reader.awaits("one two")
	reader.save(1)
	time.Sleep(20 * time.Millisecond)
	if got := d.content(path); got != "one" || reader.answered(1) {
		t.Fatalf("one who may only look had the file written: %q", got)
	}
	a.save(7)
	eventually(t, "the answer", func() bool { return a.answered(7) })
	if got := d.content(path); got != "one two" {
		t.Errorf("answered when the file had %q", got)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	a.edit(0, 0, "0 ")
	a.save(8)
	eventually(t, "the error is told", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.status.Error != "" })
	if a.answered(8) {
		t.Error("answered though the file could not be written")
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	a.save(9)
	eventually(t, "the answer after the error", func() bool { return a.answered(9) })
	if got := d.content(path); got != "0 one two" {
		t.Errorf("the file has %q", got)
	}
}

func TestAProgramThatReadTheFileBeforeItWasWrittenTakesNothingBack(t *testing.T) {
	d := newDesk(t, nil)
	path := d.put("a.txt", "one\ntwo\nthree\n")
	a := d.open(path, Join{})
	a.awaits("one\ntwo\nthree\n")
	a.edit(-1, 0, "typed meanwhile\n")
	eventually(t, "the file has it", func() bool { return d.content(path) == "one\ntwo\nthree\ntyped meanwhile\n" })
	write := func(text string, at time.Time) {
		t.Helper()
		part := d.put("part", text)
		if err := errors.Join(os.Chtimes(part, at, at), os.Rename(part, path)); err != nil {
			t.Fatal(err)
		}
	}
	write("ONE\ntwo\nthree\n", time.Now())
	a.awaits("ONE\ntwo\nthree\ntyped meanwhile\n")
	eventually(t, "the file has both", func() bool { return d.content(path) == a.text() })
	// Much later it means what it says.
	write("ONE\ntwo\nthree\n", time.Now().Add(2*recall))
	a.awaits("ONE\ntwo\nthree\n")
}

func TestNobodySpeaksForSomebodyElse(t *testing.T) {
	d := newDesk(t, nil)
	meet := func(u guestwire.User) *Peer {
		t.Helper()
		p, err := d.rooms.Meet(Join{User: u})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		return p
	}
	tell := func(p *Peer, client, clock uint64, state string) error {
		return p.Handle(awarenessMessage(1, appendPresence(nil, client, clock, []byte(state))))
	}
	known := func(client uint64) string {
		d.rooms.hall.mu.Lock()
		defer d.rooms.hall.mu.Unlock()
		if c := d.rooms.hall.aware[client]; c != nil {
			return string(c.state)
		}
		return ""
	}
	ann, ben := guestwire.User{ID: "us-1", Name: "ann", Role: "owner"}, guestwire.User{ID: "us-2", Name: "ben", Role: "viewer"}
	a, b := meet(ann), meet(ben)
	for _, tc := range []struct {
		p             *Peer
		client, clock uint64
		state, want   string
	}{
		{a, 1, 1, `{"path":"/a","user":{"name":"ben"}}`, `{"path":"/a","user":{"id":"us-1","name":"ann","role":"owner"}}`},
		{b, 1, 9, `{"path":"/b"}`, `{"path":"/a","user":{"id":"us-1","name":"ann","role":"owner"}}`},
		{b, 1, 9, `null`, `{"path":"/a","user":{"id":"us-1","name":"ann","role":"owner"}}`},
		{b, 2, 1, `{}`, `{"user":{"id":"us-2","name":"ben","role":"viewer"}}`},
		{meet(ann), 1, 2, `{"path":"/c"}`, `{"path":"/c","user":{"id":"us-1","name":"ann","role":"owner"}}`}, // the same page, connected anew
	} {
		if err := tell(tc.p, tc.client, tc.clock, tc.state); err != nil {
			t.Fatal(err)
		}
		if got := known(tc.client); got != tc.want {
			t.Errorf("after %s of client %d: %s, want %s", tc.state, tc.client, got, tc.want)
		}
	}
	if err := tell(b, 3, 1, `[]`); err == nil {
		t.Error("a state that is no object was taken")
	}
	if err := a.Handle(syncMessage(syncStep1, []byte{0})); err == nil {
		t.Error("there is a document where people meet")
	}
}

func TestEditsAreWrittenInTheFormatOfTheFile(t *testing.T) {
	d := newDesk(t, nil)
	path := d.put("a.txt", "\xEF\xBB\xBFone\r\ntwo 😀\r\n")
	if err := os.Chmod(path, 0o751); err != nil {
		t.Fatal(err)
	}
	a, b := d.open("a.txt", Join{}), d.open(path, Join{})
	a.awaits("one\ntwo 😀\n")
	a.edit(3, 0, "!\nnew")
	b.awaits("one!\nnew\ntwo 😀\n")
	eventually(t, "the file has it", func() bool { return d.content(path) == "\xEF\xBB\xBFone!\r\nnew\r\ntwo 😀\r\n" })
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o751 {
		t.Errorf("mode is %v, %v", st.Mode(), err)
	}
	eventually(t, "it is told as saved", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.status.Saved })
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.status.EOL != guestwire.CRLF || !b.status.BOM || b.status.ReadOnly {
		t.Errorf("status is %+v", b.status)
	}
}

func TestOutsideChangesBecomeSmallEdits(t *testing.T) {
	d := newDesk(t, nil)
	path := d.put("a.go", "func a() {\n  return 1\n}\n\nfunc b() {\n  return 2\n}\n")
	link := filepath.Join(d.dir, "link.go")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	e := d.open(link, Join{})
	e.awaits(d.content(path))
	e.mu.Lock()
	cursor, err := e.doc.Text(root).Position(strings.Index(d.content(path), "2"), 0)
	e.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	// As a formatter: in place. As git: replaced by a rename.
	formatted := strings.ReplaceAll(d.content(path), "  ", "\t")
	d.put("a.go", formatted)
	e.awaits(formatted)
	checkedOut := strings.Replace(formatted, "func a", "// a is first\nfunc a", 1)
	if err := os.Rename(d.put("new", checkedOut), path); err != nil {
		t.Fatal(err)
	}
	e.awaits(checkedOut)
	e.mu.Lock()
	at, ok := e.doc.Text(root).Index(cursor)
	e.mu.Unlock()
	if want := strings.Index(checkedOut, "2"); !ok || at != want {
		t.Errorf("the cursor is at %d, %v, not %d", at, ok, want)
	}
}

func TestOutsideChangesMergeWithWhatIsNotWritten(t *testing.T) {
	d := newDesk(t, func(o *Options) { o.SaveDelay, o.SaveMost = time.Hour, time.Hour })
	path := d.put("a.txt", "alpha\nbeta\ngamma\n")
	e := d.open(path, Join{})
	e.awaits("alpha\nbeta\ngamma\n")
	e.edit(5, 0, "!")
	e.edit(-1, 0, "new\n")
	d.put("a.txt", "alpha\ngamma\n")
	e.awaits("alpha!\ngamma\nnew\n")
	if got := d.content(path); got != "alpha\ngamma\n" {
		t.Errorf("the file has %q before its time", got)
	}
	d.rooms.Flush(t.Context())
	if got := d.content(path); got != "alpha!\ngamma\nnew\n" {
		t.Errorf("the file has %q", got)
	}
}

func TestRemovedFileComesBackWithAnEdit(t *testing.T) {
	d := newDesk(t, nil)
	path := d.put("a.txt", "text\n")
	e := d.open(path, Join{})
	e.awaits("text\n")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is told", func() bool { e.mu.Lock(); defer e.mu.Unlock(); return e.status.Gone })
	e.edit(0, 0, "more ")
	eventually(t, "it is there", func() bool { return d.content(path) == "more text\n" })
}

func TestRestartDoublesNothing(t *testing.T) {
	d := newDesk(t, nil)
	path := d.put("a.txt", "one\ntwo\n")
	e := d.open(path, Join{})
	e.awaits("one\ntwo\n")
	epoch := e.epoch()
	e.edit(0, 0, "zero\n")
	d.restart()
	e.awaitsClose(websocket.StatusGoingAway)
	e.leave()
	// Meanwhile: edits offline, and outside.
	e.edit(-1, 0, "offline\n")
	d.put("a.txt", strings.Replace(d.content(path), "two", "2", 1))
	d.connect(e, path, Join{Epoch: epoch})
	e.awaits("zero\none\n2\noffline\n")
	eventually(t, "the file has it", func() bool { return d.content(path) == "zero\none\n2\noffline\n" })
	if e.epoch() != epoch {
		t.Error("the epoch is another one")
	}
}

func TestLostStateIsANewEpoch(t *testing.T) {
	d := newDesk(t, nil)
	path := d.put("a.txt", "text\n")
	e := d.open(path, Join{})
	e.awaits("text\n")
	epoch := e.epoch()
	d.rooms.Close()
	if err := os.RemoveAll(d.opt.Dir); err != nil {
		t.Fatal(err)
	}
	d.restart()
	e.leave()
	d.connect(e, path, Join{Epoch: epoch})
	e.awaitsClose(guestwire.StatusEpoch)
	if e.epoch() == epoch {
		t.Error("the epoch is the old one")
	}
	e.leave()
	d.connect(e, path, Join{}) // holds state and does not say of what
	e.awaitsClose(guestwire.StatusEpoch)
	f := d.open(path, Join{})
	f.awaits("text\n")
	if got := d.content(path); got != "text\n" {
		t.Errorf("the file has %q", got)
	}
}

// mortal is a file system on which after some writes nothing more can be written,
// as for a process that was killed.
type mortal struct {
	*filesystem.Files
	left atomic.Int64
}

func (m *mortal) Write(ctx context.Context, path string, r io.Reader, o guestwire.WriteOptions) (guestwire.FileInfo, error) {
	if m.left.Add(-1) < 0 {
		return guestwire.FileInfo{}, holt.Errorf(holt.KindNoSpace, "killed")
	}
	return m.Files.Write(ctx, path, r, o)
}

// TestDeathAtAnyWriteDoublesAndLosesNothing ends the writing at each place in turn,
// and lets the client come back to rooms that know only what was written.
func TestDeathAtAnyWriteDoublesAndLosesNothing(t *testing.T) {
	for n := range int64(9) {
		d := newDesk(t, func(o *Options) { o.SaveDelay, o.SaveMost = time.Hour, time.Hour })
		whole := d.opt.Files.(*filesystem.Files)
		path := d.put("a.txt", "one\ntwo\nthree\n")
		e := d.open(path, Join{})
		e.awaits("one\ntwo\nthree\n")
		epoch := e.epoch()
		e.leave()
		d.rooms.Close()

		dying := &mortal{Files: whole}
		dying.left.Store(n)
		d.opt.Files = dying
		d.rooms = New(d.opt)
		dead := func() bool { return dying.left.Load() < 0 }
		e.deaf = dead
		d.connect(e, path, Join{Epoch: epoch})
		e.edit(0, 0, "a")
		d.rooms.Flush(t.Context())
		d.put("a.txt", strings.Replace(d.content(path), "two", "TWO", 1))
		eventually(t, "the outside change is there", func() bool { return dead() || strings.Contains(e.text(), "TWO") })
		e.edit(-1, 0, "z\n")
		d.rooms.Flush(t.Context())
		d.rooms.Close()
		e.leave()

		e.deaf = nil
		d.opt.Files = whole
		d.rooms = New(d.opt)
		d.connect(e, path, Join{Epoch: epoch})
		want := "aone\nTWO\nthree\nz\n"
		e.awaits(want)
		eventually(t, "the file has it", func() bool { d.rooms.Flush(t.Context()); return d.content(path) == want })
		e.leave()
	}
}

func TestReaderCannotEdit(t *testing.T) {
	d := newDesk(t, nil)
	path := d.put("a.txt", "text\n")
	r, w := d.open(path, Join{ReadOnly: true}), d.open(path, Join{})
	r.awaits("text\n")
	r.edit(0, 0, "mine ")
	w.awaits("text\n")
	w.edit(0, 0, "ours ")
	eventually(t, "the file has the writer's edit", func() bool { return d.content(path) == "ours text\n" })
	if got := w.text(); got != "ours text\n" {
		t.Errorf("the writer has %q", got)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.status.ReadOnly {
		t.Error("the reader is not told")
	}
}

func TestRefusedFilesHaveAReason(t *testing.T) {
	d := newDesk(t, func(o *Options) { o.FileBytes = 100 })
	for name, c := range map[string]struct {
		content string
		reason  guestwire.DocumentReason
	}{
		"binary":  {"a\x00b", guestwire.ReasonBinary},
		"latin1":  {"caf\xe9\n", guestwire.ReasonEncoding},
		"cr":      {"one\rtwo\r\n", guestwire.ReasonEOL},
		"too big": {strings.Repeat("x", 101), guestwire.ReasonLarge},
	} {
		d.put(name, c.content)
		_, err := d.rooms.Join(name, Join{})
		if e, ok := errors.AsType[*holt.Error](err); !ok || e.Kind != holt.KindUnsupported || e.Limit != string(c.reason) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := d.rooms.Join("nothing", Join{}); !holt.IsKind(err, holt.KindNotFound) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := d.rooms.Join(d.dir, Join{}); !holt.IsKind(err, holt.KindInvalid) {
		t.Errorf("a directory: %v", err)
	}
	path := d.put("text", "text")
	e := d.open(path, Join{})
	e.awaits("text")
	d.put("text", "te\x00xt")
	e.awaitsClose(websocket.StatusPolicyViolation)
	if got := d.content(path); got != "te\x00xt" {
		t.Errorf("the file has %q", got)
	}
}

func TestBounds(t *testing.T) {
	d := newDesk(t, func(o *Options) { o.Rooms, o.Peers, o.QueueMessages = 1, 2, 10; o.Document.Content = 1000 })
	path := d.put("a.txt", "text\n")
	d.put("b.txt", "text\n")
	slow, err := d.rooms.Join(path, Join{})
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	e := d.open(path, Join{})
	e.awaits("text\n")
	limited := func(path, limit string) {
		t.Helper()
		_, err := d.rooms.Join(path, Join{})
		if e, ok := errors.AsType[*holt.Error](err); !ok || e.Kind != holt.KindLimit || e.Limit != limit {
			t.Errorf("%s: %v", limit, err)
		}
	}
	limited(path, "peers")
	limited("b.txt", "documents")
	for range 20 {
		e.edit(0, 0, "x")
	}
	var closed *Closed
	for err == nil {
		_, err = slow.Next(t.Context())
	}
	if !errors.As(err, &closed) || closed.Code != guestwire.StatusSlow {
		t.Errorf("a peer that does not read: %v", err)
	}
	e.edit(0, 0, strings.Repeat("y", 2000))
	e.awaitsClose(guestwire.StatusDocumentLimit)
}

func TestAwareness(t *testing.T) {
	d := newDesk(t, nil)
	path := d.put("a.txt", "text\n")
	join := func() *Peer {
		p, err := d.rooms.Join(path, Join{})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	a, b := join(), join()
	defer b.Close()
	say := func(p *Peer, client, clock uint64, state string) {
		t.Helper()
		if err := p.Handle(awarenessMessage(1, appendPresence(nil, client, clock, []byte(state)))); err != nil {
			t.Fatal(err)
		}
	}
	hears := func(p *Peer, client, clock uint64, state string) {
		t.Helper()
		want := string(awarenessMessage(1, appendPresence(nil, client, clock, []byte(state))))
		for {
			m, err := p.poll()
			if err != nil || m == nil {
				t.Fatalf("never heard of %d at %d: %s", client, clock, state)
			}
			if string(m) == want {
				return
			}
		}
	}
	say(a, 7, 1, `{"name":"a"}`)
	hears(b, 7, 1, `{"name":"a"}`)
	say(a, 7, 0, `{"name":"old"}`)
	c := join()
	defer c.Close()
	hears(c, 7, 1, `{"name":"a"}`)
	a.Close()
	hears(b, 7, 1, "null")
	for i := range uint64(20) {
		say(b, 100+i, 1, `{}`)
	}
	if n := len(b.room.aware); n != maxStates {
		t.Errorf("one peer has %d states", n)
	}
	if err := b.Handle(awarenessMessage(1, appendPresence(nil, 1, 1, []byte("{")))); err == nil {
		t.Error("a state that is not JSON is taken")
	}
}

func TestMixedEndsOfLineStay(t *testing.T) {
	raw := "one\r\ntwo\nthree\r\nfour\r\n"
	text, f, err := decode("x", []byte(raw))
	if err != nil || f.eol != guestwire.Mixed || text != "one\ntwo\nthree\nfour\n" {
		t.Fatalf("%q, %+v, %v", text, f, err)
	}
	got, g := f.encode(text, "zero\none\ntwo!\nthree\nfour\n")
	if want := "zero\r\none\r\ntwo!\nthree\r\nfour\r\n"; string(got) != want {
		t.Errorf("wrote %q, not %q", got, want)
	}
	again, h, err := decode("x", got)
	if err != nil || again != "zero\none\ntwo!\nthree\nfour\n" || len(h.cr) != len(g.cr) {
		t.Errorf("read %q, %+v and %+v, %v", again, h, g, err)
	}
}

func FuzzHandle(f *testing.F) {
	doc := ydoc.New(ydoc.Options{})
	if err := doc.Text(root).Insert(0, "x"); err != nil {
		f.Fatal(err)
	}
	f.Add(syncMessage(syncStep1, ydoc.StateVector{}.Encode()), syncMessage(syncUpdate, doc.Encode()))
	f.Add(awarenessMessage(1, appendPresence(nil, 1, 1, []byte("{}"))), []byte{messageQuery})
	f.Add([]byte{messageSync, syncStep2, 2, 0, 0}, []byte{messageStatus})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		r := newRoom(&Rooms{opt: Options{QueueBytes: 1 << 16, QueueMessages: 16, Peers: 2, Document: ydoc.Limits{Content: 1 << 16}}}, "x")
		r.doc = r.newDoc()
		r.text = r.doc.Text(root)
		r.epoch = "e"
		p, _, err := r.join(Join{})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range [][]byte{first, second} {
			if err := p.Handle(m); err != nil {
				var closed *Closed
				if !errors.As(err, &closed) || closed.Reason == "" {
					t.Fatalf("an error that says nothing: %v", err)
				}
				if p.Handle(m) == nil {
					t.Fatal("a dropped peer goes on")
				}
			}
		}
		r.leave(p)
		if len(r.aware) > 0 {
			t.Fatal("the presence of one who left")
		}
	})
}
