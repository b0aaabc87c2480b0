package persist_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/meta/sql"
	"github.com/holt-ide/holt/object"
	"github.com/holt-ide/holt/object/objecttest"
	"github.com/holt-ide/holt/persist"
)

// volume is a folder with what a volume has in it.
type volume struct {
	t   *testing.T
	dir string
}

func newVolume(t *testing.T) *volume {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("owners need root")
	}
	v := &volume{t, t.TempDir()}
	for _, sub := range []string{"workspace", "home"} {
		v.mkdir(sub)
	}
	return v
}

func (v *volume) path(p string) string { return filepath.Join(v.dir, p) }

func (v *volume) check(err error) {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
}

func (v *volume) mkdir(p string) {
	v.t.Helper()
	v.check(os.MkdirAll(v.path(p), 0o755))
	v.check(os.Chown(v.path(p), 1000, 1000))
}

func (v *volume) write(p string, data []byte) {
	v.t.Helper()
	v.check(os.MkdirAll(filepath.Dir(v.path(p)), 0o755))
	v.check(os.WriteFile(v.path(p), data, 0o644))
	v.check(os.Chown(v.path(p), 1000, 1000))
}

func (v *volume) open() *os.File {
	v.t.Helper()
	f, err := os.Open(v.dir)
	v.check(err)
	v.t.Cleanup(func() { f.Close() })
	return f
}

