package workspace

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/meta/sql"
	"github.com/holt-ide/holt/workspace/scriptednode"
)

// images knows two images.
type images struct{}

func (images) Resolve(_ context.Context, ref string) (holt.ImageID, error) {
	switch ref {
	case "", "default", "sha256-default":
		return "sha256-default", nil
	case "other":
		return "sha256-other", nil
	}
	return "", holt.Invalidf("image", "there is no image %q: see holt image ls", ref)
}

// crasher ends every goroutine that passes a fault point after the chosen one,
// which is as near to SIGKILL as a goroutine gets: nothing that the manager does
// happens after it.
type crasher struct {
	mu     sync.Mutex
	at     string // "name" and the number of its passing: "suspend.before-write:1"
	passed map[string]int
	order  []string // every passing, as in at
	dead   chan struct{}
}

func newCrasher(at string) *crasher {
	return &crasher{at: at, passed: map[string]int{}, dead: make(chan struct{})}
}

func (c *crasher) point(name string) {
	c.mu.Lock()
	c.passed[name]++
	here := fmt.Sprintf("%s:%d", name, c.passed[name])
	dead := c.isDead()
	if !dead {
		c.order = append(c.order, here)
		if here == c.at {
			close(c.dead)
			dead = true
		}
	}
	c.mu.Unlock()
	if dead {
		runtime.Goexit()
	}
}

func (c *crasher) isDead() bool {
	select {
	case <-c.dead:
		return true
	default:
		return false
	}
}

// fataler is what *testing.T and *rapid.T share.
type fataler interface {
	Helper()
	Fatalf(string, ...any)
	Logf(string, ...any)
}

// world is a node and a database that outlive the managers that use them.
type world struct {
	t    fataler
	ctx  context.Context
	file string
	node *scriptednode.Node
	cfg  Config

	crash *crasher
	store meta.Store
	m     *Manager
}

func newWorld(t *testing.T, edit ...func(*Config)) *world {
	t.Helper()
	w := bareWorld(t, t.Context(), t.TempDir(), edit...)
	w.open("")
	t.Cleanup(w.close)
	return w
}

// empty is the content of a migrated database without rows: making one takes
// longer than most tests.
var empty = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "holt-empty-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "holt.db")
	s, err := sql.Open(context.Background(), "sqlite:"+file)
	if err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil { // the last one out empties the WAL into the file
		return nil, err
	}
	return os.ReadFile(file)
})

func bareWorld(t fataler, ctx context.Context, dir string, edit ...func(*Config)) *world {
	w := &world{t: t, ctx: ctx, file: filepath.Join(dir, "holt.db"), node: scriptednode.New()}
	content, err := empty()
	if err == nil {
		err = os.WriteFile(w.file, content, 0o600)
	}
	if err != nil {
		t.Fatalf("prepare database: %v", err)
	}
	w.cfg = Config{Node: w.node, NodeID: "n1", Images: images{}, Backoff: time.Millisecond, Tick: 20 * time.Millisecond, Sample: time.Hour}
	for _, f := range edit {
		f(&w.cfg)
	}
	return w
}

// do runs f where a crash can end it, and reports whether it got to its end.
func (w *world) do(f func()) (finished bool) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
		finished = true
	}()
	<-done
	return finished
}

// open starts a manager that will crash at the point, if any.
func (w *world) open(crashAt string) {
	w.t.Helper()
	w.crash = newCrasher(crashAt)
	w.node.Point = w.crash.point
	store, err := sql.Open(context.Background(), "sqlite:"+w.file)
	if err != nil {
		w.t.Fatalf("open store: %v", err)
	}
	w.store = store
	cfg := w.cfg
	cfg.Store, cfg.Fault = store, w.crash.point
	var m *Manager
	w.do(func() { m, err = Open(w.ctx, cfg) })
	if err != nil {
		w.t.Fatalf("open manager: %v", err)
	}
	w.m = m // nil when it crashed
}

// close ends the manager, politely or after a crash, and its store.
func (w *world) close() {
	if w.m != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := w.m.Close(ctx); err != nil {
			w.t.Fatalf("close manager: %v", err)
		}
		w.m = nil
	}
	if w.store != nil {
		w.store.Close()
		w.store = nil
	}
}

// arm makes the running manager crash at the n-th passing from now on.
func (w *world) arm(at string) {
	w.crash.mu.Lock()
	defer w.crash.mu.Unlock()
	w.crash.at, w.crash.order = at, nil
	clear(w.crash.passed)
}

// restart is what follows a crash of the daemon, or of the whole host.
func (w *world) restart(reboot bool) {
	w.close()
	if reboot {
		w.node.Reboot()
	} else {
		w.node.Recover()
	}
	w.open("")
}

