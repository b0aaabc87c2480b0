package persist_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/meta/metatest"
	"github.com/holt-ide/holt/object"
	"github.com/holt-ide/holt/object/objecttest"
	"github.com/holt-ide/holt/persist"
)

var errCrashed = errors.New("the process is dead")

// crasher lets a process die at one of its next writes: the write happens or not, and
// nothing after it.
type crasher struct {
	left int // writes until then; negative: never
	lost bool
	dead bool
	away bool // the object store cannot be reached
}

func (c *crasher) write(f func() error) error {
	if c.dead {
		return errCrashed
	}
	if c.left == 0 {
		c.dead = true
		if c.lost {
			_ = f() // it happens, and nobody learns of it
		}
		return errCrashed
	}
	c.left--
	return f()
}

func (c *crasher) object() error {
	if c.dead {
		return errCrashed
	}
	if c.away {
		return holt.Errorf(holt.KindUnavailable, "no store")
	}
	return nil
}

// crashingObjects are the objects as a process sees them.
type crashingObjects struct {
	objecttest.Script
	c *crasher
}

func (o *crashingObjects) Put(ctx context.Context, key object.Key, body []byte, cond object.Condition) (tag object.ETag, err error) {
	if err := o.c.object(); err != nil {
		return "", err
	}
	err = o.c.write(func() error { tag, err = o.Next.Put(ctx, key, body, cond); return err })
	return tag, err
}

func (o *crashingObjects) Delete(ctx context.Context, key object.Key) error {
	if err := o.c.object(); err != nil {
		return err
	}
	return o.c.write(func() error { return o.Next.Delete(ctx, key) })
}

// crashingRows are the rows as a process sees them.
type crashingRows struct {
	meta.Revisions
	c *crasher
}

func (r crashingRows) Publish(ctx context.Context, p meta.Publication, e ...meta.Event) (rev meta.Revision, err error) {
	err = r.c.write(func() error { rev, err = r.Revisions.Publish(ctx, p, e...); return err })
	if err != nil {
		return meta.Revision{}, err
	}
	return rev, nil
}

func (r crashingRows) Sweep(ctx context.Context, t holt.UserID, s meta.Sweep) (dead []string, err error) {
	err = r.c.write(func() error { dead, err = r.Revisions.Sweep(ctx, t, s); return err })
	if err != nil {
		return nil, err
	}
	return dead, nil
}

func (r crashingRows) Bury(ctx context.Context, t holt.UserID, packs ...string) error {
	return r.c.write(func() error { return r.Revisions.Bury(ctx, t, packs...) })
}

// project is a workspace under random steps.
type project struct {
	id     holt.WorkspaceID
	tenant holt.UserID
	dir    string
	files  map[string]string
	dirty  []string
}

// world is a store under random steps, and what must be true of it.
type world struct {
	t        *testing.T
	r        *rand.Rand
	objects  *objecttest.Memory
	rows     *metatest.Revisions
	c        *crasher
	s        *persist.Store
	spool    string
	projects []*project
	pool     []string
	want     map[meta.RevisionID]map[string]string    // what is durable
	maybe    map[holt.WorkspaceID][]map[string]string // what may be: it was cut off, or waits
	inside   bool                                     // in the middle of another step
	stale    map[string][]object.Info
	counts   map[string]int
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, r: rand.New(rand.NewPCG(seed, 0)), objects: new(objecttest.Memory), rows: new(metatest.Revisions), c: &crasher{left: -1},
		spool: filepath.Join(fastDir(t), "spool"), want: map[meta.RevisionID]map[string]string{}, maybe: map[holt.WorkspaceID][]map[string]string{},
		stale: map[string][]object.Info{}, counts: map[string]int{}}
	for i := range 40 {
		w.pool = append(w.pool, strings.Repeat(fmt.Sprintf("content %d of a file\n", i), 1+i*7))
	}
	large := make([]byte, 260<<10)
	for i := range large {
		large[i] = byte(w.r.Uint32())
	}
	w.pool = append(w.pool, "", string(large), string(large[:170<<10])+"another end", string(make([]byte, 150<<10)))
	for i := range 4 {
		p := &project{id: holt.WorkspaceID(fmt.Sprintf("ws-%d", i)), tenant: holt.UserID([]string{"ada", "ada", "ada", "bob"}[i]), dir: fastDir(t), files: map[string]string{}}
		for _, sub := range []string{"workspace", "home"} {
			w.check(os.Mkdir(filepath.Join(p.dir, sub), 0o755))
		}
		w.projects = append(w.projects, p)
	}
	w.restart()
	return w
}

