package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/api/client"
	"github.com/holt-ide/holt/test/server"
	guestwire "github.com/holt-ide/holt/wire/guest"
)

// rounds is how often each quantity is measured; HOLT_BENCH may hold another number.
func rounds() int {
	if n, err := strconv.Atoi(os.Getenv("HOLT_BENCH")); err == nil && n > 1 {
		return n
	}
	return 15
}

// rig is the server under measurement.
type rig struct {
	*testing.T
	s *server.Server
	c *client.Client
	b *bare
	n int
}

// TestBench prints the tables. It runs only when asked for: HOLT_BENCH=1.
func TestBench(t *testing.T) {
	if os.Getenv("HOLT_BENCH") == "" {
		t.Skip("measures for minutes; run `make bench`")
	}
	s := server.New(t)
	s.Flags = append(s.Flags, "--pool-size", "40g")
	s.Start(t)
	c, err := client.New(client.Config{URL: s.URL, Token: s.Token})
	if err != nil {
		t.Fatal(err)
	}
	images, err := c.Images(t.Context())
	if err != nil || len(images) == 0 {
		t.Fatalf("no image: %v; run `make image` first", err)
	}
	r := &rig{T: t, s: s, c: c, b: newBare(t, filepath.Dir(s.Dir), filepath.Join(s.Dir, "images", images[0].ID+".erofs"))}
	fmt.Printf("load before: %s\n\n", load())
	for _, part := range []func() table{
		r.start("prepared sandbox"), r.execAndEcho, r.suspendResume(64, "prepared sandbox"), r.suspendResume(512, "prepared sandbox"),
		r.fork, r.idle, r.thirty,
	} {
		part().print(os.Stdout)
		fmt.Println()
	}
	s.Stop(t)
	s.Flags = append(s.Flags, "--prepared", "0")
	s.Start(t)
	if r.c, err = client.New(client.Config{URL: s.URL, Token: s.Token}); err != nil {
		t.Fatal(err)
	}
	for _, part := range []func() table{r.start("nothing prepared"), r.suspendResume(64, "nothing prepared")} {
		part().print(os.Stdout)
		fmt.Println()
	}
	fmt.Printf("load after: %s\n", load())
}

func (r *rig) name() string { r.n++; return fmt.Sprintf("bench-%d", r.n) }

// create makes a workspace and returns when it runs.
func (r *rig) create(name string) {
	r.Helper()
	w, err := r.c.Create(r.Context(), api.CreateWorkspace{Name: name})
	if err != nil {
		r.Fatal(err)
	}
	r.await(w, holt.Running)
}

func (r *rig) await(w api.Workspace, want holt.State) {
	r.Helper()
	if _, err := r.c.Await(r.Context(), w, want, nil); err != nil {
		r.Fatalf("%s: %v", w.Name, err)
	}
}

func (r *rig) remove(name string) {
	r.Helper()
	if err := r.c.Delete(r.Context(), name, true); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) exec(name string, cmd ...string) string {
	r.Helper()
	var out bytes.Buffer
	exit, err := r.c.Guest(name, true).Run(r.Context(), guestwire.Exec{Cmd: cmd}, nil, &out, &out)
	if err != nil || exit.Code != 0 {
		r.Fatalf("%v: %v, code %d: %s", cmd, err, exit.Code, out.String())
	}
	return strings.TrimSpace(out.String())
}

// fill makes a process hold mib MiB of random memory.
const fill = `import os,sys,time; b=os.urandom(%d<<20); open("/tmp/filled","w").write("x"); time.sleep(1e6)`

func (r *rig) fill(name string, mib int) {
	r.Helper()
	s, err := r.c.Guest(name, true).Exec(r.Context(), guestwire.Exec{Cmd: []string{"python3", "-c", fmt.Sprintf(fill, mib)}, Detach: true})
	if err != nil {
		r.Fatal(err)
	}
	s.Abort()
	r.exec(name, "sh", "-c", "while [ ! -e /tmp/filled ]; do sleep 0.1; done")
}

