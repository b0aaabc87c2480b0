package fault

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/api/client"

	"github.com/holt-ide/holt/test/server"
	guestwire "github.com/holt-ide/holt/wire/guest"
)

// verb is one thing that people do with a workspace, to be interrupted.
type verb struct {
	name string

	// ready brings the workspaces into the state in which the verb makes sense.
	// It is called before each crash, with a server that works.
	ready func(t *testing.T, r *rig)
	// do asks for it; the answer may never come.
	do func(ctx context.Context, c *client.Client) error
	// after judges the workspaces when the server has come to rest after the crash.
	after func(t *testing.T, r *rig, all map[string]api.WorkspaceDetail)
	// behind is set for those that wait for what is done in the background, at
	// moments that have nothing to do with the others: see background.
	behind string
}

// background are the beginnings of the names of points that are passed in the
// background, by what is done there.
var background = map[string][]string{
	"keep":  {"keep.", "chunk.", "copy.", "forget.", "snapshot.evicting"},
	"files": {"files.", "persist.", "rebuild.", "volume.filled"},
}

// behind returns what is done in the background at a point; "" for nothing.
func behind(point string) string {
	for what, names := range background {
		if slices.ContainsFunc(names, func(b string) bool { return strings.HasPrefix(point, b) }) {
			return what
		}
	}
	return ""
}

// rig is the server on which a verb is interrupted again and again.
type rig struct {
	*server.Server
	*witness
	old       int64 // a revision
	main      life  // in the workspace "main", which most verbs are about
	bystander life  // in the workspace "other", which nothing may happen to
}

