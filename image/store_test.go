package image_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	holt "github.com/holt-ide/holt"
	"github.com/holt-ide/holt/image"
	"github.com/holt-ide/holt/image/imagetest"
)

func testLog(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func open(t *testing.T, dir string) *image.Store {
	t.Helper()
	st, err := image.Open(dir, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

func reopen(t *testing.T, st *image.Store, dir string) *image.Store {
	t.Helper()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, dir)
}

// makeTree makes a tree with one file of each sort at fixed times.
func makeTree(t *testing.T, text string) string {
	t.Helper()
	imagetest.NeedRoot(t)
	dir := t.TempDir()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(os.Mkdir(filepath.Join(dir, "d"), 0o755))
	check(os.WriteFile(filepath.Join(dir, "d", "f"), []byte(text), 0o644))
	check(os.Link(filepath.Join(dir, "d", "f"), filepath.Join(dir, "hard")))
	check(os.Symlink("d/f", filepath.Join(dir, "soft")))
	check(syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	check(os.Lchown(filepath.Join(dir, "d", "f"), 1000, 1000))
	check(os.Chmod(filepath.Join(dir, "d", "f"), 0o755|os.ModeSetuid))
	for i, name := range []string{"d/f", "pipe", "d", "."} {
		when := time.Unix(1500000000+int64(i), 123456789)
		check(os.Chtimes(filepath.Join(dir, name), when, when))
	}
	for _, name := range []string{"soft"} {
		ts := []syscall.Timespec{{Sec: 1500000000}, {Sec: 1500000000}}
		check(utimesNoFollow(filepath.Join(dir, name), ts))
	}
	return dir
}

func importTree(t *testing.T, st *image.Store, text string, names ...string) image.Image {
	t.Helper()
	im, err := st.Import(t.Context(), makeTree(t, text), image.ImportOptions{Names: names,
		Config: image.Config{Env: []string{"A=1"}, User: "dev", WorkDir: "/srv", Labels: map[string]string{"k": "v"}}})
	if err != nil {
		t.Fatal(err)
	}
	return im
}

func files(t *testing.T, dir string) []string {
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

func TestSameTreeSameHash(t *testing.T) {
	st := open(t, t.TempDir())
	a := importTree(t, st, "text", "a")
	b := importTree(t, st, "text", "b")
	c := importTree(t, st, "other", "c")
	if a.ID != b.ID {
		t.Errorf("equal trees have the IDs %s and %s", a.ID, b.ID)
	}
	if a.ID == c.ID {
		t.Errorf("different trees have the ID %s", a.ID)
	}
	if !slices.Equal(b.Names, []string{"a", "b"}) {
		t.Errorf("names %q, want a and b", b.Names)
	}
	if !image.ValidID(a.ID) || filepath.Base(a.Path) != string(a.ID)+".erofs" {
		t.Errorf("ID %s, path %s", a.ID, a.Path)
	}
}

func TestImportKeepsMetadata(t *testing.T) {
	st := open(t, t.TempDir())
	im := importTree(t, st, "text", "a")
	dir := extract(t, im)
	fi, err := os.Lstat(filepath.Join(dir, "d/f"))
	if err != nil {
		t.Fatal(err)
	}
	sys := fi.Sys().(*syscall.Stat_t)
	if sys.Uid != 1000 || sys.Gid != 1000 || fi.Mode().Perm() != 0o755 || fi.ModTime().Unix() != 1500000000 {
		t.Errorf("d/f: %v %d:%d %v", fi.Mode(), sys.Uid, sys.Gid, fi.ModTime())
	}
	if target, err := os.Readlink(filepath.Join(dir, "soft")); err != nil || target != "d/f" {
		t.Errorf("soft -> %q, %v", target, err)
	}
	if fi, err := os.Lstat(filepath.Join(dir, "pipe")); err != nil || fi.Mode()&os.ModeNamedPipe == 0 {
		t.Errorf("pipe: %v, %v", fi, err)
	}
}

// The EROFS tools neither show nor extract the setuid bit, so compare hashes.
func TestImportKeepsSetuid(t *testing.T) {
	st := open(t, t.TempDir())
	with := importTree(t, st, "text", "with")
	tree := makeTree(t, "text")
	if err := os.Chmod(filepath.Join(tree, "d/f"), 0o755); err != nil {
		t.Fatal(err)
	}
	without, err := st.Import(t.Context(), tree, image.ImportOptions{Names: []string{"without"}})
	if err != nil {
		t.Fatal(err)
	}
	if with.ID == without.ID {
		t.Error("the setuid bit makes no difference")
	}
}

func TestStoreSurvivesReopening(t *testing.T) {
	dir := t.TempDir()
	st := open(t, dir)
	want := importTree(t, st, "text", "default", "registry.example.com/app:1")
	st = reopen(t, st, dir)
	for _, ref := range []string{"default", "registry.example.com/app:1", string(want.ID)} {
		got, err := st.Resolve(t.Context(), ref)
		if err != nil {
			t.Fatalf("resolve %s: %v", ref, err)
		}
		if got.ID != want.ID || got.Path != want.Path || got.Size != want.Size || !got.Created.Equal(want.Created) ||
			got.Source != want.Source || !slices.Equal(got.Config.Env, want.Config.Env) || got.Config.Labels["k"] != "v" ||
			got.Config.WorkDir != "/srv" || got.Config.User != "dev" || !slices.Equal(got.Names, want.Names) {
			t.Errorf("resolve %s: %+v, want %+v", ref, got, want)
		}
	}
}

func TestResolveUnknown(t *testing.T) {
	st := open(t, t.TempDir())
	_, err := st.Resolve(t.Context(), "python:3.12")
	if !holt.IsKind(err, holt.KindNotFound) {
		t.Fatalf("error %v, want not-found", err)
	}
	for _, hint := range []string{`"python:3.12"`, "holt image ls", "holt image pull"} {
		if !strings.Contains(err.Error(), hint) {
			t.Errorf("error %q does not say %q", err, hint)
		}
	}
}

func TestTagMovesAName(t *testing.T) {
	dir := t.TempDir()
	st := open(t, dir)
	a, b := importTree(t, st, "a", "one"), importTree(t, st, "b", "two")
	if err := st.Tag(b.ID, "one"); err != nil {
		t.Fatal(err)
	}
	st = reopen(t, st, dir)
	if im, err := st.Resolve(t.Context(), "one"); err != nil || im.ID != b.ID {
		t.Errorf("one is %s, %v", im.ID, err)
	}
	if im, err := st.Resolve(t.Context(), string(a.ID)); err != nil || len(im.Names) != 0 {
		t.Errorf("the old image has the names %q, %v", im.Names, err)
	}
	for _, bad := range []string{"", "-x", "a b", "a\n", string(a.ID), strings.Repeat("x", 300)} {
		if err := st.Tag(a.ID, bad); !holt.IsKind(err, holt.KindInvalid) {
			t.Errorf("name %.20q: error %v, want invalid", bad, err)
		}
	}
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	st := open(t, dir)
	im := importTree(t, st, "a", "one", "two")
	if err := st.Remove(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Resolve(t.Context(), "one"); !holt.IsKind(err, holt.KindNotFound) {
		t.Errorf("one: %v, want not-found", err)
	}
	if _, err := st.Resolve(t.Context(), "two"); err != nil {
		t.Errorf("two: %v", err)
	}
	if err := st.Remove(t.Context(), string(im.ID)); err != nil {
		t.Fatal(err)
	}
	if got := files(t, dir); !slices.Equal(got, []string{"lock", "names.json"}) {
		t.Errorf("left %q", got)
	}
	if err := st.Remove(t.Context(), "two"); !holt.IsKind(err, holt.KindNotFound) {
		t.Errorf("second removal: %v, want not-found", err)
	}
	if all := reopen(t, st, dir).List(); len(all) != 0 {
		t.Errorf("after reopening: %v", all)
	}
}

func TestOpenCleansUpAfterACrash(t *testing.T) {
	dir := t.TempDir()
	st := open(t, dir)
	im := importTree(t, st, "a", "one")
	tree, _, err := st.TempTree()
	if err != nil {
		t.Fatal(err)
	}
	orphan := "sha256-" + strings.Repeat("0", 64) + ".erofs"
	for _, name := range []string{".image.erofs.tmp-123", orphan, filepath.Base(tree) + "/file"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	st = reopen(t, st, dir)
	want := []string{"lock", "names.json", string(im.ID) + ".erofs", string(im.ID) + ".json"}
	if got := files(t, dir); !slices.Equal(got, want) {
		t.Errorf("left %q, want %q", got, want)
	}
	if _, err := st.Resolve(t.Context(), "one"); err != nil {
		t.Error(err)
	}
}

func TestDamageIsFound(t *testing.T) {
	dir := t.TempDir()
	st := open(t, dir)
	im := importTree(t, st, "a", "one")
	if err := st.Verify(t.Context(), im.ID, nil); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(im.Path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := os.WriteFile(im.Path, b, 0o444); err != nil {
		t.Fatal(err)
	}
	if err := st.Verify(t.Context(), im.ID, nil); !holt.IsKind(err, holt.KindCorrupt) {
		t.Errorf("flipped bit: %v, want corrupt", err)
	}
	if err := os.Truncate(im.Path, 10); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Resolve(t.Context(), "one"); !holt.IsKind(err, holt.KindCorrupt) || !strings.Contains(err.Error(), "build or pull it again") {
		t.Errorf("cut off: %v, want corrupt and what to do", err)
	}
	// Making it again mends it.
	if again := importTree(t, st, "a", "one"); again.ID != im.ID {
		t.Errorf("again: %s, want %s", again.ID, im.ID)
	}
	if err := st.Verify(t.Context(), im.ID, nil); err != nil {
		t.Errorf("after importing again: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, tc := range []struct {
		name, file, text string
		kind             holt.Kind
	}{
		{"newer", "names.json", `{"version":2,"names":{}}`, holt.KindUnsupported},
		{"damaged", "names.json", `{"version":1,`, holt.KindCorrupt},
		{"no version", "names.json", `{}`, holt.KindCorrupt},
		{"huge", "names.json", strings.Repeat(" ", 2<<20), holt.KindCorrupt},
		{"newer record", "sha256-" + strings.Repeat("a", 64) + ".json", `{"version":2}`, holt.KindUnsupported},
		{"wrong record", "sha256-" + strings.Repeat("a", 64) + ".json", `{"version":1,"id":"x"}`, holt.KindCorrupt},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, tc.file), []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := image.Open(dir, testLog(t)); !holt.IsKind(err, tc.kind) {
				t.Errorf("error %v, want %s", err, tc.kind)
			}
			if err := os.Remove(filepath.Join(dir, tc.file)); err != nil {
				t.Fatal(err)
			}
			open(t, dir) // the lock was released
		})
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	st := open(t, dir)
	if _, err := image.Open(dir, testLog(t)); !holt.IsKind(err, holt.KindConflict) {
		t.Fatalf("second open: %v, want conflict", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := image.OpenWait(ctx, dir, testLog(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("wait with an ended context: %v, want canceled", err)
	}
	got := make(chan error, 1)
	go func() {
		st, err := image.OpenWait(t.Context(), dir, testLog(t))
		if err == nil {
			err = st.Close()
		}
		got <- err
	}()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Errorf("after closing: %v", err)
	}
}

func TestAdopt(t *testing.T) {
	from, to := open(t, t.TempDir()), open(t, t.TempDir())
	im := importTree(t, from, "a", "one")
	got, err := to.Adopt(t.Context(), from, im.ID, "mine", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != im.ID || got.Path == im.Path || !slices.Equal(got.Names, []string{"mine"}) || !got.Created.Equal(im.Created) {
		t.Errorf("adopted %+v from %+v", got, im)
	}
	if err := from.Remove(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if err := to.Verify(t.Context(), im.ID, nil); err != nil {
		t.Errorf("after the other store removed it: %v", err)
	}
}

// On another file system the bytes are copied, and damage does not spread.
func TestAdoptAcrossFileSystems(t *testing.T) {
	imagetest.NeedRoot(t)
	mnt := t.TempDir()
	if err := syscall.Mount("tmpfs", mnt, "tmpfs", 0, "size=16m"); err != nil {
		t.Fatalf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() { unmount(t, mnt) })
	from, to := open(t, t.TempDir()), open(t, filepath.Join(mnt, "store"))
	im, bad := importTree(t, from, "a", "one"), importTree(t, from, "b", "two")
	if _, err := to.Adopt(t.Context(), from, im.ID, "one", nil); err != nil {
		t.Fatal(err)
	}
	if err := to.Verify(t.Context(), im.ID, nil); err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(bad.Path)
	if err != nil {
		t.Fatal(err)
	}
	b[100] ^= 1
	if err := os.WriteFile(bad.Path, b, 0o444); err != nil {
		t.Fatal(err)
	}
	if _, err := to.Adopt(t.Context(), from, bad.ID, "two", nil); !holt.IsKind(err, holt.KindCorrupt) {
		t.Errorf("damaged: %v, want corrupt", err)
	}
	if n := len(to.List()); n != 1 {
		t.Errorf("%d images, want 1", n)
	}
}

func TestFullDisk(t *testing.T) {
	tree := makeTree(t, "x")
	mnt := t.TempDir()
	if err := syscall.Mount("tmpfs", mnt, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatalf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() { unmount(t, mnt) })
	if err := os.WriteFile(filepath.Join(tree, "big"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	st := open(t, filepath.Join(mnt, "store"))
	_, err := st.Import(t.Context(), tree, image.ImportOptions{Names: []string{"big"}})
	if !holt.IsKind(err, holt.KindNoSpace) {
		t.Errorf("error %v (kind %s), want no-space", err, holt.KindOf(err))
	}
	if got := files(t, filepath.Join(mnt, "store")); !slices.Equal(got, []string{"lock"}) {
		t.Errorf("left %q", got)
	}
}

func TestImportEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	st := open(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := st.Import(ctx, makeTree(t, "x"), image.ImportOptions{Names: []string{"x"}, Progress: func(e image.Event) {
		if e.Phase == "hash" {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want canceled", err)
	}
	if got := files(t, dir); !slices.Equal(got, []string{"lock"}) {
		t.Errorf("left %q", got)
	}
}
