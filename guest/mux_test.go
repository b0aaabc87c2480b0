package guest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/wire/guest"
)

// page is the other end of a mux session. It gives no credit by itself.
type page struct {
	t   *testing.T
	ctx context.Context
	ws  *websocket.Conn
	id  uint32
}

func (s *served) page(t *testing.T, query string) *page {
	t.Helper()
	ctx := within(t)
	ws, _, err := websocket.Dial(ctx, "ws://"+s.addr+"/v1/mux"+query, &websocket.DialOptions{ //nolint:bodyclose // the library closes it
		HTTPHeader: http.Header{guestwire.SecretHeader: {testSecret}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.CloseNow() })
	ws.SetReadLimit(guestwire.MaxFrame)
	p := &page{t: t, ctx: ctx, ws: ws}
	var w guestwire.MuxWelcome
	first := p.next()
	if first.Type != guestwire.PacketWelcome || json.Unmarshal(first.Data, &w) != nil || w.Version != guestwire.MuxVersion || w.Dir != s.dir || w.BootID == "" {
		t.Fatalf("first packet %+v", first)
	}
	return p
}

func (p *page) send(k guestwire.Packet) {
	p.t.Helper()
	if err := p.ws.Write(p.ctx, websocket.MessageBinary, k.Append(nil)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *page) next() guestwire.Packet {
	p.t.Helper()
	_, b, err := p.ws.Read(p.ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	k, err := guestwire.DecodePacket(b)
	if err != nil {
		p.t.Fatal(err)
	}
	return k
}

// open sends a request and returns its stream.
func (p *page) open(r guestwire.MuxRequest) uint32 {
	p.t.Helper()
	b, err := json.Marshal(r)
	if err != nil {
		p.t.Fatal(err)
	}
	p.id++
	p.send(guestwire.Packet{Type: guestwire.PacketOpen, Stream: p.id, Data: b})
	return p.id
}

// answer is all that a stream brought.
type answer struct {
	data   []byte
	items  []guestwire.MuxItem
	result json.RawMessage
	fail   *guestwire.ErrorBody
}

// finish reads one stream to its end and gives credit for what comes. Packets of
// other streams are an error.
func (p *page) finish(id uint32) answer {
	p.t.Helper()
	var a answer
	for {
		k := p.next()
		if k.Stream != id {
			p.t.Fatalf("a packet of stream %d while waiting for %d", k.Stream, id)
		}
		switch k.Type {
		case guestwire.PacketItem:
			var it guestwire.MuxItem
			if err := json.Unmarshal(k.Data, &it); err != nil {
				p.t.Fatal(err)
			}
			a.items = append(a.items, it)
		case guestwire.PacketData:
			a.data = append(a.data, k.Data...)
		case guestwire.PacketResult:
			a.result = k.Data
			return a
		case guestwire.PacketFail:
			a.fail = &guestwire.ErrorBody{}
			if err := json.Unmarshal(k.Data, a.fail); err != nil {
				p.t.Fatal(err)
			}
			return a
		case guestwire.PacketCredit:
			continue
		}
		p.send(guestwire.Packet{Type: guestwire.PacketCredit, Stream: id, Credit: uint32(len(k.Data))})
	}
}

func (p *page) do(r guestwire.MuxRequest) answer {
	p.t.Helper()
	return p.finish(p.open(r))
}

// put writes a file, heeding the agent's credit.
func (p *page) put(r guestwire.MuxRequest, body []byte) answer {
	p.t.Helper()
	r.Op = guestwire.MuxPut
	id := p.open(r)
	credit := guestwire.Window
	for len(body) > 0 {
		for credit == 0 {
			k := p.next()
			if k.Type != guestwire.PacketCredit {
				p.t.Fatalf("packet %+v instead of credit", k)
			}
			credit += int(k.Credit)
		}
		n := min(len(body), credit, guestwire.MaxChunk)
		p.send(guestwire.Packet{Type: guestwire.PacketData, Stream: id, Data: body[:n]})
		body, credit = body[n:], credit-n
	}
	p.send(guestwire.Packet{Type: guestwire.PacketEnd, Stream: id})
	return p.finish(id)
}

func (a answer) entry(t *testing.T) (e guestwire.Entry) {
	t.Helper()
	if a.fail != nil {
		t.Fatalf("failed: %+v", *a.fail)
	}
	if err := json.Unmarshal(a.result, &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func wantFail(t *testing.T, what string, a answer, kind holt.Kind, field string) {
	t.Helper()
	if a.fail == nil || a.fail.Kind != kind || field != "" && a.fail.Field != field {
		t.Errorf("%s: %+v, want %s %s", what, a.fail, kind, field)
	}
}

func TestMuxFiles(t *testing.T) {
	s := serve(t)
	p := s.page(t, "")
	big := make([]byte, 3<<20) // many windows
	for i := range big {
		big[i] = byte(rand.Uint32())
	}
	e := p.put(guestwire.MuxRequest{Path: "big.bin", New: true}, big).entry(t)
	if e.Size != int64(len(big)) || e.ETag == "" || e.Type != guestwire.TypeFile {
		t.Errorf("written %+v", e)
	}
	a := p.do(guestwire.MuxRequest{Op: guestwire.MuxRead, Path: "big.bin"})
	if !bytes.Equal(a.data, big) || len(a.items) != 1 || a.items[0].Entry.ETag != e.ETag {
		t.Errorf("read %d bytes, %+v", len(a.data), a.items)
	}
	if a := p.do(guestwire.MuxRequest{Op: guestwire.MuxRead, Path: "big.bin", Offset: 5, Length: 3}); !bytes.Equal(a.data, big[5:8]) {
		t.Errorf("read a part: %x", a.data)
	}
	if got := p.do(guestwire.MuxRequest{Op: guestwire.MuxStat, Path: "big.bin"}).entry(t); got != e {
		t.Errorf("stat %+v, want %+v", got, e)
	}

	// A link is edited where it leads: it has that version.
	if err := os.Symlink("big.bin", filepath.Join(s.dir, "link")); err != nil {
		t.Fatal(err)
	}
	if got := p.do(guestwire.MuxRequest{Op: guestwire.MuxStat, Path: "link"}).entry(t); got.ETag != e.ETag || !got.Link || got.Name != "link" {
		t.Errorf("stat of a link %+v", got)
	}

	// A change on disk is not overwritten.
	if err := os.WriteFile(filepath.Join(s.dir, "big.bin"), []byte("theirs"), 0o666); err != nil {
		t.Fatal(err)
	}
	wantFail(t, "put over a change", p.put(guestwire.MuxRequest{Path: "big.bin", IfMatch: e.ETag}, []byte("mine")), holt.KindConflict, guestwire.FieldPrecondition)
	wantFail(t, "put over a file", p.put(guestwire.MuxRequest{Path: "big.bin", New: true}, []byte("mine")), holt.KindConflict, guestwire.FieldPrecondition)
	if got := s.get(t, "big.bin", 0, -1); got != "theirs" {
		t.Errorf("the file has %q", got)
	}

	p.do(guestwire.MuxRequest{Op: guestwire.MuxMkdir, Path: "a/b"}).entry(t)
	p.do(guestwire.MuxRequest{Op: guestwire.MuxRename, Path: "big.bin", To: "a/b/c"}).entry(t)
	wantFail(t, "rename nothing", p.do(guestwire.MuxRequest{Op: guestwire.MuxRename, Path: "big.bin", To: "x"}), holt.KindNotFound, "")
	wantFail(t, "delete a tree", p.do(guestwire.MuxRequest{Op: guestwire.MuxDelete, Path: "a"}), holt.KindConflict, "")
	p.do(guestwire.MuxRequest{Op: guestwire.MuxDelete, Path: "a", Recursive: true}).entry(t)
	wantFail(t, "stat nothing", p.do(guestwire.MuxRequest{Op: guestwire.MuxStat, Path: "a"}), holt.KindNotFound, "")
	wantFail(t, "no such operation", p.do(guestwire.MuxRequest{Op: "format"}), holt.KindInvalid, "op")
	wantFail(t, "negative", p.do(guestwire.MuxRequest{Op: guestwire.MuxRead, Path: "link", Offset: -1}), holt.KindInvalid, "offset")

	p.send(guestwire.Packet{Type: guestwire.PacketPing, Data: []byte("12345678")})
	if k := p.next(); k.Type != guestwire.PacketPong || string(k.Data) != "12345678" {
		t.Errorf("pong %+v", k)
	}
}

func TestMuxLists(t *testing.T) {
	s := serve(t)
	want := []string{"a\nb", "line\r", "quote\"<>&", "ünï", "🦊", strings.Repeat("\x01", 255)}
	for i := range 3000 {
		want = append(want, fmt.Sprintf("file-%04d", i))
	}
	for _, n := range want {
		if err := os.WriteFile(filepath.Join(s.dir, n), []byte("needle in "+n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []string{"sub/deep", "node_modules/x"} {
		if err := os.MkdirAll(filepath.Join(s.dir, n), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(s.dir, "sub/deep/x.go"), []byte("Needle\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	p := s.page(t, "")
	var got []string
	for _, it := range p.do(guestwire.MuxRequest{Op: guestwire.MuxList, Path: "."}).items {
		for _, e := range it.Entries {
			if e.Type == guestwire.TypeFile {
				got = append(got, e.Name)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %d names, want %d", len(got), len(want))
	}
	wantFail(t, "list nothing", p.do(guestwire.MuxRequest{Op: guestwire.MuxList, Path: "none"}), holt.KindNotFound, "")

	a := p.do(guestwire.MuxRequest{Op: guestwire.MuxIndex, Path: ".", Globs: []string{"!file-1*"}})
	var paths []string
	for _, it := range a.items {
		paths = append(paths, it.Paths...)
	}
	if len(paths) != len(want)-1000+1 || !slices.Contains(paths, "sub/deep/x.go") || !slices.Contains(paths, "a\nb") {
		t.Errorf("index of %d paths", len(paths))
	}
	a = p.do(guestwire.MuxRequest{Op: guestwire.MuxIndex, Path: s.dir, Max: 10})
	if string(a.result) != `{"truncated":true}` {
		t.Errorf("index of 10: %s", a.result)
	}

	search := func(r guestwire.MuxRequest) (n int) {
		t.Helper()
		r.Op, r.Path = guestwire.MuxSearch, "."
		a := p.do(r)
		if a.fail != nil {
			t.Fatalf("search: %+v", a.fail)
		}
		for _, it := range a.items {
			n += len(it.Matches)
		}
		return n
	}
	for what, c := range map[string]struct {
		r    guestwire.MuxRequest
		want int
	}{
		"any case":   {guestwire.MuxRequest{Query: "NEEDLE", Max: 20000}, len(want) + 1},
		"exact case": {guestwire.MuxRequest{Query: "Needle", Case: true}, 1},
		"word":       {guestwire.MuxRequest{Query: "need", Word: true}, 0},
		"glob":       {guestwire.MuxRequest{Query: "needle", Globs: []string{"*.go"}}, 1},
		"regex":      {guestwire.MuxRequest{Query: "^N.+e$", Regex: true, Case: true}, 1},
		"cut":        {guestwire.MuxRequest{Query: "needle", Max: 7}, 7},
	} {
		if n := search(c.r); n != c.want {
			t.Errorf("search %s: %d matches, want %d", what, n, c.want)
		}
	}
	wantFail(t, "bad regex", p.do(guestwire.MuxRequest{Op: guestwire.MuxSearch, Path: ".", Query: "(", Regex: true}), holt.KindInvalid, "q")
}

// A stream whose page does not read holds up no other, and gets no more than its window.
func TestMuxSlowStream(t *testing.T) {
	s := serve(t)
	if err := os.WriteFile(filepath.Join(s.dir, "big"), make([]byte, 4<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	p := s.page(t, "")
	slow := p.open(guestwire.MuxRequest{Op: guestwire.MuxRead, Path: "big"})
	got, stat := 0, uint32(0)
	for stat == 0 {
		k := p.next()
		got += len(k.Data)
		if got > guestwire.Window-guestwire.MaxChunk { // about to stop
			stat = p.open(guestwire.MuxRequest{Op: guestwire.MuxStat, Path: "big"})
		}
	}
	for {
		k := p.next()
		if k.Stream == stat {
			break
		}
		got += len(k.Data)
	}
	if got > guestwire.Window {
		t.Errorf("%d bytes came without credit", got)
	}
	p.send(guestwire.Packet{Type: guestwire.PacketCancel, Stream: slow})
	wantFail(t, "cancelled", p.finish(slow), holt.KindUnavailable, "")
}

func TestMuxWatchAndCancel(t *testing.T) {
	s := serve(t)
	p := s.page(t, "")
	w := p.open(guestwire.MuxRequest{Op: guestwire.MuxWatch, Path: ".", Ignore: []string{"node_modules"}})
	seen := map[string]bool{}
	events := func(until string) {
		t.Helper()
		for !seen[until] {
			k := p.next()
			if k.Stream != w {
				continue
			}
			var it guestwire.MuxItem
			if k.Type != guestwire.PacketItem || json.Unmarshal(k.Data, &it) != nil {
				t.Fatalf("packet %+v", k)
			}
			for _, e := range it.Events {
				seen[string(e.Op)+" "+filepath.Base(e.Path)] = true
			}
		}
	}
	events("ready workspace")
	id := p.open(guestwire.MuxRequest{Op: guestwire.MuxPut, Path: "x"})
	p.send(guestwire.Packet{Type: guestwire.PacketEnd, Stream: id})
	events("create x")
	for e := range seen {
		if strings.Contains(e, ".holt-write") {
			t.Errorf("the page sees %s", e)
		}
	}
	p.send(guestwire.Packet{Type: guestwire.PacketCancel, Stream: w})
	for {
		if k := p.next(); k.Stream == w && k.Type == guestwire.PacketFail {
			break
		}
	}
	eventually(t, "the watch is gone", func() bool {
		st, err := s.Stats(within(t))
		return err == nil && st.Activity.Watches == 0
	})

	// A write that is cancelled, or whose connection breaks, changes nothing.
	for _, how := range []string{"cancel", "break"} {
		s.put(t, "kept", "before", guestwire.WriteOptions{})
		q := s.page(t, "")
		id := q.open(guestwire.MuxRequest{Op: guestwire.MuxPut, Path: "kept"})
		q.send(guestwire.Packet{Type: guestwire.PacketData, Stream: id, Data: []byte("half")})
		if how == "cancel" {
			q.send(guestwire.Packet{Type: guestwire.PacketCancel, Stream: id})
			wantFail(t, how, q.finish(id), holt.KindUnavailable, "")
		} else {
			q.ws.CloseNow()
		}
		eventually(t, "nothing is left of the write", func() bool {
			left, err := filepath.Glob(filepath.Join(s.dir, ".holt-write-*"))
			return err == nil && len(left) == 0
		})
		if got := s.get(t, "kept", 0, -1); got != "before" {
			t.Errorf("%s: the file has %q", how, got)
		}
	}
}

func TestMuxReadOnly(t *testing.T) {
	s := serve(t)
	s.put(t, "kept", "text", guestwire.WriteOptions{})
	p := s.page(t, "?readonly=1")
	for _, r := range []guestwire.MuxRequest{
		{Op: guestwire.MuxPut, Path: "kept"}, {Op: guestwire.MuxMkdir, Path: "d"}, {Op: guestwire.MuxDelete, Path: "kept"},
		{Op: guestwire.MuxRename, Path: "kept", To: "gone"},
	} {
		wantFail(t, string(r.Op), p.do(r), holt.KindForbidden, "")
	}
	if a := p.do(guestwire.MuxRequest{Op: guestwire.MuxRead, Path: "kept"}); string(a.data) != "text" {
		t.Errorf("read %q, %+v", a.data, a.fail)
	}
}

// A page that breaks a rule loses its session, and the agent goes on.
func TestMuxHostilePage(t *testing.T) {
	s := serve(t)
	open := func(id uint32, r guestwire.MuxRequest) []byte {
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return guestwire.Packet{Type: guestwire.PacketOpen, Stream: id, Data: b}.Append(nil)
	}
	watch := guestwire.MuxRequest{Op: guestwire.MuxWatch, Path: "."}
	many := [][]byte{}
	for i := range uint32(guestwire.MaxStreams + 1) {
		many = append(many, open(i+1, watch))
	}
	flood := [][]byte{open(1, watch)}
	for range guestwire.Window/guestwire.MaxChunk + 1 {
		flood = append(flood, guestwire.Packet{Type: guestwire.PacketData, Stream: 1, Data: make([]byte, guestwire.MaxChunk)}.Append(nil))
	}
	greedy := [][]byte{open(1, watch)}
	for range 3 {
		greedy = append(greedy, guestwire.Packet{Type: guestwire.PacketCredit, Stream: 1, Credit: 1 << 30}.Append(nil))
	}
	for name, messages := range map[string][][]byte{
		"garbage":              {{1, 2, 3}},
		"a packet of an agent": {open(1, watch), guestwire.Packet{Type: guestwire.PacketResult, Stream: 1, Data: []byte("{}")}.Append(nil)},
		"a number twice":       {open(1, watch), open(1, watch)},
		"too many streams":     many,
		"more than the window": flood,
		"data after its end":   {open(1, watch), {byte(guestwire.PacketEnd), 0, 0, 0, 1}, {byte(guestwire.PacketData), 0, 0, 0, 1, 1}},
		"endless credit":       greedy,
	} {
		p := s.page(t, "")
		for _, m := range messages {
			if p.ws.Write(p.ctx, websocket.MessageBinary, m) != nil {
				break
			}
		}
		var err error
		for err == nil {
			_, _, err = p.ws.Read(p.ctx)
		}
		if websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
			t.Errorf("%s: %v", name, err)
		}
	}

	// What is late, or no JSON, is no crime.
	p := s.page(t, "")
	p.send(guestwire.Packet{Type: guestwire.PacketData, Stream: 9, Data: []byte("late")})
	p.send(guestwire.Packet{Type: guestwire.PacketCancel, Stream: 9})
	p.send(guestwire.Packet{Type: guestwire.PacketOpen, Stream: 9, Data: []byte("{]")})
	wantFail(t, "no JSON", p.finish(9), holt.KindInvalid, "request")
	wantFail(t, "no path", p.do(guestwire.MuxRequest{Op: guestwire.MuxStat}), holt.KindInvalid, "path")
}

// Random sequences of packets end the session or are answered; they never end the agent.
func TestMuxRandomPackets(t *testing.T) {
	s := serve(t)
	s.put(t, "f", "text", guestwire.WriteOptions{})
	ops := []guestwire.MuxOp{guestwire.MuxStat, guestwire.MuxList, guestwire.MuxRead, guestwire.MuxPut, guestwire.MuxWatch, guestwire.MuxIndex, guestwire.MuxPorts, "?"}
	types := []guestwire.PacketType{guestwire.PacketOpen, guestwire.PacketOpen, guestwire.PacketData, guestwire.PacketEnd, guestwire.PacketCancel,
		guestwire.PacketCredit, guestwire.PacketPing, guestwire.PacketItem}
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 1))
		p := s.page(t, "")
		go func() {
			for range 200 {
				k := guestwire.Packet{Type: types[r.IntN(len(types))], Stream: uint32(1 + r.IntN(5)), Data: []byte("12345678"), Credit: uint32(1 + r.IntN(1<<20))}
				switch k.Type {
				case guestwire.PacketPing:
					k.Stream = 0
				case guestwire.PacketEnd, guestwire.PacketCancel:
					k.Data = nil
				case guestwire.PacketOpen:
					k.Data = fmt.Appendf(nil, `{"op":%q,"path":"f"}`, ops[r.IntN(len(ops))])
				case guestwire.PacketItem:
					if r.IntN(30) > 0 {
						continue
					}
				}
				if p.ws.Write(p.ctx, websocket.MessageBinary, k.Append(nil)) != nil {
					return
				}
			}
			p.ws.Close(websocket.StatusNormalClosure, "")
		}()
		var err error
		for err == nil {
			_, _, err = p.ws.Read(p.ctx)
		}
	}
	eventually(t, "all watches are gone", func() bool {
		st, err := s.Stats(within(t))
		return err == nil && st.Activity.Watches == 0
	})
	if got := s.page(t, "").do(guestwire.MuxRequest{Op: guestwire.MuxStat, Path: "f"}).entry(t); got.Name != "f" {
		t.Errorf("stat %+v", got)
	}
}

func TestMuxPorts(t *testing.T) {
	s := serve(t)
	p := s.page(t, "")
	id := p.open(guestwire.MuxRequest{Op: guestwire.MuxPorts})
	var it guestwire.MuxItem
	if k := p.next(); k.Stream != id || json.Unmarshal(k.Data, &it) != nil || it.Ports == nil {
		t.Fatalf("packet %+v", k)
	}
	for _, port := range *it.Ports {
		if strings.HasSuffix(s.addr, fmt.Sprintf(":%d", port.Port)) {
			t.Errorf("the agent tells its own port %d", port.Port)
		}
	}
	start := time.Now()
	p.send(guestwire.Packet{Type: guestwire.PacketCancel, Stream: id})
	wantFail(t, "cancelled", p.finish(id), holt.KindUnavailable, "")
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("a cancel took %v", took)
	}
}
