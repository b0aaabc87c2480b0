package workspace

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"pgregory.net/rapid"
)

// points are where the property test crashes the manager: first passings of what
// the verbs of TestKillEverywhere pass.
var points = []string{
	"create.before-write", "create.after-write", "goal.before-write", "goal.after-write",
	"begin-provision.before-write", "begin-provision.after-write", "provision.before", "node.provision.volume", "node.provision.booted",
	"provision.after", "provision.before-write", "provision.after-write",
	"begin-suspend.before-write", "begin-suspend.after-write", "suspend.before-freeze", "node.freeze.frozen", "node.freeze.written",
	"node.freeze.complete", "node.freeze.kept", "suspend.after-freeze", "suspend.before-write", "suspend.after-write",
	"suspend.before-undo", "suspend.after-undo", "suspend-undo.before-write", "suspend-undo.after-write",
	"release.before", "node.release", "release.after", "release.before-write", "release.after-write",
	"begin-resume.before-write", "begin-resume.after-write", "resume.before", "node.resume.verified", "node.resume.volume",
	"node.resume.restored", "resume.after", "resume.before-write", "resume.after-write", "discard.before", "node.discard-snapshot",
	"fallback.before", "node.restore-volume", "fallback.after", "fallback.before-write", "fallback.after-write",
	"replace.before", "replace.after", "replace.before-write", "replace.after-write", "thaw.before",
	"begin-stop.before-write", "begin-stop.after-write", "stop.before", "node.shutdown", "stop.after", "stop.before-write", "stop.after-write",
	"fork.before-capture", "node.copy-snapshot", "node.copy-volume", "fork.after-capture", "fork.before-write", "fork.after-write",
	"checkpoint.before-write", "checkpoint.after-write", "checkpoint.after", "checkpoint-rm.before-write", "checkpoint-rm.after-write",
	"begin-rollback.before-write", "begin-rollback.after-write", "rollback.before", "rollback.after", "rollback.before-keep",
	"rollback.before-write", "rollback.after-write",
	"begin-delete.before-write", "begin-delete.after-write", "delete.before-release", "delete.before-discard", "delete.before-volume",
	"node.discard-volume", "delete.after", "delete.before-write", "delete.after-write", "collect.before-release", "collect.before-discard",
}

// trouble makes calls of the node fail now and then.
type trouble struct {
	mu   sync.Mutex
	left map[string]int
	kind holt.Kind
}

func (x *trouble) script(_ context.Context, method string, _ holt.WorkspaceID) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.left[method] == 0 {
		return nil
	}
	x.left[method]--
	return holt.Errorf(x.kind, "scripted trouble in %s", method)
}

func (x *trouble) set(method string, times int, kind holt.Kind) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.left, x.kind = map[string]int{method: times}, kind
}

// TestAnyHistory does random things in random order, most of them before the
// thing before is finished, with failing calls, machines that end, damaged
// snapshots, crashes of the daemon at random points and reboots of the host. In
// the end all is calm, and the invariant holds.
func TestAnyHistory(t *testing.T) {
	if underRace && flag.Lookup("rapid.checks").Value.String() == "100" {
		if err := flag.Set("rapid.checks", "10"); err != nil {
			t.Fatal(err)
		}
	}
	tmp := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(tmp, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		x := &trouble{}
		w := bareWorld(t, context.Background(), dir, func(c *Config) {
			c.MaxRunning = rapid.SampledFrom([]int{0, 2}).Draw(t, "places")
			c.Parallel = rapid.SampledFrom([]int{1, 4}).Draw(t, "parallel")
		})
		w.node.Follow(x.script)
		w.open("")
		defer w.close()
		for range rapid.IntRange(3, 25).Draw(t, "length") {
			w.random(t, x)
			if w.crash.isDead() {
				x.set("", 0, "") // Open says it when the node does not answer
				w.restart(rapid.Bool().Draw(t, "reboot"))
			}
		}
		x.set("", 0, "")
		w.arm("")
		if w.crash.isDead() || rapid.Bool().Draw(t, "restart in the end") {
			w.restart(false)
		}
		w.calm()
		w.invariant()
	})
}