var verbs = []verb{
	{
		name: "create",
		do: func(ctx context.Context, c *client.Client) error {
			limits := &api.Limits{MemoryBytes: 256 * holt.MiB, DiskBytes: 256 * holt.MiB}
			_, err := c.Create(ctx, api.CreateWorkspace{Name: "main", Image: "tiny", Limits: limits})
			return err
		},
		ready: func(t *testing.T, r *rig) { r.remove(t, "main") },
		after: func(t *testing.T, r *rig, all map[string]api.WorkspaceDetail) {
			if _, ok := all["main"]; ok { // else the request was lost, and its sender knows
				r.isRunning(t, all, "main")
				r.Sh(t, "main", "echo works >/workspace/file")
			}
		},
	},
	{
		name:  "suspend",
		ready: func(t *testing.T, r *rig) { r.running(t) },
		do: func(ctx context.Context, c *client.Client) error {
			_, err := c.Suspend(ctx, "main")
			return err
		},
		after: func(t *testing.T, r *rig, all map[string]api.WorkspaceDetail) { r.goesOn(t, all) },
	},
	{
		name:   "sync",
		behind: "files",
		ready:  func(t *testing.T, r *rig) { r.running(t) },
		do: func(ctx context.Context, c *client.Client) error {
			g := c.Guest("main", true)
			defer g.CloseIdle()
			if _, err := g.Write(ctx, "/workspace/synced", strings.NewReader(holt.NewID()), guestwire.WriteOptions{}); err != nil {
				return err
			}
			_, err := c.Sync(ctx, "main")
			return err
		},
		after: func(t *testing.T, r *rig, all map[string]api.WorkspaceDetail) {
			r.goesOn(t, all)
			r.Must(t, "sync", "main")
			here := r.Sh(t, "main", "cat /workspace/synced")
			if kept, err := revision(t, r.Server, "main", 0, "/workspace/synced"); err != nil || strings.TrimSpace(kept) != here {
				t.Errorf("the file has %q, the latest revision %q, %v", here, kept, err)
			}
		},
	},
	{
		name:   "restore",
		behind: "files",
		ready: func(t *testing.T, r *rig) {
			r.running(t)
			r.Sh(t, "main", "echo old >/workspace/restored")
			r.Must(t, "sync", "main")
			r.old = durabilityOf(t, r.Server, "main").Revision
			r.Sh(t, "main", "echo new >/workspace/restored")
			r.Must(t, "sync", "main")
		},
		do: func(ctx context.Context, c *client.Client) error {
			list, err := c.Revisions(ctx, "main", "/workspace/restored", 0)
			if err != nil {
				return err
			}
			_, err = c.RestoreRevision(ctx, "main", api.RestoreRevision{Revision: list.Items[len(list.Items)-1].Number, Paths: []string{"restored"}})
			return err
		},
		after: func(t *testing.T, r *rig, all map[string]api.WorkspaceDetail) {
			r.goesOn(t, all)
			if got := r.Sh(t, "main", "cat /workspace/restored"); got != "old" && got != "new" {
				t.Errorf("the file has %q", got)
			}
			r.Must(t, "restore", "main", fmt.Sprintf("restored@%d", r.old))
			if got := r.Sh(t, "main", "cat /workspace/restored; ls -A /workspace | grep holt-restore || true"); got != "old" {
				t.Errorf("the second restore made %q", got)
			}
		},
	},
	{
		name:   "rebuild",
		behind: "files",
		ready: func(t *testing.T, r *rig) {
			r.running(t)
			r.Must(t, "sync", "main")
			r.Must(t, "stop", "main")
			awaitDurability(t, r.Server, "main", time.Minute, isDurable)
			if err := os.Remove(filepath.Join(r.Dir, "node", "pool", "volumes", r.workspaces(t)["main"].ID+".img")); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		},
		do: func(ctx context.Context, c *client.Client) error {
			_, err := c.Resume(ctx, "main")
			return err
		},
		after: func(t *testing.T, r *rig, all map[string]api.WorkspaceDetail) {
			if all["main"].State != string(holt.Running) {
				r.Must(t, "resume", "main")
			}
			r.main.files(t, r.Server)
			r.main = life{}
		},
	},
	{
		name:   "keep",
		behind: "keep",
		ready:  func(t *testing.T, r *rig) { r.running(t) },
		do: func(ctx context.Context, c *client.Client) error {
			if _, err := c.Suspend(ctx, "main"); err != nil {
				return err
			}
			for {
				list, err := c.Snapshots(ctx, "main")
				if err != nil {
					return err
				}
				if slices.ContainsFunc(list.Items, func(s api.KeptSnapshot) bool { return s.Current && !s.DurableAt.IsZero() }) {
					return nil
				}
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(50 * time.Millisecond):
				}
			}
		},
		after: func(t *testing.T, r *rig, all map[string]api.WorkspaceDetail) {
			if all["main"].State == string(holt.Suspended) {
				r.AwaitDurable(t, "main", time.Minute)
			}
			r.goesOn(t, all)
		},
	},
	{
		name: "resume",
		ready: func(t *testing.T, r *rig) {
			r.running(t)
			r.Must(t, "suspend", "main")
		},
		do: func(ctx context.Context, c *client.Client) error {
			_, err := c.Resume(ctx, "main")
			return err
		},
		after: func(t *testing.T, r *rig, all map[string]api.WorkspaceDetail) { r.goesOn(t, all) },
	},
	{
		name: "fork",
		ready: func(t *testing.T, r *rig) {
			r.remove(t, "copy")
			r.running(t)
		},
		do:    fork,
		after: afterFork,
	},
	{
		name: "fork-suspended",
		ready: func(t *testing.T, r *rig) {
			r.remove(t, "copy")
			r.running(t)
			r.Must(t, "suspend", "main")
		},
		do:    fork,
		after: afterFork,
	},
	{
		name: "checkpoint",
		ready: func(t *testing.T, r *rig) {
			r.running(t)
			r.Holt(t, "snapshot", "rm", "main", "one") // there may be none
		},
		do: func(ctx context.Context, c *client.Client) error {
			_, err := c.Checkpoint(ctx, "main", "one")
			return err
		},
		after: func(t *testing.T, r *rig, all map[string]api.WorkspaceDetail) {
			r.goesOn(t, all)
			r.Must(t, "snapshot", "verify", "main")
		},
	},
	{
		name: "rollback",
		ready: func(t *testing.T, r *rig) {
			r.running(t)
			r.Holt(t, "snapshot", "rm", "main", "one")
			r.Must(t, "checkpoint", "main", "one")
		},
		do: func(ctx context.Context, c *client.Client) error {
			_, err := c.Rollback(ctx, "main", "one")
			return err
		},
		after: func(t *testing.T, r *rig, all map[string]api.WorkspaceDetail) {
			r.goesOn(t, all)
			r.Must(t, "snapshot", "verify", "main")
		},
	},
	{
		name:  "stop",
		ready: func(t *testing.T, r *rig) { r.running(t) },
		do: func(ctx context.Context, c *client.Client) error {
			_, err := c.Stop(ctx, "main")
			return err
		},
		after: func(t *testing.T, r *rig, all map[string]api.WorkspaceDetail) {
			if all["main"].State == string(holt.Running) { // the request was lost
				r.main.check(t, r.Server)
				return
			}
			if all["main"].State != string(holt.Stopped) {
				t.Errorf("main is %s: %s", all["main"].State, all["main"].Message)
			}
			r.Must(t, "resume", "main")
			r.main.files(t, r.Server)
			r.main = life{} // its processes have ended
		},
	},
	{
		name:  "rm",
		ready: func(t *testing.T, r *rig) { r.running(t) },
		do: func(ctx context.Context, c *client.Client) error {
			return c.Delete(ctx, "main", true)
		},
		after: func(t *testing.T, r *rig, all map[string]api.WorkspaceDetail) {
			if _, ok := all["main"]; ok { // the request was lost
				r.isRunning(t, all, "main")
				r.main.check(t, r.Server)
				return
			}
			r.main = life{}
		},
	},
}

