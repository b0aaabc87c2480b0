package depot_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/node/depot"
	"github.com/holt-ide/holt/object/local"
	"github.com/holt-ide/holt/snapshot"
)

// fixture is a depot on a disk whose free space is told, with a store that can be
// away.
type fixture struct {
	*depot.Depot
	free, total atomic.Int64
	away        atomic.Bool
	shrunk      atomic.Int32
	store       string
}

func setup(t *testing.T, store string) *fixture {
	t.Helper()
	f := &fixture{store: store}
	f.total.Store(100 << 30)
	f.free.Store(50 << 30)
	dir := t.TempDir()
	var err error
	f.Depot, err = depot.Open(depot.Config{
		Root: filepath.Join(dir, "snapshots"), Mounts: filepath.Join(dir, "lazy"), Owner: "test-" + filepath.Base(dir),
		Connect: func(context.Context) (depot.Objects, error) {
			if f.away.Load() {
				return depot.Objects{}, holt.Errorf(holt.KindUnavailable, "away")
			}
			s, err := local.Open(store)
			return depot.Objects{Store: s, Origin: s, Shrink: func() { f.shrunk.Add(1) }}, err
		},
		Space: func() (int64, int64, error) { return f.free.Load(), f.total.Load(), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// freeze writes a raw snapshot, n seconds after some moment.
func (f *fixture) freeze(t *testing.T, n int) (*snapshot.Manifest, map[string][]byte) {
	t.Helper()
	d, err := f.Begin(holt.NewSnapshotID())
	if err != nil {
		t.Fatal(err)
	}
	content := map[string][]byte{"pages.img": make([]byte, 300_000), snapshot.VolumeName: make([]byte, 1<<20)}
	_, _ = rand.Read(content["pages.img"])
	copy(content[snapshot.VolumeName][500_000:], "typed")
	for name, data := range content {
		if err := os.WriteFile(filepath.Join(d.Dir(), name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := &snapshot.Manifest{Workspace: "ws", Driver: "test", CreatedAt: time.Unix(1_700_000_000+int64(n), 0)}
	if err := d.Commit(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	return m, content
}

func (f *fixture) keep(t *testing.T, id, parent holt.SnapshotID) depot.Kept {
	t.Helper()
	k, err := f.Keep(t.Context(), "tenant", depot.New{ID: id, Parent: parent})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// What is kept can be given up here and fetched again, here and elsewhere, and is the
// same.
func TestKeepEvictFetch(t *testing.T) {
	store := t.TempDir()
	f := setup(t, store)
	ctx := t.Context()
	m, _ := f.freeze(t, 0)
	f.away.Store(true)
	if _, err := f.Keep(ctx, "tenant", depot.New{ID: m.ID}); !holt.IsKind(err, holt.KindUnavailable) {
		t.Fatalf("while the store is away: %v", err)
	}
	if err := f.Evict(m.ID); err != nil || f.Evicted(m.ID) {
		t.Fatalf("the only copy was given up: %v", err)
	}
	f = setup(t, store)
	m, content := f.freeze(t, 0)
	extra := filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(extra, []byte("agent's bytes"), 0o600); err != nil {
		t.Fatal(err)
	}
	kept, err := f.Keep(ctx, "tenant", depot.New{ID: m.ID, Describe: []byte(`{"name":"lab"}`), Extra: map[string]string{"agent": extra}})
	if err != nil || kept.Stored < 300_000 {
		t.Fatalf("%+v, %v", kept, err)
	}
	if again := f.keep(t, m.ID, ""); again != kept {
		t.Errorf("again %+v, want %+v", again, kept)
	}
	here, release := f.Raw(m.ID)
	if err := f.Evict(m.ID); err != nil || !here || f.Evicted(m.ID) {
		t.Errorf("given up while it is used: %v, %v", here, err)
	}
	release()
	if err := f.Evict(m.ID); err != nil || !f.Evicted(m.ID) {
		t.Fatalf("not given up: %v", err)
	}
	if err := f.Verify(ctx, m); err != nil {
		t.Errorf("verify in the store: %v", err)
	}
	cp, err := f.Copy(ctx, m.ID, "sn-copy")
	if err != nil || !f.Evicted("sn-copy") {
		t.Fatalf("copy of what only the store has: %v", err)
	}

	other := setup(t, store)
	im, err := other.Import(ctx, "tenant", m.ID, "sn-import", "ws-other")
	if err != nil || im.ID != "sn-import" {
		t.Fatal(err)
	}
	if err := f.Forget(ctx, "tenant", m.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Maintain(ctx, "tenant"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		d *fixture
		m *snapshot.Manifest
	}{{f, cp}, {other, im}} {
		for name, want := range content {
			dst, err := os.Create(filepath.Join(t.TempDir(), "dst"))
			if err != nil {
				t.Fatal(err)
			}
			n, err := c.d.Fetch(ctx, c.m, name, dst)
			dst.Close()
			if got, rerr := os.ReadFile(dst.Name()); err != nil || rerr != nil || !bytes.Equal(got, want) {
				t.Errorf("%s of %s: %v, %v", name, c.m.ID, err, rerr)
			}
			if name == snapshot.VolumeName && n > snapshot.BlockSize {
				t.Errorf("%d bytes fetched of a file of zeros", n)
			}
		}
		var agent bytes.Buffer
		if err := c.d.Extra(ctx, c.m.ID, "agent", &agent); err != nil || agent.String() != "agent's bytes" {
			t.Errorf("what went along: %q, %v", agent.String(), err)
		}
		if err := c.d.Extra(ctx, c.m.ID, "nothing", &agent); !holt.IsKind(err, holt.KindNotFound) {
			t.Errorf("what did not: %v", err)
		}
	}
	if _, err := other.Import(ctx, "stranger", "sn-copy", "sn-stolen", "ws"); !holt.IsKind(err, holt.KindNotFound) {
		t.Errorf("another tenant's: %v", err)
	}
}

// A raw file that rotted is not stored as if it were right.
func TestRottenFilesAreNotKept(t *testing.T) {
	f := setup(t, t.TempDir())
	m, content := f.freeze(t, 0)
	content["pages.img"][200_000] ^= 1
	if err := os.WriteFile(filepath.Join(f.Dir(m.ID), "pages.img"), content["pages.img"], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Keep(t.Context(), "tenant", depot.New{ID: m.ID}); !holt.IsKind(err, holt.KindCorrupt) {
		t.Fatalf("keep: %v", err)
	}
	if list, err := f.Entries(t.Context(), "tenant", false); err != nil || len(list) != 0 {
		t.Errorf("the store has %d, %v", len(list), err)
	}
	if c, err := f.Maintain(t.Context(), "tenant"); err != nil || c.Collected.Objects != 0 {
		t.Errorf("left behind: %+v, %v", c, err)
	}
}

// Below a tenth of free space the oldest raw files go that the store has too, and the
// cache shrinks; the only copy of anything never does.
func TestTrim(t *testing.T) {
	f := setup(t, t.TempDir())
	var ids []holt.SnapshotID
	for n := range 4 {
		m, _ := f.freeze(t, n)
		ids = append(ids, m.ID)
		if n != 1 {
			f.keep(t, m.ID, "")
		}
	}
	here := func() (list []bool) {
		for _, id := range ids {
			list = append(list, !f.Evicted(id))
		}
		return list
	}
	if freed, err := f.Trim(0); err != nil || freed != 0 {
		t.Errorf("with half of the disk free: %d, %v", freed, err)
	}
	f.free.Store(20 << 30)
	size, err := f.Usage(ids[0])
	if err != nil {
		t.Fatal(err)
	}
	if freed, err := f.Trim(20<<30 + size/2); err != nil || freed == 0 || f.shrunk.Load() != 0 { // somebody needs a little more than there is
		t.Errorf("freed %d, %v, shrunk %d", freed, err, f.shrunk.Load())
	}
	if got := here(); got[0] || !got[1] || !got[2] || !got[3] {
		t.Errorf("the oldest first: %v", got)
	}
	f.free.Store(9 << 30)
	if _, err := f.Trim(0); err != nil || f.shrunk.Load() != 1 {
		t.Errorf("%v, shrunk %d", err, f.shrunk.Load())
	}
	if got := here(); got[0] || !got[1] || got[2] || got[3] {
		t.Errorf("below the watermark: %v", got)
	}
}
