package network_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/holt-ide/holt/node/network"
)

// The tests run in a network namespace of their own, which plays the host, with
// a second one behind it that plays the world. Nothing leaves the machine.
const (
	insideEnv = "HOLT_NETWORK_TEST_INSIDE"
	world     = "203.0.113.1"   // TEST-NET-3 (RFC 5737)
	hostSide  = "203.0.113.254" // the host's own public address
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Println("skipped: network namespaces need root")
		return
	}
	if os.Getenv(insideEnv) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("unshare", append([]string{"-n", "--", os.Args[0]}, os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		os.Exit(1)
	}
}

func run(t *testing.T, line string) {
	t.Helper()
	f := strings.Fields(line)
	if out, err := exec.Command(f[0], f[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
}

// inside runs f on a thread in the namespace at path.
func inside(t *testing.T, path string, f func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // not unlocked: the thread ends with the goroutine
		ns, err := netns.GetFromPath(path)
		if err == nil {
			defer ns.Close()
			err = netns.Set(ns)
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// makeWorld connects a second namespace as everything beyond the host.
func makeWorld(t *testing.T) (path string) {
	t.Helper()
	name := fmt.Sprintf("holt-test-world-%d", os.Getpid())
	run(t, "ip netns add "+name)
	t.Cleanup(func() { run(t, "ip netns del "+name) })
	run(t, "ip link set lo up")
	run(t, "ip link add up0 type veth peer name eth0 netns "+name)
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", "up0").Run() })
	run(t, "ip addr add "+hostSide+"/24 dev up0")
	run(t, "ip link set up0 up")
	run(t, "ip route add default via "+world)
	for _, a := range []string{world + "/24", "169.254.169.254/32", "192.168.7.7/32", "198.51.100.53/32"} {
		run(t, "ip -n "+name+" addr add "+a+" dev eth0")
	}
	run(t, "ip -n "+name+" link set eth0 up")
	run(t, "ip -n "+name+" link set lo up")
	return "/run/netns/" + name
}

// listen answers "hello" on address in the namespace at path.
func listen(t *testing.T, path, address string) {
	t.Helper()
	var l net.Listener
	var err error
	listenHere := func() { l, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp4", address) }
	if path == "" {
		listenHere()
	} else {
		inside(t, path, listenHere)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello")
			c.Close()
		}
	}()
}

// reach tries address from inside the slot's sandbox.
func reach(t *testing.T, s network.Slot, address string) error {
	t.Helper()
	var err error
	inside(t, s.Sandbox(), func() {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		var c net.Conn
		if c, err = (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, "tcp4", address); err != nil {
			return
		}
		defer c.Close()
		var b []byte
		if b, err = io.ReadAll(c); err == nil && string(b) != "hello" {
			err = fmt.Errorf("answer %q", b)
		}
	})
	return err
}

func open(t *testing.T, owner string, keep ...int) *network.Pool {
	t.Helper()
	p, err := network.Open(t.Context(), network.Config{Owner: owner, Warm: 1, Nameservers: []netip.Addr{netip.MustParseAddr("192.168.7.7")}}, keep)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func get(t *testing.T, p *network.Pool, policy network.Policy) network.Slot {
	t.Helper()
	s, err := p.Get(t.Context(), policy)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Put(s); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestPolicy(t *testing.T) {
	far := makeWorld(t)
	for _, a := range []string{"0.0.0.0:80", "0.0.0.0:25", "0.0.0.0:53"} {
		listen(t, far, a)
	}
	listen(t, "", "0.0.0.0:80")
	p := open(t, t.Name())
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	s, other := get(t, p, network.Policy{Internet: true}), get(t, p, network.Policy{Internet: true})
	listen(t, other.Sandbox(), "0.0.0.0:80")

	if err := reach(t, s, world+":80"); err != nil {
		t.Errorf("the world: %v", err)
	}
	if err := reach(t, s, "192.168.7.7:53"); err != nil {
		t.Errorf("the name server in a private range: %v", err)
	}
	for what, address := range map[string]string{
		"the host's public address": hostSide + ":80",
		"the host's slot address":   fmt.Sprintf("10.213.%d.%d:80", s.Number*4/256, s.Number*4%256+1),
		"the gateway":               "10.0.0.1:80",
		"a neighbour's uplink":      fmt.Sprintf("10.213.%d.%d:80", other.Number*4/256, other.Number*4%256+2),
		"the metadata service":      "169.254.169.254:80",
		"a private address":         "192.168.7.7:80",
		"mail":                      world + ":25",
	} {
		if err := reach(t, s, address); err == nil {
			t.Errorf("%s (%s) was reached", what, address)
		}
	}
	b, err := s.Blocked()
	if err != nil || b.Host < 2 || b.Private < 2 || b.Metadata < 1 || b.SMTP < 1 {
		t.Errorf("counters: %+v, %v", b, err)
	}
	closed := get(t, p, network.Policy{})
	if err := reach(t, closed, world+":80"); err == nil {
		t.Error("policy none reached the world")
	}
}

func TestHostAddressAddedLaterIsRefused(t *testing.T) {
	makeWorld(t)
	p := open(t, t.Name())
	defer p.Close()
	s := get(t, p, network.Policy{Internet: true})
	run(t, "ip addr add 198.51.100.9/32 dev up0")
	listen(t, "", "198.51.100.9:80")
	if err := reach(t, s, "198.51.100.9:80"); err == nil {
		t.Error("an address that the host got later was reached")
	}
}

func TestBandwidthCap(t *testing.T) {
	far := makeWorld(t)
	const size, rate = 3 << 20, 2 << 20
	inside(t, far, func() {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", world+":81")
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write(make([]byte, size))
				c.Close()
			}
		}()
	})
	p := open(t, t.Name())
	defer p.Close()
	s := get(t, p, network.Policy{Internet: true, Bandwidth: rate})
	begin := time.Now()
	inside(t, s.Sandbox(), func() {
		c, err := (&net.Dialer{FallbackDelay: -1}).DialContext(t.Context(), "tcp4", world+":81")
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if n, err := io.Copy(io.Discard, c); n != size {
			t.Errorf("received %d of %d: %v", n, size, err)
		}
	})
	// The bucket lets half a second of traffic through at once.
	if least, took := time.Second*(size-rate/2)/rate*9/10, time.Since(begin); took < least {
		t.Errorf("%d bytes at %d/s took %v, want at least %v", size, rate, took, least)
	}
}

func TestReclaimAfterCrash(t *testing.T) {
	makeWorld(t)
	p := open(t, t.Name())
	kept, lost := get(t, p, network.Policy{}), get(t, p, network.Policy{})
	// The process "crashes": nobody calls Put or Close.
	again := open(t, t.Name(), kept.Number)
	defer again.Close()
	if _, ok := again.Slot(kept.Number, kept.Tag); !ok {
		t.Error("the slot in use was reclaimed")
	}
	if _, ok := again.Slot(lost.Number, lost.Tag); ok {
		t.Error("the lost slot is still there")
	}
	if _, err := os.Stat(lost.Sandbox()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("namespace of the lost slot: %v", err)
	}
	if _, ok := open2(t).Slot(kept.Number, kept.Tag); ok {
		t.Error("another owner sees our slot as its own")
	}
	_ = p.Close() // its ready slots are the second pool's by now or gone
}

// A slot that is given back twice does not take the next one with its number along.
func TestPutTwice(t *testing.T) {
	p, err := network.Open(t.Context(), network.Config{Owner: t.Name()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	first := get(t, p, network.Policy{})
	if err := p.Put(first); err != nil {
		t.Fatal(err)
	}
	next := get(t, p, network.Policy{})
	if next.Number != first.Number {
		t.Fatalf("the free number %d was passed over for %d", first.Number, next.Number)
	}
	if err := p.Put(first); err != nil {
		t.Fatal(err)
	}
	if _, ok := p.Slot(next.Number, next.Tag); !ok {
		t.Error("the second slot was destroyed with the first")
	}
}

func open2(t *testing.T) *network.Pool {
	t.Helper()
	p := open(t, t.Name()+"-other")
	t.Cleanup(func() { _ = p.Close() })
	return p
}
