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

func testCreate(t *testing.T, open func(*testing.T) meta.Store) {
	s := start(t, open)
	in := sample("full")
	got := create(t, s, in)
	want := in
	want.Version, want.UpdatedAt = 1, in.CreatedAt
	if got != want {
		t.Fatalf("create returned\n%+v, want\n%+v", got, want)
	}
	for name, read := range map[string]func() (meta.Workspace, error){
		"Get":    func() (meta.Workspace, error) { return s.Workspaces().Get(t.Context(), in.ID) },
		"ByName": func() (meta.Workspace, error) { return s.Workspaces().ByName(t.Context(), in.Name) },
	} {
		got, err := read()
		if err != nil || got != want {
			t.Errorf("%s returned\n%+v, %v, want\n%+v", name, got, err, want)
		}
	}

	empty := meta.Workspace{ID: holt.NewWorkspaceID(), Name: "empty", State: holt.Queued, CreatedAt: in.CreatedAt}
	got = create(t, s, empty)
	if !got.SnapshotAt.IsZero() || !got.LastActiveAt.IsZero() || !got.RestartsSince.IsZero() {
		t.Errorf("times that were never set came back as %v, %v, %v", got.SnapshotAt, got.LastActiveAt, got.RestartsSince)
	}

	_, err := s.Workspaces().Get(t.Context(), "ws-nobody")
	wantKind(t, err, holt.KindNotFound)
	_, err = s.Workspaces().ByName(t.Context(), "nobody")
	wantKind(t, err, holt.KindNotFound)
}

