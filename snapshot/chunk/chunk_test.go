package chunk_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
	"github.com/holt-ide/holt/object/objecttest"
	"github.com/holt-ide/holt/snapshot/chunk"
)

// small makes segments of a few chunks, so that a few hundred KiB of files have
// everything that large ones have.
func small(objects object.Store) chunk.Config {
	return chunk.Config{Objects: objects, Tenant: "tenant", Owner: "test", ChunkSize: 4 << 10, SegmentSize: 32 << 10, Codec: chunk.LZ4, Workers: 3}
}

func open(t testing.TB, cfg chunk.Config) *chunk.Store {
	t.Helper()
	s, err := chunk.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

type files map[string][]byte

// save writes a snapshot.
func save(ctx context.Context, s *chunk.Store, n chunk.New, content files) (*chunk.Manifest, error) {
	w, err := s.Begin(ctx, n)
	if err != nil {
		return nil, err
	}
	defer w.Abort(context.WithoutCancel(ctx)) //nolint:errcheck // Collect removes what stays
	names := make([]string, 0, len(content))
	for name := range content {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := w.Add(ctx, name, bytes.NewReader(content[name]), int64(len(content[name]))); err != nil {
			return nil, err
		}
	}
	return w.Commit(ctx)
}

func mustSave(t testing.TB, s *chunk.Store, n chunk.New, content files) *chunk.Manifest {
	t.Helper()
	m, err := save(context.Background(), s, n, content)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// check reads a snapshot whole and says how it is not what was written.
func check(ctx context.Context, s *chunk.Store, id holt.SnapshotID, want files) error {
	v, err := s.View(ctx, id)
	if err != nil {
		return err
	}
	defer v.Close()
	if got := v.Manifest().Files; len(got) != len(want) {
		return fmt.Errorf("it has the files %v", got)
	}
	for name, data := range want {
		f, err := v.Open(name)
		if err != nil {
			return err
		}
		got, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
		if err != nil {
			return err
		}
		if !bytes.Equal(got, data) {
			return fmt.Errorf("MIXTURE: %s has other bytes than were written", name)
		}
	}
	return nil
}

// content draws files of zeros, repetitions, text and noise.
func content(t *rapid.T, label string) files {
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, label), 0))
	all := files{}
	for i := range 1 + r.IntN(3) {
		all[fmt.Sprintf("file-%d.img", i)] = random(r, r.IntN(150_000))
	}
	return all
}

func random(r *rand.Rand, size int) []byte {
	var data []byte
	for len(data) < size {
		part := make([]byte, 1+r.IntN(20_000))
		switch r.IntN(4) {
		case 0: // zeros
		case 1:
			for i := range part {
				part[i] = byte(r.Uint32())
			}
		case 2:
			for i := range part {
				part[i] = "some text "[i%10]
			}
		case 3:
			if len(data) > 0 {
				from := r.IntN(len(data)) &^ 4095
				part = slices.Clone(data[from:min(len(data), from+len(part))])
			}
		}
		data = append(data, part...)
	}
	return data[:size]
}

func noise(seed byte, size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // never fails
	return b
}

func TestRoundTrip(t *testing.T) {
	ctx := t.Context()
	rapid.Check(t, func(rt *rapid.T) {
		cfg := small(new(objecttest.Memory))
		cfg.Codec = chunk.Codec(rapid.IntRange(1, 3).Draw(rt, "codec"))
		cfg.ChunkSize = 4 << 10 << rapid.IntRange(0, 2).Draw(rt, "chunk size")
		s := open(t, cfg)
		ws := holt.NewWorkspaceID()
		var parent holt.SnapshotID
		for range rapid.IntRange(1, 3).Draw(rt, "snapshots") {
			want := content(rt, "content")
			n := chunk.New{ID: holt.NewSnapshotID(), Workspace: ws, Parent: parent, CreatedAt: time.Now(), Meta: json.RawMessage(`{"driver":"x"}`)}
			m := mustSave(t, s, n, want)
			if err := check(ctx, s, m.ID, want); err != nil {
				rt.Fatal(err)
			}
			if st := m.Stats; st.Plain != m.Bytes() || st.Plain != st.Zero+st.Duplicate+st.New {
				rt.Fatalf("stats do not add up: %+v of %d bytes", st, m.Bytes())
			}
			readParts(rt, s, m.ID, want)
			parent = m.ID
		}
	})
}