// settle waits until the server has done what it does when nobody waits: release
// what is not needed any more, prepare the next sandbox. Every measured step
// starts from there, ours and the peer's.
func settle() { time.Sleep(time.Second) }

// start measures a new workspace.
func (r *rig) start(how string) func() table {
	return func() table {
		ours := &series{name: "start to first exec, " + how}
		peer := &series{name: "netns, mkfs, mount, runsc run, exec"}
		for range rounds() {
			name := r.name()
			settle()
			begin := time.Now()
			r.create(name)
			r.exec(name, "true")
			ours.add(time.Since(begin))
			r.remove(name)

			settle()
			begin = time.Now()
			c := r.b.make(r.T, "")
			c.start()
			c.exec("/bin/true")
			peer.add(time.Since(begin))
			c.end()
		}
		return table{{ours, peer, "< 600 ms, ratio < 1.2"}}
	}
}

func (r *rig) execAndEcho() table {
	name := r.name()
	r.create(name)
	defer r.remove(name)
	ours, peer := &series{name: "exec round trip"}, &series{name: "runsc exec"}
	c := r.b.make(r.T, "")
	c.start()
	for range 10 * rounds() {
		begin := time.Now()
		r.exec(name, "true")
		ours.add(time.Since(begin))
		peer.add(c.execTime())
	}
	c.end()
	return table{{ours, peer, "ratio < 1.2"}, r.echo(name)}
}

// echo types into a terminal that shows what is typed, and beside it into a PTY of the host.
func (r *rig) echo(name string) row {
	ours, peer := &series{name: "terminal echo, through gateway and sandbox"}, &series{name: "PTY of the host"}
	ctx := r.Context()
	session, err := r.c.Guest(name, true).Attach(ctx, "bench", guestwire.Attach{Create: true, Cols: 80, Rows: 24})
	if err != nil {
		r.Fatal(err)
	}
	defer session.Abort()
	host, tty, err := pty.Open()
	if err != nil {
		r.Fatal(err)
	}
	defer host.Close()
	defer tty.Close()
	session2 := func(data string) error {
		return session.Send(ctx, guestwire.Frame{Type: guestwire.TypeInput, Data: []byte(data)})
	}
	if err := session2("stty -icanon; exec cat >/dev/null\n"); err != nil {
		r.Fatal(err)
	}
	time.Sleep(time.Second) // the shell has become cat; its prompt and echo are read below
	frames := make(chan guestwire.Frame, 64)
	go func() {
		defer close(frames)
		for {
			f, err := session.Receive(ctx)
			if err != nil {
				return
			}
			if f.Type == guestwire.TypeOutput {
				frames <- f
			}
		}
	}()
	for drained := false; !drained; {
		select {
		case <-frames:
		case <-time.After(300 * time.Millisecond):
			drained = true
		}
	}
	buf := make([]byte, 16)
	for i := range 40 * rounds() {
		key := string(rune('a' + i%26))
		begin := time.Now()
		if err := session2(key); err != nil {
			r.Fatal(err)
		}
		f := <-frames
		ours.add(time.Since(begin))
		if err := session.Send(ctx, guestwire.Frame{Type: guestwire.TypeAck, Seq: f.Seq + uint64(len(f.Data))}); err != nil {
			r.Fatal(err)
		}
		begin = time.Now()
		if _, err := host.WriteString(key); err != nil {
			r.Fatal(err)
		}
		if _, err := host.Read(buf); err != nil {
			r.Fatal(err)
		}
		peer.add(time.Since(begin))
	}
	return row{ours, peer, "p99 < 20 ms"}
}

