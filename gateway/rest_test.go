package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/api/client"
	"github.com/holt-ide/holt/test/stand"
)

func bodyOf(s string) io.ReadCloser { return io.NopCloser(strings.NewReader(s)) }

// send sends JSON with the admin token.
func send(t *testing.T, s *stand.Stand, method, path, body string, header ...string) *http.Response {
	t.Helper()
	r := s.Request(method, api.Prefix+path, s.Admin)
	if body != "" {
		r.Body, r.ContentLength = bodyOf(body), int64(len(body))
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return s.Do(t, r)
}

// within bounds what a test waits for.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestWrongInput(t *testing.T) {
	s := stand.New(t)
	s.Start(t, "demo")
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		kind, field, limit, says string
	}{
		{"not JSON", "POST", "/workspaces", `{`, 400, "invalid", "body", "", "unexpected end of JSON"},
		{"no body", "POST", "/workspaces", ``, 400, "invalid", "", "", "body"},
		{"wrong type", "POST", "/workspaces", `{"name":7}`, 400, "invalid", "name", "", "expected string"},
		{"unknown field", "POST", "/workspaces", `{"name":"a","colour":"red"}`, 400, "invalid", "colour", "", "no field of this name"},
		{"unknown inner field", "POST", "/workspaces", `{"name":"a","limits":{"gpus":1}}`, 400, "invalid", "limits.gpus", "", "no field of this name"},
		{"unknown query", "GET", "/workspaces?colour=red", ``, 400, "invalid", "colour", "", "unknown"},
		{"no name", "POST", "/workspaces", `{"git":"https://x.test/y"}`, 400, "invalid", "name", "", "name"},
		{"bad name", "POST", "/workspaces", `{"name":"No Good"}`, 400, "invalid", "name", "", "a-z, 0-9"},
		{"long name", "POST", "/workspaces", `{"name":"` + strings.Repeat("a", 41) + `"}`, 400, "invalid", "name", "40", "at most 40"},
		{"taken name", "POST", "/workspaces", `{"name":"demo"}`, 409, "conflict", "name", "", "another name"},
		{"memory too large", "POST", "/workspaces", `{"name":"a","limits":{"memory_bytes":1099511627776}}`, 400, "invalid", "limits.memory_bytes", "16 GiB", "at most 16 GiB"},
		{"memory too small", "POST", "/workspaces", `{"name":"a","limits":{"memory_bytes":1024}}`, 400, "invalid", "limits.memory_bytes", "128 MiB", "at least"},
		{"memory negative", "POST", "/workspaces", `{"name":"a","limits":{"memory_bytes":-5}}`, 400, "invalid", "limits.memory_bytes", "128 MiB", "at least"},
		{"cpus too many", "POST", "/workspaces", `{"name":"a","limits":{"cpus":64}}`, 400, "invalid", "limits.cpus", "8", "at most 8"},
		{"unknown image", "POST", "/workspaces", `{"name":"a","image":"nope"}`, 404, "not-found", "image", "", "holt image ls"},
		{"bad egress", "POST", "/workspaces", `{"name":"a","egress":"all"}`, 400, "invalid", "egress", "", "internet or none"},
		{"bad idle", "POST", "/workspaces", `{"name":"a","idle_after_seconds":-1}`, 400, "invalid", "idle_after_seconds", "", "never"},
		{"too large body", "POST", "/workspaces", `{"name":"` + strings.Repeat("a", api.MaxBody) + `"}`, 413, "invalid", "body", "1 MiB", "1 MiB"},
		{"unknown workspace", "GET", "/workspaces/nobody", ``, 404, "not-found", "", "", "nobody"},
		{"delete running", "DELETE", "/workspaces/demo", ``, 409, "conflict", "", "", "force"},
		{"fork to taken name", "POST", "/workspaces/demo/fork", `{"name":"demo"}`, 409, "conflict", "name", "", "another name"},
		{"fork to bad name", "POST", "/workspaces/demo/fork", `{"name":"-"}`, 400, "invalid", "name", "", "a-z"},
		{"bad page size", "GET", "/workspaces?limit=5000", ``, 400, "invalid", "limit", "", "1000"},
		{"bad cursor", "GET", "/workspaces?cursor=zzz", ``, 400, "invalid", "cursor", "", ""},
		{"bad state", "GET", "/workspaces/demo?wait=READY", ``, 400, "invalid", "wait", "", "READY"},
		{"bad timeout", "GET", "/workspaces/demo?wait=STOPPED&timeout=soon", ``, 400, "invalid", "timeout", "", "20s"},
		{"long timeout", "GET", "/workspaces/demo?wait=STOPPED&timeout=1h", ``, 400, "invalid", "timeout", "5m0s", "5m0s"},
		{"bad since", "GET", "/events?since=yesterday", ``, 400, "invalid", "since", "", "yesterday"},
		{"no route", "GET", "/nothing", ``, 404, "not-found", "", "", "openapi.json"},
		{"wrong method", "PATCH", "/workspaces/demo", ``, 404, "not-found", "", "", "PATCH"},
		{"token without name", "POST", "/tokens", `{"name":""}`, 400, "invalid", "name", "", "1 to 64"},
		{"bad scope", "POST", "/tokens", `{"name":"a","scope":"root"}`, 400, "invalid", "scope", "", "read, write or admin"},
		{"unknown token", "DELETE", "/tokens/tk-none", ``, 404, "not-found", "", "", ""},
		{"pull nothing", "POST", "/images/pull", `{"reference":""}`, 400, "invalid", "reference", "", "reference"},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp := send(t, s, c.method, c.path, c.body)
			if resp.StatusCode != c.status {
				t.Fatalf("status %d, want %d", resp.StatusCode, c.status)
			}
			p := problem(t, resp)
			if p.Kind != c.kind || p.Field != c.field || p.Limit != c.limit || !strings.Contains(p.Detail, c.says) {
				t.Errorf("got %+v, want kind %q, field %q, limit %q and %q in the detail", p, c.kind, c.field, c.limit, c.says)
			}
		})
	}
	if all, err := s.Client(t).List(within(t)); err != nil || len(all) != 1 {
		t.Errorf("wrong requests left %d workspaces (%v), want 1", len(all), err)
	}
}

