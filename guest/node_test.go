package guest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/guest"
	"github.com/holt-ide/holt/guest/identity"
	"github.com/holt-ide/holt/wire/guest"
)

// Every route refuses a wrong secret, and knows a right one.
func TestRoutesNeedTheSecret(t *testing.T) {
	s := serve(t)
	tr := &http.Transport{DisableKeepAlives: true}
	ask := func(r guestwire.Route, secret string) int {
		path := strings.NewReplacer("{id}", "x", "{port}", "1").Replace(r.Pattern)
		// Ends the endless ones, and what is asked is mostly refused: only the
		// check of the secret counts.
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, r.Method, "http://"+s.addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if secret != "" {
			req.Header.Set(guestwire.SecretHeader, secret)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatalf("%s: %v", r.Name, err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for _, r := range append(guestwire.Routes(), guestwire.Route{Name: "unknown", Method: "GET", Pattern: "/v2"}) {
		for _, secret := range []string{"", "wrong", testSecret + "x", testSecret[:len(testSecret)-1]} {
			if got := ask(r, secret); got != http.StatusUnauthorized {
				t.Errorf("%s with secret %q: %d", r.Name, secret, got)
			}
		}
		if got := ask(r, testSecret); got == http.StatusUnauthorized || got == http.StatusInternalServerError ||
			(got == http.StatusNotFound) != (r.Name == "unknown" || r.Name == guestwire.RouteTerminalDelete || r.Name == guestwire.RouteTerminalAttach) {
			t.Errorf("%s with the secret: %d", r.Name, got)
		}
	}
}

func TestNewRefusesABadConfig(t *testing.T) {
	good := guestwire.Config{Secret: testSecret, User: "dev", Home: "/home/dev", Dir: "/workspace"}
	for field, spoil := range map[string]func(*guestwire.Config){
		"secret":    func(c *guestwire.Config) { c.Secret = "short" },
		"user":      func(c *guestwire.Config) { c.User = "" },
		"home":      func(c *guestwire.Config) { c.Home = "home" },
		"dir":       func(c *guestwire.Config) { c.Dir = "" },
		"uid":       func(c *guestwire.Config) { c.UID = -1 },
		"processes": func(c *guestwire.Config) { c.Processes = -1 },
	} {
		cfg := good
		spoil(&cfg)
		a, err := guest.New(cfg, guest.Options{})
		var e *holt.Error
		if !errors.As(err, &e) || e.Field != field {
			t.Errorf("%s: %v", field, err)
		}
		if a != nil {
			a.Close()
		}
	}
}

func TestThaw(t *testing.T) {
	root := t.TempDir()
	for _, d := range []string{"etc", "dev"} {
		if err := os.Mkdir(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(root+"/etc/hosts", []byte("127.0.0.1 localhost\n127.0.1.1 parent\n10.1.1.1 mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+"/dev/urandom", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var hostname string
	var clock time.Time
	machine := &identity.Machine{
		Root: root, Now: func() time.Time { return time.Unix(1000, 0) },
		SetHostname: func(name string) error { hostname = name; return nil },
		SetClock:    func(now time.Time) error { clock = now; return syscall.EPERM },
	}
	s := serve(t, func(_ *guestwire.Config, o *guest.Options) { o.Machine = machine })
	ctx := within(t)
	v := s.attach(t, "main", guestwire.Attach{Create: true})
	v.types("echo be''fore\n")
	v.shows("before")
	since := v.next

	thaw := guestwire.Thaw{
		Secret: "another-secret-of-length", Hostname: "child", MachineID: strings.Repeat("ab", 16), Name: "kid",
		TimeUnixNano: time.Unix(5000, 0).UnixNano(), Entropy: []byte("fresh"), WorkspaceID: holt.NewWorkspaceID(),
	}
	bad := thaw
	bad.Hostname = "a.b"
	_, err := s.Thaw(ctx, bad)
	wantKind(t, "bad host name", err, holt.KindInvalid)
	if _, err := s.Health(ctx); err != nil {
		t.Fatalf("a refused thaw changed the secret: %v", err)
	}
	res, err := s.Thaw(ctx, thaw)
	if err != nil {
		t.Fatal(err)
	}
	if res.ClockStep != -4000 || !clock.Equal(time.Unix(5000, 0)) || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "set clock") {
		t.Errorf("result %+v, clock set to %v", res, clock)
	}
	if res.Closed < 1 {
		t.Error("the viewer's connection was kept")
	}
	for err = nil; err == nil; {
		_, err = v.s.Receive(ctx)
	}
	wantKind(t, "the old viewer", err, holt.KindUnavailable)
	for name, want := range map[string]string{
		"etc/hostname": "child\n", "etc/machine-id": thaw.MachineID + "\n", "dev/urandom": "fresh",
		"etc/hosts": "127.0.0.1 localhost\n10.1.1.1 mine\n127.0.1.1 child\n",
	} {
		if b, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if hostname != "child" {
		t.Errorf("host name %q", hostname)
	}
	_, err = s.Health(ctx)
	wantKind(t, "the old secret", err, holt.KindUnauthorized)

	n := &served{Client: s.client(thaw.Secret), addr: s.addr}
	defer n.CloseIdle()
	h, err := n.Health(ctx)
	if err != nil || h.WorkspaceID != thaw.WorkspaceID || h.Thaws != 1 {
		t.Errorf("health %+v, %v", h, err)
	}
	if _, err := n.Thaw(ctx, thaw); err != nil { // again: nothing new
		t.Error(err)
	}
	if b, _ := os.ReadFile(root + "/etc/hosts"); strings.Count(string(b), "child") != 1 {
		t.Errorf("hosts after two thaws: %q", b)
	}
	// The shell lives, and nothing of its output is lost.
	v2 := n.attach(t, "main", guestwire.Attach{Since: &since})
	v2.types("echo af''ter\n")
	v2.shows("after")
	if v2.hello.Truncated || strings.Contains(v2.out.String(), "before") {
		t.Errorf("replay from %d: %+v %q", since, v2.hello, v2.out.String())
	}
	_, out, _ := n.run(t, sh("echo $HOLT_WORKSPACE"), nil)
	if out != "kid\n" {
		t.Errorf("name for new processes %q", out)
	}
	stop := errors.New("stop")
	var events []guestwire.Event
	err = n.Events(ctx, 0, func(e guestwire.Event) error {
		if events = append(events, e); len(events) == 2 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || events[0].Name != guestwire.EventThaw || events[1].Seq != 2 {
		t.Errorf("events %+v, %v", events, err)
	}
}

func TestPorts(t *testing.T) {
	s := serve(t)
	ctx := within(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	echoed := make(chan struct{})
	go func() {
		defer close(echoed)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		b, _ := io.ReadAll(c) // until the client's half-close
		c.Write(bytes.ToUpper(b))
	}()
	port := uint16(ln.Addr().(*net.TCPAddr).Port)
	list, err := s.Ports(ctx)
	if err != nil {
		t.Fatal(err)
	}
	own := uint16(0)
	if _, p, err := net.SplitHostPort(s.addr); err == nil {
		n, _ := strconv.Atoi(p)
		own = uint16(n)
	}
	found := false
	for _, p := range list {
		if p.Port == own {
			t.Errorf("the agent's own port is listed: %+v", p)
		}
		if p.Port == port {
			found = true
			if p.Address != "127.0.0.1" || p.PID != os.Getpid() || p.Process == "" {
				t.Errorf("port %+v", p)
			}
		}
	}
	if !found {
		t.Fatalf("port %d is not in %+v", port, list)
	}
	conn, err := s.DialPort(ctx, port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	want := strings.Repeat("HOLT", 100_000)
	if _, err := io.WriteString(conn, strings.ToLower(want)); err != nil {
		t.Fatal(err)
	}
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != want {
		t.Errorf("got %d bytes back, %v", len(got), err)
	}
	<-echoed
	st, err := s.Stats(ctx)
	if err != nil || st.Activity.Forwarded != 800_000 {
		t.Errorf("forwarded %d bytes, %v", st.Activity.Forwarded, err)
	}
	ln.Close()
	_, err = s.DialPort(ctx, port)
	wantKind(t, "nobody listens", err, holt.KindUnavailable)
	_, err = s.DialPort(ctx, own)
	wantKind(t, "the agent's own port", err, holt.KindForbidden)
}

func TestPortsOnIPv6Loopback(t *testing.T) {
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	defer ln.Close()
	s := serve(t)
	go func() {
		if c, err := ln.Accept(); err == nil {
			io.WriteString(c, "six")
			c.Close()
		}
	}()
	conn, err := s.DialPort(within(t), uint16(ln.Addr().(*net.TCPAddr).Port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "six" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestStats(t *testing.T) {
	s := serve(t)
	ctx := within(t)
	before, err := s.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	v := s.attach(t, "t", guestwire.Attach{Create: true})
	v.types("for i in $(seq 300000); do :; done; echo fin''ished\n")
	v.shows("finished")
	after, err := s.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	a := after.Activity
	if after.CPUSeconds <= before.CPUSeconds || after.Processes < 1 || after.MemoryTotal <= 0 || after.MemoryUsed <= 0 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if a.Terminals != 1 || a.Viewers != 1 || a.Input == 0 || a.Output == 0 || a.Requests <= before.Activity.Requests {
		t.Errorf("activity %+v", a)
	}
	if len(after.Disks) == 0 || after.Disks[0].Path != "/" || after.Disks[0].Total < after.Disks[0].Used || after.Disks[0].Total <= 0 {
		t.Errorf("disks %+v", after.Disks)
	}
}

func TestShutdownEndsEverything(t *testing.T) {
	s := serve(t)
	ctx := within(t)
	v := s.attach(t, "t", guestwire.Attach{Create: true})
	v.types("trap '' TERM HUP; sh -c 'trap \"\" TERM HUP; echo sl''eeping; while :; do sleep 1; done' &\n")
	v.shows("sleeping")
	session, err := s.Exec(ctx, sh("echo up; exec sleep 1000"))
	if err != nil {
		t.Fatal(err)
	}
	defer session.Abort()
	if _, err := session.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(ctx, 500*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	st, err := s.Stats(ctx)
	if err != nil || st.Processes != 0 {
		t.Errorf("%d processes left, %v", st.Processes, err)
	}
	if exit, err := session.Pump(ctx, nil, nil); err != nil || (exit.Signal != "SIGTERM" && exit.Signal != "SIGHUP") {
		t.Errorf("the command: %+v, %v", exit, err)
	}
	v.until("the terminal ends", func() bool { return v.exit != nil })
	if v.exit.Text != "SIGKILL" {
		t.Errorf("the stubborn shell ended by %q", v.exit.Text)
	}
}

func TestFreeze(t *testing.T) {
	s := serve(t)
	if err := s.Freeze(within(t)); err != nil {
		t.Fatal(err)
	}
}

// The relay's way: a client with a base URL and a header of its own.
func TestClientThroughARelay(t *testing.T) {
	s := serve(t)
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	c := guestwire.New(guestwire.Options{Base: "http://" + s.addr + "/", HTTP: &http.Client{Transport: tr},
		Header: func(h http.Header) { h.Set(guestwire.SecretHeader, testSecret) }})
	var out bytes.Buffer
	if exit, err := c.Run(within(t), sh("cat; exit 5"), strings.NewReader("in"), &out, nil); err != nil || exit.Code != 5 || out.String() != "in" {
		t.Errorf("%+v %q %v", exit, out.String(), err)
	}
	_, err := c.DialPort(within(t), 80)
	wantKind(t, "dial through a relay", err, holt.KindUnsupported)
	none := guestwire.NewDial(func(context.Context) (net.Conn, error) { return nil, errors.New("no way") }, func() string { return "" })
	_, err = none.Health(within(t))
	wantKind(t, "no connection", err, holt.KindUnavailable)
	_, err = none.Exec(within(t), sh("true"))
	wantKind(t, "no connection for a session", err, holt.KindUnavailable)
}

// Frames of any size and sense must not hurt the agent.
func TestSessionsRefuseBadFrames(t *testing.T) {
	s := serve(t)
	ctx := within(t)
	for name, msg := range map[string][]byte{
		"empty": {}, "unknown type": {0xff}, "short resize": {byte(guestwire.TypeResize), 0},
		"wrong direction": guestwire.Frame{Type: guestwire.TypeExit}.Append(nil),
		"too large":       append([]byte{byte(guestwire.TypeInput)}, make([]byte, guestwire.MaxFrame+1)...),
	} {
		for _, path := range []string{"/v1/terminals/main/attach?create=1", "/v1/exec"} {
			ws, _, err := websocket.Dial(ctx, "ws://"+s.addr+path, &websocket.DialOptions{HTTPHeader: http.Header{guestwire.SecretHeader: {testSecret}}})
			if err != nil {
				t.Fatal(err)
			}
			if path == "/v1/exec" {
				if err := ws.Write(ctx, websocket.MessageText, []byte(`{"cmd":["cat"],"stdin":true}`)); err != nil {
					t.Fatal(err)
				}
			}
			if err := ws.Write(ctx, websocket.MessageBinary, msg); err != nil {
				t.Fatal(err)
			}
			for err = nil; err == nil; {
				_, _, err = ws.Read(ctx)
			}
			if got := websocket.CloseStatus(err); got != websocket.StatusPolicyViolation && got != websocket.StatusMessageTooBig {
				t.Errorf("%s on %s: %v", name, path, err)
			}
			ws.CloseNow()
		}
	}
	http.DefaultClient.CloseIdleConnections()
	if _, err := s.Health(ctx); err != nil {
		t.Errorf("after bad frames: %v", err)
	}
}

func TestDetachedExecLivesOn(t *testing.T) {
	s := serve(t)
	ctx := within(t)
	session, err := s.Exec(ctx, guestwire.Exec{Cmd: []string{"sh", "-c", "echo $$; while [ ! -e go ]; do sleep 0.02; done; seq 100000; touch done"}, Detach: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	session.Abort()
	if err := os.WriteFile(s.dir+"/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has gone on to its end", func() bool { _, err := os.Stat(s.dir + "/done"); return err == nil })
}
