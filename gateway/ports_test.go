package gateway_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/test/stand"
)

// app is a program in a workspace: it shows what it was sent.
func app(t *testing.T) (port string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Set-Cookie", "mine=1; Domain=localhost; Path=/")
		w.Header().Add("Set-Cookie", "holt_session=fixed; Path=/")
		w.Header().Add("Set-Cookie", "holt_port=fixed; Path=/")
		fmt.Fprintf(w, "%s %s host=%s cookie=%q auth=%q fwd=%q", r.Method, r.URL, r.Host, r.Header.Get("Cookie"),
			r.Header.Get("Authorization"), r.Header.Get("X-Forwarded-Host"))
	})
	mux.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: one\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done() // the reader gets the first event although the answer never ends
	})
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		typ, b, err := c.Read(r.Context())
		if err == nil {
			c.Write(r.Context(), typ, append([]byte("echo "), b...))
		}
		c.Close(websocket.StatusNormalClosure, "")
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	_, port, _ = net.SplitHostPort(srv.Listener.Addr().String())
	return port
}

// portRequest asks a forwarded port as a browser that opens a page.
func portRequest(s *stand.Stand, method, host, path string) *http.Request {
	r := s.Request(method, path, "")
	_, port, _ := net.SplitHostPort(s.Addr)
	r.Host = host + ".localhost:" + port
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	return r
}

func text(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// visit follows a signed-in browser to a port and returns the port's cookie.
func visit(t *testing.T, s *stand.Stand, session *http.Cookie, host, path string) *http.Cookie {
	t.Helper()
	resp := s.Do(t, portRequest(s, "GET", host, path))
	to, err := resp.Location()
	if resp.StatusCode != http.StatusFound || err != nil || to.Host != s.Addr || to.Path != "/port-auth" {
		t.Fatalf("first visit: %s to %v", resp.Status, to)
	}
	r := s.Request("GET", to.RequestURI(), "")
	r.AddCookie(session)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	resp = s.Do(t, r)
	back, err := resp.Location()
	if resp.StatusCode != http.StatusFound || err != nil || !strings.HasPrefix(back.Host, host+".localhost:") {
		t.Fatalf("at the main origin: %s to %v", resp.Status, back)
	}
	resp = s.Do(t, portRequest(s, "GET", host, back.RequestURI()))
	if resp.StatusCode != http.StatusFound || resp.Header.Get("Location") != path || len(resp.Cookies()) != 1 {
		t.Fatalf("with the code: %s to %q", resp.Status, resp.Header.Get("Location"))
	}
	again := s.Do(t, portRequest(s, "GET", host, back.RequestURI()))
	if again.StatusCode != http.StatusUnauthorized || len(again.Cookies()) != 0 {
		t.Errorf("the code worked twice: %s", again.Status)
	}
	c := resp.Cookies()[0]
	if !c.HttpOnly || c.Domain != "" || c.SameSite != http.SameSiteLaxMode {
		t.Errorf("weak cookie %v", c)
	}
	return c
}

func TestForwardedPortForBrowsers(t *testing.T) {
	s := stand.New(t)
	s.Start(t, "demo")
	port := app(t)
	host := port + "--demo"
	session := login(t, s)
	c := visit(t, s, session, host, "/dir/page?q=1")

	r := portRequest(s, "GET", host, "/dir/page?q=1")
	r.AddCookie(c)
	r.AddCookie(session) // a browser would not send it here; if it did, it must not pass
	r.AddCookie(&http.Cookie{Name: "theirs", Value: "2"})
	r.Header.Set("Authorization", "Basic app")
	resp := s.Do(t, r)
	got := text(t, resp)
	want := fmt.Sprintf(`GET /dir/page?q=1 host=%s cookie="theirs=2" auth="Basic app" fwd=%q`, r.Host, r.Host)
	if resp.StatusCode != 200 || got != want {
		t.Errorf("got  %s %s\nwant %s", resp.Status, got, want)
	}
	if set := resp.Header.Values("Set-Cookie"); len(set) != 1 || strings.Contains(set[0], "Domain") || !strings.HasPrefix(set[0], "mine=1") {
		t.Errorf("cookies came through: %q", set)
	}

	// The cookie opens this port of this workspace and nothing else.
	for _, other := range []string{"1--demo", port + "--other", port + "--demo2"} {
		r := portRequest(s, "GET", other, "/")
		r.AddCookie(c)
		if resp := s.Do(t, r); resp.StatusCode != http.StatusFound {
			t.Errorf("cookie of %s at %s: %s", host, other, resp.Status)
		}
	}
	main := s.Request("GET", "/api/v1/me", "")
	main.AddCookie(&http.Cookie{Name: session.Name, Value: c.Value})
	if resp := s.Do(t, main); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("port cookie at the main origin: %s", resp.Status)
	}

	// Another origin cannot use the browser's cookie to change something.
	post := portRequest(s, "POST", host, "/")
	post.AddCookie(c)
	post.Header.Set("Sec-Fetch-Site", "cross-site")
	if resp := s.Do(t, post); resp.StatusCode != http.StatusForbidden {
		t.Errorf("foreign POST: %s", resp.Status)
	}
	post.Header.Set("Sec-Fetch-Site", "same-origin")
	if resp := s.Do(t, post); resp.StatusCode != http.StatusOK {
		t.Errorf("own POST: %s", resp.Status)
	}
}