// state describes everything in a folder, for comparisons.
func state(t *testing.T, dir string, skip ...string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil || rel == "." || !strings.Contains(rel, "/") {
			return err
		}
		if slices.Contains(skip, rel) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		text := fmt.Sprintf("%v %d:%d %d", info.Mode(), st.Uid, st.Gid, info.ModTime().UnixNano())
		switch {
		case info.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %d %x", len(b), b[:min(len(b), 32)])
			if len(b) > 32 {
				text += fmt.Sprintf(" %x", sum(b))
			}
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			text += " -> " + target
		}
		out[rel] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sum(b []byte) (h uint64) {
	h = 14695981039346656037
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

func equal(t *testing.T, got, want map[string]string) {
	t.Helper()
	for p, w := range want {
		if got[p] != w {
			t.Errorf("%.200q is\n%s, want\n%s", p, got[p], w)
		}
	}
	for p := range got {
		if _, ok := want[p]; !ok {
			t.Errorf("%.200q should not be there", p)
		}
	}
}

func database(t testing.TB) meta.Store {
	t.Helper()
	m, err := sql.Open(context.Background(), "sqlite:"+filepath.Join(t.TempDir(), "meta.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func newStore(t testing.TB, objects object.Store, m meta.Store) *persist.Store {
	t.Helper()
	s, err := persist.New(persist.Config{Objects: objects, Revisions: m.Revisions()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func (v *volume) flush(s *persist.Store, dirty ...string) persist.Revision {
	v.t.Helper()
	r, err := s.Flush(v.t.Context(), persist.Flush{Workspace: "ws-a", Tenant: "ada", Root: v.open(), Dirty: dirty, Reason: "save"})
	v.check(err)
	return r
}

// restored returns an empty volume with a revision in it.
func restored(t *testing.T, s *persist.Store, number int64) *volume {
	t.Helper()
	v := newVolume(t)
	if _, err := s.Restore(t.Context(), "ws-a", number, nil, persist.Destination{Root: v.open()}); err != nil {
		t.Fatal(err)
	}
	return v
}

// fill makes a volume with everything that a project can have.
func (v *volume) fill() {
	v.write("workspace/README.md", []byte("# hello\n"))
	v.write("workspace/empty", nil)
	v.write("workspace/src/main.go", []byte("package main\n"))
	v.write("workspace/src/"+strings.Repeat("n", 200)+".txt", []byte("long"))
	v.write("workspace/ünïcödé/日本語 \U0001F600.txt", []byte("unicode"))
	v.write("workspace/not\xffutf8\nand a newline", []byte("bytes"))
	v.write("workspace/large.bin", random(5<<20))
	v.write("workspace/zeros", make([]byte, 3<<20))
	v.write("workspace/mixed", slices.Concat(random(2<<20), make([]byte, 4<<20), []byte("end")))
	v.write("workspace/script.sh", []byte("#!/bin/sh\n"))
	v.write("home/.bashrc", []byte("alias ll='ls -l'\n"))
	v.write("workspace/.git/HEAD", []byte("ref: refs/heads/main\n"))
	v.check(os.Chmod(v.path("workspace/script.sh"), 0o755))
	v.check(os.Chmod(v.path("workspace/README.md"), 0o400))
	v.check(os.Chown(v.path("workspace/src/main.go"), 0, 7))
	v.check(os.Chmod(v.path("workspace/src/main.go"), os.ModeSetuid|0o711))
	v.mkdir("workspace/hollow/deep/er")
	v.check(os.Chmod(v.path("workspace/hollow/deep"), os.ModeSticky|0o777))
	v.check(os.Symlink("../etc/passwd", v.path("workspace/link")))
	v.check(os.Symlink("nowhere", v.path("workspace/dangling")))
	v.check(os.Lchown(v.path("workspace/link"), 1000, 1000))
	v.check(unix.UtimesNanoAt(unix.AT_FDCWD, v.path("workspace/dangling"), []unix.Timespec{{Sec: 1, Nsec: 2}, {Sec: 3, Nsec: 4}}, unix.AT_SYMLINK_NOFOLLOW))
	v.check(os.Chtimes(v.path("workspace/empty"), time.Time{}, time.Unix(-1000, 999_999_999)))
	v.check(os.Chtimes(v.path("workspace/hollow/deep"), time.Time{}, time.Unix(1_000_000, 5)))
	for i := range 1300 {
		v.write(fmt.Sprintf("workspace/many/%d.txt", i), fmt.Append(nil, i))
	}
}

func TestRoundTrip(t *testing.T) {
	v := newVolume(t)
	v.fill()
	v.write("workspace/node_modules/x/index.js", []byte("not kept"))
	v.check(unix.Mkfifo(v.path("workspace/pipe"), 0o600))
	v.check(unix.Mknod(v.path("workspace/device"), unix.S_IFCHR|0o600, 0))
	want := state(t, v.dir, "workspace/node_modules", "workspace/pipe", "workspace/device")
	s := newStore(t, new(objecttest.Memory), database(t))
	r := v.flush(s)
	if r.Number != 1 || r.Skipped != 2 || r.Torn != 0 || r.Files != int64(len(want))+2 || r.PublishedAt.IsZero() {
		t.Errorf("revision %+v of %d paths", r, len(want))
	}
	equal(t, state(t, restored(t, s, 0).dir), want)

	tree, err := s.Open(t.Context(), "ws-a", 1)
	v.check(err)
	e, err := tree.Stat(t.Context(), "/workspace/src/main.go")
	v.check(err)
	if e.GID != 7 || e.Mode != 0o4711 || e.Type != persist.File || e.Size != 13 {
		t.Errorf("stat %+v", e)
	}
	for _, p := range []string{"workspace/large.bin", "workspace/mixed", "workspace/empty", "workspace/zeros"} {
		f, err := tree.OpenFile(t.Context(), p)
		v.check(err)
		got, err := io.ReadAll(f)
		want, _ := os.ReadFile(v.path(p))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v, want %d", p, len(got), err, len(want))
		}
	}
	if _, err := tree.Stat(t.Context(), "workspace/none"); !holt.IsKind(err, holt.KindNotFound) {
		t.Errorf("stat of nothing: %v", err)
	}
}

func TestFlushOfWhatChanged(t *testing.T) {
	v := newVolume(t)
	v.fill()
	objects := new(objecttest.Memory)
	m := database(t)
	s := newStore(t, objects, m)
	first := v.flush(s)
	if again := v.flush(s); again != first {
		t.Errorf("nothing changed: %+v, want %+v", again, first)
	}
	v.write("workspace/many/1234.txt", []byte("changed"))
	v.write("workspace/src/new/file", []byte("new"))
	v.check(os.Remove(v.path("workspace/many/7.txt")))
	v.check(os.RemoveAll(v.path("workspace/hollow")))
	second := v.flush(s, "workspace/many/1234.txt", "workspace/many/7.txt", "workspace/src/new", "workspace/hollow")
	if second.Number != 2 || second.Base != 1 || second.Stored > 40<<10 {
		t.Errorf("second %+v", second)
	}
	want := state(t, v.dir)
	equal(t, state(t, restored(t, s, 2).dir), want)

	// Another process knows nothing and looks at everything.
	s = newStore(t, objects, m)
	if again := v.flush(s, "workspace/README.md"); again != second {
		t.Errorf("nothing changed: %+v, want %+v", again, second)
	}
	var changes []string
	err := s.Diff(t.Context(), "ws-a", 1, 2, "", func(c persist.Change) error {
		changes = append(changes, string(c.Kind)+" "+c.Path)
		return nil
	})
	v.check(err)
	wantChanges := []string{
		"removed workspace/hollow", "removed workspace/hollow/deep", "removed workspace/hollow/deep/er",
		"modified workspace/many/1234.txt", "removed workspace/many/7.txt", "added workspace/src/new", "added workspace/src/new/file",
	}
	if !slices.Equal(changes, wantChanges) {
		t.Errorf("changes %q", changes)
	}
}

func TestRestoreOfPaths(t *testing.T) {
	v := newVolume(t)
	v.fill()
	s := newStore(t, new(objecttest.Memory), database(t))
	v.flush(s)
	before := state(t, v.dir)
	v.write("workspace/src/main.go", []byte("broken"))
	v.write("workspace/src/other", []byte("stays"))
	v.check(os.RemoveAll(v.path("workspace/hollow")))
	restore := func(exact bool, paths ...string) (persist.Restored, error) {
		return s.Restore(t.Context(), "ws-a", 1, paths, persist.Destination{Root: v.open(), Exact: exact})
	}
	if _, err := restore(false, "workspace/src/main.go", "workspace/none"); !holt.IsKind(err, holt.KindNotFound) {
		t.Fatalf("a path that is not there: %v", err)
	}
	if b, _ := os.ReadFile(v.path("workspace/src/main.go")); string(b) != "broken" {
		t.Error("a refused restore has changed a file")
	}
	done, err := restore(false, "workspace/src", "workspace/hollow/deep/er")
	v.check(err)
	if done.Files != 1 || done.Same != 1 || done.Folders != 3 {
		t.Errorf("done %+v", done)
	}
	after := state(t, v.dir)
	if after["workspace/src/other"] == "" {
		t.Error("a file that the revision does not have is gone")
	}
	delete(after, "workspace/src/other")
	equal(t, after, before)

	v.check(os.Remove(v.path("workspace/empty")))
	v.mkdir("workspace/empty/in the way")
	if _, err := restore(false, "workspace/empty"); !holt.IsKind(err, holt.KindConflict) {
		t.Errorf("a folder in the way: %v", err)
	}
	v.check(os.RemoveAll(v.path("workspace/many")))
	v.write("workspace/many", []byte("a file in the way"))
	v.write("workspace/node_modules/x", []byte("left alone"))
	_, err = restore(true)
	v.check(err)
	equal(t, state(t, v.dir, "workspace/node_modules"), before)
	if _, err := os.Stat(v.path("workspace/node_modules/x")); err != nil {
		t.Error(err)
	}
}

// A folder of the guest that leads elsewhere is not followed.
func TestRestoreStaysInside(t *testing.T) {
	v := newVolume(t)
	v.write("workspace/a/b", []byte("x"))
	s := newStore(t, new(objecttest.Memory), database(t))
	v.flush(s)
	outside := t.TempDir()
	v.check(os.RemoveAll(v.path("workspace/a")))
	v.check(os.Symlink(outside, v.path("workspace/a")))
	for _, exact := range []bool{false, true} {
		_, err := s.Restore(t.Context(), "ws-a", 1, []string{"workspace/a/b"}, persist.Destination{Root: v.open(), Exact: exact})
		if err == nil {
			t.Error("restored through a link")
		}
		if list, _ := os.ReadDir(outside); len(list) > 0 {
			t.Fatalf("wrote outside: %v", list)
		}
	}
	_, err := s.Restore(t.Context(), "ws-a", 1, nil, persist.Destination{Root: v.open(), Exact: true})
	v.check(err)
	if list, _ := os.ReadDir(outside); len(list) > 0 {
		t.Fatalf("wrote outside: %v", list)
	}
	if b, err := os.ReadFile(v.path("workspace/a/b")); err != nil || string(b) != "x" {
		t.Errorf("%q, %v", b, err)
	}
}

// An empty volume where files were is a volume that is not mounted.
func TestNoRevisionOfAMissingVolume(t *testing.T) {
	v := newVolume(t)
	v.write("workspace/a", []byte("x"))
	s := newStore(t, new(objecttest.Memory), database(t))
	v.flush(s)
	v.check(os.RemoveAll(v.path("workspace")))
	_, err := s.Flush(t.Context(), persist.Flush{Workspace: "ws-a", Tenant: "ada", Root: v.open(), Reason: "save"})
	if !holt.IsKind(err, holt.KindCorrupt) {
		t.Errorf("flush: %v", err)
	}
	if r, err := s.Latest(t.Context(), "ws-a"); err != nil || r.Number != 1 {
		t.Errorf("latest %+v, %v", r, err)
	}
}

// A file that is written to all the time is kept with a mark, and without it when it rests.
func TestFileThatChangesMeanwhile(t *testing.T) {
	v := newVolume(t)
	v.write("workspace/busy", random(8<<20))
	s := newStore(t, new(objecttest.Memory), database(t))
	stop := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		f, err := os.OpenFile(v.path("workspace/busy"), os.O_WRONLY, 0)
		for err == nil {
			select {
			case <-stop:
				done <- errors.Join(f.Sync(), f.Close())
				return
			default:
				_, err = f.WriteAt([]byte{1}, 0)
			}
		}
		done <- err
	}()
	r := v.flush(s)
	close(stop)
	v.check(<-done)
	if r.Torn != 1 {
		t.Errorf("torn %d, want 1", r.Torn)
	}
	if e := stat(t, s, "workspace/busy"); !e.Torn {
		t.Errorf("entry %+v", e)
	}
	if r = v.flush(s, "workspace/busy"); r.Torn != 0 {
		t.Errorf("at rest: torn %d", r.Torn)
	}
	if e := stat(t, s, "workspace/busy"); e.Torn {
		t.Errorf("entry %+v", e)
	}
}

func stat(t *testing.T, s *persist.Store, p string) persist.Entry {
	t.Helper()
	tree, err := s.Open(t.Context(), "ws-a", 0)
	if err != nil {
		t.Fatal(err)
	}
	e, err := tree.Stat(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
