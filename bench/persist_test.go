package bench

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"text/tabwriter"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/meta/metatest"
	"github.com/holt-ide/holt/meta/metatest/pg"
	"github.com/holt-ide/holt/meta/sql"
	"github.com/holt-ide/holt/object"
	"github.com/holt-ide/holt/object/local"
	"github.com/holt-ide/holt/object/objecttest"
	"github.com/holt-ide/holt/object/retry"
	"github.com/holt-ide/holt/object/s3/s3test"
	"github.com/holt-ide/holt/persist"
)

// tally counts what reaches an object store.
type tally struct {
	object.Store
	puts, gets, bytes atomic.Int64
}

func (c *tally) Put(ctx context.Context, key object.Key, body []byte, cond object.Condition) (object.ETag, error) {
	c.puts.Add(1)
	c.bytes.Add(int64(len(body)))
	return c.Store.Put(ctx, key, body, cond)
}

func (c *tally) Get(ctx context.Context, key object.Key, r object.Range) (object.Object, error) {
	c.gets.Add(1)
	return c.Store.Get(ctx, key, r)
}

// project makes a volume with files in folders of fifty, of about 4 KiB each.
func project(t testing.TB, dir string, files int) *os.File {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "home"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range files {
		p := filepath.Join(dir, fileOf(i))
		if i%50 == 0 {
			if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(p, source(r, 4<<10), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	top, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { top.Close() })
	return top
}

func fileOf(i int) string { return fmt.Sprintf("workspace/src/%d/%d/file%d.go", i/2500, i/50, i) }

// source returns text that compresses as programs do.
func source(r *rand.Rand, n int) []byte {
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "func f%d(a int, b string) error { return fmt.Errorf(\"%%d %%s: %x\", a, b) }\n", r.IntN(1e6), r.Uint32())
	}
	return b.Bytes()[:n]
}

func openMeta(t testing.TB, dsn string) meta.Store {
	t.Helper()
	m, err := sql.Open(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// TestBenchPersist prints what flushes cost: how long a save takes to be durable in a
// directory and in S3, what typical edits send, and how many revisions a database takes
// a second.
func TestBenchPersist(t *testing.T) {
	rounds, err := strconv.Atoi(os.Getenv("HOLT_BENCH"))
	if err != nil {
		t.Skip("measures for minutes; run `make bench`")
	}
	rounds = max(rounds*5, 50)
	fmt.Printf("flushes; load before: %s\n\n", load())
	disk, err := local.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	server := s3test.Start(t)
	var rows table
	tw := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "edit in a project of 10,000 files\tstore\tn\tputs\tgets\tbytes sent (p50)\tCPU ms")
	top := project(t, t.TempDir(), 10_000)
	for name, objects := range map[string]object.Store{"directory": disk, "S3 (versitygw)": retry.New(s3test.Open(t, server.Config(t, server.URL)), retry.Policy{})} {
		rows = append(rows, flushes(t, tw, name, objects, top, rounds)...)
	}
	tw.Flush()
	fmt.Println()
	slices.SortFunc(rows, func(a, b row) int { return bytes.Compare([]byte(a.ours.name), []byte(b.ours.name)) })
	rows.print(os.Stdout)
	fmt.Println()
	publications(t)
	fmt.Printf("load after: %s\n", load())
}

// flushes measures edits of a project against a store.
func flushes(t *testing.T, w *tabwriter.Writer, name string, objects object.Store, top *os.File, rounds int) (rows []row) {
	count := &tally{Store: objects}
	m := openMeta(t, "sqlite:"+filepath.Join(t.TempDir(), "meta.db"))
	s, err := persist.New(persist.Config{Objects: count, Revisions: m.Revisions()})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 4))
	if err := os.RemoveAll(filepath.Join(top.Name(), "workspace/data.bin")); err != nil { // of the store before
		t.Fatal(err)
	}
	flush := func(dirty ...string) {
		if _, err := s.Flush(t.Context(), persist.Flush{Workspace: "ws-bench", Tenant: "bench", Root: top, Dirty: dirty, Reason: "save"}); err != nil {
			t.Fatal(err)
		}
	}
	begin, used := time.Now(), cpu()
	flush()
	fmt.Fprintf(w, "everything, for the first time (%.1f s)\t%s\t1\t%d\t%d\t%d\t%d\n", time.Since(begin).Seconds(), name, count.puts.Load(), count.gets.Load(), count.bytes.Load(), (cpu() - used).Milliseconds())
	write := func(p string, b []byte) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(top.Name(), p)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(top.Name(), p), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	large := make([]byte, 20<<20)
	for i := range large {
		large[i] = byte(r.Uint32())
	}
	for _, edit := range []struct {
		name string
		n    int
		do   func(i int) []string
	}{
		{"one file saved", rounds, func(i int) []string {
			p := fileOf(r.IntN(10_000))
			write(p, source(r, 4<<10))
			return []string{p}
		}},
		{"one file saved, all looked at", 10, func(i int) []string {
			write(fileOf(r.IntN(10_000)), source(r, 4<<10))
			return nil
		}},
		{"nothing changed, all looked at", 10, func(i int) []string { return nil }},
		{"commit: 30 files, 40 new ones", 10, func(i int) (dirty []string) {
			for range 30 {
				p := fileOf(r.IntN(10_000))
				write(p, source(r, 4<<10))
				dirty = append(dirty, p)
			}
			for n := range 40 {
				p := fmt.Sprintf("workspace/.git/objects/%02x/%d-%d", n*6, i, n)
				write(p, source(r, 1<<10))
				dirty = append(dirty, filepath.Dir(p))
			}
			return dirty
		}},
		{"4 KiB put into the middle of 20 MiB", 10, func(i int) []string {
			at := r.IntN(len(large))
			large = slices.Insert(large, at, source(r, 4<<10)...)
			write("workspace/data.bin", large)
			return []string{"workspace/data.bin"}
		}},
	} {
		took := &series{name: edit.name + " -> durable, " + name}
		sent := &series{}
		puts, gets, used := count.puts.Load(), count.gets.Load(), time.Duration(0)
		for i := range edit.n {
			dirty := edit.do(i)
			before, begin, spent := count.bytes.Load(), time.Now(), cpu()
			flush(dirty...)
			took.add(time.Since(begin))
			used += cpu() - spent
			sent.values = append(sent.values, float64(count.bytes.Load()-before))
			if i == 0 && edit.name[0] == '4' { // the file is new
				took.values, sent.values = nil, nil
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%.2f\t%.2f\t%.0f\t%.1f\n", edit.name, name, edit.n, float64(count.puts.Load()-puts)/float64(edit.n),
			float64(count.gets.Load()-gets)/float64(edit.n), sent.quantile(.5), float64(used.Microseconds())/1000/float64(edit.n))
		rows = append(rows, row{ours: took})
	}
	return rows
}

