package backup

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/holt-ide/holt"
)

// A copy is equal whatever its holes are, and its sum does not depend on them.
func TestCopySparse(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 10 {
		size := rng.Int64N(6*blockSize) + rng.Int64N(2)
		plain := make([]byte, size)
		for at := int64(0); at < size; at += blockSize / 2 {
			if rng.IntN(2) == 0 {
				part := plain[at:min(size, at+rng.Int64N(blockSize)+1)]
				for i := range part {
					part[i] = byte(rng.Uint32())
				}
			}
		}
		dir := t.TempDir()
		dense, sparse := filepath.Join(dir, "dense"), filepath.Join(dir, "sparse")
		if err := os.WriteFile(dense, plain, 0o640); err != nil {
			t.Fatal(err)
		}
		var read int64
		a, err := copyFile(t.Context(), sparse, dense, func(n int64) { read += n })
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(sparse); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("the copy of %d bytes is another: %v", size, err)
		}
		if a.Size != size || a.Mode != 0o640 {
			t.Errorf("the copy has %d bytes and mode %v, want %d and 0640", a.Size, a.Mode, size)
		}
		n, sum, err := sumFile(t.Context(), sparse, func(int64) {})
		if err != nil || n != size || sum != a.Sum {
			t.Errorf("sum of the copy %s, of the original %s: %v", sum, a.Sum, err)
		}
		if size == 0 {
			continue
		}
		plain[rng.Int64N(size)] ^= 1
		if err := os.WriteFile(dense, plain, 0o640); err != nil {
			t.Fatal(err)
		}
		if _, other, err := sumFile(t.Context(), dense, func(int64) {}); err != nil || other == sum {
			t.Errorf("a flipped bit in %d bytes has the same sum: %v", size, err)
		}
	}
}

func TestManifest(t *testing.T) {
	dir := t.TempDir()
	want := &Manifest{Server: "holtd", Files: []File{{Path: "a/b", Mode: 0o600, Size: 3, Sum: "00"}}}
	if err := want.write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := Read(dir)
	if err != nil || len(got.Files) != 1 || got.Files[0] != want.Files[0] {
		t.Fatalf("read %+v: %v", got, err)
	}
	path := filepath.Join(dir, manifestName)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if _, err := decode(bad); !holt.IsKind(err, holt.KindCorrupt) {
			t.Fatalf("bit flipped in byte %d: %v", i, err)
		}
		if _, err := decode(good[:i]); !holt.IsKind(err, holt.KindCorrupt) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
	for _, path := range []string{"/etc/passwd", "../up", "a/../../b", ""} {
		m := Manifest{Files: []File{{Path: path}}}
		if err := m.write(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(dir); !holt.IsKind(err, holt.KindCorrupt) {
			t.Errorf("path %q: %v", path, err)
		}
	}
	if _, err := Read(t.TempDir()); !holt.IsKind(err, holt.KindNotFound) {
		t.Errorf("no backup: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("holt-backup 1\nsha256:00\n{}"))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = decode(data) })
}