func (r *rig) suspendResume(mib int, how string) func() table {
	return func() table {
		suspend := &series{name: fmt.Sprintf("suspend, %d MiB touched", mib)}
		resume := &series{name: fmt.Sprintf("resume to first exec, %d MiB, %s", mib, how)}
		peerS := &series{name: "runsc checkpoint + fsync"}
		peerW := &series{name: "runsc pause, checkpoint --leave-running, copy of the volume, fsync"}
		peerR := &series{name: "netns, copy, mount, runsc restore, exec"}
		name := r.name()
		r.create(name)
		r.fill(name, mib)
		defer r.remove(name)
		filler := []string{"/usr/bin/python3", "-c", fmt.Sprintf(fill, mib)}
		c := r.b.make(r.T, "", filler...)
		c.start()
		r.awaitFilled(c)
		image, files := filepath.Join(r.b.dir, "image"), filepath.Join(r.b.dir, "files.img")
		for range max(5, rounds()*32/max(mib, 32)) {
			settle()
			begin := time.Now()
			w, err := r.c.Suspend(r.Context(), name)
			if err != nil {
				r.Fatal(err)
			}
			r.await(w, holt.Suspended)
			suspend.add(time.Since(begin))
			settle()
			begin = time.Now()
			if w, err = r.c.Resume(r.Context(), name); err != nil {
				r.Fatal(err)
			}
			r.await(w, holt.Running)
			r.exec(name, "true")
			resume.add(time.Since(begin))

			if err := os.RemoveAll(image); err != nil {
				r.Fatal(err)
			}
			// The same work: memory and files of one moment, and a machine that
			// runs on should anything fail.
			settle()
			begin = time.Now()
			c.runsc("pause", c.id)
			c.checkpoint(image, "--leave-running")
			c.run("sync", "-f", c.mount)
			c.run("cp", "--sparse=always", "--reflink=auto", c.volume, files)
			r.sync(image)
			c.run("sync", files)
			peerW.add(time.Since(begin))
			c.runsc("resume", c.id)
			if err := os.RemoveAll(image); err != nil {
				r.Fatal(err)
			}

			settle()
			begin = time.Now()
			c.checkpoint(image)
			r.sync(image)
			peerS.add(time.Since(begin))
			settle()
			begin = time.Now()
			next := r.b.make(r.T, c.volume, filler...)
			next.restore(image)
			next.exec("/bin/true")
			peerR.add(time.Since(begin))
			c.end()
			c = next
		}
		c.end()
		target := "ratio < 1.2"
		if mib == 64 && how != "nothing prepared" {
			target = "p50 < 250 ms, ratio < 1.2"
		}
		return table{{suspend, peerW, "ratio < 1.2"}, {suspend, peerS, ""}, {resume, peerR, target}}
	}
}

func (r *rig) awaitFilled(c *container) {
	r.Helper()
	for range 300 {
		if strings.Contains(c.exec("/bin/sh", "-c", "ls /tmp"), "filled") {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	r.Fatal("the container did not fill its memory")
}

// sync flushes every file of a directory.
func (r *rig) sync(dir string) {
	r.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		r.Fatal(err)
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			r.Fatal(err)
		}
		if err := unix.Fsync(int(f.Fd())); err != nil {
			r.Fatal(err)
		}
		f.Close()
	}
}

// gaps prints the longest time in ms during which it did not run, every time it is asked.
const gaps = `
import time,os
last=time.monotonic(); worst=0.0
while True:
    now=time.monotonic(); worst=max(worst,now-last); last=now
    if os.path.exists("/tmp/ask"):
        os.unlink("/tmp/ask"); open("/tmp/told.new","w").write("%.1f"%(worst*1000)); os.rename("/tmp/told.new","/tmp/told"); worst=0.0; last=time.monotonic()
    time.sleep(0.002)
`

