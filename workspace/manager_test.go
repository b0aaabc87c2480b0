package workspace

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/workspace/scriptednode"
)

func TestLife(t *testing.T) {
	w := newWorld(t)
	a := w.running("a")
	if a.Boots != 1 || a.Image != "sha256-default" || a.Limits != holt.DefaultLimits || a.Egress != holt.EgressInternet {
		t.Errorf("created as %+v", a)
	}
	w.want("a", holt.WantSuspended)
	s := w.reach("a", holt.Suspended)
	if s.SnapshotBytes == 0 || s.SnapshotAt.IsZero() || s.Sandbox != "" {
		t.Errorf("suspended as %+v", s)
	}
	if _, err := w.m.Fork(t.Context(), "a", "b", ""); err != nil {
		t.Fatal(err)
	}
	b := w.reach("b", holt.Running)
	got, err := w.m.Wake(t.Context(), a.ID)
	if err != nil || got.State != holt.Running || got.Sandbox == a.Sandbox || got.Boots != 2 {
		t.Fatalf("woken as %+v, %v", got, err)
	}
	for _, r := range []meta.Workspace{b, got} {
		m, _ := w.node.Machine(r.Sandbox)
		files, _ := w.node.Files(r.ID)
		if m.Memory != "memory of a" || files != "files of a" || m.Spec.Name != r.Name {
			t.Errorf("%s holds %q, %q, as %q", r.Name, m.Memory, files, m.Spec.Name)
		}
	}
	if b.ForkedFrom != a.ID {
		t.Errorf("forked from %q", b.ForkedFrom)
	}
	w.want("a", holt.WantStopped)
	w.reach("a", holt.Stopped)
	if err := w.m.Delete(t.Context(), a.ID, false); err != nil {
		t.Fatal(err)
	}
	w.reach("a", holt.Deleted)
	if _, err := w.m.Get(t.Context(), string(a.ID)); !holt.IsKind(err, holt.KindNotFound) {
		t.Errorf("a deleted workspace: %v", err)
	}
	if got, err := w.m.Get(t.Context(), string(b.ID)); err != nil || got.ID != b.ID {
		t.Errorf("by id: %+v, %v", got, err)
	}
	w.running("a") // the name is free again
	w.calm()
	w.invariant()
}

func TestWrongRequests(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Most = holt.Limits{Memory: 4 * holt.GiB} })
	w.running("a")
	minus, tiny := -time.Second, time.Millisecond
	for field, r := range map[string]CreateRequest{
		"name":       {Name: "No!"},
		"memory":     {Name: "x", Limits: holt.Limits{Memory: 5 * holt.GiB}},
		"disk":       {Name: "x", Limits: holt.Limits{Disk: 1}},
		"image":      {Name: "x", Image: "nothing"},
		"egress":     {Name: "x", Egress: "everywhere"},
		"idle_after": {Name: "x", IdleAfter: &minus},
	} {
		_, err := w.m.Create(t.Context(), r)
		if e, ok := errors.AsType[*holt.Error](err); !ok || e.Kind != holt.KindInvalid || e.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := w.m.Create(t.Context(), CreateRequest{Name: "x", IdleAfter: &tiny}); !holt.IsKind(err, holt.KindInvalid) {
		t.Errorf("idle after a millisecond: %v", err)
	}
	for _, git := range []string{"x", "/etc", "file:///etc", "ext::sh -c id", "https://", "--upload-pack=id", "https://a b/", "https://-x/", "https://u:p@h/x", "https://h/\n", "ssh://" + strings.Repeat("x", 3000)} {
		_, err := w.m.Create(t.Context(), CreateRequest{Name: "x", Git: git})
		if e, ok := errors.AsType[*holt.Error](err); !ok || e.Field != "git" {
			t.Errorf("git %.50q: %v", git, err)
		}
	}
	if _, err := w.m.Create(t.Context(), CreateRequest{Name: "a"}); !errors.Is(err, meta.ErrNameTaken) {
		t.Errorf("taken name: %v", err)
	}
	a := w.row("a")
	if err := w.m.Delete(t.Context(), a.ID, false); !holt.IsKind(err, holt.KindConflict) || !strings.Contains(err.Error(), "holt rm --force a") {
		t.Errorf("delete while running: %v", err)
	}
	if _, err := w.m.SetGoal(t.Context(), a.ID, holt.WantDeleted, ""); !holt.IsKind(err, holt.KindInvalid) {
		t.Errorf("goal DELETED: %v", err)
	}
	if _, err := w.m.Fork(t.Context(), "a", "a", ""); !errors.Is(err, meta.ErrNameTaken) {
		t.Errorf("fork to a taken name: %v", err)
	}
	if _, err := w.m.Fork(t.Context(), "nobody", "x", ""); !holt.IsKind(err, holt.KindNotFound) {
		t.Errorf("fork of nobody: %v", err)
	}
	w.want("a", holt.WantStopped)
	w.reach("a", holt.Stopped)
	if _, err := w.m.SetGoal(t.Context(), a.ID, holt.WantSuspended, ""); !holt.IsKind(err, holt.KindConflict) {
		t.Errorf("suspend while stopped: %v", err)
	}
	w.invariant()
}

