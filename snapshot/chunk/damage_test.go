package chunk_test

import (
	"bytes"
	"context"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
	"github.com/holt-ide/holt/object/local"
	"github.com/holt-ide/holt/object/objecttest"
	"github.com/holt-ide/holt/snapshot/chunk"
)

// pair is a store with a snapshot and its successor, which shares most of it.
type pair struct {
	objects *objecttest.Memory
	cfg     chunk.Config
	first   files
	second  files
}

func newPair(t testing.TB) *pair {
	t.Helper()
	p := madePair()
	p.objects = p.objects.Clone()
	p.cfg = small(p.objects)
	return &p
}

var madePair = sync.OnceValue(func() pair {
	p := pair{objects: new(objecttest.Memory)}
	p.first = files{"pages.img": append(noise(1, 90_000), bytes.Repeat([]byte("text "), 20_000)...), "kernel.img": noise(2, 5000)}
	p.second = files{"pages.img": append(noise(3, 20_000), p.first["pages.img"]...), "kernel.img": noise(4, 6000)}
	ctx := context.Background()
	s, err := chunk.Open(ctx, small(p.objects))
	if err == nil {
		_, err = save(ctx, s, chunk.New{ID: "first", Workspace: "ws"}, p.first)
	}
	if err == nil {
		_, err = save(ctx, s, chunk.New{ID: "second", Workspace: "ws", Parent: "first"}, p.second)
	}
	if err != nil {
		panic(err)
	}
	return p
})

// reopen opens the store as the next process does.
func (p *pair) reopen(t rapid.TB) (*chunk.Store, *chunk.Repaired) {
	t.Helper()
	s, err := chunk.Open(context.Background(), p.cfg)
	if holt.IsKind(err, holt.KindCorrupt) {
		r, err := chunk.Repair(context.Background(), p.cfg)
		if err != nil {
			t.Fatalf("repair: %v", err)
		}
		if s, err = chunk.Open(context.Background(), p.cfg); err != nil {
			t.Fatalf("open after repair: %v", err)
		}
		return s, r
	} else if err != nil {
		t.Fatal(err)
	}
	return s, nil
}

func keys(t rapid.TB, s object.Store) []object.Key {
	t.Helper()
	var all []object.Key
	for info, err := range s.List(context.Background(), "") {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, info.Key)
	}
	return all
}

// One flipped bit, or a cut, anywhere in any object costs one snapshot at most:
// the other one is whole, what is damaged is named, and nothing is mixed.
func TestFlippedBitAnywhere(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ctx := context.Background()
		p := newPair(t)
		all := keys(rt, p.objects)
		key := rapid.SampledFrom(all).Draw(rt, "object")
		o, err := p.objects.Get(ctx, key, object.Range{})
		if err != nil {
			rt.Fatal(err)
		}
		at := rapid.IntRange(0, len(o.Body)-1).Draw(rt, "at")
		o.Body[at] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
		if _, err := p.objects.Put(ctx, key, o.Body, object.Condition{}); err != nil {
			rt.Fatal(err)
		}
		s, _ := p.reopen(rt)
		errs := []error{check(ctx, s, "first", p.first), check(ctx, s, "second", p.second)}
		if errs[0] != nil && errs[1] != nil {
			rt.Fatalf("bit in %s: both snapshots are lost: %v", key, errs)
		}
		for i, id := range []holt.SnapshotID{"first", "second"} {
			if errs[i] == nil {
				continue
			}
			if !holt.IsKind(errs[i], holt.KindCorrupt) && !holt.IsKind(errs[i], holt.KindNotFound) {
				rt.Fatalf("bit in %s: %v", key, errs[i])
			}
			if r, err := s.Verify(ctx, id); err == nil && (r.Err() == nil || !strings.Contains(r.Err().Error(), string(key))) {
				rt.Fatalf("bit in %s: verify says %v", key, r.Err())
			} else if err != nil && !holt.IsKind(err, holt.KindNotFound) {
				rt.Fatal(err)
			}
		}
		// The chain falls back by itself.
		if _, err := s.Scrub(ctx); err != nil {
			rt.Fatal(err)
		}
		e, _, err := s.Current(ctx, "ws")
		if err != nil {
			rt.Fatal(err)
		}
		if err := check(ctx, s, e.ID, map[holt.SnapshotID]files{"first": p.first, "second": p.second}[e.ID]); err != nil {
			rt.Fatalf("the current snapshot: %v", err)
		}
	})
}

// Damage within one stripe of a segment heals, wherever it is.
func TestSegmentsMend(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ctx := context.Background()
		p := newPair(t)
		s := open(t, p.cfg)
		var segments []object.Key
		for _, k := range keys(rt, p.objects) {
			if strings.Contains(string(k), "/segment/") {
				segments = append(segments, k)
			}
		}
		key := rapid.SampledFrom(segments).Draw(rt, "segment")
		o, err := p.objects.Get(ctx, key, object.Range{})
		if err != nil {
			rt.Fatal(err)
		}
		whole := bytes.Clone(o.Body)
		from := rapid.IntRange(0, len(whole)-1).Draw(rt, "from")
		stripe := from - from%(32<<10) + 32<<10
		to := rapid.IntRange(from+1, min(stripe, len(whole))).Draw(rt, "to")
		if end := len(whole) - min(32<<10, len(whole)/2); from < end {
			to = min(to, end) // not into the parity as well
		}
		copy(o.Body[from:to], noise(9, to-from))
		if _, err := p.objects.Put(ctx, key, o.Body, object.Condition{}); err != nil {
			rt.Fatal(err)
		}
		if rapid.Bool().Draw(rt, "by reading") {
			for id, want := range map[holt.SnapshotID]files{"first": p.first, "second": p.second} {
				if err := check(ctx, s, id, want); err != nil {
					rt.Fatalf("bytes %d to %d of %d: %v", from, to, len(whole), err)
				}
			}
		}
		mended := 0
		for _, id := range []holt.SnapshotID{"first", "second"} {
			r, err := s.Verify(ctx, id)
			if err != nil || r.Err() != nil {
				rt.Fatal(err, r.Err())
			}
			mended += len(r.Mended)
		}
		if o, err = p.objects.Get(ctx, key, object.Range{}); err != nil || !bytes.Equal(o.Body, whole) {
			rt.Fatalf("the segment is not as it was (%d mended, %v)", mended, err)
		}
	})
}

