package sql

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/meta/metatest/pg"
)

// PostgreSQL is killed and restarted, and connections are cut anywhere, also between
// a commit and its answer, while workers change rows. What was answered is there,
// nothing is half there, and every failure says that the database does not answer.
func TestOutages(t *testing.T) {
	if server == nil {
		postgres(t) // says why
	}
	own, err := pg.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(own.Stop)
	p := newProxy(t, own.Address())
	dsn := strings.Replace(own.Database(t), own.Address(), p.ln.Addr().String(), 1)
	s, err := Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })

	const workers = 4
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	var done, failed atomic.Int64
	rows := make([]meta.Workspace, workers)
	acked := make([]int, workers)
	for i := range workers {
		var err error
		if rows[i], err = s.Workspaces().Create(t.Context(), meta.Workspace{ID: holt.NewWorkspaceID(), Name: "w" + strconv.Itoa(i), State: holt.Queued, Goal: holt.WantRunning}); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			w := rows[i]
			for n := 1; ctx.Err() == nil; n++ {
				w.Message = strconv.Itoa(n)
				next, err := s.Workspaces().Update(t.Context(), w, meta.Event{Workspace: w.ID, Kind: meta.EventLog, Name: "n", Text: w.Message})
				if err == nil {
					acked[i], w = n, next
					done.Add(1)
					continue
				}
				failed.Add(1)
				if !holt.IsKind(err, holt.KindUnavailable) {
					t.Errorf("an update failed with %v: %v", holt.KindOf(err), err)
				}
				for { // it happened or not
					if next, err = s.Workspaces().Get(t.Context(), w.ID); err == nil {
						break
					}
					if !holt.IsKind(err, holt.KindUnavailable) {
						t.Errorf("a read failed with %v: %v", holt.KindOf(err), err)
						return
					}
					time.Sleep(5 * time.Millisecond)
				}
				if have := number(next.Message); have < acked[i] || have > n {
					t.Errorf("row %d has update %d: %d was answered and %d tried", i, have, acked[i], n)
				}
				w = next
			}
			rows[i] = w
		})
	}
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	for round := range 3 {
		for range 40 {
			time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
			p.cut()
		}
		before := time.Now()
		own.Crash(t)
		time.Sleep(200 * time.Millisecond)
		own.Restart(t)
		up := time.Now()
		at := done.Load()
		for deadline := time.Now().Add(10 * time.Second); done.Load() < at+workers; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("round %d: the store does not come back", round)
			}
		}
		t.Logf("restart %d: away for %d ms, works again %d ms after", round, up.Sub(before).Milliseconds(), time.Since(up).Milliseconds())
	}
	stop()
	wg.Wait()
	for i, w := range rows {
		got, err := s.Workspaces().Get(t.Context(), w.ID)
		if err != nil {
			t.Fatal(err)
		}
		events, err := s.Events().Of(t.Context(), w.ID, 0, 1<<20, meta.EventLog)
		if err != nil {
			t.Fatal(err)
		}
		if number(got.Message) < acked[i] || got.Version != int64(1+len(events)) {
			t.Errorf("row %d: update %d of version %d with %d events; %d was answered", i, number(got.Message), got.Version, len(events), acked[i])
		}
		for j := 1; j < len(events); j++ {
			if number(events[j].Text) <= number(events[j-1].Text) {
				t.Errorf("row %d: event %s after %s", i, events[j].Text, events[j-1].Text)
			}
		}
	}
	t.Logf("%d updates, %d failed, %d connections cut", done.Load(), failed.Load(), p.cuts)
	if failed.Load() == 0 {
		t.Error("nothing failed: the test tests nothing")
	}
}

func number(text string) int {
	n, _ := strconv.Atoi(text) // "" is none
	return n
}

// proxy relays connections until they are cut.
type proxy struct {
	ln   net.Listener
	to   string
	mu   sync.Mutex
	open map[net.Conn]bool
	cuts int
}

func newProxy(t *testing.T, to string) *proxy {
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{ln: ln, to: to, open: map[net.Conn]bool{}}
	t.Cleanup(func() { ln.Close(); p.cut() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go p.relay(c)
		}
	}()
	return p
}

func (p *proxy) relay(c net.Conn) {
	defer c.Close()
	up, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer up.Close()
	p.mu.Lock()
	p.open[up] = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.open, up)
		p.mu.Unlock()
	}()
	go func() { _, _ = io.Copy(up, c); up.Close() }()
	_, _ = io.Copy(c, up) // ends when either side does
}

// cut ends all connections: the server may have heard what its client does not know.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		c.Close()
		p.cuts++
	}
}