// readParts compares reads of random places.
func readParts(rt *rapid.T, s *chunk.Store, id holt.SnapshotID, want files) {
	v, err := s.View(context.Background(), id)
	if err != nil {
		rt.Fatal(err)
	}
	defer v.Close()
	if string(v.Manifest().Meta) == "" {
		rt.Fatal("the caller's words are lost")
	}
	for name, data := range want {
		f, err := v.Open(name)
		if err != nil {
			rt.Fatal(err)
		}
		for range 10 {
			off := rapid.IntRange(0, len(data)+10).Draw(rt, "offset")
			p := make([]byte, rapid.IntRange(0, 30_000).Draw(rt, "length"))
			n, err := f.ReadAt(p, int64(off))
			wantN := max(0, min(len(p), len(data)-off))
			if n != wantN || errors.Is(err, io.EOF) != (off >= len(data) || wantN < len(p)) || err != nil && !errors.Is(err, io.EOF) {
				rt.Fatalf("read %d at %d of %d: %d, %v", len(p), off, len(data), n, err)
			}
			if !bytes.Equal(p[:n], data[min(off, len(data)):][:n]) {
				rt.Fatalf("read %d at %d: wrong bytes", len(p), off)
			}
		}
	}
	if _, err := v.Open("nothing"); !holt.IsKind(err, holt.KindNotFound) {
		rt.Fatal(err)
	}
}