// failing makes a method fail n times with an error of the kind.
func failing(method string, n int32, kind holt.Kind) func(context.Context, string, holt.WorkspaceID) error {
	var left atomic.Int32
	left.Store(n)
	return func(_ context.Context, m string, _ holt.WorkspaceID) error {
		if m == method && left.Add(-1) >= 0 {
			return holt.Errorf(kind, "scripted %s", kind)
		}
		return nil
	}
}

func TestProvisionFailures(t *testing.T) {
	for _, c := range []struct {
		kind  holt.Kind
		times int32
		state holt.State
		calls int
	}{
		{holt.KindInternal, 2, holt.Running, 3},
		{holt.KindInternal, 99, holt.Failed, 3},
		{holt.KindUnavailable, 5, holt.Running, 6},
		{holt.KindNoSpace, 99, holt.Failed, 6},
		{holt.KindNotFound, 99, holt.Failed, 1},
	} {
		t.Run(fmt.Sprint(c.kind, c.times), func(t *testing.T) {
			w := newWorld(t)
			w.node.Follow(failing("Provision", c.times, c.kind))
			if _, err := w.m.Create(t.Context(), CreateRequest{Name: "a"}); err != nil {
				t.Fatal(err)
			}
			a := w.reach("a", c.state)
			if n := w.node.Calls("Provision"); n != c.calls {
				t.Errorf("%d calls, want %d", n, c.calls)
			}
			w.invariant()
			if c.state != holt.Failed {
				if a.Message != "" || a.Attempts != 0 {
					t.Errorf("running with %q after %d attempts", a.Message, a.Attempts)
				}
				return
			}
			if !strings.Contains(a.Message, "scripted") {
				t.Errorf("failed without saying why: %q", a.Message)
			}
			if _, err := w.m.Wake(t.Context(), a.ID); !holt.IsKind(err, holt.KindConflict) || !strings.Contains(err.Error(), "holt resume a") {
				t.Errorf("wake of a failed workspace: %v", err)
			}
			w.node.Follow(nil)
			w.want("a", holt.WantRunning)
			w.reach("a", holt.Running)
			w.invariant()
		})
	}
}

// A suspend that the node refuses leaves the machine running and says why.
func TestRefusedSuspend(t *testing.T) {
	w := newWorld(t)
	a := w.running("a")
	w.node.Follow(failing("Freeze", 1, holt.KindNoSpace))
	w.want("a", holt.WantSuspended)
	w.eventually("the refusal is told", func() bool { return w.row("a").Message != "" })
	w.calm()
	got := w.row("a")
	if got.State != holt.Running || got.Goal != holt.WantRunning || got.Sandbox != a.Sandbox || !strings.Contains(got.Message, "runs on: scripted no-space") {
		t.Fatalf("after a refused suspend: %+v", got)
	}
	lines, err := w.m.Log(t.Context(), a.ID, 0)
	if err != nil || len(lines) == 0 || lines[len(lines)-1].Name != "suspend-failed" {
		t.Errorf("log %+v, %v", lines, err)
	}
	w.invariant()
	w.want("a", holt.WantSuspended)
	w.reach("a", holt.Suspended)
	w.invariant()
}

func TestDamagedSnapshots(t *testing.T) {
	for _, c := range []struct {
		name          string
		memory, files bool
		says          string
		have          string
	}{
		{"memory", true, false, "memory.img", "files of a"},
		{"files", false, true, "volume.img", "later"},
		{"both", true, true, "memory.img", "later"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			a := w.running("a")
			w.want("a", holt.WantSuspended)
			s := w.reach("a", holt.Suspended)
			w.node.Damage(s.Snapshot, c.memory, c.files)
			// The live volume is told apart from the snapshot's copy.
			w.node.Stray(scriptednode.Machine{Spec: Spec{Workspace: a.ID}, Alive: true}, "sb-pen", "sn-pen")
			w.node.Work("sb-pen", "", "later")
			w.node.Release(t.Context(), "sb-pen")

			got, err := w.m.Wake(t.Context(), a.ID)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(got.Message, c.says) || !strings.Contains(got.Message, "running processes and unsaved memory are lost") {
				t.Errorf("message %q", got.Message)
			}
			if files, _ := w.node.Files(a.ID); files != c.have {
				t.Errorf("files %q, want %q", files, c.have)
			}
			w.calm()
			w.invariant()
		})
	}
}

