package chunk_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
	"github.com/holt-ide/holt/object/objecttest"
	"github.com/holt-ide/holt/snapshot/chunk"
)

// world is a store under random steps, and what must be true of it.
type world struct {
	t       *testing.T
	r       *rand.Rand
	objects *objecttest.Memory
	c       *crasher
	s       *chunk.Store
	pool    [][]byte                        // chunks of which all files are made
	want    map[holt.SnapshotID]files       // what is committed
	maybe   map[holt.SnapshotID]files       // what may be: its commit was cut off
	going   map[holt.SnapshotID]bool        // what may be gone: its deletion was cut off
	writers map[holt.SnapshotID]*openWriter // at work between steps
	nested  bool
	counts  map[string]int
	stale   []object.Info // an old listing
}

type openWriter struct {
	w       *chunk.Writer
	content files
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, r: rand.New(rand.NewPCG(seed, 0)), objects: new(objecttest.Memory), want: map[holt.SnapshotID]files{},
		maybe: map[holt.SnapshotID]files{}, going: map[holt.SnapshotID]bool{}, writers: map[holt.SnapshotID]*openWriter{}, counts: map[string]int{}}
	for i := range 40 {
		w.pool = append(w.pool, noise(byte(i+1), 4<<10))
	}
	w.pool = append(w.pool, make([]byte, 4<<10), make([]byte, 4<<10))
	w.c = newCrasher(w.objects)
	w.c.Listed = func(_ string, found []object.Info) []object.Info {
		// Now and then a listing is an old one.
		if w.stale != nil && w.r.IntN(5) == 0 {
			return w.stale
		}
		w.stale = found
		return found
	}
	w.restart()
	return w
}

// restart is the next process of the same owner: writers are lost.
func (w *world) restart() {
	ctx := context.Background()
	for _, o := range w.writers {
		_ = o.w.Abort(ctx) // its process is dead: this fails, or changes nothing any more
	}
	clear(w.writers)
	w.c.arm(-1, false)
	cfg := small(w.c)
	cfg.SegmentSize, cfg.BaseSegments, cfg.Workers = 16<<10, 16, 1
	// In the middle of collecting and compacting others go on.
	cfg.Fault = func(name string) {
		switch name {
		case "collect.listed", "collect.decided", "compact.begun", "compact.copied", "compact.verified":
		default:
			return // called by goroutines of a writer
		}
		if !w.nested && !w.c.crashed() && w.r.IntN(3) == 0 {
			w.nested = true
			defer func() { w.nested = false }()
			for range 1 + w.r.IntN(3) {
				w.step()
			}
		}
	}
	var err error
	if w.s, err = chunk.Open(ctx, cfg); err != nil {
		w.t.Fatal(err)
	}
	if err := w.s.Recover(ctx); err != nil {
		w.t.Fatal(err)
	}
	w.settle()
}