func TestIdempotentCreate(t *testing.T) {
	s := stand.New(t)
	first := send(t, s, "POST", "/workspaces", `{"name":"one"}`, api.HeaderIdempotencyKey, "k1")
	again := send(t, s, "POST", "/workspaces", `{"name":"one"}`, api.HeaderIdempotencyKey, "k1")
	a, _ := io.ReadAll(first.Body)
	b, _ := io.ReadAll(again.Body)
	if first.StatusCode != 201 || again.StatusCode != 201 || string(a) != string(b) {
		t.Errorf("first %d %s, again %d %s", first.StatusCode, a, again.StatusCode, b)
	}
	if first.Header.Get(api.HeaderReplayed) != "" || again.Header.Get(api.HeaderReplayed) != "true" {
		t.Errorf("replayed: %q, %q", first.Header.Get(api.HeaderReplayed), again.Header.Get(api.HeaderReplayed))
	}
	other := send(t, s, "POST", "/workspaces", `{"name":"two"}`, api.HeaderIdempotencyKey, "k1")
	if p := problem(t, other); other.StatusCode != 400 || p.Field != "Idempotency-Key" {
		t.Errorf("same key, other body: %d %+v", other.StatusCode, p)
	}
	// A request that failed can be mended and repeated under its key.
	if resp := send(t, s, "POST", "/workspaces", `{"name":"one"}`, api.HeaderIdempotencyKey, "k2"); resp.StatusCode != 409 {
		t.Errorf("taken name: %d", resp.StatusCode)
	}
	ctx := within(t)
	c := s.Client(t)
	if err := c.Delete(ctx, "one", true); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { all, err := c.List(ctx); return err == nil && len(all) == 0 })
	if resp := send(t, s, "POST", "/workspaces", `{"name":"one"}`, api.HeaderIdempotencyKey, "k2"); resp.StatusCode != 201 {
		t.Errorf("the same after the name is free: %d", resp.StatusCode)
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen in time")
		}
	}
}

