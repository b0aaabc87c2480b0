package metatest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// RunRevisions runs the part of the suite that is about revisions.
func RunRevisions(t *testing.T, fresh Opener) {
	t.Run("Revisions", func(t *testing.T) { testRevisions(t, fresh(t)) })
	t.Run("RevisionConflicts", func(t *testing.T) { testRevisionConflicts(t, fresh(t)) })
	t.Run("RevisionRace", func(t *testing.T) { testRevisionRace(t, fresh(t)) })
	t.Run("RevisionSweep", func(t *testing.T) { testRevisionSweep(t, fresh(t)) })
}

func blob(n byte) meta.BlobID { return meta.BlobID{0: n, 31: n} }

// publication returns one of workspace ws with a pack of its own, which holds the blobs.
func publication(ws holt.WorkspaceID, number, base int64, blobs ...byte) meta.Publication {
	txn := fmt.Sprintf("%s-%d", ws, number)
	p := meta.Publication{
		Revision: meta.Revision{
			Workspace: ws, Number: number, Tenant: "ada", Txn: txn, Base: base, At: day.Add(time.Duration(number) * time.Minute), Reason: "save",
			Root: blob(200), Record: blob(201), Files: 3, Bytes: 1 << 40, Stored: 7, Torn: 1, Skipped: 2,
		},
		Packs: []meta.Pack{{ID: "pack-" + txn, Size: 1 << 33, Header: 99, Blobs: int64(len(blobs))}},
	}
	for i, n := range blobs {
		p.Blobs = append(p.Blobs, meta.Blob{ID: blob(n), Pack: "pack-" + txn, Offset: int64(100 * i), Length: 100, Plain: 1 << 32, Codec: 3})
	}
	return p
}

func publish(t *testing.T, s meta.Store, p meta.Publication) meta.Revision {
	t.Helper()
	r, err := s.Revisions().Publish(t.Context(), p)
	if err != nil {
		t.Fatalf("publish %s: %v", p.Revision.Txn, err)
	}
	return r
}

func testRevisions(t *testing.T, open func(*testing.T) meta.Store) {
	store := start(t, open)
	s, ctx := store.Revisions(), t.Context()
	if _, err := s.Latest(ctx, "ws-a"); !holt.IsKind(err, holt.KindNotFound) {
		t.Errorf("latest of nothing: %v", err)
	}
	p := publication("ws-a", 1, 0, 1, 2)
	p.Revision.Name = "first"
	first, err := s.Publish(ctx, p, meta.Event{Workspace: "ws-a", Kind: meta.EventLog, Name: "revision", At: day})
	if err != nil {
		t.Fatal(err)
	}
	if first.PublishedAt.IsZero() {
		t.Error("no time of publication")
	}
	want := p.Revision
	want.PublishedAt = first.PublishedAt
	if first != want {
		t.Errorf("published %+v, want %+v", first, want)
	}
	again, err := s.Publish(ctx, p, meta.Event{Workspace: "ws-a", Kind: meta.EventLog, Name: "revision", At: day})
	if err != nil || again != first {
		t.Errorf("the same once more: %+v, %v", again, err)
	}
	if evs, err := store.Events().Of(ctx, "ws-a", 0, 10); err != nil || len(evs) != 1 {
		t.Errorf("events %+v, %v: want one", evs, err)
	}
	second := publish(t, store, publication("ws-a", 4, 1, 3))
	other := publish(t, store, publication("ws-b", 1, 0, 4))
	if got, err := s.List(ctx, "ws-a", 0, 0); err != nil || !slices.Equal(got, []meta.Revision{second, first}) {
		t.Errorf("list %+v, %v", got, err)
	}
	if got, err := s.List(ctx, "ws-a", 4, 1); err != nil || !slices.Equal(got, []meta.Revision{first}) {
		t.Errorf("list before 4: %+v, %v", got, err)
	}
	if got, err := s.Latest(ctx, "ws-a"); err != nil || got != second {
		t.Errorf("latest %+v, %v", got, err)
	}
	if got, err := s.Get(ctx, "ws-a", 1); err != nil || got != first {
		t.Errorf("get %+v, %v", got, err)
	}
	wantKind(t, s.Name(ctx, "ws-a", 2, "x"), holt.KindNotFound)
	wantKind(t, s.Damage(ctx, "ws-a", 2, "x"), holt.KindNotFound)
	for _, err := range []error{s.Name(ctx, "ws-a", 4, "ünïcode"), s.Damage(ctx, "ws-a", 4, "lost")} {
		if err != nil {
			t.Error(err)
		}
	}
	second.Name, second.Damage = "ünïcode", "lost"
	h, err := s.Holdings(ctx, "ada")
	if err != nil || !slices.Equal(h.Revisions, []meta.Revision{first, second, other}) || len(h.Packs) != 3 || h.Packs[0] != p.Packs[0] {
		t.Errorf("holdings %+v, %v", h, err)
	}
	if got, err := s.Blobs(ctx, "ada", blob(2), blob(9), blob(4)); err != nil || len(got) != 2 || !slices.Contains(got, p.Blobs[1]) {
		t.Errorf("blobs %+v, %v", got, err)
	}
	if got, err := s.Blobs(ctx, "bob", blob(2)); err != nil || len(got) != 0 {
		t.Errorf("blobs of another tenant: %+v, %v", got, err)
	}
	if got, err := s.PackBlobs(ctx, "ada", p.Packs[0].ID); err != nil || !slices.Equal(got, p.Blobs) {
		t.Errorf("blobs of a pack %+v, %v", got, err)
	}
	if got, err := s.Tenants(ctx); err != nil || !slices.Equal(got, []holt.UserID{"ada"}) {
		t.Errorf("tenants %v, %v", got, err)
	}
	for range 2 {
		if err := s.Remove(ctx, "ws-a", 1, 17); err != nil {
			t.Error(err)
		}
	}
	if err := s.Remove(ctx, "ws-b"); err != nil {
		t.Error(err)
	}
	if h, err := s.Holdings(ctx, "ada"); err != nil || !slices.Equal(h.Revisions, []meta.Revision{second}) {
		t.Errorf("left %+v, %v", h.Revisions, err)
	}
}

