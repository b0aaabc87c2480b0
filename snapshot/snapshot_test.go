package snapshot_test

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/snapshot"
)

func store(t *testing.T) (*snapshot.Store, string) {
	t.Helper()
	root := t.TempDir()
	s, err := snapshot.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return s, root
}

// commit writes a snapshot with an ordinary, an empty, an odd-sized and a sparse file.
func commit(t *testing.T, s *snapshot.Store) *snapshot.Manifest {
	t.Helper()
	d, err := s.Begin(holt.NewSnapshotID())
	if err != nil {
		t.Fatal(err)
	}
	random := make([]byte, 3*snapshot.BlockSize+17)
	rand.Read(random)
	for name, data := range map[string][]byte{"pages.img": random, "empty": nil, "checkpoint.img": random[:5000]} {
		if err := os.WriteFile(filepath.Join(d.Dir(), name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(filepath.Join(d.Dir(), snapshot.VolumeName))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(200 << 20); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(random[:9000], 77<<20); err != nil {
		t.Fatal(err)
	}
	m := &snapshot.Manifest{Workspace: holt.NewWorkspaceID(), Driver: "test", Secret: "s"}
	if err := d.Commit(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if err := d.Abort(); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRoundTrip(t *testing.T) {
	s, _ := store(t)
	m := commit(t, s)
	got, err := s.Get(m.ID)
	if err != nil || got.Workspace != m.Workspace || len(got.Files) != 4 {
		t.Fatalf("get: %+v, %v", got, err)
	}
	if err := s.Verify(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	list, err := s.List()
	if err != nil || len(list) != 1 || list[0] != m.ID {
		t.Fatalf("list: %v, %v", list, err)
	}
}

// One flipped bit anywhere in any file is found and the file is named.
func TestEveryFlippedBitIsFound(t *testing.T) {
	s, _ := store(t)
	m := commit(t, s)
	files := append([]snapshot.File{{Name: "manifest"}}, m.Files...)
	rapid.Check(t, func(rt *rapid.T) {
		f := files[rapid.IntRange(0, len(files)-1).Draw(rt, "file")]
		name := filepath.Join(s.Dir(m.ID), f.Name)
		info, err := os.Stat(name)
		if err != nil {
			rt.Fatal(err)
		}
		if info.Size() == 0 {
			return
		}
		at := rapid.Int64Range(0, info.Size()-1).Draw(rt, "at")
		mask := byte(1) << rapid.IntRange(0, 7).Draw(rt, "bit")
		flip(rt, name, at, mask)
		defer flip(rt, name, at, mask)
		got, err := s.Get(m.ID)
		if err == nil {
			err = s.Verify(t.Context(), got)
		}
		if !holt.IsKind(err, holt.KindCorrupt) {
			rt.Fatalf("bit %#x of byte %d of %s: %v, want corrupt", mask, at, f.Name, err)
		}
		if !strings.Contains(err.Error(), f.Name) && f.Name != "manifest" {
			rt.Fatalf("the error does not name %s: %v", f.Name, err)
		}
	})
	if err := s.Verify(t.Context(), m); err != nil {
		t.Fatalf("after undoing every flip: %v", err)
	}
}

func flip(t *rapid.T, name string, at int64, mask byte) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= mask
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

func TestTruncatedAndMissingFilesAreNamed(t *testing.T) {
	s, _ := store(t)
	m := commit(t, s)
	name := filepath.Join(s.Dir(m.ID), "pages.img")
	if err := os.Truncate(name, 100); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(t.Context(), m); !holt.IsKind(err, holt.KindCorrupt) || !strings.Contains(err.Error(), "pages.img") {
		t.Errorf("truncated: %v", err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(t.Context(), m); !holt.IsKind(err, holt.KindCorrupt) || !strings.Contains(err.Error(), "pages.img") {
		t.Errorf("missing: %v", err)
	}
	if err := s.Verify(t.Context(), m, snapshot.VolumeName); err != nil {
		t.Errorf("the volume alone is whole: %v", err)
	}
}

func TestCrashLeavesNothingHalf(t *testing.T) {
	s, root := store(t)
	d, err := s.Begin(holt.NewSnapshotID())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.Dir(), "pages.img"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if list, err := s.List(); err != nil || len(list) != 0 {
		t.Fatalf("an unfinished snapshot is listed: %v, %v", list, err)
	}
	if _, err := snapshot.Open(root); err != nil { // the next process
		t.Fatal(err)
	}
	if left, err := os.ReadDir(root); err != nil || len(left) != 0 {
		t.Fatalf("left: %v, %v", left, err)
	}
}

func TestCopyOutlivesItsSource(t *testing.T) {
	s, _ := store(t)
	m := commit(t, s)
	to := holt.NewSnapshotID()
	cp, err := s.Copy(t.Context(), m.ID, to)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Remove(m.ID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Get(m.ID); !holt.IsKind(err, holt.KindNotFound) {
		t.Fatalf("removed snapshot: %v", err)
	}
	if err := s.Verify(t.Context(), cp); err != nil || cp.ID != to {
		t.Fatal(cp.ID, err)
	}
}
