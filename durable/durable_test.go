package durable_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/holt-ide/holt/durable"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestWriteFileReplaces(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.json")
	for _, want := range []string{"one", "two, and longer"} {
		if err := durable.WriteFile(path, []byte(want), 0o640); err != nil {
			t.Fatal(err)
		}
		if got := read(t, path); got != want {
			t.Fatalf("content %q, want %q", got, want)
		}
	}
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, want -rw-r-----", fi.Mode())
	}
	if got := names(t, dir); !slices.Equal(got, []string{"a.json"}) {
		t.Errorf("directory holds %q", got)
	}
}

func TestFailedFillKeepsOldContent(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	if err := durable.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	err := durable.Write(path, 0o600, func(w io.Writer) error {
		if _, err := io.WriteString(w, "half"); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatalf("error %v, want boom", err)
	}
	if got := read(t, path); got != "old" {
		t.Errorf("content %q, want the old one", got)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"a"}) {
		t.Errorf("directory holds %q", got)
	}
}

func TestNoNameBeforeCommit(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	f, err := durable.Create(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Abort()
	if _, err := f.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the name exists before Commit: %v", err)
	}
	as := filepath.Join(dir, "hash-of-x")
	if err := f.CommitAs(filepath.Join(t.TempDir(), "elsewhere")); err == nil {
		t.Fatal("CommitAs accepted another directory")
	}
	if err := f.CommitAs(as); err != nil {
		t.Fatal(err)
	}
	f.Abort() // must not remove what was committed
	if got := read(t, as); got != "x" {
		t.Errorf("content %q", got)
	}
	if err := f.Commit(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("second commit: %v, want ErrClosed", err)
	}
}

func TestCommitOntoDirectoryFailsCleanly(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "d")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(path, []byte("x"), 0o600); err == nil {
		t.Fatal("a file replaced a directory")
	}
	if got := names(t, dir); !slices.Equal(got, []string{"d"}) {
		t.Errorf("directory holds %q", got)
	}
}

func TestCleanRemovesOnlyLeftovers(t *testing.T) {
	dir := t.TempDir()
	if _, err := durable.Create(filepath.Join(dir, "big.erofs"), 0o600); err != nil {
		t.Fatal(err) // never committed: as after a crash
	}
	for _, keep := range []string{"a.tmp-1", ".hidden", "big.erofs"} {
		if err := durable.WriteFile(filepath.Join(dir, keep), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	gone, err := durable.Clean(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(gone) != 1 {
		t.Errorf("removed %q, want one file", gone)
	}
	if got, want := names(t, dir), []string{".hidden", "a.tmp-1", "big.erofs"}; !slices.Equal(got, want) {
		t.Errorf("directory holds %q, want %q", got, want)
	}
}

func TestMkdirAllAndRemove(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b", "c")
	for range 2 {
		if err := durable.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	f := filepath.Join(dir, "f")
	if err := durable.WriteFile(f, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := durable.MkdirAll(filepath.Join(f, "below"), 0o700); err == nil {
		t.Error("made a directory below a file")
	}
	if err := durable.Rename(f, filepath.Join(dir, "..", "g")); err != nil {
		t.Fatal(err)
	}
	if err := durable.SyncFile(filepath.Join(dir, "..", "g")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := durable.Remove(filepath.Join(dir, "..", "g")); err != nil {
			t.Fatal(err)
		}
	}
}