func testRevisionConflicts(t *testing.T, open func(*testing.T) meta.Store) {
	store := start(t, open)
	s, ctx := store.Revisions(), t.Context()
	publish(t, store, publication("ws-a", 1, 0, 1, 2))
	publish(t, store, publication("ws-a", 2, 1, 3))
	before, err := s.Holdings(ctx, "ada")
	if err != nil {
		t.Fatal(err)
	}
	reusing := func(p meta.Publication, ids ...meta.BlobID) meta.Publication {
		p.Reused = ids
		return p
	}
	taken := publication("ws-a", 2, 1, 9)
	taken.Revision.Txn = "another"
	ofBob := publication("ws-a", 3, 2, 9)
	ofBob.Revision.Tenant = "bob"
	samePack := publication("ws-a", 3, 2, 9)
	samePack.Packs[0].ID = "pack-ws-a-1"
	copied := func(p meta.Publication, from holt.WorkspaceID, number int64) meta.Publication {
		p.From = meta.RevisionID{Workspace: from, Number: number}
		return p
	}
	for name, p := range map[string]meta.Publication{
		"a source that is gone":    copied(publication("ws-b", 1, 0, 9), "ws-a", 7),
		"a taken number":           taken,
		"a base that is gone":      publication("ws-a", 5, 4, 9),
		"a base of another tenant": ofBob,
		"a pack of another":        samePack,
		"a blob that is gone":      reusing(publication("ws-a", 3, 2, 9), blob(1), blob(9)),
		"a base of another one":    publication("ws-b", 2, 1, 9),
	} {
		if _, err := s.Publish(ctx, p, meta.Event{Workspace: "ws-a", Kind: meta.EventLog, Name: "x"}); !errors.Is(err, meta.ErrRevisionStale) {
			t.Errorf("%s: %v", name, err)
		}
	}
	after, err := s.Holdings(ctx, "ada")
	if err != nil || !slices.Equal(after.Revisions, before.Revisions) || !slices.Equal(after.Packs, before.Packs) {
		t.Errorf("after refusals %+v, %v, want %+v", after, err, before)
	}
	if n, err := store.Events().Last(ctx); n != 0 || err != nil {
		t.Errorf("%d events of refused publications, %v", n, err)
	}
	if _, err := s.Publish(ctx, reusing(publication("ws-a", 3, 2), blob(1), blob(3), blob(1))); err != nil {
		t.Errorf("blobs that are there: %v", err)
	}
	if _, err := s.Publish(ctx, copied(publication("ws-b", 1, 0, 9), "ws-a", 1)); err != nil {
		t.Errorf("a copy: %v", err)
	}
}

