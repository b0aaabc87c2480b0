package chunk_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
	"github.com/holt-ide/holt/object/cache"
	"github.com/holt-ide/holt/object/local"
	"github.com/holt-ide/holt/object/retry"
	"github.com/holt-ide/holt/object/s3/s3test"
	"github.com/holt-ide/holt/snapshot/chunk"
)

// A snapshot made through one node's cache is read by another node with an empty
// one, through S3 alone, while the server refuses, hangs, cuts answers short, loses
// them and lists what was.
func TestS3ThatMisbehaves(t *testing.T) {
	server := s3test.Start(t)
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(1, 2))
	counts := map[s3test.Fault]int{}
	proxy := s3test.NewProxy(t, server.URL, nil)
	bucket := server.Config(t, proxy.URL)
	node := func(owner string) chunk.Config {
		remote := retry.New(s3test.Open(t, bucket), retry.Policy{Attempts: 50, Base: time.Millisecond, Max: 20 * time.Millisecond, Attempt: 2 * time.Second})
		cached, err := cache.Open(remote, cache.Config{Dir: t.TempDir(), Limit: 1 << 20, Immutable: chunk.Immutable})
		if err != nil {
			t.Fatal(err)
		}
		cfg := small(cached)
		cfg.Origin, cfg.Owner = remote, owner
		return cfg
	}
	one, two := node("one"), node("two")
	proxy.SetFault(func(*http.Request) s3test.Fault {
		mu.Lock()
		defer mu.Unlock()
		f := s3test.None
		if r.IntN(3) == 0 {
			f = []s3test.Fault{s3test.Refuse, s3test.SlowDown, s3test.LoseAnswer, s3test.Truncate, s3test.StaleList, s3test.StaleList}[r.IntN(6)]
		} else if r.IntN(300) == 0 {
			f = s3test.Hang
		}
		counts[f]++
		return f
	})
	ctx := t.Context()
	a, b := open(t, one), open(t, two)
	var parent holt.SnapshotID
	data := noise(1, 200_000)
	for i := range 4 {
		copy(data[i*10_000:], noise(byte(i+10), 12_000))
		id := holt.SnapshotID(fmt.Sprint("s", i))
		m, err := save(ctx, a, chunk.New{ID: id, Workspace: "ws", Parent: parent}, files{"f": data})
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 && m.Stats.New > 30_000 {
			t.Errorf("snapshot %d: %+v", i, m.Stats)
		}
		if err := check(ctx, b, id, files{"f": data}); err != nil {
			t.Fatal(err)
		}
		if parent != "" {
			if err := b.Delete(ctx, parent); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.Collect(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Compact(ctx, 0.7); err != nil {
			t.Fatal(err)
		}
		if err := check(ctx, a, id, files{"f": data}); err != nil {
			t.Fatal(err)
		}
		parent = id
	}
	proxy.SetFault(nil)
	if _, err := a.Collect(ctx); err != nil {
		t.Fatal(err)
	}
	if leaked, missing, err := exact(ctx, one.Origin, a); err != nil || len(leaked)+len(missing) > 0 {
		t.Errorf("leaked %q, missing %q, %v", leaked, missing, err)
	}
	t.Logf("faults: %v", counts)
	for _, f := range []s3test.Fault{s3test.Refuse, s3test.LoseAnswer, s3test.Truncate, s3test.StaleList} {
		if counts[f] == 0 {
			t.Errorf("fault %d never happened", f)
		}
	}
	// A server that is away is unavailable: no damage is reported, and nothing is marked.
	proxy.SetFault(func(*http.Request) s3test.Fault { return s3test.Refuse })
	impatient := small(s3object(t, proxy, server, bucket.Bucket))
	if _, err := chunk.Open(ctx, impatient); !holt.IsKind(err, holt.KindUnavailable) {
		t.Errorf("open: %v", err)
	}
	if _, err := chunk.Repair(ctx, impatient); !holt.IsKind(err, holt.KindUnavailable) {
		t.Errorf("repair: %v", err)
	}
}

// s3object opens the bucket without retries while the proxy lets it.
func s3object(t *testing.T, proxy *s3test.Proxy, server *s3test.Server, bucket string) object.Store {
	t.Helper()
	cfg := server.Config(t, proxy.URL)
	cfg.Bucket = bucket
	proxy.SetFault(nil)
	s := s3test.Open(t, cfg)
	proxy.SetFault(func(*http.Request) s3test.Fault { return s3test.Refuse })
	return s
}

// The child commits, deletes, collects and compacts until it is killed.
func TestMain(m *testing.M) {
	dir := os.Getenv("CHUNK_TEST_CHILD")
	if dir == "" {
		os.Exit(m.Run())
	}
	ctx := context.Background()
	l, err := local.Open(dir)
	if err != nil {
		panic(err)
	}
	s, err := chunk.Open(ctx, small(l))
	if err == nil {
		err = s.Recover(ctx)
	}
	e, _, _ := s.Current(ctx, "ws") // there may be none yet
	parent := e.ID
	for n := byte(0); err == nil; n++ {
		id := holt.NewSnapshotID()
		if _, err = save(ctx, s, chunk.New{ID: id, Workspace: "ws", Parent: parent, CreatedAt: time.Now()}, childFiles(id)); err != nil {
			break
		}
		fmt.Println(id)
		parent = id
		if _, err = s.Retain(ctx, "ws", 2); err == nil && n%3 == 2 {
			if _, err = s.Collect(ctx); err == nil {
				_, err = s.Compact(ctx, 0.9)
			}
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// childFiles makes a snapshot's content from its name.
func childFiles(id holt.SnapshotID) files {
	return files{"f": append(noise(id[len(id)-1], 30_000), noise(1, 60_000)...), "name": []byte(strings.Repeat(string(id), 300))}
}

// Killed at any moment, the current snapshot is the last that was acknowledged, or
// the one that was being committed; it and its predecessor are whole.
func TestKilledAtAnyMoment(t *testing.T) {
	dir := t.TempDir()
	ctx := t.Context()
	for round := range 6 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "CHUNK_TEST_CHILD="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		acknowledged := make(chan string, 1000)
		go func() {
			defer close(acknowledged)
			var line string
			for {
				if _, err := fmt.Fscanln(out, &line); err != nil {
					if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
						t.Log(err)
					}
					return
				}
				acknowledged <- line
			}
		}()
		var last string
		for range 2 + round {
			last = <-acknowledged
		}
		time.Sleep(time.Duration(rand.IntN(40)) * time.Millisecond) // somewhere in what follows
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for line := range acknowledged {
			last = line
		}
		if e, ok := errors.AsType[*exec.ExitError](cmd.Wait()); !ok || e.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatal("the child ended by itself")
		}
		l, err := local.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		s := open(t, small(l))
		chain, err := s.Chain(ctx, "ws")
		if err != nil || len(chain) < 2 {
			t.Fatal(chain, err)
		}
		if string(chain[0].ID) != last && string(chain[1].ID) != last {
			t.Errorf("snapshot %s was acknowledged, there are %s", last, ids(chain))
		}
		for _, e := range chain {
			if err := check(ctx, s, e.ID, childFiles(e.ID)); err != nil {
				t.Error(err)
			}
		}
		if err := s.Recover(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Collect(ctx); err != nil {
			t.Fatal(err)
		}
		if leaked, missing, err := exact(ctx, l, s); err != nil || len(leaked)+len(missing) > 0 {
			t.Errorf("leaked %q, missing %q, %v", leaked, missing, err)
		}
	}
}
