package chunk_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
	"github.com/holt-ide/holt/object/objecttest"
	"github.com/holt-ide/holt/snapshot/chunk"
)

func ids(entries []chunk.Entry) string {
	var list []string
	for _, e := range entries {
		list = append(list, string(e.ID))
	}
	return strings.Join(list, " ")
}

func TestChain(t *testing.T) {
	ctx := t.Context()
	m := new(objecttest.Memory)
	s := open(t, small(m))
	for i := range 6 {
		mustSave(t, s, chunk.New{ID: holt.SnapshotID(fmt.Sprint("s", i)), Workspace: "ws", Parent: holt.SnapshotID(fmt.Sprint("s", i-1)), CreatedAt: time.Unix(int64(i), 0)},
			files{"f": append(noise(byte(i), 9000), noise(50, 50_000)...)})
	}
	mustSave(t, s, chunk.New{ID: "other", Workspace: "other"}, files{"f": noise(9, 10)})
	if err := s.SetLabel(ctx, "s1", "before the change"); err != nil {
		t.Fatal(err)
	}
	if err := s.SetLabel(ctx, "s2", "before the change"); !holt.IsKind(err, holt.KindConflict) {
		t.Errorf("a label twice: %v", err)
	}
	if err := s.SetLabel(ctx, "nothing", "x"); !holt.IsKind(err, holt.KindNotFound) {
		t.Error(err)
	}
	if err := s.MarkDamaged(ctx, "s5", "its memory is gone"); err != nil {
		t.Fatal(err)
	}
	e, damaged, err := s.Current(ctx, "ws")
	if err != nil || e.ID != "s4" || ids(damaged) != "s5" || damaged[0].Damage != "its memory is gone" {
		t.Errorf("current %s, damaged %v, %v", e.ID, damaged, err)
	}
	gone, err := s.Retain(ctx, "ws", 2)
	if err != nil || len(gone) != 3 {
		t.Errorf("retain deleted %v, %v", gone, err)
	}
	chain, err := s.Chain(ctx, "ws")
	if err != nil || ids(chain) != "s4 s3 s1" {
		t.Errorf("chain %s, %v", ids(chain), err)
	}
	if _, err := s.Collect(ctx); err != nil {
		t.Fatal(err)
	}
	if leaked, missing, err := exact(ctx, m, s); err != nil || len(leaked)+len(missing) > 0 {
		t.Errorf("leaked %q, missing %q, %v", leaked, missing, err)
	}
	for _, e := range chain {
		i := int(e.ID[1] - '0')
		if err := check(ctx, s, e.ID, files{"f": append(noise(byte(i), 9000), noise(50, 50_000)...)}); err != nil {
			t.Error(err)
		}
		if err := s.MarkDamaged(ctx, e.ID, "gone"); err != nil {
			t.Fatal(err)
		}
	}
	if _, damaged, err := s.Current(ctx, "ws"); !holt.IsKind(err, holt.KindNotFound) || len(damaged) != 3 {
		t.Errorf("nothing whole is left: %v, %v", damaged, err)
	}
	if gone, err := s.Retain(ctx, "ws", 1); err != nil || len(gone) != 0 {
		t.Errorf("the last ones were deleted: %v, %v", gone, err)
	}
	if damaged, err := s.Scrub(ctx); err != nil || len(damaged) != 0 {
		t.Errorf("scrub: %v, %v", damaged, err)
	}
	if e, _, err := s.Current(ctx, "ws"); err != nil || e.ID != "s4" {
		t.Errorf("after a scrub that found nothing: %s, %v", e.ID, err)
	}
}