func TestLifeOverTheAPI(t *testing.T) {
	s := stand.New(t)
	ctx, c := within(t), s.Client(t)
	w := s.Start(t, "demo")
	step := func(what string, ask func(context.Context, string) (api.Workspace, error), want holt.State) {
		t.Helper()
		var seen []string
		w, err := ask(ctx, "demo")
		if err == nil {
			w, err = c.Await(ctx, w, want, func(w api.Workspace) { seen = append(seen, w.State) })
		}
		if err != nil || w.State != string(want) {
			t.Fatalf("%s: %s, %v (saw %v)", what, w.State, err, seen)
		}
	}
	step("suspend", c.Suspend, holt.Suspended)
	var d api.WorkspaceDetail
	eventually(t, func() bool { // the machine is let go of after the state says that it is safe
		var err error
		d, err = c.Get(ctx, "demo")
		return err == nil && d.Snapshot != nil && d.SandboxID == ""
	})
	step("resume", c.Resume, holt.Running)
	step("stop", c.Stop, holt.Stopped)
	step("wake", c.Wake, holt.Running)
	f, err := c.Fork(ctx, "demo", api.ForkWorkspace{Name: "copy"})
	if err == nil {
		f, err = c.Await(ctx, f, holt.Running, nil)
	}
	if err != nil || f.ForkedFrom != w.ID {
		t.Fatalf("fork: %+v, %v", f, err)
	}
	d, err = c.Get(ctx, w.ID)
	if err != nil || d.SandboxID == "" || d.Node != "node-1" || len(d.StateHistory) < 8 || d.StateHistory[0].State != string(holt.Queued) {
		t.Errorf("show: %+v, %v", d, err)
	}
	for i := 1; i < len(d.StateHistory); i++ {
		if d.StateHistory[i].Seq <= d.StateHistory[i-1].Seq {
			t.Errorf("history out of order at %d", i)
		}
	}
	if err := c.Delete(ctx, "copy", false); !holt.IsKind(err, holt.KindConflict) {
		t.Errorf("delete of a running one: %v", err)
	}
	if err := c.Delete(ctx, "copy", true); err != nil {
		t.Errorf("forced delete: %v", err)
	}
	eventually(t, func() bool { _, err := c.Get(ctx, "copy"); return holt.IsKind(err, holt.KindNotFound) })
}

