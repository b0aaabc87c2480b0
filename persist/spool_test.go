package persist_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
	"github.com/holt-ide/holt/object/objecttest"
	"github.com/holt-ide/holt/persist"
)

// outage is a store that can be away.
func outage(next object.Store) (*objecttest.Script, *atomic.Bool) {
	var away atomic.Bool
	return &objecttest.Script{Next: next, Before: func(verb objecttest.Verb, key object.Key) error {
		if away.Load() {
			return holt.Errorf(holt.KindUnavailable, "no store")
		}
		return nil
	}}, &away
}

func (v *volume) queued(s *persist.Store, want int64) {
	v.t.Helper()
	r, err := s.Flush(v.t.Context(), persist.Flush{Workspace: "ws-a", Tenant: "ada", Root: v.open(), Reason: "interval"})
	if !errors.Is(err, persist.ErrQueued) || !holt.IsKind(err, holt.KindUnavailable) || r.Number != want || !r.PublishedAt.IsZero() {
		v.t.Fatalf("flush while the store is away: %+v, %v, want revision %d to be queued", r, err, want)
	}
}

// While the store is away revisions wait on the disk, through a restart, and arrive in order.
func TestStoreAway(t *testing.T) {
	v := newVolume(t)
	v.write("workspace/a", []byte("one"))
	objects := new(objecttest.Memory)
	script, away := outage(objects)
	m := database(t)
	var published []int64
	cfg := persist.Config{Objects: script, Revisions: m.Revisions(), Spool: filepath.Join(t.TempDir(), "spool"),
		Published: func(r persist.Revision) { published = append(published, r.Number) }}
	open := func() *persist.Store {
		s, err := persist.New(cfg)
		v.check(err)
		return s
	}
	s := open()
	v.flush(s)
	away.Store(true)
	v.write("workspace/b", random(300<<10))
	v.queued(s, 2)
	v.queued(s, 2) // nothing new
	v.write("workspace/a", []byte("three"))
	v.queued(s, 3)
	if r, err := s.Latest(t.Context(), "ws-a"); err != nil || r.Number != 1 {
		t.Errorf("latest that is durable: %+v, %v", r, err)
	}
	s = open() // the process was killed
	if since, n := s.Pending("ws-a"); n != 2 || since.IsZero() {
		t.Errorf("%d pending since %v", n, since)
	}
	v.queued(s, 3)
	v.write("workspace/c", []byte("four"))
	v.queued(s, 4)
	if n, err := s.Deliver(t.Context()); n != 0 || !holt.IsKind(err, holt.KindUnavailable) {
		t.Errorf("deliver to nobody: %d, %v", n, err)
	}
	away.Store(false)
	if n, err := s.Deliver(t.Context()); n != 3 || err != nil {
		t.Fatalf("deliver: %d, %v", n, err)
	}
	if since, n := s.Pending("ws-a"); n != 0 || !since.IsZero() {
		t.Errorf("%d pending", n)
	}
	if r := v.flush(s); r.Number != 4 || r.PublishedAt.IsZero() {
		t.Errorf("after the delivery %+v", r)
	}
	if len(published) != 4 || published[1] != 2 || published[3] != 4 {
		t.Errorf("published %v", published)
	}
	if left, _ := os.ReadDir(cfg.Spool); len(left) > 0 {
		t.Errorf("left in the spool: %v", left)
	}
	equal(t, state(t, restored(t, s, 0).dir), state(t, v.dir))
	third := restored(t, s, 3)
	if b, err := os.ReadFile(third.path("workspace/a")); string(b) != "three" {
		t.Errorf("revision 3: %q, %v", b, err)
	}
}