// A view that is open while its snapshot is compacted and the old segments are
// removed goes on reading the same bytes.
func TestCompactUnderAnOpenView(t *testing.T) {
	ctx := t.Context()
	m := new(objecttest.Memory)
	s := open(t, small(m))
	shared := noise(1, 10*4096)
	mustSave(t, s, chunk.New{ID: "large", Workspace: "a"}, files{"f": slices.Concat(noise(2, 50*4096), shared, noise(3, 50*4096))})
	want := files{"f": slices.Concat(make([]byte, 2*4096), shared)}
	mustSave(t, s, chunk.New{ID: "small", Workspace: "a", Parent: "large"}, want)
	mustSave(t, s, chunk.New{ID: "copy", Workspace: "b", Parent: "small"}, want)
	v, err := s.View(ctx, "small")
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	f, err := v.Open("f")
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 20_000)
	if _, err := f.ReadAt(first, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(ctx, "large"); err != nil {
		t.Fatal(err)
	}
	before, err := s.Collect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	done, err := s.Compact(ctx, 0.9)
	if err != nil {
		t.Fatal(err)
	}
	if done.Segments == 0 || done.Snapshots == 0 {
		t.Fatalf("nothing was compacted after %+v: %+v", before, done)
	}
	c, err := s.Collect(ctx)
	if err != nil || c.Bytes < done.Freed {
		t.Errorf("collected %+v after %+v, %v", c, done, err)
	}
	got, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	if err != nil || !bytes.Equal(got, want["f"]) {
		t.Errorf("the open view: %v", err)
	}
	for _, id := range []holt.SnapshotID{"small", "copy"} {
		if err := check(ctx, s, id, want); err != nil {
			t.Error(err)
		}
	}
	if err := s.Delete(ctx, "small", "copy"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Collect(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadAt(first, 0); !holt.IsKind(err, holt.KindCorrupt) {
		t.Errorf("read of a snapshot that was deleted: %v", err)
	}
}

// A writer that takes too long is given up, and can do no harm afterwards.
func TestWriterThatIsGivenUp(t *testing.T) {
	ctx := t.Context()
	m := new(objecttest.Memory)
	cfg := small(m)
	cfg.Patience = time.Nanosecond
	s := open(t, cfg)
	w, err := s.Begin(ctx, chunk.New{ID: "slow", Workspace: "ws"})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(ctx, "f", bytes.NewReader(noise(1, 200_000)), 200_000); err != nil {
		t.Fatal(err)
	}
	if c, err := s.Collect(ctx); err != nil || c.GivenUp != 1 {
		t.Fatal(c, err)
	}
	if _, err := w.Commit(ctx); err == nil {
		t.Fatal("a writer that was given up committed")
	}
	if err := w.Abort(ctx); err != nil {
		t.Error(err)
	}
	if leaked, missing, err := exact(ctx, m, s); err != nil || len(leaked)+len(missing) > 0 {
		t.Errorf("leaked %q, missing %q, %v", leaked, missing, err)
	}
}

// A catalog that is lost is made anew: order, labels and all.
func TestRepair(t *testing.T) {
	ctx := t.Context()
	m := new(objecttest.Memory)
	s := open(t, small(m))
	for i := range 3 {
		mustSave(t, s, chunk.New{ID: holt.SnapshotID(fmt.Sprint("s", i)), Workspace: "ws", Label: fmt.Sprint("l", i), CreatedAt: time.Unix(int64(i), 0)}, files{"f": noise(byte(i), 9000)})
	}
	if r, err := chunk.Repair(ctx, small(m)); err != nil || r.Needed {
		t.Errorf("repair of what is whole: %+v, %v", r, err)
	}
	if err := m.Delete(ctx, "tenant/catalog"); err != nil {
		t.Fatal(err)
	}
	if _, err := chunk.Open(ctx, small(m)); !holt.IsKind(err, holt.KindCorrupt) {
		t.Fatalf("open without a catalog: %v", err)
	}
	if _, err := s.Collect(ctx); !holt.IsKind(err, holt.KindCorrupt) {
		t.Fatalf("collect without a catalog: %v", err)
	}
	var broken object.Key
	for _, k := range keys(t, m) {
		if strings.Contains(string(k), "/manifest/") {
			broken = k
			break
		}
	}
	if _, err := m.Put(ctx, broken, []byte("noise"), object.Condition{}); err != nil {
		t.Fatal(err)
	}
	r, err := chunk.Repair(ctx, small(m))
	if err != nil || !r.Needed || len(r.Unreadable) != 1 || r.Unreadable[0].Object != broken {
		t.Fatalf("%+v, %v", r, err)
	}
	s = open(t, small(m))
	chain, err := s.Chain(context.Background(), "ws")
	if err != nil || ids(chain) != "s2 s1" || chain[0].Label != "l2" {
		t.Errorf("chain %v, %v", chain, err)
	}
	if err := check(ctx, s, "s2", files{"f": noise(2, 9000)}); err != nil {
		t.Error(err)
	}
}

// A copy needs nothing of its source, costs no chunk, and can be of another workspace.
func TestCopyIsIndependent(t *testing.T) {
	p := newPair(t)
	s, ctx := open(t, p.cfg), t.Context()
	m, err := s.Copy(ctx, "first", chunk.New{ID: "copy", Workspace: "other", Label: "mine"})
	if err != nil || m.Stats.Stored != 0 || m.Stats.New != 0 || m.Workspace != "other" || m.Label != "mine" {
		t.Fatalf("%+v, %v", m, err)
	}
	if _, err := s.Copy(ctx, "first", chunk.New{ID: "copy"}); !holt.IsKind(err, holt.KindConflict) {
		t.Errorf("the same name twice: %v", err)
	}
	if _, err := s.Copy(ctx, "nothing", chunk.New{ID: "copy-2"}); !holt.IsKind(err, holt.KindNotFound) {
		t.Errorf("a copy of nothing: %v", err)
	}
	if err := s.Delete(ctx, "first"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Collect(ctx); err != nil {
		t.Fatal(err)
	}
	if err := check(ctx, s, "copy", p.first); err != nil {
		t.Errorf("after its source is gone: %v", err)
	}
	if err := s.MarkDamaged(ctx, "copy", "a chunk"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Copy(ctx, "copy", chunk.New{ID: "copy-3"}); !holt.IsKind(err, holt.KindCorrupt) {
		t.Errorf("a copy of a damaged one: %v", err)
	}
	if c, err := s.Collect(ctx); err != nil || c.Objects != 0 {
		t.Errorf("refused copies left something: %+v, %v", c, err)
	}
}
