package gateway_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/gateway"
	"github.com/holt-ide/holt/test/stand"
	guestwire "github.com/holt-ide/holt/wire/guest"
)

func TestExecThroughTheRelay(t *testing.T) {
	s := stand.New(t)
	s.Start(t, "demo")
	ctx, g := within(t), s.Client(t).Guest("demo", true)
	var out, errs bytes.Buffer
	exit, err := g.Run(ctx, guestwire.Exec{Cmd: []string{"sh", "-c", "cat; echo oops >&2; exit 7"}}, strings.NewReader("hello"), &out, &errs)
	if err != nil || exit.Code != 7 || out.String() != "hello" || errs.String() != "oops\n" {
		t.Errorf("exit %+v, %v, out %q, err %q", exit, err, &out, &errs)
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	out.Reset()
	if exit, err := g.Run(ctx, guestwire.Exec{Cmd: []string{"cat"}}, bytes.NewReader(big), &out, nil); err != nil || exit.Code != 0 || !bytes.Equal(out.Bytes(), big) {
		t.Errorf("1 MiB through cat: exit %+v, %v, %d bytes", exit, err, out.Len())
	}
}

func TestFilesThroughTheRelay(t *testing.T) {
	s := stand.New(t)
	s.Start(t, "demo")
	ctx, g := within(t), s.Client(t).Guest("demo", true)
	page := "<script>alert(document.cookie)</script>"
	info, err := g.Write(ctx, "evil.html", strings.NewReader(page), guestwire.WriteOptions{New: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Write(ctx, "evil.html", strings.NewReader("x"), guestwire.WriteOptions{New: true}); !holt.IsKind(err, holt.KindConflict) {
		t.Errorf("write over a file: %v", err)
	}
	resp := s.Do(t, s.Request("GET", "/w/demo/v1/files/content?path=evil.html", s.Admin))
	body, _ := io.ReadAll(resp.Body)
	if string(body) != page || resp.Header.Get("Etag") != info.ETag {
		t.Errorf("read %q with ETag %q, want %q", body, resp.Header.Get("Etag"), info.ETag)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/octet-stream", "X-Content-Type-Options": "nosniff", "Content-Disposition": "attachment",
		"Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
	} {
		if got := resp.Header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// evilGuest answers everything that a guest could try against our origin.
func evilGuest(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		for k := range r.Header { // what leaked in
			h.Add("Etag", k)
		}
		h.Set("Link", "</steal.js>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		h.Set("Content-Type", "text/html")
		h.Set("Set-Cookie", "holt_session=fixed; Path=/")
		h.Set("Location", "http://evil.test/")
		h.Set("Refresh", "0; url=http://evil.test/")
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Clear-Site-Data", `"cookies"`)
		h.Set("Service-Worker-Allowed", "/")
		h.Set("Content-Security-Policy", "script-src *")
		h.Set("Etag", strings.Join(h.Values("Etag"), " "))
		w.WriteHeader(http.StatusFound)
		fmt.Fprint(w, "<script>1</script>")
	})}
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(ln) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return ln
}

// evilNode leads to an evil guest.
type evilNode struct {
	gateway.Node
	addr string
}

func (n evilNode) Dial(ctx context.Context, _ holt.SandboxID) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", n.addr)
}

func TestHostileGuestReachesNothing(t *testing.T) {
	ln := evilGuest(t)
	s := stand.New(t, func(c *gateway.Config) { c.Node = evilNode{c.Node, ln.Addr().String()} })
	s.Start(t, "demo")
	r := s.Request("GET", "/w/demo/v1/files/content?path=x", s.Admin)
	r.Header.Set("Cookie", "holt_session=mine; other=1")
	r.Header.Set("X-Forwarded-For", "1.2.3.4")
	resp := s.Do(t, r)
	for _, name := range []string{"Set-Cookie", "Location", "Refresh", "Access-Control-Allow-Origin", "Clear-Site-Data", "Service-Worker-Allowed", "Link"} {
		if v := resp.Header.Get(name); v != "" {
			t.Errorf("%s came through: %q", name, v)
		}
	}
	if ct, csp := resp.Header.Get("Content-Type"), resp.Header.Get("Content-Security-Policy"); ct != "application/octet-stream" || !strings.HasPrefix(csp, "sandbox") {
		t.Errorf("type %q, policy %q", ct, csp)
	}
	saw := resp.Header.Get("Etag")
	for _, name := range []string{"Cookie", "Authorization", "X-Forwarded-For"} {
		if strings.Contains(saw, name) {
			t.Errorf("the guest saw our %s (it saw %s)", name, saw)
		}
	}
	if !strings.Contains(saw, guestwire.SecretHeader) {
		t.Errorf("the guest did not get its secret (it saw %q)", saw)
	}
	// An upgrade that the guest refuses is an error and not a stream.
	up := s.Request("GET", "/w/demo/v1/exec", s.Admin)
	up.Header.Set("Connection", "Upgrade")
	up.Header.Set("Upgrade", "websocket")
	if resp := s.Do(t, up); resp.StatusCode < 400 {
		t.Errorf("refused upgrade: %s", resp.Status)
	} else {
		problem(t, resp)
	}
}

// read collects the output of a terminal until it contains want, and returns the
// number of the next byte.
func read(ctx context.Context, t *testing.T, ss *guestwire.Session, got *bytes.Buffer, want string) (next uint64) {
	t.Helper()
	for !strings.Contains(got.String(), want) {
		f, err := ss.Receive(ctx)
		if err != nil {
			t.Fatalf("waiting for %q after %q: %v", want, got, err)
		}
		switch f.Type {
		case guestwire.TypeHello:
			if f.Truncated {
				t.Error("output is missing")
			}
			next = f.Seq
		case guestwire.TypeOutput:
			if f.Seq != next {
				t.Errorf("output at %d, want %d", f.Seq, next)
			}
			next = f.Seq + uint64(len(f.Data))
			got.Write(f.Data)
		}
	}
	return next
}

func TestTerminalSurvivesSuspend(t *testing.T) {
	s := stand.New(t)
	s.Start(t, "demo")
	ctx, c := within(t), s.Client(t)
	ss, err := c.Guest("demo", true).Attach(ctx, "main", guestwire.Attach{Create: true, Cols: 80, Rows: 24})
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	input := func(text string) {
		t.Helper()
		if err := ss.Send(ctx, guestwire.Frame{Type: guestwire.TypeInput, Data: []byte(text)}); err != nil {
			t.Fatal(err)
		}
	}
	input("x=4; echo before$((x+1))\n")
	next := read(ctx, t, ss, &got, "before5")

	w, err := c.Suspend(ctx, "demo")
	if err == nil {
		_, err = c.Await(ctx, w, holt.Suspended, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	for err == nil { // the relay ends with the machine
		_, err = ss.Receive(ctx)
	}
	// One that connects again by itself does not wake it, a user does.
	if _, err := c.Guest("demo", false).Attach(ctx, "main", guestwire.Attach{Since: &next}); !holt.IsKind(err, holt.KindConflict) || !strings.Contains(err.Error(), "suspended") {
		t.Errorf("attach without waking: %v", err)
	}
	if ss, err = c.Guest("demo", true).Attach(ctx, "main", guestwire.Attach{Since: &next}); err != nil {
		t.Fatal(err)
	}
	defer ss.Abort()
	got.Reset()
	input("echo after$((x+2))\n")
	read(ctx, t, ss, &got, "after6")
	if strings.Contains(got.String(), "before") {
		t.Errorf("output was repeated: %q", &got)
	}
}

func TestRawPort(t *testing.T) {
	s := stand.New(t)
	w := s.Start(t, "demo")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { // answers after the end of what it is asked: half-close has to pass
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		all, _ := io.ReadAll(conn)
		fmt.Fprintf(conn, "got %d", len(all))
	})
	port := uint16(ln.Addr().(*net.TCPAddr).Port)
	conn, err := s.Client(t).DialPort(within(t), "demo", port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	eventually(t, func() bool { return s.Gateway.Connections(holt.WorkspaceID(w.ID)) == 1 })
	if _, err := conn.Write(bytes.Repeat([]byte("x"), 100_000)); err != nil {
		t.Fatal(err)
	}
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "got 100000" {
		t.Errorf("answer %q, %v", got, err)
	}
	eventually(t, func() bool { return s.Gateway.Connections(holt.WorkspaceID(w.ID)) == 0 })

	ln.Close()
	if _, err := s.Client(t).DialPort(within(t), "demo", port); err == nil || !strings.Contains(err.Error(), fmt.Sprint(port)) {
		t.Errorf("dial of a closed port: %v", err)
	}
	resp := s.Do(t, s.Request("GET", fmt.Sprintf("/w/demo/port/%d", port), s.Admin))
	if p := problem(t, resp); resp.StatusCode != http.StatusUpgradeRequired || p.Field != "Upgrade" {
		t.Errorf("no upgrade: %d %+v", resp.StatusCode, p)
	}
}

func TestRelayLimit(t *testing.T) {
	s := stand.New(t, func(c *gateway.Config) { c.MaxRelays = 2 })
	s.Start(t, "demo")
	ctx, g := within(t), s.Client(t).Guest("demo", true)
	for i := range 2 {
		ss, err := g.Attach(ctx, holt.TerminalID(fmt.Sprintf("t%d", i)), guestwire.Attach{Create: true})
		if err != nil {
			t.Fatal(err)
		}
		defer ss.Abort()
	}
	_, err := g.Terminals(ctx)
	if !holt.IsKind(err, holt.KindLimit) || !strings.Contains(err.Error(), "2 open") {
		t.Errorf("third relay: %v", err)
	}
}

// Shutdown ends open streams at once instead of waiting for them.
func TestShutdownEndsStreams(t *testing.T) {
	s := stand.New(t)
	s.Start(t, "demo")
	ctx, c := within(t), s.Client(t)
	ss, err := c.Guest("demo", true).Attach(ctx, "main", guestwire.Attach{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer ss.Abort()
	events := send(t, s, "GET", "/events", "")
	if events.StatusCode != 200 {
		t.Fatal(events.Status)
	}
	down, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := s.Gateway.Shutdown(down); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	for err == nil {
		_, err = ss.Receive(ctx)
	}
	if _, err := io.Copy(io.Discard, events.Body); ctx.Err() != nil {
		t.Errorf("event stream: %v", err)
	}
	if _, err := c.Get(ctx, "demo"); !holt.IsKind(err, holt.KindUnavailable) {
		t.Errorf("get from a closed gateway: %v", err)
	}
}