// eventually polls until f is true.
func (w *world) eventually(what string, f func() bool) {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); {
		if time.Now().After(end) {
			w.t.Fatalf("never: %s\n%s", what, w.dump())
		}
		time.Sleep(time.Millisecond)
	}
}

// calm waits until nothing is to be done, or until the manager has crashed.
func (w *world) calm() {
	w.t.Helper()
	w.eventually("calm", func() bool { return w.crash.isDead() || w.resting() })
}

func (w *world) resting() bool {
	w.m.mu.Lock()
	busy := len(w.m.jobs)
	w.m.mu.Unlock()
	if busy > 0 {
		return false
	}
	inv := w.node.All()
	for _, row := range w.rows() {
		if row.Node != w.cfg.NodeID {
			continue
		}
		s := decide(row, viewOf(row, inv))
		if s != stepRest && !(s == stepStart && strings.HasPrefix(row.Message, "waiting:")) {
			return false
		}
	}
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	return len(w.m.jobs) == 0
}

// rows returns every row, deleted ones too.
func (w *world) rows() []meta.Workspace {
	w.t.Helper()
	rows, _, err := w.store.Workspaces().List(w.ctx, meta.Page{States: holt.States(), Limit: meta.MaxPage})
	if err != nil {
		w.t.Fatalf("list: %v", err)
	}
	return rows
}

func (w *world) row(name string) meta.Workspace {
	w.t.Helper()
	for _, r := range slices.Backward(w.rows()) {
		if r.Name == name {
			return r
		}
	}
	return meta.Workspace{}
}

// reach waits until the workspace of that name is in the state.
func (w *world) reach(name string, s holt.State) meta.Workspace {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%s is %s", name, s), func() bool { return w.row(name).State == s })
	w.calm()
	if got := w.row(name); got.State != s {
		w.t.Fatalf("%s went on from %s to %s", name, s, got.State)
	}
	return w.row(name)
}

// running makes a workspace that runs, with memory and files to recognise.
func (w *world) running(name string) meta.Workspace {
	w.t.Helper()
	if _, err := w.m.Create(w.ctx, CreateRequest{Name: name}); err != nil {
		w.t.Fatalf("create %s: %v", name, err)
	}
	row := w.reach(name, holt.Running)
	if !w.node.Work(row.Sandbox, "memory of "+name, "files of "+name) {
		w.t.Fatalf("%s does not run", name)
	}
	return row
}

func (w *world) want(name string, g holt.Goal) {
	w.t.Helper()
	if _, err := w.m.SetGoal(w.ctx, w.row(name).ID, g, "test"); err != nil {
		w.t.Fatalf("want %s %s: %v", name, g, err)
	}
}

// invariant checks what must be true of a world at rest.
func (w *world) invariant() {
	w.t.Helper()
	if err := w.m.collect(w.ctx); err != nil {
		w.t.Fatalf("collect: %v", err)
	}
	inv := w.node.All()
	sandboxes, snapshots, volumes := len(inv.Sandboxes), len(inv.Snapshots), len(inv.Volumes)
	ran := w.everRan()
	for _, r := range w.rows() {
		machines := slices.DeleteFunc(slices.Clone(inv.Sandboxes), func(s SandboxInfo) bool { return s.Workspace != r.ID })
		_, hasFiles := w.node.Files(r.ID)
		snap, hasSnap := w.node.Snapshot(r.Snapshot)
		wrong := ""
		switch {
		case r.PendingSnapshot != "" && r.State != holt.Failed:
			wrong = "names a pending snapshot at rest"
		case r.FromSnapshot != "" && r.State != holt.Failed && !strings.HasPrefix(r.Message, "waiting:"):
			wrong = "names a checkpoint at rest"
		case r.State == holt.Running && (len(machines) != 1 || machines[0].ID != r.Sandbox || !machines[0].Alive || machines[0].Frozen):
			wrong = "has not exactly one machine that runs"
		case r.State != holt.Running && (len(machines) > 0 || r.Sandbox != ""):
			wrong = "has a machine"
		case r.State == holt.Suspended && (!hasSnap || !snap.Complete):
			wrong = "has no complete snapshot"
		case (r.State == holt.Running || r.State == holt.Stopped || r.State == holt.Deleted) && r.Snapshot != "":
			wrong = "names a snapshot"
		case !hasFiles && r.State != holt.Deleted && ran[r.ID]:
			wrong = "ran and has no files any more"
		case hasFiles && r.State == holt.Deleted:
			wrong = "still has files"
		case !r.Goal.Reached(r.State) && r.State != holt.Failed && !strings.HasPrefix(r.Message, "waiting:"):
			wrong = "did not reach its goal"
		}
		if wrong != "" {
			w.t.Fatalf("%s %s: machines %+v, snapshot %+v\n%s", r.Name, wrong, machines, snap, w.dump())
		}
		sandboxes -= len(machines)
		if hasSnap {
			snapshots--
		}
		if hasFiles {
			volumes--
		}
	}
	checkpoints, err := w.store.Checkpoints().All(w.ctx)
	if err != nil {
		w.t.Fatalf("checkpoints: %v", err)
	}
	for _, c := range checkpoints {
		s, ok := w.node.Snapshot(c.Snapshot)
		if !ok || !s.Complete || !c.Ready {
			w.t.Fatalf("checkpoint %+v has the snapshot %+v\n%s", c, s, w.dump())
		}
		if !slices.ContainsFunc(w.rows(), func(r meta.Workspace) bool { return r.Snapshot == c.Snapshot }) {
			snapshots--
		}
	}
	line, err := w.store.Snapshots().All(w.ctx)
	if err != nil {
		w.t.Fatalf("snapshots: %v", err)
	}
	for _, s := range line {
		named := slices.ContainsFunc(w.rows(), func(r meta.Workspace) bool { return r.Snapshot == s.ID }) ||
			slices.ContainsFunc(checkpoints, func(c meta.Checkpoint) bool { return c.Snapshot == s.ID })
		if slices.Contains(inv.Snapshots, s.ID) && !named {
			snapshots--
		}
	}
	if sandboxes != 0 || snapshots != 0 || volumes != 0 {
		w.t.Fatalf("unclaimed: %d sandboxes, %d snapshots, %d volumes\n%s", sandboxes, snapshots, volumes, w.dump())
	}
	if f := w.node.Faults(); len(f) > 0 {
		w.t.Fatalf("the node was misused: %s\n%s", strings.Join(f, "; "), w.dump())
	}
	w.historyAgrees()
}