// random does one thing.
func (w *world) random(t *rapid.T, x *trouble) {
	names := []string{"a", "b", "c"}
	labels := []string{"one", "two", BeforeRollback}
	name := rapid.SampledFrom(names).Draw(t, "name")
	r := w.row(name)
	var err error
	act := rapid.SampledFrom([]string{
		"create", "create", "suspend", "suspend", "resume", "resume", "stop", "fork", "fork-checkpoint", "checkpoint", "checkpoint", "rollback", "checkpoint-rm", "delete", "end", "end-silently", "damage", "trouble", "calm", "crash", "crash", "yield",
	}).Draw(t, "act")
	aim := func(g holt.Goal) { w.do(func() { _, err = w.m.SetGoal(w.ctx, r.ID, g, "test") }) }
	switch act {
	case "create":
		w.do(func() { _, err = w.m.Create(w.ctx, CreateRequest{Name: name}) })
	case "suspend":
		aim(holt.WantSuspended)
	case "resume":
		aim(holt.WantRunning)
	case "stop":
		aim(holt.WantStopped)
	case "fork":
		to := rapid.SampledFrom(names).Draw(t, "to")
		w.do(func() { _, err = w.m.Fork(w.ctx, name, to, "") })
	case "fork-checkpoint":
		to := rapid.SampledFrom(names).Draw(t, "to")
		label := rapid.SampledFrom(labels).Draw(t, "label")
		w.do(func() { _, err = w.m.Fork(w.ctx, name, to, label) })
	case "checkpoint":
		label := rapid.SampledFrom(labels).Draw(t, "label")
		w.do(func() { _, err = w.m.Checkpoint(w.ctx, name, label) })
	case "rollback":
		label := rapid.SampledFrom(labels).Draw(t, "label")
		w.do(func() { _, err = w.m.Rollback(w.ctx, name, label) })
	case "checkpoint-rm":
		label := rapid.SampledFrom(labels).Draw(t, "label")
		w.do(func() { err = w.m.RemoveCheckpoint(w.ctx, name, label) })
	case "delete":
		force := rapid.Bool().Draw(t, "force")
		w.do(func() { err = w.m.Delete(w.ctx, r.ID, force) })
	case "end", "end-silently":
		w.node.Crash(r.Sandbox, act == "end-silently")
	case "damage":
		w.node.Damage(r.Snapshot, rapid.Bool().Draw(t, "memory"), rapid.Bool().Draw(t, "files"))
	case "trouble":
		method := rapid.SampledFrom([]string{"Provision", "Freeze", "Resume", "Release", "Shutdown", "CopySnapshot", "CopyVolume", "RestoreVolume", "DiscardSnapshot", "DiscardVolume", "Unfreeze", "Inventory"}).Draw(t, "method")
		kind := rapid.SampledFrom([]holt.Kind{holt.KindInternal, holt.KindNoSpace, holt.KindUnavailable, holt.KindCorrupt}).Draw(t, "kind")
		x.set(method, rapid.IntRange(1, 7).Draw(t, "times"), kind)
	case "calm":
		w.calm()
		if !w.crash.isDead() && w.crash.at == "" {
			x.set("", 0, "")
			w.invariant()
		}
	case "crash":
		w.arm(rapid.SampledFrom(points).Draw(t, "at") + fmt.Sprintf(":%d", rapid.IntRange(1, 3).Draw(t, "passing")))
	case "yield": // let what is under way get some steps further
		time.Sleep(rand.N(3 * time.Millisecond))
	}
	if err == nil || w.crash.isDead() {
		return
	}
	switch holt.KindOf(err) {
	case holt.KindConflict, holt.KindNotFound, holt.KindInvalid, holt.KindUnavailable: // what a user is told who asks for the impossible
	default:
		if !strings.Contains(err.Error(), "scripted trouble") {
			w.t.Fatalf("%s %s: %v", act, name, err)
		}
	}
}

// The points above must be those that exist: a name that nobody passes would
// test nothing.
func TestPointsExist(t *testing.T) {
	if underRace {
		t.Skip("the same runs are part of TestKillEverywhere")
	}
	passed := map[string]bool{"thaw.before": true, "node.release": true, "collect.before-release": true, "collect.before-discard": true}
	for _, v := range story {
		w := newWorld(t)
		v.run(w, "")
		w.crash.mu.Lock()
		for name := range w.crash.passed {
			passed[name] = true
		}
		w.crash.mu.Unlock()
	}
	for _, p := range points {
		if !passed[p] {
			t.Errorf("nothing passes %s", p)
		}
	}
	for p := range passed {
		if !slices.Contains(points, p) && !strings.HasSuffix(p, ".after") {
			t.Errorf("%s is not crashed at", p)
		}
	}
}