// publications prints how many revisions a second a database takes.
func publications(t *testing.T) {
	tw := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "publications (1 pack, 6 blobs, 1 event)\tat once\ta second\tp50 ms\tp99 ms")
	dsns := map[string]string{"SQLite": "sqlite:" + filepath.Join(t.TempDir(), "meta.db")}
	if pg.Binaries() != "" {
		server, err := pg.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer server.Stop()
		dsns["PostgreSQL (fsync off)"] = server.Database(t)
	}
	for name, dsn := range dsns {
		rows := openMeta(t, dsn).Revisions()
		for _, writers := range []int{1, 16} {
			var mu sync.Mutex
			var wg sync.WaitGroup
			took := &series{}
			const each = 200
			begin := time.Now()
			for n := range writers {
				wg.Go(func() {
					ws := holt.WorkspaceID(fmt.Sprintf("ws-%d-%d", writers, n))
					for i := range each {
						p := publication(ws, holt.UserID("tenant-"+string(ws)), int64(i+1))
						begin := time.Now()
						_, err := rows.Publish(context.Background(), p, meta.Event{Workspace: ws, Kind: meta.EventLog, Name: "bench"})
						mu.Lock()
						took.add(time.Since(begin))
						mu.Unlock()
						if err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			fmt.Fprintf(tw, "%s\t%d\t%.0f\t%.2f\t%.2f\n", name, writers, float64(writers*each)/time.Since(begin).Seconds(), took.quantile(.5), took.quantile(.99))
		}
	}
	tw.Flush()
}

func publication(ws holt.WorkspaceID, tenant holt.UserID, number int64) meta.Publication {
	txn := holt.NewID()
	p := meta.Publication{
		Revision: meta.Revision{Workspace: ws, Number: number, Tenant: tenant, Txn: txn, Base: number - 1, At: time.Now(), Reason: "bench"},
		Packs:    []meta.Pack{{ID: txn + "-0", Size: 4000, Header: 300, Blobs: 6}},
	}
	for i := range 6 {
		var id meta.BlobID
		copy(id[:], txn)
		id[31] = byte(i)
		p.Blobs = append(p.Blobs, meta.Blob{ID: id, Pack: txn + "-0", Offset: int64(i), Length: 1, Plain: 1, Codec: 1})
	}
	return p
}

// counting is an object store that counts the requests of each second and keeps nothing.
type counting struct {
	objecttest.Memory
	begin time.Time

	mu      sync.Mutex
	seconds []int
	bytes   int64
	reads   int
}

func (c *counting) note(n int64) {
	second := int(time.Since(c.begin) / time.Second)
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.seconds) <= second {
		c.seconds = append(c.seconds, 0)
	}
	c.seconds[second]++
	c.bytes += n
}

// Put implements [object.Store].
func (c *counting) Put(_ context.Context, _ object.Key, body []byte, _ object.Condition) (object.ETag, error) {
	c.note(int64(len(body)))
	time.Sleep(20 * time.Millisecond) // what a bucket takes
	return "tag", nil
}

// Get implements [object.Store]. Nothing is to be read: trees are in the caches.
func (c *counting) Get(_ context.Context, key object.Key, _ object.Range) (object.Object, error) {
	c.note(0)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads++
	return object.Object{}, object.NotFound(key)
}

// TestSimulatedFleet lets many sessions type on many nodes, in simulated time, with the real
// scheduler, the real scan and the real packer of each node; only the object store counts instead
// of keeping, and rows are in memory. HOLT_SESSIONS sets how many.
func TestSimulatedFleet(t *testing.T) {
	if os.Getenv("HOLT_BENCH") == "" {
		t.Skip("measures for minutes; run `make bench`")
	}
	sessions := 100_000
	if n, err := strconv.Atoi(os.Getenv("HOLT_SESSIONS")); err == nil {
		sessions = n
	}
	const perNode = 1000
	const long = 90 * time.Second
	base := "/dev/shm"
	if _, err := os.Stat(base); err != nil {
		base = t.TempDir()
	}
	dir, err := os.MkdirTemp(base, "holt-fleet-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	nodes := sessions / perNode
	most := 33 * nodes // requests a second of the whole fleet: 3,300 for 100,000 sessions
	tops := make([]*os.File, nodes)
	for n := range nodes {
		tops[n] = project(t, filepath.Join(dir, strconv.Itoa(n)), 12)
	}
	begin, used := time.Now(), cpu()
	synctest.Test(t, func(t *testing.T) {
		store := &counting{begin: time.Now()}
		wait := &series{}
		var mu sync.Mutex
		var flushed, urgent atomic.Int64
		ctx, cancel := context.WithTimeout(t.Context(), long)
		defer cancel()
		var wg sync.WaitGroup
		for n := range nodes {
			s, err := persist.New(persist.Config{Objects: store, Revisions: new(metatest.Revisions), Cache: 16 << 20})
			if err != nil {
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(uint64(n), 0))
			since := map[holt.WorkspaceID]time.Time{}
			sched := persist.NewScheduler(persist.Schedule{Requests: float64(most) / float64(nodes), Parallel: 1}, func(ctx context.Context, j persist.Job) error {
				if j.Urgent {
					urgent.Add(1)
				}
				mu.Lock()
				if at, ok := since[j.Workspace]; ok {
					wait.add(time.Since(at))
					delete(since, j.Workspace)
				}
				text := source(r, 600+r.IntN(6000))
				name := fileOf(r.IntN(12))
				mu.Unlock()
				if err := os.WriteFile(filepath.Join(tops[n].Name(), name), text, 0o644); err != nil {
					return err
				}
				_, err := s.Flush(ctx, persist.Flush{Workspace: j.Workspace, Tenant: j.Tenant, Root: tops[n], Dirty: []string{name}, Reason: "interval"})
				if err == nil {
					flushed.Add(1)
				} else if ctx.Err() == nil {
					t.Error(err)
				}
				return err
			})
			wg.Go(func() { sched.Run(ctx) })
			// Everybody types all the time, and saves once in two minutes.
			wg.Go(func() {
				tick := time.NewTicker(time.Second)
				defer tick.Stop()
				for {
					for i := range perNode {
						what := r.IntN(1200)
						if what >= 210 {
							continue // this one thinks
						}
						ws := holt.WorkspaceID(fmt.Sprintf("ws-%d-%d", n, i))
						tenant := holt.UserID(fmt.Sprintf("u-%d-%d", n, i/3))
						mu.Lock()
						if _, ok := since[ws]; !ok {
							since[ws] = time.Now()
						}
						mu.Unlock()
						if what < 10 {
							sched.Now(ws, tenant)
						} else {
							sched.Dirty(ws, tenant)
						}
					}
					select {
					case <-ctx.Done():
						return
					case <-tick.C:
					}
				}
			})
		}
		wg.Wait()
		whole := store.seconds[:min(len(store.seconds), int(long/time.Second))]
		warm := slices.Clone(whole[min(len(whole), 5):]) // each node may begin with two seconds' worth
		slices.Sort(warm)
		sum := 0
		for _, n := range whole {
			sum += n
		}
		fmt.Printf("%d sessions on %d nodes, %v simulated\n", sessions, nodes, long)
		fmt.Printf("  flushes %d (%d urgent), requests %d, reads %d, bytes sent %d MiB (%d each)\n", flushed.Load(), urgent.Load(), sum, store.reads, store.bytes>>20, store.bytes/max(flushed.Load(), 1))
		fmt.Printf("  requests a second: mean %.0f, p1 %d, p50 %d, p99 %d, max %d after the first 5 s, max %d in them; bound %d\n",
			float64(sum)/float64(len(whole)), warm[len(warm)/100], warm[len(warm)/2], warm[len(warm)*99/100], warm[len(warm)-1], slices.Max(whole[:min(len(whole), 5)]), most)
		fmt.Printf("  first change to the beginning of its flush: p50 %.1f s, p99 %.1f s\n", wait.quantile(.5)/1000, wait.quantile(.99)/1000)
		if mean := float64(sum) / float64(len(whole)); mean > float64(most)*1.05 {
			t.Errorf("%.0f requests a second, the bound is %d", mean, most)
		}
		if store.reads > 0 {
			t.Errorf("%d reads", store.reads)
		}
	})
	fmt.Printf("  simulated in %v (%v of CPU); load after: %s\n", time.Since(begin).Round(time.Second), (cpu() - used).Round(time.Second), load())
}