// everRan returns the workspaces that were RUNNING at some time.
func (w *world) everRan() map[holt.WorkspaceID]bool {
	w.t.Helper()
	evs, err := w.store.Events().Since(w.ctx, 0, 100000)
	if err != nil {
		w.t.Fatalf("read events: %v", err)
	}
	ran := map[holt.WorkspaceID]bool{}
	for _, e := range evs {
		ran[e.Workspace] = ran[e.Workspace] || e.State == holt.Running
	}
	return ran
}

// historyAgrees checks that the events tell every change, legally.
func (w *world) historyAgrees() {
	w.t.Helper()
	evs, err := w.store.Events().Since(w.ctx, 0, 100000)
	if err != nil {
		w.t.Fatalf("read events: %v", err)
	}
	at := map[holt.WorkspaceID]meta.Event{}
	for i, e := range evs {
		if e.Seq != int64(i+1) {
			w.t.Fatalf("event %d has number %d", i+1, e.Seq)
		}
		if e.Kind != meta.EventState {
			continue
		}
		last, known := at[e.Workspace]
		if known && (e.From != last.State || e.From != e.State && !e.From.CanBecome(e.State)) || !known && (e.From != "" || e.State != holt.Queued) {
			w.t.Fatalf("after %+v came %+v", last, e)
		}
		at[e.Workspace] = e
	}
	for _, r := range w.rows() {
		if at[r.ID].State != r.State || at[r.ID].Goal != r.Goal {
			w.t.Fatalf("%s is %s towards %s, its history ends with %+v", r.Name, r.State, r.Goal, at[r.ID])
		}
	}
}

// dump renders everything for a failure.
func (w *world) dump() string {
	var b strings.Builder
	if w.store == nil {
		return "closed"
	}
	rows, _, err := w.store.Workspaces().List(context.Background(), meta.Page{States: holt.States(), Limit: meta.MaxPage})
	fmt.Fprintln(&b, err)
	for _, r := range rows {
		fmt.Fprintf(&b, "%s %s %s→%s v%d sandbox=%s snapshot=%s pending=%s attempts=%d %q\n", r.ID, r.Name, r.State, r.Goal, r.Version, r.Sandbox, r.Snapshot, r.PendingSnapshot, r.Attempts, r.Message)
	}
	checkpoints, err := w.store.Checkpoints().All(context.Background())
	fmt.Fprintf(&b, "checkpoints: %+v %v\nnode: %+v\n", checkpoints, err, w.node.All())
	evs, err := w.store.Events().Since(context.Background(), 0, 1000)
	fmt.Fprintln(&b, err)
	for _, e := range evs {
		fmt.Fprintf(&b, "%d %s %s %s→%s %s %s %q\n", e.Seq, e.Label, e.Kind, e.From, e.State, e.Goal, e.Name, e.Text)
	}
	w.crash.mu.Lock()
	defer w.crash.mu.Unlock()
	fmt.Fprintf(&b, "points: %v\n", w.crash.order)
	return b.String()
}
