package cache_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
	"github.com/holt-ide/holt/object/cache"
	"github.com/holt-ide/holt/object/objecttest"
)

func open(t *testing.T, next object.Store, dir string, limit int64) *cache.Store {
	t.Helper()
	s, err := cache.Open(next, cache.Config{Dir: dir, Limit: limit})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSuite(t *testing.T) {
	for _, limit := range []int64{1 << 30, 150_000, 0} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			objecttest.Run(t, func(t *testing.T) object.Store { return open(t, new(objecttest.Memory), t.TempDir(), limit) })
		})
	}
	t.Run("nothing is immutable", func(t *testing.T) {
		objecttest.Run(t, func(t *testing.T) object.Store {
			s, err := cache.Open(new(objecttest.Memory), cache.Config{Dir: t.TempDir(), Limit: 1 << 30, Immutable: func(object.Key) bool { return false }})
			if err != nil {
				t.Fatal(err)
			}
			return s
		})
	})
}

// fixture is a cache over a store whose gets are counted.
type fixture struct {
	*cache.Store
	behind *objecttest.Script
	dir    string
	gets   int
	away   bool
}

func setup(t *testing.T, limit int64) *fixture {
	t.Helper()
	f := &fixture{dir: t.TempDir()}
	f.behind = &objecttest.Script{Next: new(objecttest.Memory)}
	f.behind.Before = func(verb objecttest.Verb, _ object.Key) error {
		if verb == objecttest.Get {
			f.gets++
		}
		if f.away {
			return holt.Errorf(holt.KindUnavailable, "away")
		}
		return nil
	}
	f.Store = open(t, f.behind, f.dir, limit)
	return f
}

func (f *fixture) fill(t *testing.T, n, size int) [][]byte {
	t.Helper()
	var bodies [][]byte
	for i := range n {
		body := make([]byte, size)
		rand.Read(body)
		if _, err := f.Put(t.Context(), key(i), body, object.IfAbsent); err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, body)
	}
	return bodies
}

func key(i int) object.Key { return object.Key(fmt.Sprintf("seg/%d", i)) }

func (f *fixture) want(t *testing.T, i int, body []byte) {
	t.Helper()
	if o, err := f.Get(t.Context(), key(i), object.Range{Offset: 10, Length: 50_000}); err != nil || !bytes.Equal(o.Body, body[10:50_010]) {
		t.Errorf("%s: %d bytes, %v", key(i), len(o.Body), err)
	}
}

func TestWhatIsCachedNeedsNoStore(t *testing.T) {
	f := setup(t, 1<<30)
	bodies := f.fill(t, 3, 100_000)
	f.away = true
	f.want(t, 1, bodies[1])
	// Also in the next process.
	f.Store = open(t, f.behind, f.dir, 1<<30)
	for i := range bodies {
		f.want(t, i, bodies[i])
	}
	if f.gets != 0 {
		t.Errorf("%d gets went through", f.gets)
	}
}

func TestTheLeastRecentlyUsedGoes(t *testing.T) {
	f := setup(t, 350_000)
	bodies := f.fill(t, 3, 100_000)
	f.want(t, 0, bodies[0])
	extra := f.fill2(t, 3)
	if st := f.Stats(); st.Bytes > 350_000 || st.Evicted != 1 || st.Objects != 3 {
		t.Errorf("stats %+v", st)
	}
	f.want(t, 0, bodies[0])
	f.want(t, 2, bodies[2])
	f.want(t, 3, extra)
	if f.gets != 0 {
		t.Errorf("%d gets of what should have stayed", f.gets)
	}
	f.want(t, 1, bodies[1])
	if f.gets != 1 {
		t.Errorf("%d gets of what should have gone", f.gets)
	}
	f.SetLimit(120_000)
	var onDisk int64
	names, err := os.ReadDir(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range names {
		info, err := d.Info()
		if err != nil {
			t.Fatal(err)
		}
		onDisk += info.Size()
	}
	if st := f.Stats(); onDisk != st.Bytes || onDisk > 120_000 || st.Objects != 1 {
		t.Errorf("after shrinking: %d bytes on the disk, stats %+v", onDisk, st)
	}
}

func (f *fixture) fill2(t *testing.T, i int) []byte {
	t.Helper()
	body := make([]byte, 100_000)
	rand.Read(body)
	if _, err := f.Put(t.Context(), key(i), body, object.IfAbsent); err != nil {
		t.Fatal(err)
	}
	return body
}

// Whatever happens to a cached file, readers get the right bytes.
func TestDamageHeals(t *testing.T) {
	f := setup(t, 1<<30)
	body := f.fill(t, 1, 100_000)[0]
	f.want(t, 0, body)
	rapid.Check(t, func(rt *rapid.T) {
		files, err := filepath.Glob(filepath.Join(f.dir, "*"))
		if err != nil || len(files) != 1 {
			rt.Fatal(files, err)
		}
		data, err := os.ReadFile(files[0])
		if err != nil {
			rt.Fatal(err)
		}
		if rapid.Bool().Draw(rt, "cut") {
			data = data[:rapid.IntRange(0, len(data)-1).Draw(rt, "at")]
		} else {
			data[rapid.IntRange(0, len(data)-1).Draw(rt, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
		}
		if err := os.WriteFile(files[0], data, 0o600); err != nil {
			rt.Fatal(err)
		}
		if rapid.Bool().Draw(rt, "reopen") {
			f.Store = open(t, f.behind, f.dir, 1<<30)
		}
		o, err := f.Get(t.Context(), key(0), object.Range{})
		if err != nil || !bytes.Equal(o.Body, body) {
			rt.Fatalf("got %d bytes, %v", len(o.Body), err)
		}
	})
}

func TestLeftoversAndStrangersGo(t *testing.T) {
	f := setup(t, 1<<30)
	f.fill(t, 1, 1000)
	for _, name := range []string{".new-1", "stranger", strings.Repeat("0", 32)} {
		if err := os.WriteFile(filepath.Join(f.dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open(t, f.behind, f.dir, 1<<30)
	if left, err := os.ReadDir(f.dir); err != nil || len(left) != 1 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestOneFetchForManyReaders(t *testing.T) {
	f := setup(t, 1<<30)
	body := f.fill(t, 1, 100_000)[0]
	f.SetLimit(0)
	f.SetLimit(1 << 30)
	release := make(chan struct{})
	before := f.behind.Before
	f.behind.Before = func(verb objecttest.Verb, k object.Key) error {
		<-release
		return before(verb, k)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { f.want(t, 0, body) })
	}
	close(release)
	wg.Wait()
	// A reader that comes after the fetch finds the file: one fetch is enough.
	if f.gets != 1 {
		t.Errorf("%d fetches", f.gets)
	}
}

func TestFullDiskOnlyMakesTheCacheSmaller(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	f := &fixture{dir: dir, behind: &objecttest.Script{Next: new(objecttest.Memory)}}
	f.Store = open(t, f.behind, dir, 1<<30)
	bodies := f.fill(t, 5, 100_000)
	for i := range bodies {
		f.want(t, i, bodies[i])
	}
	if st := f.Stats(); st.Objects != 2 {
		t.Errorf("%d objects on a disk for two", st.Objects)
	}
}