func TestSpoolIsBounded(t *testing.T) {
	v := newVolume(t)
	script, away := outage(new(objecttest.Memory))
	away.Store(true)
	dir := t.TempDir()
	s, err := persist.New(persist.Config{Objects: script, Revisions: database(t).Revisions(), Spool: dir, SpoolSize: 1 << 20})
	v.check(err)
	v.write("workspace/a", random(600<<10))
	v.queued(s, 1)
	v.write("workspace/b", random(600<<10))
	_, err = s.Flush(t.Context(), persist.Flush{Workspace: "ws-a", Tenant: "ada", Root: v.open(), Reason: "interval"})
	if !holt.IsKind(err, holt.KindNoSpace) {
		t.Fatalf("too much: %v", err)
	}
	if list, _ := os.ReadDir(dir); len(list) != 1 {
		t.Errorf("in the spool: %v", list)
	}
	away.Store(false)
	if _, err := s.Deliver(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := v.flush(s); r.Number != 2 || r.Base != 1 {
		t.Errorf("%+v", r)
	}
	equal(t, state(t, restored(t, s, 0).dir), state(t, v.dir))
}

// What waits and does not fit any more is made anew from the files.
func TestSpoolThatDoesNotFit(t *testing.T) {
	v := newVolume(t)
	v.write("workspace/a", []byte("one"))
	script, away := outage(new(objecttest.Memory))
	m := database(t)
	var dropped []holt.WorkspaceID
	s, err := persist.New(persist.Config{Objects: script, Revisions: m.Revisions(), Spool: t.TempDir(),
		Dropped: func(_ context.Context, ws holt.WorkspaceID) { dropped = append(dropped, ws) }})
	v.check(err)
	v.flush(s)
	away.Store(true)
	v.write("workspace/b", []byte("two"))
	v.queued(s, 2)
	v.check(m.Revisions().Remove(t.Context(), "ws-a"))
	away.Store(false)
	if n, err := s.Deliver(t.Context()); n != 0 || err != nil {
		t.Fatalf("deliver: %d, %v", n, err)
	}
	if len(dropped) != 1 {
		t.Errorf("dropped %v", dropped)
	}
	if r := v.flush(s, "workspace/none"); r.Number != 1 || r.Base != 0 {
		t.Errorf("%+v", r)
	}
	equal(t, state(t, restored(t, s, 0).dir), state(t, v.dir))
}

func TestDamagedSpool(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"0000000000000001-x/rows.json": "{", "0000000000000002-y/pack": "unfinished", "notes.txt": "not ours"} {
		p := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o700), os.WriteFile(p, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	cfg := persist.Config{Objects: new(objecttest.Memory), Revisions: database(t).Revisions(), Spool: dir}
	if _, err := persist.New(cfg); !holt.IsKind(err, holt.KindCorrupt) || !strings.Contains(err.Error(), "0000000000000001-x") {
		t.Fatalf("damaged: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "0000000000000001-x")); err != nil {
		t.Fatal(err)
	}
	if _, err := persist.New(cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "0000000000000002-y")); !os.IsNotExist(err) {
		t.Errorf("what was not finished is there: %v", err)
	}
}

func TestCopy(t *testing.T) {
	v := newVolume(t)
	v.fill()
	s := newStore(t, new(objecttest.Memory), database(t))
	src := v.flush(s)
	r, err := s.Copy(t.Context(), "ws-a", 0, "ws-b")
	v.check(err)
	if r.Workspace != "ws-b" || r.Number != 1 || r.Root != src.Root || r.Files != src.Files || r.Stored > 1<<10 {
		t.Errorf("copy %+v", r)
	}
	if err := s.Forget(t.Context(), "ws-a"); err != nil {
		t.Fatal(err)
	}
	to := newVolume(t)
	_, err = s.Restore(t.Context(), "ws-b", 0, nil, persist.Destination{Root: to.open()})
	v.check(err)
	equal(t, state(t, to.dir), state(t, v.dir))
	if _, err := s.Copy(t.Context(), "ws-a", 0, "ws-c"); !holt.IsKind(err, holt.KindNotFound) {
		t.Errorf("copy of nothing: %v", err)
	}
}