// Trouble that can be mended never costs the memory: the workspace fails and
// keeps its snapshot.
func TestResumeWithoutSpace(t *testing.T) {
	w := newWorld(t)
	a := w.running("a")
	w.want("a", holt.WantSuspended)
	s := w.reach("a", holt.Suspended)
	w.node.Follow(failing("Resume", 6, holt.KindNoSpace))
	w.want("a", holt.WantRunning)
	got := w.reach("a", holt.Failed)
	if got.Snapshot != s.Snapshot {
		t.Fatalf("the snapshot is gone: %+v", got)
	}
	w.restart(true)
	w.want("a", holt.WantRunning)
	got = w.reach("a", holt.Running)
	if m, _ := w.node.Machine(got.Sandbox); m.Memory != "memory of a" {
		t.Errorf("resumed with %q", m.Memory)
	}
	w.invariant()

	// An error that nobody understands is tried three times, then the files go on.
	w.want("a", holt.WantSuspended)
	w.reach("a", holt.Suspended)
	w.node.Follow(failing("Resume", 99, holt.KindInternal))
	w.want("a", holt.WantRunning)
	got = w.reach("a", holt.Running)
	if m, _ := w.node.Machine(got.Sandbox); m.Memory != "fresh" || got.Message == "" {
		t.Errorf("fell back to %q with message %q", m.Memory, got.Message)
	}
	if files, _ := w.node.Files(a.ID); files != "files of a" {
		t.Errorf("files %q", files)
	}
	w.invariant()
}

func TestMachinesThatKeepEnding(t *testing.T) {
	w := newWorld(t)
	w.running("a")
	for i := range maxRestarts {
		w.node.Crash(w.row("a").Sandbox, i%2 == 1) // found by notice, and by looking
		w.eventually("replaced", func() bool { return w.row("a").Boots == i+2 })
		w.reach("a", holt.Running)
	}
	w.node.Crash(w.row("a").Sandbox, false)
	a := w.reach("a", holt.Failed)
	if !strings.Contains(a.Message, "6 times within 10m") {
		t.Errorf("message %q", a.Message)
	}
	w.invariant()
	w.want("a", holt.WantRunning)
	w.reach("a", holt.Running)
	w.invariant()
}

// What is under way is cancelled when it has become pointless.
func TestInterruptions(t *testing.T) {
	for _, c := range []struct {
		method string
		before func(*world)
		begin  holt.Goal
		then   func(*world, holt.WorkspaceID) error
		want   holt.State
	}{
		{"Provision", func(w *world) { to(holt.WantStopped)(w) }, holt.WantRunning, stopIt, holt.Stopped},
		{"Provision", func(w *world) { to(holt.WantStopped)(w) }, holt.WantRunning, deleteIt, holt.Deleted},
		{"Resume", func(w *world) { to(holt.WantSuspended)(w) }, holt.WantRunning, stopIt, holt.Stopped},
		{"Resume", func(w *world) { to(holt.WantSuspended)(w) }, holt.WantRunning, deleteIt, holt.Deleted},
		{"Freeze", func(w *world) { to()(w) }, holt.WantSuspended, deleteIt, holt.Deleted},
		{"Shutdown", func(w *world) { to()(w) }, holt.WantStopped, deleteIt, holt.Deleted},
	} {
		t.Run(c.method+"-"+string(c.want), func(t *testing.T) {
			w := newWorld(t)
			c.before(w)
			entered := make(chan holt.WorkspaceID, 10)
			w.node.Follow(scriptednode.Stall(c.method, entered, nil)) // only cancelling ends it
			w.want("a", c.begin)
			<-entered
			if err := c.then(w, w.row("a").ID); err != nil {
				t.Fatal(err)
			}
			w.reach("a", c.want)
			w.invariant()
		})
	}
}

func stopIt(w *world, id holt.WorkspaceID) error {
	_, err := w.m.SetGoal(w.ctx, id, holt.WantStopped, "test")
	return err
}

func deleteIt(w *world, id holt.WorkspaceID) error { return w.m.Delete(w.ctx, id, true) }

