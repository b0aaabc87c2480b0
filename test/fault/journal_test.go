package fault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt/test/server"
	guestwire "github.com/holt-ide/holt/wire/guest"
	"github.com/holt-ide/holt/ydoc"
	"github.com/holt-ide/holt/ydoc/lib0"
)

// TestTypedTextSurvives: whoever types is told what is in the journal, and what was
// told is in the file whatever happens to the sandbox and to the server.
func TestTypedTextSurvives(t *testing.T) {
	t.Parallel()
	s := server.Start(t, "--pool-size", "3g")
	s.TinyImage(t)
	w := newWitness(s)
	small(t, s, "main")
	s.Sh(t, "main", "echo begun >/workspace/note.txt")
	killSandbox := func() { w.awaitNew(t, "main", w.killSandbox(t, "main")) }
	word, told := 0, 0
	lost := map[int]bool{} // words that were not in the journal when the harm came
	for round, c := range []struct {
		name string
		harm func()
	}{
		{"sandbox killed", killSandbox},
		{"server killed", func() { s.Kill(t); s.Start(t) }},
		{"both killed", func() {
			was := w.workspaces(t)["main"].SandboxID
			pid := w.sandboxPID(t, was)
			s.Kill(t)
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			s.Start(t)
			w.awaitNew(t, "main", was)
		}},
		{"suspended", func() { s.Must(t, "suspend", "main"); s.Must(t, "resume", "main") }},
		{"sandbox killed again", killSandbox},
	} {
		p := newTypist(t, s, "main", "/workspace/note.txt", word)
		time.Sleep(time.Duration(200+rand.IntN(600)) * time.Millisecond)
		c.harm()
		w.settle(t)
		journalled, typed := p.end(t)
		word, told = typed, max(told, journalled)
		text := s.Must(t, "exec", "main", "--", "cat", "/workspace/note.txt")
		words := strings.Fields(text)
		if len(words) == 0 || words[0] != "begun" {
			t.Fatalf("%s: the file has %.200q", c.name, text)
		}
		have := map[string]bool{}
		for _, v := range words[1:] {
			if have[v] {
				t.Errorf("%s: %s is there twice", c.name, v)
			}
			have[v] = true
		}
		missing := 0
		for i := range told {
			if !have[fmt.Sprintf("w%d", i)] && !lost[i] {
				missing++
			}
		}
		t.Logf("round %d, %s: %d words typed, %d journalled, %d in the file", round, c.name, typed, told, len(words)-1)
		if missing > 0 {
			t.Errorf("%s: %d of %d words that were journalled are not in the file", c.name, missing, told)
		}
		if journalled == 0 {
			t.Errorf("%s: nothing was journalled", c.name)
		}
		// What was typed and not journalled may be lost: it is not looked for later.
		for i := told; i < typed; i++ {
			if !have[fmt.Sprintf("w%d", i)] {
				lost[i] = true
			}
		}
		told = typed
	}
}

// typist is a page that types as fast as it can, and goes away for good when its
// connection breaks.
type typist struct {
	first int
	done  chan struct{}
	stop  context.CancelFunc

	mu         sync.Mutex
	typed      int    // words that were sent
	before     uint64 // messages with an update that were no words
	journalled uint64 // messages
}

func newTypist(t *testing.T, s *server.Server, name, path string, first int) *typist {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	u := "ws" + strings.TrimPrefix(s.URL, "http") + "/w/" + name + "/v1/document?path=" + url.QueryEscape(path)
	ws, _, err := websocket.Dial(ctx, u, &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + s.Token}}}) //nolint:bodyclose // the library closes it
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	ws.SetReadLimit(64 << 20)
	p := &typist{first: first, done: make(chan struct{}), stop: cancel}
	go func() {
		defer close(p.done)
		defer ws.CloseNow()
		if err := p.run(ctx, ws); !errors.Is(err, context.Canceled) {
			t.Logf("the typist ends: %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-p.done })
	return p
}

// end returns how many words were journalled, and how many typed, of all typists so
// far.
func (p *typist) end(t *testing.T) (journalled, typed int) {
	t.Helper()
	p.stop()
	<-p.done
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.journalled > p.before {
		journalled = p.first + int(p.journalled-p.before)
	}
	return journalled, p.first + p.typed
}

// The messages of a document's socket; see package collab.
const (
	docSync, docStatus, docJournal = 0, 100, 101
	docStep1, docStep2, docUpdate  = 0, 1, 2
)

func (p *typist) run(ctx context.Context, ws *websocket.Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var update []byte
	doc := ydoc.New(ydoc.Options{OnUpdate: func(u []byte) { update = u }})
	send := func(step byte, payload []byte) error {
		return ws.Write(ctx, websocket.MessageBinary, lib0.AppendBytes([]byte{docSync, step}, payload))
	}
	if err := send(docStep1, doc.StateVector().Encode()); err != nil {
		return err
	}
	synced := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		defer cancel()
		for {
			_, m, err := ws.Read(ctx)
			if err == nil {
				err = p.take(doc, m, send, synced)
			}
			if err != nil {
				ended <- err
				return
			}
		}
	}()
	select {
	case <-synced:
	case err := <-ended:
		return err
	}
	// From here on this goroutine alone has the document.
	text := doc.Text("text")
	for {
		if err := text.Insert(text.Len(), fmt.Sprintf("w%d\n", p.first+p.typed)); err != nil {
			return err
		}
		if err := send(docUpdate, update); err != nil {
			return errors.Join(err, <-ended)
		}
		p.mu.Lock()
		p.typed++
		p.mu.Unlock()
		select {
		case <-time.After(2 * time.Millisecond):
		case err := <-ended:
			return err
		}
	}
}

func (p *typist) take(doc *ydoc.Doc, m []byte, send func(byte, []byte) error, synced chan struct{}) error {
	r := lib0.NewReader(m)
	switch r.Uint() {
	case docStatus:
		var status guestwire.DocumentStatus
		return json.Unmarshal(r.Bytes(), &status)
	case docJournal:
		p.mu.Lock()
		p.journalled = r.Uint()
		p.mu.Unlock()
	case docSync:
		step, payload := r.Uint(), r.Bytes()
		switch step {
		case docStep1:
			p.mu.Lock()
			p.before++
			p.mu.Unlock()
			return send(docStep2, []byte{0, 0}) // it has nothing
		case docStep2:
			if err := doc.Apply(payload); err != nil {
				return err
			}
			close(synced)
		}
	}
	return r.Err()
}