func TestHolesAreNeitherReadNorStored(t *testing.T) {
	s := open(t, small(new(objecttest.Memory)))
	f, err := os.Create(filepath.Join(t.TempDir(), "volume.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 40<<30 + 5000
	data := noise(1, 20_000)
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(data, 7<<30+123); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(data[:100], size-100); err != nil {
		t.Fatal(err)
	}
	w, err := s.Begin(t.Context(), chunk.New{ID: holt.NewSnapshotID(), Workspace: "ws"})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(t.Context(), "volume.img", f, size); err != nil {
		t.Fatal(err)
	}
	m, err := w.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if m.Stats.Plain != size || m.Stats.New > 40_000 || m.IndexSize > 1000 {
		t.Errorf("%+v, index of %d bytes", m.Stats, m.IndexSize)
	}
	v, err := s.View(t.Context(), m.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	file, err := v.Open("volume.img")
	if err != nil {
		t.Fatal(err)
	}
	for off, want := range map[int64][]byte{7<<30 + 123: data, size - 100: data[:100], 20 << 30: make([]byte, 5000)} {
		got := make([]byte, len(want))
		if _, err := file.ReadAt(got, off); err != nil || !bytes.Equal(got, want) {
			t.Errorf("at %d: %v", off, err)
		}
	}
}

func TestWhatIsThereCostsNothing(t *testing.T) {
	m := new(objecttest.Memory)
	s := open(t, small(m))
	data := noise(1, 400_000)
	first := mustSave(t, s, chunk.New{ID: "first", Workspace: "a"}, files{"pages": data, "same": data})
	if first.Stats.Duplicate != 400_000 || first.Stats.New != 400_000 {
		t.Errorf("two equal files: %+v", first.Stats)
	}
	changed := slices.Clone(data)
	copy(changed[100_000:], noise(2, 4096))
	second := mustSave(t, s, chunk.New{ID: "second", Workspace: "a", Parent: "first"}, files{"pages": changed})
	if second.Stats.New != 2*4096 || second.Stats.Segments != 1 {
		t.Errorf("4 KiB changed across two chunks: %+v", second.Stats)
	}
	if other := mustSave(t, s, chunk.New{ID: "other", Workspace: "b"}, files{"pages": changed}); other.Stats.New != 0 || other.Stats.Segments != 0 {
		t.Errorf("another workspace of the tenant: %+v", other.Stats)
	}
	if alone := mustSave(t, s, chunk.New{ID: "alone", Workspace: "a", Parent: "second", Alone: true}, files{"pages": changed}); alone.Stats.New != 400_000 {
		t.Errorf("one that stands alone: %+v", alone.Stats)
	}
	cfg := small(m)
	cfg.Tenant = "stranger"
	if st := mustSave(t, open(t, cfg), chunk.New{ID: "third", Workspace: "c"}, files{"pages": data}).Stats; st.New != 400_000 {
		t.Errorf("another tenant shares chunks: %+v", st)
	}
	// Compressed, and with a few requests.
	text := bytes.Repeat([]byte("compressible "), 100_000)
	if st := mustSave(t, s, chunk.New{ID: "text", Workspace: "a"}, files{"text": text}).Stats; st.Stored > st.Plain/3 {
		t.Errorf("text was not compressed: %+v", st)
	}
}

func TestBadInputIsNamed(t *testing.T) {
	memory := new(objecttest.Memory)
	for field, change := range map[string]func(*chunk.Config){
		"tenant": func(c *chunk.Config) { c.Tenant = "../x" }, "writes": func(c *chunk.Config) { c.Owner = "" },
		"chunk size": func(c *chunk.Config) { c.ChunkSize = 5000 }, "codec": func(c *chunk.Config) { c.Codec = 4 }, "segments": func(c *chunk.Config) { c.SegmentSize = 1 << 30 },
	} {
		cfg := small(memory)
		change(&cfg)
		if _, err := chunk.Open(t.Context(), cfg); !holt.IsKind(err, holt.KindInvalid) || !strings.Contains(err.Error(), strings.Fields(field)[0][:5]) {
			t.Errorf("%s: %v", field, err)
		}
	}
	s := open(t, small(memory))
	mustSave(t, s, chunk.New{ID: "taken", Workspace: "a"}, files{"f": []byte("x")})
	if _, err := s.Begin(t.Context(), chunk.New{ID: "taken"}); !holt.IsKind(err, holt.KindConflict) {
		t.Errorf("an ID twice: %v", err)
	}
	if _, err := s.Begin(t.Context(), chunk.New{ID: "../x"}); !holt.IsKind(err, holt.KindInvalid) {
		t.Errorf("a hostile ID: %v", err)
	}
	w, err := s.Begin(t.Context(), chunk.New{ID: "new"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "a/b", "..", ".x", strings.Repeat("n", 129)} {
		if err := w.Add(t.Context(), name, bytes.NewReader(nil), 0); !holt.IsKind(err, holt.KindInvalid) {
			t.Errorf("file %.20q: %v", name, err)
		}
	}
	if err := w.Add(t.Context(), "short", bytes.NewReader([]byte("abc")), 4); !strings.Contains(fmt.Sprint(err), "unexpected EOF") {
		t.Errorf("a file that is shorter than it says: %v", err)
	}
	if _, err := w.Commit(t.Context()); !holt.IsKind(err, holt.KindInvalid) {
		t.Errorf("a snapshot without files: %v", err)
	}
	if err := w.Abort(t.Context()); err != nil {
		t.Error(err)
	}
	for _, id := range []holt.SnapshotID{"new", "nothing"} {
		if _, err := s.View(t.Context(), id); !holt.IsKind(err, holt.KindNotFound) {
			t.Errorf("view of %s: %v", id, err)
		}
	}
}

// However long the storage takes, a writer has few segments in memory and reads
// little ahead of them.
func TestWriterIsBounded(t *testing.T) {
	var inFlight, most atomic.Int64
	stored, release := make(chan struct{}, 1000), make(chan struct{})
	m := &objecttest.Script{Next: new(objecttest.Memory)}
	m.Before = func(verb objecttest.Verb, key object.Key) error {
		if verb == objecttest.Put && strings.Contains(string(key), "/segment/") {
			if n := inFlight.Add(1); n > most.Load() {
				most.Store(n)
			}
			stored <- struct{}{}
			<-release
			inFlight.Add(-1)
		}
		return nil
	}
	cfg := small(m)
	cfg.Uploads, cfg.SegmentSize = 2, 1<<20
	s := open(t, cfg)
	data := noise(3, 24<<20)
	var read atomic.Int64
	w, err := s.Begin(t.Context(), chunk.New{ID: "x", Workspace: "a"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		done <- w.Add(t.Context(), "f", readerFunc(func(p []byte, off int64) (int, error) {
			read.Add(int64(len(p)))
			return copy(p, data[off:]), nil
		}), int64(len(data)))
	}()
	<-stored
	<-stored // both uploads stand still; what goes on now comes to rest by itself
	for before := int64(-1); before != read.Load(); time.Sleep(50 * time.Millisecond) {
		before = read.Load()
	}
	// Two segments on their way, one being filled, the blocks in the queue and at the workers.
	if bound := int64(2+1+2*cfg.Workers+cfg.Workers+2) << 20; read.Load() > bound {
		t.Errorf("%d bytes were read with nothing stored, want at most %d", read.Load(), bound)
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if most.Load() != 2 {
		t.Errorf("%d segments were on their way at once, want 2", most.Load())
	}
}

type readerFunc func(p []byte, off int64) (int, error)

func (f readerFunc) ReadAt(p []byte, off int64) (int, error) { return f(p, off) }
