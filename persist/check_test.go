package persist_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/meta/sql"
	"github.com/holt-ide/holt/object"
	"github.com/holt-ide/holt/object/objecttest"
	"github.com/holt-ide/holt/persist"
)

func packsOf(t *testing.T, objects object.Store) (list []object.Info) {
	t.Helper()
	for info, err := range objects.List(t.Context(), "ada/pack/") {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, info)
	}
	return list
}

func checked(t *testing.T, s *persist.Store) *persist.Report {
	t.Helper()
	r, err := s.Check(t.Context(), "ada")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Every byte of a pack that is flipped is found, the revisions that need it are named and
// marked, and the next flush mends them.
func TestDamageIsFoundAndMended(t *testing.T) {
	v := newVolume(t)
	v.write("workspace/a", []byte(strings.Repeat("text that is compressed ", 100)))
	v.write("workspace/b/c", random(1000))
	v.write("workspace/zeros", slices.Concat(random(200<<10), make([]byte, 3<<20)))
	memory := new(objecttest.Memory)
	m := database(t)
	first := newStore(t, memory, m)
	v.flush(first)
	v.write("workspace/d", []byte("second"))
	v.flush(first)
	if r := checked(t, first); r.Err() != nil || r.Revisions != 2 || r.Packs != 2 || len(r.Unknown)+len(r.Missing)+len(r.Broken) > 0 {
		t.Fatalf("sound: %+v", r)
	}
	pack := packsOf(t, memory)[0]
	o, err := memory.Get(t.Context(), pack.Key, object.Range{})
	v.check(err)
	step := max(len(o.Body)/40, 1)
	for at := 0; at < len(o.Body); at += step {
		damaged := slices.Clone(o.Body)
		damaged[at] ^= 0x10
		if _, err := memory.Put(t.Context(), pack.Key, damaged, object.Condition{}); err != nil {
			t.Fatal(err)
		}
		s := newStore(t, memory, m)
		if r := checked(t, s); len(r.Broken) != 1 || r.Broken[0] != filepath.Base(string(pack.Key)) {
			t.Fatalf("byte %d of %d: %+v", at, len(o.Body), r)
		}
	}
	// The last bytes are trees, which every revision needs.
	for at := len(o.Body) - 600; at < len(o.Body); at += 10 {
		o.Body[at] ^= 1
	}
	if _, err := memory.Put(t.Context(), pack.Key, o.Body, object.Condition{}); err != nil {
		t.Fatal(err)
	}
	r := checked(t, newStore(t, memory, m))
	if len(r.Damaged) != 2 || r.Damaged[0].Lost < 1 || !holt.IsKind(r.Err(), holt.KindCorrupt) {
		t.Fatalf("damaged trees: %+v", r)
	}
	if got, err := first.Get(t.Context(), "ws-a", 2); err != nil || got.Damage == "" {
		t.Errorf("not marked: %+v, %v", got, err)
	}
	s := newStore(t, memory, m)
	mended := v.flush(s)
	if mended.Number != 3 {
		t.Errorf("mended %+v", mended)
	}
	equal(t, state(t, restored(t, s, 3).dir), state(t, v.dir))
	if r := checked(t, s); len(r.Damaged) != 1 || r.Damaged[0].Number != 1 {
		t.Errorf("after mending %+v", r)
	}
	if got, err := s.Get(t.Context(), "ws-a", 2); err != nil || got.Damage != "" {
		t.Errorf("still marked: %+v, %v", got, err)
	}
}

func TestMissingAndUnknownPacks(t *testing.T) {
	v := newVolume(t)
	v.write("workspace/a", random(1000))
	objects := new(objecttest.Memory)
	m := database(t)
	s := newStore(t, objects, m)
	v.flush(s)
	pack := packsOf(t, objects)[0]
	v.check(objects.Delete(t.Context(), pack.Key))
	if _, err := objects.Put(t.Context(), "ada/pack/stray-0", []byte("garbage"), object.Condition{}); err != nil {
		t.Fatal(err)
	}
	r := checked(t, s)
	if len(r.Missing) != 1 || !slices.Equal(r.Unknown, []string{"stray-0"}) || len(r.Damaged) != 1 {
		t.Fatalf("%+v", r)
	}
	if _, err := s.Restore(t.Context(), "ws-a", 1, nil, persist.Destination{Root: newVolume(t).open()}); !holt.IsKind(err, holt.KindCorrupt) {
		t.Errorf("restore of what is missing: %v", err)
	}
	v.flush(s) // in the same process, which knows the tree
	equal(t, state(t, restored(t, newStore(t, objects, m), 0).dir), state(t, v.dir))
}

// An empty database and one that is older than the store get back what the packs have.
func TestRebuild(t *testing.T) {
	v := newVolume(t)
	v.fill()
	objects := new(objecttest.Memory)
	path := filepath.Join(t.TempDir(), "meta.db")
	open := func(p string) meta.Store {
		m, err := sql.Open(context.Background(), "sqlite:"+p)
		v.check(err)
		t.Cleanup(func() { m.Close() })
		return m
	}
	m := open(path)
	s := newStore(t, objects, m)
	first := v.flush(s)
	v.check(m.Close())
	old, err := os.ReadFile(path)
	v.check(err)
	m = open(path)
	s = newStore(t, objects, m)
	v.write("workspace/src/main.go", []byte("package changed"))
	second := v.flush(s)
	want := state(t, v.dir)

	older := filepath.Join(t.TempDir(), "older.db")
	v.check(os.WriteFile(older, old, 0o600))
	for name, m := range map[string]meta.Store{"empty": open(filepath.Join(t.TempDir(), "empty.db")), "older": open(older)} {
		s := newStore(t, objects, m)
		done, err := s.Rebuild(t.Context(), "ada")
		v.check(err)
		if n := map[string]int{"empty": 2, "older": 1}[name]; len(done.Revisions) != n || done.Packs != n {
			t.Errorf("%s: %+v", name, done)
		}
		for _, want := range []persist.Revision{first, second} {
			got, err := s.Get(t.Context(), "ws-a", want.Number)
			if err != nil || got.Root != want.Root || got.Files != want.Files || got.Bytes != want.Bytes || !got.At.Equal(want.At) || got.Reason != want.Reason {
				t.Errorf("%s: revision %+v, %v, want %+v", name, got, err, want)
			}
		}
		equal(t, state(t, restored(t, s, 0).dir), want)
		if r := checked(t, s); r.Err() != nil || len(r.Unknown) > 0 {
			t.Errorf("%s: %+v", name, r)
		}
		if done, err := s.Rebuild(t.Context(), "ada"); err != nil || done.Packs != 0 {
			t.Errorf("%s: once more: %+v, %v", name, done, err)
		}
	}
	// Without the first pack nothing comes back that needs it.
	v.check(objects.Delete(t.Context(), packsOf(t, objects)[0].Key))
	s = newStore(t, objects, open(filepath.Join(t.TempDir(), "half.db")))
	if done, err := s.Rebuild(t.Context(), "ada"); err != nil || len(done.Revisions) != 0 || done.Packs != 1 {
		t.Errorf("half: %+v, %v", done, err)
	}
}

// Thinned revisions give their space back, and what is left is whole.
func TestThinAndCollect(t *testing.T) {
	v := newVolume(t)
	objects := new(objecttest.Memory)
	now := time.Now().Add(-3 * time.Hour)
	s, err := persist.New(persist.Config{Objects: objects, Revisions: database(t).Revisions(), Now: func() time.Time { return now }})
	v.check(err)
	var last persist.Revision
	for i := range 40 {
		v.write("workspace/a", random(20<<10))
		v.write("workspace/kept", []byte{byte(i / 10)})
		now = now.Add(5 * time.Minute)
		last = v.flush(s)
	}
	v.check(s.Name(t.Context(), "ws-a", 2, "keep me"))
	n, err := s.Thin(t.Context(), "ws-a")
	v.check(err)
	list, err := s.List(t.Context(), "ws-a", 0, 0)
	v.check(err)
	if n < 20 || len(list) != 40-n || list[0] != last || list[len(list)-1].Number != 2 {
		t.Errorf("thinned %d, left %d", n, len(list))
	}
	now = time.Now().Add(2 * time.Hour)
	done, err := s.Collect(t.Context(), "ada", persist.Collection{})
	v.check(err)
	if done.Packs < n-5 || done.Bytes < int64(n-5)*20<<10 || len(packsOf(t, objects)) > len(list)+5 {
		t.Errorf("collected %+v, %d packs are left", done, len(packsOf(t, objects)))
	}
	if r := checked(t, s); r.Err() != nil || r.Revisions != len(list) {
		t.Errorf("%+v", r)
	}
	equal(t, state(t, restored(t, s, 0).dir), state(t, v.dir))
	v.check(s.Forget(t.Context(), "ws-a"))
	if _, err := s.Collect(t.Context(), "ada", persist.Collection{}); err != nil {
		t.Fatal(err)
	}
	if left := packsOf(t, objects); len(left) > 0 {
		t.Errorf("left of nothing: %v", left)
	}
}