// A suspend asked for while its workspace is being forked comes after the fork,
// and waking while it suspends comes after the suspend: nothing overlaps.
func TestCommandsTakeTurns(t *testing.T) {
	w := newWorld(t)
	a := w.running("a")
	entered, until := make(chan holt.WorkspaceID, 10), make(chan struct{})
	w.node.Follow(scriptednode.Stall("Freeze", entered, until))
	if _, err := w.m.Fork(t.Context(), "a", "b", ""); err != nil {
		t.Fatal(err)
	}
	<-entered
	w.want("a", holt.WantSuspended)
	if got := w.row("a"); got.State != holt.Running {
		t.Fatalf("%s during a fork", got.State)
	}
	close(until)
	w.reach("a", holt.Suspended)
	w.reach("b", holt.Running)

	until = make(chan struct{})
	for len(entered) > 0 {
		<-entered
	}
	w.node.Follow(nil)
	w.want("a", holt.WantRunning)
	w.reach("a", holt.Running)
	w.node.Follow(scriptednode.Stall("Freeze", entered, until))
	w.want("a", holt.WantSuspended)
	<-entered
	woken := make(chan error, 1)
	go func() {
		_, err := w.m.Wake(w.ctx, a.ID)
		woken <- err
	}()
	w.eventually("the wake is noted", func() bool { return w.row("a").Goal == holt.WantRunning })
	close(until)
	if err := <-woken; err != nil {
		t.Fatal(err)
	}
	w.calm()
	w.invariant()
}

func TestGarbage(t *testing.T) {
	w := newWorld(t)
	a := w.running("a")
	w.close()
	w.node.Stray(scriptednode.Machine{Spec: Spec{Workspace: "ws-lost"}, Alive: true}, "sb-lost", "sn-lost")
	if err := w.node.Provision(t.Context(), Spec{Workspace: "ws-unknown", Sandbox: "sb-unknown"}); err != nil {
		t.Fatal(err)
	}
	w.open("")
	inv := w.node.All()
	if len(inv.Sandboxes) != 1 || inv.Sandboxes[0].ID != a.Sandbox || len(inv.Snapshots) != 0 {
		t.Errorf("left: %+v", inv)
	}
	if _, ok := w.node.Files("ws-unknown"); !ok {
		t.Error("files of a workspace that the database does not know were destroyed")
	}
	w.calm()
	if got := w.row("a"); got.State != holt.Running || got.Version != a.Version {
		t.Errorf("a restart moved %+v to %+v", a, got)
	}
}

func TestNotices(t *testing.T) {
	w := newWorld(t)
	a := w.running("a")
	w.node.Tell(Notice{Workspace: a.ID, Sandbox: "sb-before", Name: "disk-full", Text: "of an earlier machine"})
	w.node.Tell(Notice{Workspace: "ws-nobody", Sandbox: "sb-x", Name: "disk-full"})
	w.node.Tell(Notice{Workspace: a.ID, Sandbox: a.Sandbox, At: time.Now(), Name: "memory-limit", Text: "python3 was killed"})
	var lines []meta.Event
	w.eventually("noted", func() bool {
		lines, _ = w.m.Log(t.Context(), a.ID, 0)
		return len(lines) > 0
	})
	if len(lines) != 1 || lines[0].Name != "memory-limit" || lines[0].Text != "python3 was killed" || lines[0].Label != "a" {
		t.Errorf("log %+v", lines)
	}
}

func TestWatch(t *testing.T) {
	w := newWorld(t)
	w.running("a")
	last, err := w.store.Events().Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.want("a", holt.WantSuspended)
	var states []string
	var next int64 = last
	for e, err := range w.m.Watch(t.Context(), last) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Seq != next+1 {
			t.Fatalf("after %d came %d", next, e.Seq)
		}
		next = e.Seq
		states = append(states, string(e.State))
		if e.State == holt.Suspended {
			break
		}
	}
	if got := strings.Join(states, " "); got != "RUNNING SUSPENDING SUSPENDED" {
		t.Errorf("saw %s", got)
	}

	ctx, cancel := context.WithCancel(t.Context())
	ends := make(chan error, 2)
	follow := func(ctx context.Context) {
		var end error
		for _, err := range w.m.Watch(ctx, next) {
			end = err
		}
		ends <- end
	}
	go follow(ctx)
	cancel()
	if err := <-ends; !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled watch ended with %v", err)
	}
	go follow(t.Context())
	w.calm()
	if err := w.m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ends; !holt.IsKind(err, holt.KindUnavailable) {
		t.Errorf("a watch of a closed manager ended with %v", err)
	}
}

// Other nodes' workspaces are not ours to drive.
func TestOtherNodes(t *testing.T) {
	w := newWorld(t)
	row, err := w.store.Workspaces().Create(t.Context(), meta.Workspace{ID: holt.NewWorkspaceID(), Name: "far", Node: "n2", State: holt.Queued, Goal: holt.WantRunning, CreatedAt: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	w.m.kick(row.ID)
	w.running("a")
	if got := w.row("far"); got.Version != 1 {
		t.Errorf("touched: %+v", got)
	}
}
