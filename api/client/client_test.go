package client

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	c, err := New(Config{URL: srv.URL, Token: "t", Transport: tr, Patience: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Every kind survives the way over HTTP, with its field and limit.
func TestKindsTravel(t *testing.T) {
	for _, kind := range holt.Kinds() {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			p := api.NewProblem(&holt.Error{Kind: kind, Field: "memory", Limit: "1 GiB", Text: "do this", Err: errors.New("secret cause")})
			w.WriteHeader(p.Status)
			fmt.Fprintf(w, `{"status":%d,"kind":%q,"field":%q,"limit":%q,"detail":%q}`, p.Status, p.Kind, p.Field, p.Limit, p.Detail)
		})
		_, err := c.Fork(t.Context(), "a", api.ForkWorkspace{Name: "b"})
		e, ok := errors.AsType[*holt.Error](err)
		if !ok || e.Kind != kind || e.Field != "memory" || e.Limit != "1 GiB" || !strings.HasPrefix(e.Text, "do this") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s came back as %+v", kind, err)
		}
	}
}

func TestSafeCallsAreRepeated(t *testing.T) {
	var calls atomic.Int32
	var keys []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		keys = append(keys, r.Header.Get(api.HeaderIdempotencyKey))
		if calls.Add(1) <= 3 {
			http.Error(w, "restarting", http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, `{"name":"demo"}`)
	})
	if w, err := c.Create(t.Context(), api.CreateWorkspace{Name: "demo"}); err != nil || w.Name != "demo" || calls.Load() != 4 {
		t.Errorf("create: %+v, %v after %d calls", w, err, calls.Load())
	}
	for _, k := range keys {
		if k == "" || k != keys[0] {
			t.Errorf("idempotency keys differ: %q", keys)
		}
	}
	calls.Store(0)
	if _, err := c.Fork(t.Context(), "a", api.ForkWorkspace{Name: "b"}); !holt.IsKind(err, holt.KindUnavailable) || calls.Load() != 1 {
		t.Errorf("a fork, which is not safe to repeat: %v after %d calls", err, calls.Load())
	}
}

// A stream that breaks goes on after the last event, also when it began without
// a number, and a message that only says where it stands is no event.
func TestEventsGoOn(t *testing.T) {
	var asked []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		since := r.URL.Query().Get("since")
		asked = append(asked, since)
		switch since {
		case "":
			io.WriteString(w, "retry: 1000\nid: 7\n\n:\n\n") // ends before any event
		case "7":
			io.WriteString(w, "id: 7\n\nid: 8\ndata: {\"seq\":8}\n\nid: 9\ndata: {\"seq\":9}\n\nid: 10\ndata: {\"se") // cut inside
		default:
			io.WriteString(w, "id: 9\n\nid: 10\ndata: {\"seq\":10}\n\n")
		}
	})
	var got []int64
	for e, err := range c.Events(t.Context(), Latest) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, e.Seq); e.Seq == 10 {
			break
		}
	}
	if fmt.Sprint(got) != "[8 9 10]" || fmt.Sprint(asked) != "[ 7 9]" {
		t.Errorf("events %v after questions %q", got, asked)
	}
}

// An error that trying again does not mend ends the stream.
func TestEventsEnd(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusUnauthorized) })
	n := 0
	for _, err := range c.Events(t.Context(), 0) {
		n++
		if !holt.IsKind(err, holt.KindUnauthorized) {
			t.Errorf("got %v", err)
		}
	}
	if n != 1 {
		t.Errorf("%d values, want one error", n)
	}
}

func TestAwaitOutcome(t *testing.T) {
	ws := func(state holt.State, goal holt.Goal, version int64) api.Workspace {
		return api.Workspace{Name: "demo", State: string(state), Goal: string(goal), Version: version, Message: "the disk is full"}
	}
	for _, c := range []struct {
		name string
		w    api.Workspace
		want holt.State
		done bool
		kind holt.Kind
	}{
		{"there", ws(holt.Running, holt.WantRunning, 5), holt.Running, true, ""},
		{"on the way", ws(holt.Resuming, holt.WantRunning, 5), holt.Running, false, ""},
		{"failed before we asked", ws(holt.Failed, holt.WantRunning, 3), holt.Running, false, ""},
		{"failed", ws(holt.Failed, holt.WantRunning, 5), holt.Running, true, holt.KindInternal},
		{"suspend failed cleanly", ws(holt.Running, holt.WantRunning, 5), holt.Suspended, true, holt.KindConflict},
		{"somebody stops it", ws(holt.Stopping, holt.WantStopped, 5), holt.Running, true, holt.KindConflict},
		{"deleted", ws(holt.Deleted, holt.WantDeleted, 9), holt.Running, true, holt.KindNotFound},
		{"deleted as asked", ws(holt.Deleted, holt.WantDeleted, 9), holt.Deleted, true, ""},
	} {
		done, err := outcome(c.w, c.want, 3)
		if done != c.done || holt.KindOf(err) != c.kind {
			t.Errorf("%s: %v, %v", c.name, done, err)
		}
		if err != nil && c.kind != holt.KindNotFound && !strings.Contains(err.Error(), "the disk is full") {
			t.Errorf("%s does not say why: %v", c.name, err)
		}
	}
}

func TestBadAddress(t *testing.T) {
	for _, u := range []string{"", "localhost:7070", "ftp://x", "http://", "::"} {
		if _, err := New(Config{URL: u}); !holt.IsKind(err, holt.KindInvalid) {
			t.Errorf("%q: %v", u, err)
		}
	}
	if _, err := New(Config{URL: "http://x", Token: "a\nb"}); !holt.IsKind(err, holt.KindInvalid) {
		t.Errorf("token with a line break: %v", err)
	}
}

func FuzzReadEvents(f *testing.F) {
	f.Add("retry: 1\nid: 7\n\nid: 8\ndata: {}\n\n")
	f.Add("data\n\nid:\n\n")
	f.Fuzz(func(_ *testing.T, s string) {
		n := 0
		_ = readEvents(strings.NewReader(s), func(int64, *api.Event) bool { n++; return n < 100 })
	})
}