// Of many who publish after the same revision, one wins.
func testRevisionRace(t *testing.T, open func(*testing.T) meta.Store) {
	store := start(t, open)
	publish(t, store, publication("ws-a", 1, 0, 1))
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			p := publication("ws-a", 2, 1, byte(10+i))
			p.Revision.Txn = fmt.Sprint("txn-", i)
			p.Packs[0].ID = p.Revision.Txn
			p.Blobs[0].Pack = p.Revision.Txn
			_, errs[i] = store.Revisions().Publish(t.Context(), p)
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, meta.ErrRevisionStale) {
			t.Error(err)
		}
	}
	if h, err := store.Revisions().Holdings(t.Context(), "ada"); err != nil || won != 1 || len(h.Packs) != 2 {
		t.Errorf("%d won; %+v, %v", won, h, err)
	}
}

func testRevisionSweep(t *testing.T, open func(*testing.T) meta.Store) {
	store := start(t, open)
	s, ctx := store.Revisions(), t.Context()
	publish(t, store, publication("ws-a", 1, 0, 1, 2))
	publish(t, store, publication("ws-a", 2, 1, 3))
	h, err := s.Holdings(ctx, "ada")
	if err != nil {
		t.Fatal(err)
	}
	moved := meta.Blob{ID: blob(2), Pack: "moved", Offset: 5, Length: 6, Plain: 7, Codec: 1}
	sweep := meta.Sweep{
		Version: h.Version, Packs: []meta.Pack{{ID: "moved", Size: 50, Header: 5, Blobs: 1}}, Blobs: []meta.Blob{moved},
		Dead: []string{"pack-ws-a-1", "pack-ws-a-2", "unknown"}, Forget: []meta.BlobID{blob(1)}, At: day,
	}
	publish(t, store, publication("ws-b", 1, 0, 4))
	if _, err := s.Sweep(ctx, "ada", sweep); !errors.Is(err, meta.ErrRevisionStale) {
		t.Fatalf("a sweep after a publication: %v", err)
	}
	if got, err := s.Blobs(ctx, "ada", blob(1)); err != nil || len(got) != 1 {
		t.Fatalf("a refused sweep has forgotten: %v, %v", got, err)
	}
	sweep.Version++
	dead, err := s.Sweep(ctx, "ada", sweep)
	slices.Sort(dead)
	if err != nil || !slices.Equal(dead, []string{"pack-ws-a-1", "unknown"}) {
		t.Fatalf("dead %v, %v", dead, err)
	}
	if got, err := s.Blobs(ctx, "ada", blob(1), blob(2)); err != nil || !slices.Equal(got, []meta.Blob{moved}) {
		t.Errorf("blobs %+v, %v", got, err)
	}
	late := publication("ws-b", 2, 1, 5)
	late.Packs[0].ID, late.Blobs[0].Pack = "unknown", "unknown"
	if _, err := s.Publish(ctx, late); !errors.Is(err, meta.ErrRevisionStale) {
		t.Errorf("publish a dead pack: %v", err)
	}
	if err := s.Bury(ctx, "ada", "unknown", "moved", "never"); err != nil {
		t.Fatal(err)
	}
	if h, err = s.Holdings(ctx, "ada"); err != nil || len(h.Packs) != 4 {
		t.Errorf("after the burial %+v, %v", h.Packs, err)
	}
	for _, p := range h.Packs {
		if (p.ID == "pack-ws-a-1") == p.DeadAt.IsZero() || !p.DeadAt.IsZero() && !p.DeadAt.Equal(day) {
			t.Errorf("pack %+v", p)
		}
	}
	if _, err := s.Publish(ctx, late); err != nil {
		t.Errorf("publish after the burial: %v", err)
	}
}
