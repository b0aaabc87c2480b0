package gateway_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/test/stand"
	guestwire "github.com/holt-ide/holt/wire/guest"
	"github.com/holt-ide/holt/ydoc"
	"github.com/holt-ide/holt/ydoc/lib0"
)

// attachGuest opens a socket of the guest as the holder of a token.
func attachGuest(t *testing.T, s *stand.Stand, token, route string, more http.Header) *websocket.Conn {
	t.Helper()
	h := http.Header{"Authorization": {"Bearer " + token}}
	for name, v := range more {
		h[name] = v
	}
	ws, _, err := websocket.Dial(t.Context(), strings.Replace(s.URL, "http", "ws", 1)+"/w/demo"+route, &websocket.DialOptions{HTTPHeader: h})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.CloseNow() })
	ws.SetReadLimit(1 << 20)
	return ws
}

func sendMessage(t *testing.T, ws *websocket.Conn, m []byte) {
	t.Helper()
	if err := ws.Write(t.Context(), websocket.MessageBinary, m); err != nil {
		t.Fatal(err)
	}
}

// awaitMessage reads messages until ok is true of one.
func awaitMessage(t *testing.T, ws *websocket.Conn, what string, ok func(kind uint64, r *lib0.Reader) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		_, m, err := ws.Read(ctx)
		if err != nil {
			t.Fatalf("waiting for %s: %v", what, err)
		}
		if r := lib0.NewReader(m); ok(r.Uint(), &r) {
			return
		}
	}
}

// readDocument asks for a document, and returns it.
func readDocument(t *testing.T, ws *websocket.Conn) *ydoc.Doc {
	t.Helper()
	doc := ydoc.New(ydoc.Options{})
	sendMessage(t, ws, lib0.AppendBytes([]byte{0, 0}, doc.StateVector().Encode()))
	awaitMessage(t, ws, "the document", func(kind uint64, r *lib0.Reader) bool {
		if kind != 0 || r.Uint() != 1 {
			return false
		}
		if err := doc.Apply(r.Bytes()); err != nil {
			t.Error(err)
		}
		return true
	})
	return doc
}

// sharedDemo is a workspace with an owner and a viewer.
func sharedDemo(t *testing.T) (s *stand.Stand, owner, viewer string) {
	t.Helper()
	s = stand.New(t)
	own, look := s.User(t, "olga", meta.RoleMember), s.User(t, "victor", meta.RoleMember)
	owner, viewer = s.Token(t, own, meta.ScopeAdmin, ""), s.Token(t, look, meta.ScopeAdmin, "")
	demo := start(t, s, owner, "demo")
	err := s.Store.Members().Set(t.Context(), meta.Member{Workspace: holt.WorkspaceID(demo.ID), User: look, Role: meta.WorkspaceViewer, AddedAt: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return s, owner, viewer
}

// A page may tell any name: others hear the account's.
func TestPresenceHasTheNameOfTheAccount(t *testing.T) {
	s, owner, viewer := sharedDemo(t)
	o := attachGuest(t, s, owner, "/v1/presence", nil)
	v := attachGuest(t, s, viewer, "/v1/presence", http.Header{guestwire.UserHeader: {guestwire.User{ID: "us-1", Name: "olga", Role: "owner"}.String()}})
	state := lib0.AppendBytes(lib0.AppendUint(lib0.AppendUint(lib0.AppendUint(nil, 1), 7), 1), []byte(`{"path":"/x","user":{"name":"olga","role":"owner"}}`))
	sendMessage(t, v, lib0.AppendBytes([]byte{1}, state))
	awaitMessage(t, o, "the viewer's presence", func(kind uint64, r *lib0.Reader) bool {
		if kind != 1 {
			return false
		}
		text := string(r.Bytes())
		if !strings.Contains(text, `"name":"victor"`) || !strings.Contains(text, `"role":"viewer"`) || strings.Contains(text, "olga") {
			t.Errorf("others hear %q", text)
		}
		return true
	})
}

// A viewer's page that is changed to send edits anyway changes nothing.
func TestEditsOfAViewerAreIgnored(t *testing.T) {
	s, owner, viewer := sharedDemo(t)
	g := s.As(t, owner).Guest("demo", true)
	if _, err := g.Write(t.Context(), "a.txt", strings.NewReader("ours"), guestwire.WriteOptions{New: true}); err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{"", "&readonly=0", "&readonly=", "&readonly=false&readonly=0"} {
		v := attachGuest(t, s, viewer, "/v1/document?path=a.txt"+query, nil)
		awaitMessage(t, v, "the status", func(kind uint64, r *lib0.Reader) bool {
			if kind == 100 && !strings.Contains(string(r.Bytes()), `"read_only":true`) {
				t.Error("the viewer is not told to look only")
			}
			return kind == 100
		})
		doc := readDocument(t, v)
		if got := doc.Text("text").String(); got != "ours" {
			t.Fatalf("the viewer sees %q", got)
		}
		before := doc.StateVector()
		if err := doc.Text("text").Insert(0, "mine"); err != nil {
			t.Fatal(err)
		}
		sendMessage(t, v, lib0.AppendBytes([]byte{0, 2}, doc.Diff(before)))
		sendMessage(t, v, lib0.AppendBytes([]byte{0, 1}, doc.Diff(before)))
		sendMessage(t, v, []byte{102, 1}) // and has the file written
		// What is asked after the edits is answered after them.
		if got := readDocument(t, v).Text("text").String(); got != "ours" {
			t.Errorf("after edits of a viewer with %q the document is %q", query, got)
		}
		v.CloseNow()
	}
}
