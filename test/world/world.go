// Package world plays everything beyond the host for tests: a network namespace
// with a public address (TEST-NET-3, RFC 5737) that guests reach through the
// host, as they would reach the internet. Nothing leaves the machine.
package world

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/cgi"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
)

// World is one such namespace.
type World struct {
	Addr string // its address, as guests see it
	Host string // the host's address on the way there, which guests must not reach
	ns   string
}

// New makes a world that ends with the test. Several may exist at once.
func New(t testing.TB) *World {
	t.Helper()
	for k := range 62 {
		w := &World{
			Addr: fmt.Sprintf("203.0.113.%d", 4*k+1), Host: fmt.Sprintf("203.0.113.%d", 4*k+2),
			ns: fmt.Sprintf("holt-world-%d", k),
		}
		if ip("netns", "add", w.ns) != nil {
			continue // another test has this one
		}
		link := fmt.Sprintf("hworld%d", k)
		t.Cleanup(func() {
			if err := ip("netns", "del", w.ns); err != nil {
				t.Error(err)
			}
		})
		for _, args := range [][]string{
			{"link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", w.ns},
			{"addr", "add", w.Host + "/30", "dev", link},
			{"link", "set", link, "up"},
			{"-n", w.ns, "addr", "add", w.Addr + "/30", "dev", "eth0"},
			{"-n", w.ns, "link", "set", "eth0", "up"},
			{"-n", w.ns, "link", "set", "lo", "up"},
		} {
			if err := ip(args...); err != nil {
				t.Fatal(err)
			}
		}
		return w
	}
	t.Fatal("every test world is taken: remove leftovers with `ip netns del holt-world-N`")
	return nil
}

func ip(args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// Listen listens on a port of the world's address until the end of the test.
func (w *World) Listen(t testing.TB, port int) net.Listener {
	t.Helper()
	type result struct {
		l   net.Listener
		err error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread() // not unlocked: the thread ends with the goroutine
		ns, err := netns.GetFromName(w.ns)
		if err == nil {
			defer ns.Close()
			err = netns.Set(ns)
		}
		if err != nil {
			made <- result{nil, err}
			return
		}
		l, err := (&net.ListenConfig{}).Listen(context.WithoutCancel(t.Context()), "tcp4", fmt.Sprintf("%s:%d", w.Addr, port))
		made <- result{l, err}
	}()
	r := <-made
	if r.err != nil {
		t.Fatal(r.err)
	}
	t.Cleanup(func() { r.l.Close() })
	return r.l
}

// ServeGit serves the bare repositories below dir with git's own HTTP backend
// and returns the URL in front of their names.
func (w *World) ServeGit(t testing.TB, dir string) string {
	t.Helper()
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1"},
	}
	srv := &http.Server{Handler: backend, ReadHeaderTimeout: 10 * time.Second}
	l := w.Listen(t, 80)
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }() // ends with Close
	t.Cleanup(func() { srv.Close(); <-done })
	return "http://" + w.Addr
}
