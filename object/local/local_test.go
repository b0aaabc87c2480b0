package local_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
	"github.com/holt-ide/holt/object/local"
	"github.com/holt-ide/holt/object/objecttest"
)

func open(t *testing.T, dir string) *local.Store {
	t.Helper()
	s, err := local.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSuite(t *testing.T) {
	objecttest.Run(t, func(t *testing.T) object.Store { return open(t, t.TempDir()) })
}

// A flipped bit or a cut anywhere in the file is found by a read of the whole.
func TestDamageIsFound(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := s.Put(t.Context(), "a/b", []byte("some bytes to damage"), object.Condition{}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "data", "a", "b")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		bad := append([]byte(nil), whole...)
		if n := rapid.IntRange(0, len(bad)).Draw(rt, "cut"); n < len(bad) && rapid.Bool().Draw(rt, "cutting") {
			bad = bad[:n]
		} else {
			bad[rapid.IntRange(0, len(bad)-1).Draw(rt, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
		}
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			rt.Fatal(err)
		}
		if _, err := s.Get(t.Context(), "a/b", object.Range{}); !holt.IsKind(err, holt.KindCorrupt) || !strings.Contains(err.Error(), "a/b") {
			rt.Fatalf("get of a damaged file: %v", err)
		}
	})
}

func TestKeysThatContinueAnother(t *testing.T) {
	s := open(t, t.TempDir())
	if _, err := s.Put(t.Context(), "a", nil, object.Condition{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "a/b", nil, object.Condition{}); !holt.IsKind(err, holt.KindInvalid) {
		t.Errorf("put below an object: %v", err)
	}
	if _, err := s.Get(t.Context(), "a/b", object.Range{}); !holt.IsKind(err, holt.KindNotFound) {
		t.Errorf("get below an object: %v", err)
	}
	if err := s.Delete(t.Context(), "a/b"); err != nil {
		t.Errorf("delete below an object: %v", err)
	}
	if _, err := s.Put(t.Context(), "d/e", nil, object.Condition{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "d", nil, object.Condition{}); !holt.IsKind(err, holt.KindInvalid) {
		t.Errorf("put over a directory: %v", err)
	}
}

func TestFullDisk(t *testing.T) {
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
	s := open(t, dir)
	if _, err := s.Put(t.Context(), "small", []byte("kept"), object.Condition{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "small", make([]byte, 1<<20), object.Condition{}); !holt.IsKind(err, holt.KindNoSpace) {
		t.Fatalf("put onto a full disk: %v", err)
	}
	if o, err := s.Get(t.Context(), "small", object.Range{}); err != nil || string(o.Body) != "kept" {
		t.Errorf("what was there: %q, %v", o.Body, err)
	}
	if _, err := s.Put(t.Context(), "other", make([]byte, 100<<10), object.Condition{}); err != nil {
		t.Errorf("the failed put left something that fills the disk: %v", err)
	}
}

// The child overwrites one object again and again until it is killed.
func TestMain(m *testing.M) {
	dir := os.Getenv("LOCAL_TEST_CHILD")
	if dir == "" {
		os.Exit(m.Run())
	}
	s, err := local.Open(dir)
	for n := byte(0); err == nil; n++ {
		body := make([]byte, 200_000)
		for i := range body {
			body[i] = n
		}
		if _, err = s.Put(context.Background(), "k", body, object.Condition{}); err == nil {
			_, err = os.Stdout.Write([]byte{n})
		}
	}
	os.Stderr.WriteString(err.Error())
	os.Exit(1)
}

func TestKilledWriterLeavesAWholeObject(t *testing.T) {
	dir := t.TempDir()
	for range 5 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "LOCAL_TEST_CHILD="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := make([]byte, 7)
		for i := range said {
			if _, err := out.Read(said[i : i+1]); err != nil {
				t.Fatal(err)
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); !killed(err) {
			t.Fatalf("the writer ended by itself: %v", err)
		}
		o, err := open(t, dir).Get(t.Context(), "k", object.Range{})
		if err != nil {
			t.Fatal(err)
		}
		first := o.Body[0]
		if len(o.Body) != 200_000 || first < said[6] {
			t.Errorf("%d bytes of put %d, although put %d was acknowledged", len(o.Body), first, said[6])
		}
		for _, b := range o.Body {
			if b != first {
				t.Fatalf("a mixture of puts %d and %d", first, b)
			}
		}
	}
	// What the killed ones left goes, but only when it cannot be a living one's.
	left, err := filepath.Glob(filepath.Join(dir, "data", ".k.tmp-*"))
	if err != nil {
		t.Fatal(err)
	}
	fresh := filepath.Join(dir, "data", ".k.tmp-fresh")
	old := filepath.Join(dir, "data", ".k.tmp-old")
	for _, name := range append(left, fresh, old) {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range append(left, old) {
		if err := os.Chtimes(name, time.Now(), time.Now().Add(-2*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	open(t, dir)
	if left, err = filepath.Glob(filepath.Join(dir, "data", ".k.tmp-*")); err != nil || len(left) != 1 || left[0] != fresh {
		t.Errorf("left after opening: %q, %v", left, err)
	}
}

func killed(err error) bool {
	e, ok := errors.AsType[*exec.ExitError](err)
	return ok && e.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
}