func TestPages(t *testing.T) {
	s := stand.New(t)
	ctx, c := within(t), s.Client(t)
	for i := range 5 {
		if _, err := c.Create(ctx, api.CreateWorkspace{Name: fmt.Sprintf("w%d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for cursor := ""; ; {
		resp := send(t, s, "GET", "/workspaces?limit=2&cursor="+cursor, "")
		var page api.WorkspaceList
		decode(t, resp, &page)
		for _, w := range page.Items {
			names = append(names, w.Name)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if got := strings.Join(names, " "); got != "w0 w1 w2 w3 w4" {
		t.Errorf("pages hold %s", got)
	}
}

func TestEventsResume(t *testing.T) {
	s := stand.New(t)
	ctx, c := within(t), s.Client(t)
	w := s.Start(t, "demo")
	want, err := c.Log(ctx, "demo", 0)
	if err != nil || len(want) < 3 {
		t.Fatalf("%d events, %v", len(want), err)
	}
	// From the middle on: exactly the rest, then what happens next.
	from := want[1].Seq
	rest := want[2:]
	var got []api.Event
	live := false
	for e, err := range c.FollowLog(ctx, "demo", from) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
		if len(got) == len(rest) && !live {
			live = true
			if _, err := c.Suspend(ctx, "demo"); err != nil {
				t.Fatal(err)
			}
		}
		if e.State == string(holt.Suspended) {
			break
		}
	}
	for i, e := range rest {
		if got[i] != e {
			t.Errorf("event %d is %+v, want %+v", i, got[i], e)
		}
	}
	for i := 1; i < len(got); i++ {
		if got[i].Seq <= got[i-1].Seq || got[i].WorkspaceID != w.ID {
			t.Errorf("event %d: %+v after %d", i, got[i], got[i-1].Seq)
		}
	}
}

// A stream that starts now says at once where it stands, so that nothing is lost
// between two connections, and goes on by Last-Event-ID.
func TestEventStreamStartsWithItsNumber(t *testing.T) {
	s := stand.New(t)
	s.Start(t, "demo")
	last, err := s.Store.Events().Last(within(t))
	if err != nil {
		t.Fatal(err)
	}
	resp := send(t, s, "GET", "/events", "")
	want := fmt.Sprintf("retry: 1000\nid: %d\n\n", last)
	buf := make([]byte, len(want))
	if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != want {
		t.Errorf("stream starts with %q, want %q (%v)", buf, want, err)
	}
	resp = send(t, s, "GET", "/events?since=999999", "", "Last-Event-ID", "1")
	buf = make([]byte, len("retry: 1000\nid: 1\n\nid: 2\ndata: "))
	if _, err := io.ReadFull(resp.Body, buf); err != nil || !strings.HasSuffix(string(buf), "id: 2\ndata: ") {
		t.Errorf("resumed stream starts with %q (%v)", buf, err)
	}
}

func TestImages(t *testing.T) {
	s := stand.New(t)
	ctx, c := within(t), s.Client(t)
	var phases []string
	img, err := c.PullImage(ctx, api.PullImage{Reference: "debian:12"}, func(p api.Progress) { phases = append(phases, p.Phase) })
	if err != nil || img.Source != "debian:12" || len(phases) != 1 {
		t.Errorf("pull: %+v, %v, %v", img, phases, err)
	}
	_, err = c.BuildImage(ctx, api.BuildImage{Recipe: "broken"}, nil)
	if !holt.IsKind(err, holt.KindNoSpace) || !strings.Contains(err.Error(), "disk is full") {
		t.Errorf("build that fails: %v", err)
	}
	all, err := c.Images(ctx)
	if err != nil || len(all) != 1 {
		t.Errorf("images: %v, %v", all, err)
	}
}

func TestTokens(t *testing.T) {
	s := stand.New(t)
	ctx, c := within(t), s.Client(t)
	n, err := c.CreateToken(ctx, api.CreateToken{Name: "ci", Scope: "read", ExpiresInSeconds: 3600})
	if err != nil || n.Secret == "" || n.ExpiresAt.IsZero() {
		t.Fatalf("create: %+v, %v", n, err)
	}
	reader, err := client.New(client.Config{URL: s.URL, Token: n.Secret, Transport: c.HTTP().Transport})
	if err != nil {
		t.Fatal(err)
	}
	me, err := reader.Me(ctx)
	if err != nil || me.Scope != "read" || me.User != string(stand.Owner) || me.TokenID != n.ID {
		t.Errorf("me: %+v, %v", me, err)
	}
	if _, err := reader.Create(ctx, api.CreateWorkspace{Name: "x"}); !holt.IsKind(err, holt.KindForbidden) {
		t.Errorf("create with a read token: %v", err)
	}
	if err := c.RevokeToken(ctx, n.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Me(ctx); !holt.IsKind(err, holt.KindUnauthorized) || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("me with a revoked token: %v", err)
	}
}

// The cause of an internal error is for the log and not for the caller.
func TestCauseStaysInside(t *testing.T) {
	p := api.NewProblem(errors.New("dial tcp 10.0.0.2:7077: secret path"))
	if p.Status != 500 || strings.Contains(p.Detail, "10.0.0.2") {
		t.Errorf("%+v", p)
	}
}

func decode(t *testing.T, resp *http.Response, v any) {
	t.Helper()
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		t.Fatal(err)
	}
}