func TestForwardedPortForPrograms(t *testing.T) {
	s := stand.New(t)
	s.Start(t, "demo")
	port := app(t)
	ask := func(path, token string) *http.Response {
		r := portRequest(s, "GET", port+"--demo", path)
		r.Header.Del("Accept")
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		return s.Do(t, r)
	}
	if resp := ask("/", ""); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("no token: %s", resp.Status)
	} else {
		problem(t, resp)
	}
	if resp := ask("/", s.Read); resp.StatusCode != http.StatusForbidden {
		t.Errorf("read token: %s", resp.Status)
	}
	if resp := ask("/", s.Expired); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("expired token: %s", resp.Status)
	}
	if got := text(t, ask("/", s.Admin)); !strings.Contains(got, `auth=""`) {
		t.Errorf("the program saw the token: %s", got)
	}
	resp := ask("/stream", s.Admin)
	first := make([]byte, len("data: one\n\n"))
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "data: one\n\n" {
		t.Errorf("stream: %q, %v", first, err)
	}
}

func TestForwardedWebSocketWakes(t *testing.T) {
	s := stand.New(t)
	s.Start(t, "demo")
	ctx, c := within(t), s.Client(t)
	w, err := c.Suspend(ctx, "demo")
	if err == nil {
		_, err = c.Await(ctx, w, holt.Suspended, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, lport, _ := net.SplitHostPort(s.Addr)
	ws, _, err := websocket.Dial(ctx, "ws://"+s.Addr+"/ws", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: c.HTTP().Transport}, Host: app(t) + "--demo.localhost:" + lport,
		HTTPHeader: http.Header{"Authorization": {"Bearer " + s.Admin}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	if err := ws.Write(ctx, websocket.MessageText, []byte("hi")); err != nil {
		t.Fatal(err)
	}
	if _, b, err := ws.Read(ctx); err != nil || string(b) != "echo hi" {
		t.Errorf("read %q, %v", b, err)
	}
}

func TestForwardedPortErrors(t *testing.T) {
	s := stand.New(t)
	s.Start(t, "demo")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, free, _ := net.SplitHostPort(ln.Addr().String())
	ln.Close()
	for _, c := range []struct {
		name, host string
		status     int
		says       string
	}{
		{"nothing listens", free + "--demo", 502, "nothing listens on port " + free + " in demo yet"},
		{"no workspace", "80--nobody", 404, "nobody"},
		{"port 0", "0--demo", 400, "not a port"},
		{"port too large", "65536--demo", 400, "not a port"},
		{"leading zero", "080--demo", 400, "not a port"},
		{"no port", "web--demo", 400, "not a port"},
		{"bad name", "80--de_mo", 400, "a-z"},
	} {
		r := portRequest(s, "GET", c.host, "/")
		r.Header.Set("Authorization", "Bearer "+s.Admin)
		resp := s.Do(t, r)
		if got := text(t, resp); resp.StatusCode != c.status || !strings.Contains(got, c.says) || !strings.Contains(got, "<!doctype html>") {
			t.Errorf("%s: %s %q, want %d with %q", c.name, resp.Status, got, c.status, c.says)
		}
	}
	// The page about a server that is not there yet tries again by itself.
	r := portRequest(s, "GET", free+"--demo", "/")
	r.Header.Set("Authorization", "Bearer "+s.Admin)
	if got := text(t, s.Do(t, r)); !strings.Contains(got, `http-equiv="refresh"`) {
		t.Errorf("no refresh in %q", got)
	}
}

// The handoff leads to forwarded ports and nowhere else.
func TestHandoffIsNoOpenRedirect(t *testing.T) {
	s := stand.New(t)
	s.Start(t, "demo")
	session := login(t, s)
	for _, c := range []struct{ port, name, path, want string }{
		{"80", "demo", "//evil.test/", "/"},
		{"80", "demo", "https://evil.test/", "/"},
		{"80", "demo", `/\evil.test`, "/"},
		{"80", "demo", "/.holt/auth?code=x", "/"},
		{"80", "demo", "/fine?x=1", "/fine?x=1"},
		{"80", "evil.test/x?", "/", ""},
		{"80@evil.test", "demo", "/", ""},
	} {
		r := s.Request("GET", "/port-auth?"+url.Values{"port": {c.port}, "workspace": {c.name}, "path": {c.path}}.Encode(), "")
		r.AddCookie(session)
		resp := s.Do(t, r)
		if c.want == "" {
			if resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%+v: %s", c, resp.Status)
			}
			continue
		}
		to, err := resp.Location()
		if err != nil || !strings.HasPrefix(to.Host, "80--demo.localhost:") || to.Query().Get("path") != c.want {
			t.Errorf("%+v: to %v", c, to)
		}
	}
	r := s.Request("GET", "/port-auth?port=80&workspace=demo&path=/", "")
	if resp := s.Do(t, r); resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("Location") != "" {
		t.Errorf("without a session: %s", resp.Status)
	}
}