func (r *rig) fork() table {
	total := &series{name: "fork to first exec in the copy, 64 MiB"}
	pause := &series{name: "longest standstill of the source", unit: "ms"}
	quiet := &series{name: "the same without a fork", unit: "ms"}
	name := r.name()
	r.create(name)
	defer r.remove(name)
	r.fill(name, 64)
	s, err := r.c.Guest(name, true).Exec(r.Context(), guestwire.Exec{Cmd: []string{"python3", "-c", gaps}, Detach: true})
	if err != nil {
		r.Fatal(err)
	}
	s.Abort()
	ask := func() float64 {
		r.Helper()
		v, err := strconv.ParseFloat(r.exec(name, "sh", "-c", "rm -f /tmp/told; touch /tmp/ask; while [ ! -e /tmp/told ]; do sleep 0.02; done; cat /tmp/told"), 64)
		if err != nil {
			r.Fatal(err)
		}
		return v
	}
	for range rounds() {
		ask()
		time.Sleep(500 * time.Millisecond)
		quiet.values = append(quiet.values, ask())
		copied := r.name()
		settle()
		begin := time.Now()
		w, err := r.c.Fork(r.Context(), name, api.ForkWorkspace{Name: copied})
		if err != nil {
			r.Fatal(err)
		}
		r.await(w, holt.Running)
		r.exec(copied, "true")
		total.add(time.Since(begin))
		pause.values = append(pause.values, ask())
		r.remove(copied)
	}
	return table{{total, nil, "< 1000 ms"}, {pause, quiet, "< 150 ms"}}
}

// idle measures what a workspace costs that does nothing.
func (r *rig) idle() table {
	const count = 8
	ours := &series{name: fmt.Sprintf("memory of an idle workspace, of %d", count), unit: "MiB"}
	peer := &series{name: "runsc, sleep", unit: "MiB"}
	var names []string
	for range count {
		names = append(names, r.name())
		r.create(names[len(names)-1])
	}
	c := r.b.make(r.T, "")
	c.start()
	time.Sleep(5 * time.Second) // caches of the start are given back
	for _, name := range names {
		w, err := r.c.Get(r.Context(), name)
		if err != nil {
			r.Fatal(err)
		}
		ours.values = append(ours.values, r.pss(r.s.Unit(r.T, w.SandboxID)))
		r.remove(name)
	}
	peer.values = append(peer.values, r.pss(c.id))
	c.end()
	return table{{ours, peer, ""}}
}

// pss adds up the proportional memory of every process that belongs to a sandbox, in MiB.
func (r *rig) pss(id string) float64 {
	r.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		r.Fatal(err)
	}
	sum := 0.0
	for _, dir := range dirs {
		group, err := os.ReadFile(filepath.Join(dir, "cgroup"))
		if err != nil || !strings.Contains(string(group), id) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, "smaps_rollup"))
		if err != nil {
			continue // it has ended
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "Pss:" {
				kib, err := strconv.ParseFloat(f[1], 64)
				if err != nil {
					r.Fatal(err)
				}
				sum += kib / 1024
			}
		}
	}
	return sum
}

// thirty starts a class of students at once.
func (r *rig) thirty() table {
	const count = 30
	each := &series{name: fmt.Sprintf("start of one of %d at once, to first exec", count)}
	all := &series{name: fmt.Sprintf("all %d", count)}
	peer := &series{name: fmt.Sprintf("%d × cold start by hand, one after the other", count)}
	var wg sync.WaitGroup
	var mu sync.Mutex
	names := make([]string, count)
	for i := range names {
		names[i] = r.name()
	}
	begin := time.Now()
	for _, name := range names {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(r.Context(), 5*time.Minute)
			defer cancel()
			w, err := r.c.Create(ctx, api.CreateWorkspace{Name: name, Limits: nil})
			if err == nil {
				_, err = r.c.Await(ctx, w, holt.Running, nil)
			}
			if err == nil {
				_, err = r.c.Guest(name, true).Run(ctx, guestwire.Exec{Cmd: []string{"true"}}, nil, nil, nil)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				r.Errorf("%s: %v", name, err)
			}
			each.add(time.Since(begin))
		})
	}
	wg.Wait()
	all.add(time.Since(begin))
	for _, name := range names {
		r.remove(name)
	}
	begin = time.Now()
	for range 5 {
		c := r.b.make(r.T, "")
		c.start()
		c.exec("/bin/true")
		c.end()
	}
	peer.add(time.Since(begin) * count / 5)
	return table{{each, nil, ""}, {all, peer, ""}}
}