// A lost object, or one cut short, is named with what it costs.
func TestLostObjectIsNamed(t *testing.T) {
	for _, cut := range []bool{false, true} {
		for i := range keys(t, newPair(t).objects) {
			ctx := t.Context()
			p := newPair(t)
			key := keys(t, p.objects)[i]
			if cut {
				o, err := p.objects.Get(ctx, key, object.Range{})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := p.objects.Put(ctx, key, o.Body[:len(o.Body)/3], object.Condition{}); err != nil {
					t.Fatal(err)
				}
			} else if err := p.objects.Delete(ctx, key); err != nil {
				t.Fatal(err)
			}
			s, repaired := p.reopen(t)
			kind := strings.Split(string(key), "/")[1]
			if (repaired != nil) != (kind == "catalog") {
				t.Errorf("%s lost: repaired %+v", key, repaired)
			}
			damaged, err := s.Scrub(ctx)
			if err != nil {
				t.Fatal(err)
			}
			needs := map[holt.SnapshotID]bool{}
			entries, err := s.Entries(ctx)
			if err != nil || len(entries) != 2 {
				t.Fatal(entries, err)
			}
			for _, e := range entries {
				for _, k := range s.Keys(e) {
					needs[e.ID] = needs[e.ID] || k == key
				}
			}
			for id, want := range map[holt.SnapshotID]files{"first": p.first, "second": p.second} {
				err := check(ctx, s, id, want)
				if needs[id] != (err != nil) || err != nil && !holt.IsKind(err, holt.KindCorrupt) {
					t.Errorf("%s lost: snapshot %s: %v", key, id, err)
				}
			}
			for _, r := range damaged {
				if !needs[r.Snapshot] || !strings.Contains(r.Err().Error(), string(key)) {
					t.Errorf("%s lost: scrub says %v", key, r.Err())
				}
				if kind == "segment" && len(r.Damage[0].Lost) == 0 {
					t.Errorf("%s lost: it is not said which bytes that costs", key)
				}
			}
			// What is whole is current, and the next snapshot does not build on what is not.
			third := files{"pages.img": p.second["pages.img"]}
			m, err := save(ctx, s, chunk.New{ID: "third", Workspace: "ws", Parent: "second"}, third)
			if err != nil {
				t.Fatalf("%s lost: the next snapshot: %v", key, err)
			}
			if err := check(ctx, s, m.ID, third); err != nil {
				t.Errorf("%s lost: the next snapshot: %v", key, err)
			}
		}
	}
}

// A parent that is damaged without anybody knowing does not make its successor
// damaged: the commit says so, and one that stands alone succeeds.
func TestDamagedParentIsNoticedAtCommit(t *testing.T) {
	ctx := t.Context()
	p := newPair(t)
	s := open(t, p.cfg)
	entries, err := s.Entries(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range s.SegmentKeys(entries[1]) {
		o, err := p.objects.Get(ctx, key, object.Range{})
		if err != nil {
			t.Fatal(err)
		}
		// In the chunks and in the parity: more than can be mended, while the table is whole.
		for _, at := range []int{len(o.Body) - 40_000, len(o.Body) - 1} {
			if at > 1000 {
				o.Body[at] ^= 1
			}
		}
		o.Body[len(o.Body)-10] ^= 1
		if _, err := p.objects.Put(ctx, key, o.Body, object.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = save(ctx, s, chunk.New{ID: "third", Workspace: "ws", Parent: "second"}, p.first)
	if !holt.IsKind(err, holt.KindCorrupt) {
		t.Fatalf("commit on a damaged parent: %v", err)
	}
	if e, _, err := s.Current(ctx, "ws"); err != nil || e.ID != "second" {
		t.Errorf("current is %s, %v", e.ID, err)
	}
	mustSave(t, s, chunk.New{ID: "third", Workspace: "ws", Parent: "second", Alone: true}, p.first)
	if err := check(ctx, s, "third", p.first); err != nil {
		t.Error(err)
	}
}

func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	l, err := local.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, small(l))
	want := files{"f": noise(1, 300_000)}
	mustSave(t, s, chunk.New{ID: "first", Workspace: "ws"}, want)
	if _, err := save(t.Context(), s, chunk.New{ID: "second", Workspace: "ws"}, files{"f": noise(2, 1_900_000)}); !holt.IsKind(err, holt.KindNoSpace) {
		t.Fatalf("snapshot onto a full disk: %v", err)
	}
	if err := check(t.Context(), s, "first", want); err != nil {
		t.Error(err)
	}
	// What the failed one left goes, and there is room again.
	if c, err := s.Collect(t.Context()); err != nil {
		t.Error(c, err)
	}
	mustSave(t, s, chunk.New{ID: "third", Workspace: "ws"}, files{"f": noise(3, 300_000)})
}