func fork(ctx context.Context, c *client.Client) error {
	_, err := c.Fork(ctx, "main", api.ForkWorkspace{Name: "copy"})
	return err
}

func afterFork(t *testing.T, r *rig, all map[string]api.WorkspaceDetail) {
	t.Helper()
	r.goesOn(t, all)
	if _, ok := all["copy"]; ok {
		r.isRunning(t, all, "copy")
		r.main.as("copy").check(t, r.Server)
	}
}

// running sees to it that main runs and has a life.
func (r *rig) running(t *testing.T) {
	t.Helper()
	w, ok := r.workspaces(t)["main"]
	if !ok {
		small(t, r.Server, "main")
		r.main = life{}
	} else if w.State != string(holt.Running) {
		r.Must(t, "resume", "main")
	}
	if r.main.name == "" {
		r.main = live(t, r.Server, "main", holt.NewID())
	}
}

func (r *rig) remove(t *testing.T, name string) {
	t.Helper()
	if _, ok := r.workspaces(t)[name]; ok {
		r.Must(t, "rm", name, "--force")
	}
}

func (r *rig) isRunning(t *testing.T, all map[string]api.WorkspaceDetail, name string) {
	t.Helper()
	if w := all[name]; w.State != string(holt.Running) {
		t.Errorf("%s is %s: %s", name, w.State, w.Message)
	}
}

// goesOn reports a main that lost its memory, whether it is running or frozen.
func (r *rig) goesOn(t *testing.T, all map[string]api.WorkspaceDetail) {
	t.Helper()
	switch w := all["main"]; holt.State(w.State) {
	case holt.Suspended:
		r.Must(t, "resume", "main")
	case holt.Running:
	default:
		t.Fatalf("main is %s: %s", w.State, w.Message)
	}
	r.main.check(t, r.Server)
}

// claimed are the points that some verb has taken, so that a short run passes
// each once.
var claimed struct {
	sync.Mutex
	points map[string]bool
}

func claim(points []string) (mine []string) {
	claimed.Lock()
	defer claimed.Unlock()
	if claimed.points == nil {
		claimed.points = map[string]bool{}
	}
	for _, p := range points {
		if slow || !claimed.points[p] {
			claimed.points[p] = true
			mine = append(mine, p)
		}
	}
	return mine
}

// TestKilledAtEveryPoint kills holtd at every fault point that a verb passes,
// starts it again and looks what became of the machines.
func TestKilledAtEveryPoint(t *testing.T) {
	for _, v := range verbs {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			s := server.Start(t, "--pool-size", "3g")
			s.TinyImage(t)
			r := &rig{Server: s, witness: newWitness(s)}
			small(t, s, "other")
			r.bystander = live(t, s, "other", holt.NewID())
			points := claim(r.learn(t, v))
			t.Logf("%d points: %s", len(points), strings.Join(points, " "))
			for _, p := range points {
				if ok := t.Run(p, func(t *testing.T) { r.interrupt(t, v, p) }); !ok {
					return // what comes after would blame the wrong point
				}
			}
		})
	}
}

// learn returns the points that the verb passes, in order.
func (r *rig) learn(t *testing.T, v verb) (points []string) {
	t.Helper()
	v.ready(t, r)
	r.settle(t)
	r.Kill(t)
	list := filepath.Join(filepath.Dir(r.Dir), "points")
	r.Holtd, r.Env = faulty(t), []string{"HOLT_FAULT_LIST=" + list}
	r.Start(t)
	before, err := os.ReadFile(list)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if err := v.do(t.Context(), connect(t, r.Server)); err != nil {
		t.Fatal(err)
	}
	settled := r.settle(t)
	all, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	v.after(t, r, settled)
	r.Kill(t)
	for p := range strings.Lines(string(all[len(before):])) {
		p = strings.TrimSpace(p)
		if !slices.Contains(points, p) && behind(p) == v.behind {
			points = append(points, p)
		}
	}
	r.restart(t)
	return points
}

// restart starts an ordinary holtd.
func (r *rig) restart(t *testing.T) {
	t.Helper()
	r.Holtd, r.Env = "", nil
	r.Start(t)
}

// interrupt lets holtd die at a point of the verb.
func (r *rig) interrupt(t *testing.T, v verb, point string) {
	t.Helper()
	v.ready(t, r)
	r.settle(t)
	r.Kill(t)
	r.Holtd, r.Env = faulty(t), []string{"HOLT_FAULT=" + point}
	// Some points are passed while the server starts too: that is a crash at
	// the point as well.
	if err := r.Launch(t); err == nil {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := v.do(ctx, connect(t, r.Server)); err != nil && r.Alive() && !holt.IsKind(err, holt.KindUnavailable) {
			t.Errorf("%s was refused: %v", v.name, err)
		}
		r.AwaitExit(t, 30*time.Second)
	}
	r.note(t)
	r.restart(t)
	v.after(t, r, r.settle(t))
	r.bystander.check(t, r.Server)
}