// fastDir is a temporary directory in memory, where there is one.
func fastDir(t *testing.T) string {
	t.Helper()
	base := "/dev/shm"
	if _, err := os.Stat(base); err != nil {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(base, "holt-persist-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// restart is the next process.
func (w *world) restart() {
	*w.c = crasher{left: -1}
	objects := &crashingObjects{c: w.c}
	objects.Next = w.objects
	objects.Before = func(objecttest.Verb, object.Key) error { return w.c.object() }
	objects.Listed = func(prefix string, found []object.Info) []object.Info {
		// Now and then a listing is an old one.
		if old := w.stale[prefix]; old != nil && !w.inside && w.r.IntN(5) == 0 {
			return old
		}
		w.stale[prefix] = found
		return found
	}
	var err error
	w.s, err = persist.New(persist.Config{
		Objects: objects, Revisions: crashingRows{w.rows, w.c}, Spool: w.spool, PackSize: 16 << 10, Fault: w.fault})
	w.check(err)
	w.settle()
}

// fault lets others go on in the middle of a step.
func (w *world) fault(name string) {
	if w.inside || w.c.dead || w.r.IntN(3) > 0 {
		return
	}
	w.inside = true
	defer func() { w.inside = false }()
	switch {
	case strings.HasPrefix(name, "collect."):
		for range 1 + w.r.IntN(3) {
			switch w.r.IntN(5) {
			case 0, 1:
				w.edit(w.any())
				w.flush(w.any())
			case 2:
				w.flush(w.any())
			case 3:
				w.remove()
			case 4:
				w.copy()
			}
		}
	case strings.HasPrefix(name, "persist.pack"):
		if w.r.IntN(2) == 0 {
			w.remove()
		}
		w.collect(w.any().tenant)
	}
}

// settle finds out what became of steps that were cut off.
func (w *world) settle() {
	w.t.Helper()
	there := map[meta.RevisionID]bool{}
	for _, p := range w.projects {
		list, err := w.rows.List(context.Background(), p.id, 0, 0)
		w.check(err)
		for _, r := range list {
			there[meta.RevisionID{Workspace: r.Workspace, Number: r.Number}] = true
		}
	}
	for id := range w.want {
		if !there[id] {
			w.t.Fatalf("revision %v is gone", id)
		}
	}
	for id := range there {
		if w.want[id] != nil {
			continue
		}
		files, err := w.files(id)
		w.check(err)
		if !slices.ContainsFunc(w.maybe[id.Workspace], func(m map[string]string) bool { return maps.Equal(m, files) }) {
			w.t.Fatalf("revision %v has files that were never there together", id)
		}
		w.want[id] = files
	}
}

func (w *world) any() *project { return w.projects[w.r.IntN(len(w.projects))] }

// failed reports whether a step ended with an error, which is none to expect unless the
// process died.
func (w *world) failed(what string, err error) bool {
	w.t.Helper()
	if err == nil {
		return false
	}
	if errors.Is(err, meta.ErrRevisionStale) {
		w.counts["stale"]++ // collectors without grace, again and again
	} else if !w.c.dead && !(w.c.away && holt.IsKind(err, holt.KindUnavailable)) {
		w.t.Fatalf("%s: %v", what, err)
	}
	return true
}

func (w *world) edit(p *project) {
	for range 1 + w.r.IntN(4) {
		name := fmt.Sprintf("workspace/%d/%d/%d", w.r.IntN(2), w.r.IntN(3), w.r.IntN(4))
		p.dirty = append(p.dirty, name)
		if w.r.IntN(4) == 0 {
			delete(p.files, name)
			_ = os.Remove(filepath.Join(p.dir, name)) // it may not be there
			continue
		}
		text := w.pool[w.r.IntN(len(w.pool))]
		p.files[name] = text
		w.check(os.MkdirAll(filepath.Dir(filepath.Join(p.dir, name)), 0o755))
		w.check(os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o644))
	}
}

func (w *world) flush(p *project) {
	w.counts["flush"]++
	top, err := os.Open(p.dir)
	w.check(err)
	defer top.Close()
	f := persist.Flush{Workspace: p.id, Tenant: p.tenant, Root: top, Reason: "step"}
	if w.r.IntN(3) > 0 {
		f.Dirty = append([]string{}, p.dirty...)
	}
	files := maps.Clone(p.files)
	r, err := w.s.Flush(context.Background(), f)
	if err != nil {
		w.maybe[p.id] = append(w.maybe[p.id], files)
	}
	if errors.Is(err, persist.ErrQueued) {
		w.counts["queued"]++
		p.dirty = nil
		return
	}
	if w.failed("flush", err) {
		return
	}
	p.dirty = nil
	id := meta.RevisionID{Workspace: p.id, Number: r.Number}
	if have, ok := w.want[id]; ok && !maps.Equal(have, files) {
		w.t.Fatalf("flush of %s returned revision %d, which has other files", p.id, r.Number)
	}
	w.want[id] = files
}

func (w *world) some() (id meta.RevisionID, ok bool) {
	ids := slices.SortedFunc(maps.Keys(w.want), func(a, b meta.RevisionID) int {
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
	})
	if len(ids) == 0 {
		return id, false
	}
	return ids[w.r.IntN(len(ids))], true
}

// remove is what thinning does, only worse: anything but the latest may go, and now and
// then all of a workspace.
func (w *world) remove() {
	id, ok := w.some()
	if !ok {
		return
	}
	if _, n := w.s.Pending(id.Workspace); n > 0 {
		return // what waits is made from it
	}
	if !w.inside && w.r.IntN(20) == 0 {
		w.counts["forget"]++
		if w.failed("forget", w.s.Forget(context.Background(), id.Workspace)) {
			return
		}
		maps.DeleteFunc(w.want, func(x meta.RevisionID, _ map[string]string) bool { return x.Workspace == id.Workspace })
		return
	}
	last, err := w.rows.Latest(context.Background(), id.Workspace)
	w.check(err)
	if last.Number == id.Number {
		return
	}
	w.counts["remove"]++
	w.check(w.rows.Remove(context.Background(), id.Workspace, id.Number))
	delete(w.want, id)
	if len(w.want) > 60 {
		w.remove()
	}
}

func (w *world) copy() {
	id, ok := w.some()
	to := w.any()
	if !ok || to.id == id.Workspace {
		return
	}
	if from := w.projects[slices.IndexFunc(w.projects, func(p *project) bool { return p.id == id.Workspace })]; from.tenant != to.tenant {
		return
	}
	w.counts["copy"]++
	files := w.want[id]
	r, err := w.s.Copy(context.Background(), id.Workspace, id.Number, to.id)
	if err != nil {
		w.maybe[to.id] = append(w.maybe[to.id], files)
	}
	if _, there := w.want[id]; !there && holt.IsKind(err, holt.KindNotFound) {
		return // it was removed meanwhile
	}
	if !errors.Is(err, persist.ErrQueued) && !w.failed("copy", err) {
		w.want[meta.RevisionID{Workspace: to.id, Number: r.Number}] = files
	}
}

func (w *world) collect(tenant holt.UserID) {
	w.counts["collect"]++
	c := persist.Collection{Live: []float64{0.5, 1, 0.01}[w.r.IntN(3)], Grace: -time.Hour, Memory: time.Duration(w.r.IntN(2)) * time.Hour}
	done, err := w.s.Collect(context.Background(), tenant, c)
	if !w.failed("collect", err) && done.Rewritten > 0 {
		w.counts["rewritten"]++
	}
}

// read compares a revision with what was there.
func (w *world) read(id meta.RevisionID) error {
	got, err := w.files(id)
	if err == nil && !maps.Equal(got, w.want[id]) {
		w.t.Fatalf("revision %v has other files than it had", id)
	}
	return err
}

// files returns the files of a revision.
func (w *world) files(id meta.RevisionID) (map[string]string, error) {
	ctx := context.Background()
	t, err := w.s.Open(ctx, id.Workspace, id.Number)
	if err != nil {
		return nil, err
	}
	got := map[string]string{}
	err = t.Walk(ctx, "", func(e persist.Entry) error {
		if e.Type != persist.File {
			return nil
		}
		f, err := t.OpenFile(ctx, e.Path)
		if err != nil {
			return err
		}
		defer f.Close()
		b, err := io.ReadAll(f)
		got[e.Path] = string(b)
		return err
	})
	return got, err
}

func (w *world) step() {
	switch what := w.r.IntN(100); {
	case what < 30:
		p := w.any()
		w.edit(p)
		w.flush(p)
	case what < 40:
		w.flush(w.any())
	case what < 58:
		w.remove()
	case what < 63:
		w.copy()
	case what < 75:
		w.collect(w.any().tenant)
	case what < 87:
		if id, ok := w.some(); ok {
			w.counts["read"]++
			w.failed("read", w.read(id))
		}
	case what < 91:
		w.c.away = !w.c.away
	case what < 95:
		_, err := w.s.Deliver(context.Background())
		w.failed("deliver", err)
	default:
		w.counts["crash"]++
		w.c.left, w.c.lost = w.r.IntN(12), w.r.IntN(2) == 0
	}
	if w.c.dead {
		w.restart()
	}
}

// rest lets everything end and compares what is stored with what is needed.
func (w *world) rest(last bool) {
	ctx := context.Background()
	w.restart()
	w.inside = true // nobody else is at work, and listings are new
	defer func() { w.inside = false }()
	_, err := w.s.Deliver(ctx)
	w.check(err)
	w.settle()
	clear(w.maybe)
	for _, tenant := range []holt.UserID{"ada", "bob"} {
		for range 2 { // the second forgets what the first has removed
			_, err := w.s.Collect(ctx, tenant, persist.Collection{Live: 1, Grace: -time.Hour, Memory: -time.Hour})
			w.check(err)
		}
		h, err := w.rows.Holdings(ctx, tenant)
		w.check(err)
		rows := map[string]bool{}
		for _, p := range h.Packs {
			rows[p.ID] = true
			blobs, err := w.rows.PackBlobs(ctx, tenant, p.ID)
			w.check(err)
			if len(blobs) != int(p.Blobs) {
				w.t.Fatalf("pack %s has %d blobs, %d are needed", p.ID, p.Blobs, len(blobs))
			}
		}
		for info, err := range w.objects.List(ctx, string(tenant)+"/") {
			w.check(err)
			id := filepath.Base(string(info.Key))
			if !rows[id] {
				w.t.Fatalf("object %s is garbage", info.Key)
			}
			delete(rows, id)
		}
		for id := range rows {
			w.t.Fatalf("pack %s is missing", id)
		}
	}
	n := 0
	for id := range w.want {
		if n++; n <= 15 || last {
			w.check(w.read(id))
		}
	}
}

// Ten thousand steps lose nothing that a revision needs, and leave nothing that none needs.
func TestTenThousandSteps(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("owners need root")
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("HOLT_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("HOLT_SEED=%d", seed)
	w := newWorld(t, seed)
	for n := range steps {
		w.step()
		if n%250 == 249 {
			w.rest(false)
		}
	}
	w.rest(true)
	t.Logf("steps: %v", w.counts)
	for _, what := range []string{"flush", "queued", "remove", "copy", "collect", "rewritten", "read", "crash"} {
		if w.counts[what] < steps/200 {
			t.Errorf("only %d times: %s", w.counts[what], what)
		}
	}
	if w.counts["stale"] > w.counts["flush"]/20 {
		t.Errorf("%d of %d flushes gave up", w.counts["stale"], w.counts["flush"])
	}
}
