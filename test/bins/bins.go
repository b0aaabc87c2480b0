// Package bins finds the executables that `make build` leaves in bin/, for tests
// that run the real ones.
package bins

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Root returns the repository's directory.
func Root(t testing.TB) string {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("cannot locate the repository")
	}
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Path returns the executable bin/name and fails the test when it was not built.
func Path(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(Root(t), "bin", name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run `make build` first", err)
	}
	return path
}
