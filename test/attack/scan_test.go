package attack

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/holt-ide/holt/test/world"
)

// scan tries each address given and prints those that are open.
const scan = `
import concurrent.futures, socket, sys
def attempt(where):
    host, port = where.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), 2).close()
        return where
    except OSError:
        return None
with concurrent.futures.ThreadPoolExecutor(16) as pool:
    print(" ".join(w for w in pool.map(attempt, sys.argv[1:]) if w))
`

// portScan: of all that listens on the host and in the neighbour nothing can be
// reached, while the world beyond can.
func (f *field) portScan(t *testing.T) {
	w := world.New(t)
	open := fmt.Sprintf("%s:%d", w.Addr, serve(t, w.Listen(t, 80), nil))
	var knocks atomic.Int64
	all, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	trap := serve(t, all, &knocks)
	if _, err := f.run(t, neighbour, "", "(setsid python3 -m http.server 9099 --bind 0.0.0.0 >/dev/null 2>&1 &) ; until nc -z 127.0.0.1 9099; do sleep 0.1; done"); err != nil {
		t.Fatal(err)
	}
	targets := []string{"169.254.169.254:80", "100.100.100.200:80"}
	for _, addr := range hostAddrs(t, w.Host) {
		targets = append(targets, fmt.Sprintf("%s:%d", addr, trap), addr+":22", addr+f.s.URL[strings.LastIndexByte(f.s.URL, ':'):])
	}
	for _, addr := range gateways(t) { // the way to every sandbox of this host
		targets = append(targets, addr+":9099", addr+":7077")
	}
	since, rest := f.lastEvent(t), atRest(t, f.c, neighbour)
	watcher := watch(t, f.c, neighbour)
	for {
		out, err := f.python(t, attacker, "", scan, append([]string{open}, targets...)...)
		if err != nil || out != open {
			t.Errorf("of %d addresses these are open: %q, %v; want only %s, which is no secret", len(targets), out, err, open)
		}
		if watcher.count() >= least || t.Failed() {
			break
		}
	}
	during, err := watcher.finish()
	if err != nil {
		t.Errorf("neighbour's exec: %v", err)
	}
	judge(t, rest, during)
	if n := knocks.Load(); n != 0 {
		t.Errorf("the host was reached %d times", n)
	}
	f.named(t, since, "egress-blocked:the server itself", "egress-blocked:other workspaces", "egress-blocked:a metadata service")
	f.clean(t)
}

// serve accepts and counts connections until the listener closes, and returns
// its port.
func serve(t *testing.T, l net.Listener, count *atomic.Int64) int {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if count != nil {
				count.Add(1)
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().(*net.TCPAddr).Port
}

// hostAddrs returns the gateway that each guest sees and every IPv4 address of
// the host, the loopback excepted, which in the guest is the guest's own.
func hostAddrs(t *testing.T, more ...string) []string {
	t.Helper()
	list, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	addrs := append([]string{"10.0.0.1"}, more...)
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() && n.IP.String() != more[0] {
			addrs = append(addrs, n.IP.String())
		}
	}
	return addrs
}

// gateways returns the other end of each sandbox's uplink: one above the host's
// address on it.
func gateways(t *testing.T) []string {
	t.Helper()
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range links {
		if !strings.HasPrefix(l.Name, "holt") {
			continue
		}
		addrs, err := l.Addrs()
		if err != nil {
			continue // removed meanwhile, by another test
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil {
				ip := n.IP.To4()
				out = append(out, net.IPv4(ip[0], ip[1], ip[2], ip[3]+1).String())
			}
		}
	}
	if len(out) < 2 {
		t.Fatalf("uplinks %v: two machines run", out)
	}
	return out
}