// settle finds out what became of the steps that a crash cut off.
func (w *world) settle() {
	entries, err := w.s.Entries(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	there := map[holt.SnapshotID]bool{}
	for _, e := range entries {
		there[e.ID] = true
	}
	for id, content := range w.maybe {
		if there[id] {
			w.want[id] = content
		}
	}
	for id := range w.going {
		if !there[id] {
			delete(w.want, id)
		}
	}
	clear(w.maybe)
	clear(w.going)
	for id := range w.want {
		if !there[id] {
			w.t.Fatalf("snapshot %s is gone", id)
		}
	}
	if len(there) != len(w.want) {
		w.t.Fatalf("%d snapshots where %d should be", len(there), len(w.want))
	}
}

// failed says whether an error is the crash. Other errors are faults.
func (w *world) failed(what string, err error) bool {
	w.t.Helper()
	if err == nil {
		return false
	}
	if !errors.Is(err, errCrashed) {
		w.t.Fatalf("%s: %v", what, err)
	}
	return true
}

func (w *world) some() holt.SnapshotID {
	if len(w.want) == 0 {
		return ""
	}
	ids := slices.Sorted(maps.Keys(w.want))
	return ids[w.r.IntN(len(ids))]
}

func (w *world) step() {
	ctx := context.Background()
	what := w.r.IntN(100)
	if len(w.want) > 8 && what < 55 {
		what = 60 // the more there are, the more go
	}
	switch {
	case what < 25: // a writer begins
		if len(w.writers) > 3 {
			return
		}
		w.counts["begin"]++
		n := chunk.New{ID: holt.NewSnapshotID(), Workspace: holt.WorkspaceID(fmt.Sprintf("ws-%d", w.r.IntN(4))), Parent: w.some(), Alone: w.r.IntN(10) == 0, CreatedAt: time.Now()}
		wr, err := w.s.Begin(ctx, n)
		if w.failed("begin", err) {
			return
		}
		o := &openWriter{wr, files{}}
		w.writers[n.ID] = o
		for i := range 1 + w.r.IntN(2) {
			var data []byte
			for range 1 + w.r.IntN(9) {
				data = append(data, w.pool[w.r.IntN(len(w.pool))]...)
			}
			name := fmt.Sprintf("f%d", i)
			o.content[name] = data
			err := wr.Add(ctx, name, readerFunc(func(p []byte, off int64) (int, error) { return copy(p, data[off:]), nil }), int64(len(data)))
			if w.failed("add", err) {
				return
			}
		}
	case what < 55: // a writer ends
		for id, o := range w.writers {
			w.counts["commit"]++
			delete(w.writers, id)
			if w.r.IntN(8) == 0 {
				w.failed("abort", o.w.Abort(ctx))
				return
			}
			if _, err := o.w.Commit(ctx); w.failed("commit", err) {
				w.maybe[id] = o.content
				return
			}
			w.want[id] = o.content
			return
		}
	case what < 70: // a snapshot goes
		id := w.some()
		if id == "" || len(w.want) < 3 {
			return
		}
		w.counts["delete"]++
		if w.failed("delete", w.s.Delete(ctx, id)) {
			w.going[id] = true
			return
		}
		delete(w.want, id)
	case what < 78:
		w.counts["collect"]++
		_, err := w.s.Collect(ctx)
		w.failed("collect", err)
	case what < 84:
		w.counts["compact"]++
		done, err := w.s.Compact(ctx, 0.6)
		if !w.failed("compact", err) && done.Snapshots > 0 {
			w.counts["compacted"]++
		}
	case what < 88: // a snapshot is copied
		id := w.some()
		if id == "" {
			return
		}
		w.counts["copy"]++
		to := chunk.New{ID: holt.NewSnapshotID(), Workspace: "ws-copies"}
		if _, err := w.s.Copy(ctx, id, to); w.failed("copy", err) {
			w.maybe[to.ID] = w.want[id]
			return
		}
		w.want[to.ID] = w.want[id]
	case what < 95: // somebody reads
		id := w.some()
		if id == "" {
			return
		}
		w.counts["read"]++
		if err := check(ctx, w.s, id, w.want[id]); w.failed("read", err) {
			return
		}
	default: // the process will die soon
		if w.nested {
			return
		}
		w.counts["crash"]++
		w.c.arm(w.r.IntN(30), w.r.IntN(2) == 0)
	}
}

// rest lets everything end and compares what is stored with what is needed.
func (w *world) rest() {
	ctx := context.Background()
	w.restart()
	w.stale, w.nested = nil, true // nobody else is at work
	defer func() { w.nested = false }()
	if _, err := w.s.Collect(ctx); err != nil {
		w.t.Fatal(err)
	}
	w.settle()
	if leaked, missing, err := exact(ctx, w.objects, w.s); err != nil || len(leaked)+len(missing) > 0 {
		w.t.Fatalf("leaked %q, missing %q, %v", leaked, missing, err)
	}
	for id, content := range w.want {
		if err := check(ctx, w.s, id, content); err != nil {
			w.t.Fatal(err)
		}
		if r, err := w.s.Verify(ctx, id); err != nil || r.Err() != nil {
			w.t.Fatal(r.Err(), err)
		}
	}
}

// Ten thousand steps lose nothing that is referred to, and leave nothing that is not.
func TestTenThousandSteps(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("HOLT_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("HOLT_SEED=%d", seed)
	w := newWorld(t, seed)
	for n := range 10_000 {
		w.step()
		if w.c.crashed() {
			w.restart()
		}
		if n%250 == 249 {
			w.rest()
		}
	}
	w.rest()
	t.Logf("steps: %v", w.counts)
	for _, what := range []string{"commit", "delete", "collect", "compacted", "copy", "crash"} {
		if w.counts[what] < 50 {
			t.Errorf("only %d times: %s", w.counts[what], what)
		}
	}
}
