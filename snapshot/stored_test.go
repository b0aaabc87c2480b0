package snapshot_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/snapshot"
)

// read returns a file of a snapshot through its reader.
func read(s *snapshot.Store, m *snapshot.Manifest, name string) ([]byte, error) {
	r, err := s.Reader(m, name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.NewSectionReader(r, 0, 1<<40))
}

func TestReaderFindsEveryDamage(t *testing.T) {
	s, _ := store(t)
	m := commit(t, s)
	for _, f := range m.Files {
		want, err := os.ReadFile(filepath.Join(s.Dir(m.ID), f.Name))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := read(s, m, f.Name); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s: %d bytes, %v", f.Name, len(got), err)
		}
	}
	r, err := s.Reader(m, "pages.img")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(s.Dir(m.ID), "pages.img"))
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) { // parts that are no blocks
		off := rapid.IntRange(0, len(want)+10).Draw(rt, "off")
		buf := make([]byte, rapid.IntRange(0, len(want)).Draw(rt, "len"))
		n, err := r.ReadAt(buf, int64(off))
		if err != nil && !errors.Is(err, io.EOF) || off < len(want) && !bytes.Equal(buf[:n], want[off:off+n]) || err == nil && n < len(buf) {
			rt.Fatalf("%d of %d bytes at %d, %v", n, len(buf), off, err)
		}
	})
	r.Close()
	rapid.Check(t, func(rt *rapid.T) {
		name := filepath.Join(s.Dir(m.ID), "pages.img")
		at, mask := rapid.Int64Range(0, int64(len(want))-1).Draw(rt, "at"), byte(1)<<rapid.IntRange(0, 7).Draw(rt, "bit")
		flip(rt, name, at, mask)
		defer flip(rt, name, at, mask)
		if _, err := read(s, m, "pages.img"); !holt.IsKind(err, holt.KindCorrupt) || !strings.Contains(err.Error(), "pages.img") {
			rt.Fatalf("bit %#x of byte %d: %v", mask, at, err)
		}
	})
	// A hole where data were: a lost extent.
	volume := filepath.Join(s.Dir(m.ID), snapshot.VolumeName)
	if err := errors.Join(os.Truncate(volume, 0), os.Truncate(volume, 200<<20)); err != nil {
		t.Fatal(err)
	}
	if _, err := read(s, m, snapshot.VolumeName); !holt.IsKind(err, holt.KindCorrupt) {
		t.Errorf("a lost extent: %v", err)
	}
}

func TestEvictedSnapshotKeepsItsManifest(t *testing.T) {
	s, root := store(t)
	m := commit(t, s)
	if err := s.Evict(m.ID); !holt.IsKind(err, holt.KindConflict) {
		t.Fatalf("the only copy was evicted: %v", err)
	}
	if _, ok := s.Stored(m.ID); ok {
		t.Fatal("stored without a mark")
	}
	place := snapshot.Place{Tenant: "owner", At: time.Unix(1_700_000_000, 0).UTC()}
	if err := s.MarkStored(m.ID, place); err != nil {
		t.Fatal(err)
	}
	if got, ok := s.Stored(m.ID); !ok || got != place {
		t.Errorf("place %+v, %v", got, ok)
	}
	before, err := s.Usage(m.ID)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Evict(m.ID); err != nil {
			t.Fatal(err)
		}
	}
	after, err := s.Usage(m.ID)
	if err != nil || after > before/4 || !s.Evicted(m.ID) {
		t.Errorf("%d bytes of %d are left, %v, evicted %v", after, before, err, s.Evicted(m.ID))
	}
	if got, err := s.Get(m.ID); err != nil || len(got.Files) != len(m.Files) {
		t.Errorf("manifest %+v, %v", got, err)
	}
	if err := s.Verify(t.Context(), m); !holt.IsKind(err, holt.KindCorrupt) {
		t.Errorf("verify: %v", err)
	}
	// A crash between the mark and the last file.
	left := filepath.Join(s.Dir(m.ID), "pages.img")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err = snapshot.Open(root); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("files of an evicted snapshot stay: %v", err)
	}

	// Another node makes it known from the manifest.
	encoded, err := s.Encoded(m.ID)
	if err != nil {
		t.Fatal(err)
	}
	other, _ := store(t)
	got, err := other.Adopt("sn-other", encoded, place)
	if err != nil || got.ID != "sn-other" || got.Workspace != m.Workspace || !other.Evicted("sn-other") {
		t.Errorf("adopted %+v, %v", got, err)
	}
	if again, err := other.Get("sn-other"); err != nil || again.ID != "sn-other" {
		t.Errorf("get of the adopted: %+v, %v", again, err)
	}
	if _, err := other.Adopt("sn-other", encoded, place); !holt.IsKind(err, holt.KindConflict) {
		t.Errorf("twice: %v", err)
	}
	encoded[len(encoded)/2] ^= 1
	if _, err := other.Adopt("sn-third", encoded, place); !holt.IsKind(err, holt.KindCorrupt) {
		t.Errorf("a damaged manifest: %v", err)
	}
}

// Patch makes the file of whatever is there, and fetches only what differs.
func TestPatch(t *testing.T) {
	s, _ := store(t)
	m := commit(t, s)
	for _, name := range []string{snapshot.VolumeName, "pages.img", "empty"} {
		whole, err := os.ReadFile(filepath.Join(s.Dir(m.ID), name))
		if err != nil {
			t.Fatal(err)
		}
		source := func(p []byte, off int64) error { copy(p, whole[off:]); return nil }
		dst, err := os.Create(filepath.Join(t.TempDir(), "dst"))
		if err != nil {
			t.Fatal(err)
		}
		defer dst.Close()
		same := func() {
			t.Helper()
			if got, err := os.ReadFile(dst.Name()); err != nil || !bytes.Equal(got, whole) {
				t.Errorf("%s: %d bytes that differ, %v", name, len(got), err)
			}
		}
		first, err := snapshot.Patch(m, name, dst, source)
		if err != nil {
			t.Fatal(err)
		}
		same()
		if n, err := snapshot.Patch(m, name, dst, source); err != nil || n != 0 {
			t.Errorf("%s: %d bytes fetched for what is there, %v", name, n, err)
		}
		if len(whole) > 100<<10 {
			if _, err := dst.WriteAt([]byte("strange"), 70<<10); err != nil {
				t.Fatal(err)
			}
			if n, err := snapshot.Patch(m, name, dst, source); err != nil || n > 2*snapshot.BlockSize {
				t.Errorf("%s: %d bytes fetched for seven, %v", name, n, err)
			}
			same()
		}
		if err := dst.Truncate(0); err != nil {
			t.Fatal(err)
		}
		wrong := func(p []byte, off int64) error { copy(p, whole[off:]); p[0] ^= 1; return nil }
		if _, err := snapshot.Patch(m, name, dst, wrong); first > 0 && !holt.IsKind(err, holt.KindCorrupt) {
			t.Errorf("%s: a source that gives something else: %v", name, err)
		}
	}
}