func testNames(t *testing.T, open func(*testing.T) meta.Store) {
	s := start(t, open)
	first := create(t, s, sample("demo"))
	_, err := s.Workspaces().Create(t.Context(), sample("demo"), meta.Event{Name: "created"})
	if !errors.Is(err, meta.ErrNameTaken) {
		t.Fatalf("second create of one name: %v", err)
	}
	if last, err := s.Events().Last(t.Context()); err != nil || last != 0 {
		t.Fatalf("a refused create left event %d (%v)", last, err)
	}
	first.State = holt.Deleted
	if _, err := s.Workspaces().Update(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	second := create(t, s, sample("demo"))
	if got, err := s.Workspaces().ByName(t.Context(), "demo"); err != nil || got.ID != second.ID {
		t.Fatalf("the name leads to %s (%v), want the new workspace %s", got.ID, err, second.ID)
	}
	if got, err := s.Workspaces().Get(t.Context(), first.ID); err != nil || got.State != holt.Deleted {
		t.Fatalf("the deleted row is %+v, %v", got, err)
	}
	third := sample("other")
	create(t, s, third)
	third.Version, third.Name = 1, "demo"
	if _, err := s.Workspaces().Update(t.Context(), third); !errors.Is(err, meta.ErrNameTaken) {
		t.Fatalf("rename to a taken name: %v", err)
	}
}

func testUpdate(t *testing.T, open func(*testing.T) meta.Store) {
	s := start(t, open)
	w := create(t, s, sample("demo"))
	w.State, w.Sandbox, w.SnapshotAt, w.Message = holt.Running, "", time.Time{}, ""
	stale := w
	got, err := s.Workspaces().Update(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	if got.Version != w.Version+1 || !got.UpdatedAt.After(w.UpdatedAt) {
		t.Errorf("version %d at %v, want %d and a later time than %v", got.Version, got.UpdatedAt, w.Version+1, w.UpdatedAt)
	}
	read, err := s.Workspaces().Get(t.Context(), w.ID)
	if err != nil || read != got {
		t.Fatalf("read\n%+v, %v, want what Update returned\n%+v", read, err, got)
	}
	want := w
	want.Version, want.UpdatedAt = got.Version, got.UpdatedAt
	if got != want {
		t.Fatalf("update stored\n%+v, want\n%+v", got, want)
	}

	_, err = s.Workspaces().Update(t.Context(), stale, meta.Event{Name: "lost"})
	if !errors.Is(err, meta.ErrStale) {
		t.Fatalf("update of a stale row: %v", err)
	}
	gone := sample("gone")
	gone.Version = 1
	if _, err := s.Workspaces().Update(t.Context(), gone); !errors.Is(err, meta.ErrStale) {
		t.Fatalf("update of a row that is not there: %v", err)
	}
	if last, _ := s.Events().Last(t.Context()); last != 0 {
		t.Fatalf("a lost update left event %d", last)
	}
	got.CreatedAt = got.CreatedAt.Add(time.Hour)
	got.LastActiveAt = got.LastActiveAt.Add(time.Hour)
	again, err := s.Workspaces().Update(t.Context(), got)
	if err != nil || !again.CreatedAt.Equal(w.CreatedAt) || !again.LastActiveAt.Equal(w.LastActiveAt) {
		t.Fatalf("update moved creation to %v or activity to %v (%v)", again.CreatedAt, again.LastActiveAt, err)
	}
}

// Many writers race through many versions: each version is won exactly once, and
// each win has exactly its event.
func testUpdateRace(t *testing.T, open func(*testing.T) meta.Store) {
	s := start(t, open)
	w := create(t, s, sample("demo"))
	const writers, versions = 8, 25
	var mu sync.Mutex
	won := map[int64]int{}
	var wg sync.WaitGroup
	for n := range writers {
		wg.Go(func() {
			for {
				row, err := s.Workspaces().Get(t.Context(), w.ID)
				if err != nil {
					t.Errorf("get: %v", err)
					return
				}
				if row.Version > versions {
					return
				}
				row.Message = fmt.Sprintf("writer %d", n)
				got, err := s.Workspaces().Update(t.Context(), row, meta.Event{Workspace: w.ID, Kind: meta.EventLog, Text: fmt.Sprint(row.Version + 1)})
				if errors.Is(err, meta.ErrStale) {
					continue
				}
				if err != nil {
					t.Errorf("update: %v", err)
					return
				}
				mu.Lock()
				won[got.Version]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for v := int64(2); v <= versions+1; v++ {
		if won[v] != 1 {
			t.Errorf("version %d was won %d times", v, won[v])
		}
	}
	evs, err := s.Events().Since(t.Context(), 0, 1000)
	if err != nil || len(evs) != versions {
		t.Fatalf("%d events (%v), want %d", len(evs), err, versions)
	}
	for i, e := range evs {
		if e.Text != fmt.Sprint(i+2) {
			t.Errorf("event %d tells of version %s, want %d", e.Seq, e.Text, i+2)
		}
	}
}

func testCreateRace(t *testing.T, open func(*testing.T) meta.Store) {
	s := start(t, open)
	var mu sync.Mutex
	wins := 0
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, err := s.Workspaces().Create(t.Context(), sample("demo"))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				wins++
			} else if !errors.Is(err, meta.ErrNameTaken) {
				t.Errorf("create: %v", err)
			}
		})
	}
	wg.Wait()
	if wins != 1 {
		t.Errorf("%d creates of one name succeeded", wins)
	}
}

func testTouch(t *testing.T, open func(*testing.T) meta.Store) {
	s := start(t, open)
	in := sample("demo")
	in.LastActiveAt = time.Time{}
	w := create(t, s, in)
	base := time.Date(2026, 5, 1, 10, 0, 9, 900000000, time.UTC)
	for _, at := range []time.Time{base, base.Add(100 * time.Millisecond), base.Add(-time.Second), base.Add(99999 * time.Microsecond)} {
		if err := s.Workspaces().Touch(t.Context(), w.ID, at); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Workspaces().Get(t.Context(), w.ID)
	if err != nil || !got.LastActiveAt.Equal(base.Add(100*time.Millisecond)) || got.Version != w.Version {
		t.Fatalf("last active %v in version %d (%v)", got.LastActiveAt, got.Version, err)
	}
	if err := s.Workspaces().Touch(t.Context(), "ws-nobody", base); err != nil {
		t.Errorf("touch of an unknown workspace: %v", err)
	}
}

func testList(t *testing.T, open func(*testing.T) meta.Store) {
	s := start(t, open)
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var names []string
	for i := range 7 {
		w := sample(fmt.Sprintf("w%d", i))
		w.CreatedAt = at.Add(time.Duration(i/2) * time.Microsecond) // pairs share a time
		w.State = []holt.State{holt.Running, holt.Suspended}[i%2]
		if i == 6 {
			w.State = holt.Deleted
		} else {
			names = append(names, w.Name)
		}
		if i == 3 {
			w.Owner = "eve"
		}
		create(t, s, w)
	}
	for _, limit := range []int{0, 1, 2, 5, 6, 7} {
		got := walk(t, s, meta.Page{Limit: limit})
		slices.Sort(got)
		if !slices.Equal(got, names) {
			t.Errorf("pages of %d hold %v, want %v", limit, got, names)
		}
	}
	forward, back := walk(t, s, meta.Page{Limit: 4}), walk(t, s, meta.Page{Limit: 4, Reverse: true})
	slices.Reverse(back)
	if !slices.Equal(forward, back) {
		t.Errorf("forward %v, backward %v", forward, back)
	}
	if got := walk(t, s, meta.Page{Owner: "eve"}); !slices.Equal(got, []string{"w3"}) {
		t.Errorf("eve owns %v", got)
	}
	if got := walk(t, s, meta.Page{States: []holt.State{holt.Suspended, holt.Deleted}, Limit: 1}); len(got) != 4 {
		t.Errorf("suspended and deleted: %v", got)
	}
	for _, bad := range []string{"x", "%%", "bm9wZQ"} {
		_, _, err := s.Workspaces().List(t.Context(), meta.Page{Cursor: bad})
		wantKind(t, err, holt.KindInvalid)
	}
}

func walk(t *testing.T, s meta.Store, p meta.Page) (names []string) {
	t.Helper()
	for {
		rows, next, err := s.Workspaces().List(t.Context(), p)
		if err != nil {
			t.Fatalf("list: %v", err)
		}
		if p.Limit > 0 && len(rows) > p.Limit {
			t.Fatalf("a page of %d has %d rows", p.Limit, len(rows))
		}
		for _, w := range rows {
			names = append(names, w.Name)
		}
		if next == "" {
			return names
		}
		p.Cursor = next
	}
}

func testListWhileCreating(t *testing.T, open func(*testing.T) meta.Store) {
	s := start(t, open)
	for i := range 4 {
		w := sample(fmt.Sprintf("w%d", i))
		w.CreatedAt = w.CreatedAt.Add(time.Duration(i) * time.Second)
		create(t, s, w)
	}
	rows, next, err := s.Workspaces().List(t.Context(), meta.Page{Limit: 2})
	if err != nil || len(rows) != 2 {
		t.Fatal(rows, err)
	}
	late := sample("late")
	late.CreatedAt = late.CreatedAt.Add(time.Minute)
	create(t, s, late)
	got := walk(t, s, meta.Page{Limit: 2, Cursor: next})
	if !slices.Equal(got, []string{"w2", "w3", "late"}) {
		t.Errorf("the later pages hold %v", got)
	}
}

func testCount(t *testing.T, open func(*testing.T) meta.Store) {
	s := start(t, open)
	for i, st := range []holt.State{holt.Running, holt.Running, holt.Suspended, holt.Deleted} {
		w := sample(fmt.Sprintf("w%d", i))
		w.State = st
		create(t, s, w)
	}
	for _, c := range []struct {
		states []holt.State
		want   int
	}{
		{nil, 0},
		{[]holt.State{holt.Running}, 2},
		{[]holt.State{holt.Running, holt.Deleted}, 3},
		{[]holt.State{holt.Failed}, 0},
	} {
		if got, err := s.Workspaces().Count(t.Context(), c.states...); err != nil || got != c.want {
			t.Errorf("count of %v: %d, %v, want %d", c.states, got, err, c.want)
		}
	}
}
