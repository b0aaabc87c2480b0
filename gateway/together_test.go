package gateway_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
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

// The owner sees who is there, and what became of links; a link that was taken back
// lets nobody in.
func TestTheOwnerSeesWhoIsThereAndTakesLinksBack(t *testing.T) {
	s, owner, viewer := sharedDemo(t)
	c := s.As(t, owner)
	here := func() (names []string) {
		t.Helper()
		members, err := c.Members(t.Context(), "demo")
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range members {
			if !m.HereSince.IsZero() {
				names = append(names, m.User)
			}
		}
		return names
	}
	if got := here(); len(got) != 0 {
		t.Errorf("there are %v before anybody came", got)
	}
	v := attachGuest(t, s, viewer, "/v1/presence", nil)
	if got := here(); len(got) != 1 || got[0] != "victor" {
		t.Errorf("there are %v", got)
	}
	v.CloseNow()
	for deadline := time.Now().Add(10 * time.Second); len(here()) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("one who left is still there")
		}
	}

	kept, err := c.ShareLink(t.Context(), "demo", api.CreateShareLink{Role: "viewer", ExpiresInSeconds: 3600})
	if err != nil {
		t.Fatal(err)
	}
	start(t, s, owner, "other")
	elsewhere, err := c.ShareLink(t.Context(), "other", api.CreateShareLink{Role: "editor"})
	if err != nil {
		t.Fatal(err)
	}
	links, err := c.ShareLinks(t.Context(), "demo")
	if err != nil || len(links) != 1 || links[0].ID != kept.ID || links[0].State != "open" || links[0].ExpiresAt.Sub(links[0].CreatedAt) != time.Hour {
		t.Fatalf("the links are %+v, %v", links, err)
	}
	if err := c.RevokeShareLink(t.Context(), "demo", elsewhere.ID); !holt.IsKind(err, holt.KindNotFound) {
		t.Errorf("took back a link of another workspace: %v", err)
	}
	for range 2 { // again is as good as once
		if err := c.RevokeShareLink(t.Context(), "demo", kept.ID); err != nil {
			t.Fatal(err)
		}
	}
	if links, err = c.ShareLinks(t.Context(), "demo"); err != nil || links[0].State != "revoked" {
		t.Errorf("the links are %+v, %v", links, err)
	}
	resp := s.Do(t, s.Request("GET", strings.TrimPrefix(kept.URL, s.URL), ""))
	if body, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(body), "taken back") {
		t.Errorf("a link that was taken back: %s %s %v", resp.Status, body, err)
	}
}
