package difftest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

const (
	batch = 50 // scenarios that run step by step together
	// perProfile is how many scenarios of each profile one run has with seeds that
	// are always the same, and again how many with fresh ones.
	perProfile = 250
	peers      = 2
)

// found is where scenarios that failed are kept; they run again every time.
const found = "testdata/found"

func start(t *testing.T) *Peer {
	t.Helper()
	modules, err := Modules(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := Start(t.Context(), modules)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// tally counts what all peers did.
type tally struct {
	t  *testing.T
	mu sync.Mutex

	scenarios, failures, beyond int
	size, control               int // bytes of full states, where both runs went well
}

// run runs a batch, counts it, and shrinks and keeps what fails.
func (c *tally) run(p *Peer, b []Scenario) error {
	results, err := p.Run(b)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.scenarios += len(b)
	for i, r := range results {
		switch {
		case r.Beyond():
			c.failures++
			if c.beyond++; c.beyond <= 5 {
				if err := c.keep(p, b[i]); err != nil {
					return err
				}
			}
		case r.Ours.Fail != "":
			c.failures++
		case r.Control.Fail == "":
			c.size += r.Ours.Size
			c.control += r.Control.Size
		}
	}
	return nil
}

func (c *tally) keep(p *Peer, s Scenario) error {
	s, err := p.Shrink(s, Result.Beyond)
	if err != nil {
		return err
	}
	results, err := p.Run([]Scenario{s})
	if err != nil {
		return err
	}
	raw, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return err
	}
	path := filepath.Join(found, fmt.Sprintf("%s-%d.json", s.Profile, s.Seed))
	if err := os.MkdirAll(found, 0o777); err != nil {
		return err
	}
	if err := os.WriteFile(path, raw, 0o666); err != nil {
		return err
	}
	o := results[0].Ours
	c.t.Errorf("%s, seed %d: %s %.300q; %d operations are kept in %s", s.Profile, s.Seed, o.Fail, o.Was, len(s.Ops), path)
	return nil
}

// queue gives out batches of seeds until it is empty or, for fresh seeds, until
// the time is over.
type queue struct {
	mu    sync.Mutex
	jobs  []job
	fresh uint64    // the next fresh seed
	until time.Time // zero: only the jobs
}

type job struct {
	profile string
	seed    uint64
}

func (q *queue) add(seed uint64, n int) {
	for from := 0; from < n; from += batch {
		for _, name := range Profiles() {
			q.jobs = append(q.jobs, job{name, seed + uint64(from)})
		}
	}
}

func (q *queue) next() (job, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.jobs) == 0 && time.Now().Before(q.until) {
		q.add(q.fresh, batch)
		q.fresh += batch
	}
	if len(q.jobs) == 0 {
		return job{}, false
	}
	j := q.jobs[0]
	q.jobs = q.jobs[1:]
	return j, true
}

// TestDifferential compares with Yjs. HOLT_FUZZ_SECONDS makes it go on with fresh
// seeds for that long (make fuzz FUZZ_SECONDS=600).
func TestDifferential(t *testing.T) {
	q := &queue{fresh: uint64(rand.Uint32())}
	t.Logf("fresh seeds start at %d", q.fresh)
	q.add(0, perProfile)
	q.add(q.fresh, perProfile)
	q.fresh += perProfile
	if s := os.Getenv("HOLT_FUZZ_SECONDS"); s != "" {
		seconds, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("HOLT_FUZZ_SECONDS=%q is not a number", s)
		}
		q.until = time.Now().Add(time.Duration(seconds) * time.Second)
	}
	c := &tally{t: t}
	var wg sync.WaitGroup
	for range peers {
		p := start(t)
		wg.Go(func() {
			for j, ok := q.next(); ok; j, ok = q.next() {
				var b []Scenario
				for i := range uint64(batch) {
					b = append(b, Generate(j.profile, j.seed+i))
				}
				if err := c.run(p, b); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	fmt.Printf("scenarios %d failures %d beyond-control %d\n", c.scenarios, c.failures, c.beyond)
	if ratio := float64(c.size) / float64(c.control); ratio > 1.02 {
		t.Errorf("full states have %.3f of the control's size", ratio)
	}
}

// TestFound runs what failed once.
func TestFound(t *testing.T) {
	paths, err := filepath.Glob(found + "/*.json")
	if err != nil || len(paths) == 0 {
		return // nothing has failed yet
	}
	p := start(t)
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var s Scenario
		if err := json.Unmarshal(raw, &s); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		results, err := p.Run([]Scenario{s})
		if err != nil {
			t.Fatal(err)
		}
		if results[0].Beyond() {
			t.Errorf("%s: %s %.300q", path, results[0].Ours.Fail, results[0].Ours.Was)
		}
	}
}

// TestFaultIsFound breaks the server and expects that scenarios fail, and that one
// which fails becomes small.
func TestFaultIsFound(t *testing.T) {
	p := start(t)
	p.fault = func(q request, out [][]byte) [][]byte {
		if q.Kind == "apply" {
			return nil // nothing is relayed
		}
		return out
	}
	s := Generate("ascii", 1)
	results, err := p.Run([]Scenario{s})
	if err != nil {
		t.Fatal(err)
	}
	if !results[0].Beyond() {
		t.Fatalf("a server that relays nothing passed: %+v", results[0])
	}
	small, err := p.Shrink(s, Result.Beyond)
	if err != nil {
		t.Fatal(err)
	}
	if len(small.Ops) != 1 {
		t.Errorf("shrunk from %d to %d operations, one edit is enough: %+v", len(s.Ops), len(small.Ops), small.Ops)
	}
}
