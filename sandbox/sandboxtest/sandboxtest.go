package sandboxtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/sandbox"
)

// Cycles is how many sandboxes the release test makes and closes.
const Cycles = 100

// Run runs the suite.
func Run(t *testing.T, rig Rig) {
	d := rig.Open(t)
	caps := d.Capabilities()
	if caps.Name == "" || caps.Version == "" || caps.Toolchain == "" {
		t.Errorf("capabilities do not say which driver this is: %+v", caps)
	}
	before := rig.Held(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, sandbox.Driver, Rig)
		need bool
	}{
		{"Start", testStart, true},
		{"Identity", testIdentity, true},
		{"MemoryLimit", testMemoryLimit, true},
		{"CPULimit", testCPULimit, true},
		{"RootLimit", testRootLimit, caps.DiskLimit},
		{"TmpfsLimit", testTmpfsLimit, true},
		{"Network", testNetwork, true},
		{"Pause", testPause, true},
		{"Checkpoint", testCheckpoint, caps.Memory},
		{"KeepRunning", testKeepRunning, caps.KeepRunning},
		{"RestoreMany", testRestoreMany, caps.Memory},
		{"CheckpointFails", testCheckpointFails, caps.KeepRunning},
		{"RestoreGarbage", testRestoreGarbage, caps.Memory},
		{"Recover", testRecover, true},
		{"RecoverPaused", testRecoverPaused, true},
		{"Crash", testCrash, true},
		{"CloseTwice", testCloseTwice, true},
		{"StartFails", testStartFails, true},
		{"PrepareStart", testPrepareStart, caps.Prepare},
		{"PrepareRestore", testPrepareRestore, caps.Prepare},
		{"PrepareUnused", testPrepareUnused, caps.Prepare},
		{"Observe", testObserve, caps.Observe},
		{"ObserveFlood", testObserveFlood, caps.Observe},
		{"ObserveLives", testObserveLives, caps.Observe},
	} {
		t.Run(test.name, func(t *testing.T) {
			if !test.need {
				t.Skip("the driver does not claim to do this")
			}
			test.run(t, d, rig)
		})
	}
	t.Run("Release", func(t *testing.T) { testRelease(t, d, rig) })
	checkHeld(t, rig, before)
}

func testStart(t *testing.T, d sandbox.Driver, rig Rig) {
	g := started(t, d, rig, func(s *sandbox.Spec) { s.Hostname = "oak" })
	if out := g.must(t, "hostname"); out != "oak" {
		t.Errorf("host name is %q", out)
	}
	g.must(t, "echo hello > /workspace/file && cat /workspace/file")
	if s, err := g.Stats(t.Context()); err != nil || s.Memory <= 0 || s.CPU <= 0 || s.Processes <= 0 || s.MemoryLimit < g.Spec().Limits.Memory {
		t.Errorf("stats: %+v, %v", s, err)
	}
}

// testIdentity: root inside is nobody outside, and cannot touch the host.
func testIdentity(t *testing.T, d sandbox.Driver, rig Rig) {
	g := started(t, d, rig)
	if out := g.must(t, "id -u"); out != "1000" {
		t.Errorf("commands run as uid %s, want 1000", out)
	}
	for _, probe := range []string{
		"cat /dev/mem", "cat /dev/vda", "cat /dev/kmsg", "cat /dev/kvm", "echo b > /proc/sysrq-trigger",
		"echo x > /.holt/file", "echo 1 > /sys/kernel/anything", "echo core > /proc/sys/kernel/core_pattern",
	} {
		if out, code := g.sh(t, probe); code == 0 {
			t.Errorf("%s worked: %q", probe, out)
		}
	}
}

func testMemoryLimit(t *testing.T, d sandbox.Driver, rig Rig) {
	g := started(t, d, rig, func(s *sandbox.Spec) { s.Limits.Memory = 192 * holt.MiB })
	// dd holds one block in memory: larger than everything the guest may have.
	if out, code, err := g.try(t.Context(), "dd if=/dev/zero of=/dev/null bs=600M count=1"); err == nil && code == 0 {
		t.Errorf("600 MiB fit into 192 MiB: %s", out)
	}
	// The machine lives on, or has ended visibly; it never hangs.
	if ended(g) != nil {
		g.must(t, "true")
	}
}

func testCPULimit(t *testing.T, d sandbox.Driver, rig Rig) {
	g := started(t, d, rig, func(s *sandbox.Spec) { s.Limits.CPUs = 0.5 })
	for range 4 {
		g.background(t, "while :; do :; done")
	}
	before, err := g.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var after sandbox.Stats
	begin := time.Now()
	eventually(t, 30*time.Second, "the loops are held back", func() error {
		if after, err = g.Stats(t.Context()); err != nil {
			t.Fatal(err)
		}
		if after.CPU-before.CPU < 500*time.Millisecond || after.Throttled <= before.Throttled {
			return fmt.Errorf("used %v, throttled %v", after.CPU-before.CPU, after.Throttled)
		}
		return nil
	})
	// Half a core, and one period of grace on either side.
	if most := time.Since(begin)/2 + 200*time.Millisecond; after.CPU-before.CPU > most {
		t.Errorf("used %v of processor time in %v with half a core", after.CPU-before.CPU, time.Since(begin))
	}
	g.must(t, "true")
}

// fill writes to path until it is refused, and returns how much fitted.
func (g *guest) fill(t *testing.T, path string, most int64) int64 {
	t.Helper()
	out, _ := g.sh(t, fmt.Sprintf("dd if=/dev/zero of=%s bs=1M count=%d 2>&1; stat -c %%s %s", path, most>>20, path))
	lines := strings.Fields(out)
	n, err := strconv.ParseInt(lines[len(lines)-1], 10, 64)
	if err != nil {
		t.Fatalf("fill %s: %s", path, out)
	}
	return n
}

func testRootLimit(t *testing.T, d sandbox.Driver, rig Rig) {
	const limit = 96 * holt.MiB
	g := started(t, d, rig, func(s *sandbox.Spec) { s.Limits.Root = limit })
	if n := g.fill(t, "/var/tmp/big", 2*limit); n > limit || n < limit/2 {
		t.Errorf("%s fitted into a root file system of %s", holt.FormatSize(n), holt.FormatSize(limit))
	}
	g.must(t, "rm /var/tmp/big && echo x > /var/tmp/small")
}

func testTmpfsLimit(t *testing.T, d sandbox.Driver, rig Rig) {
	g := started(t, d, rig, func(s *sandbox.Spec) { s.Limits.Memory = 256 * holt.MiB })
	for _, path := range []string{"/tmp/big", "/dev/shm/big"} {
		if n := g.fill(t, path, 512*holt.MiB); n > 256*holt.MiB {
			t.Errorf("%s took %s with 256 MiB of memory", path, holt.FormatSize(n))
		}
		g.must(t, "rm "+path)
	}
}

func testNetwork(t *testing.T, d sandbox.Driver, rig Rig) {
	g := started(t, d, rig)
	outside := rig.Outside(t)
	c, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", outside)
	if err != nil {
		t.Fatalf("the host itself does not reach %s: %v", outside, err)
	}
	c.Close()
	host, port, err := net.SplitHostPort(outside)
	if err != nil {
		t.Fatal(err)
	}
	if out, code := g.sh(t, fmt.Sprintf("nc -w 2 %s %s < /dev/null", host, port)); code == 0 {
		t.Errorf("the guest reached the host at %s: %q", outside, out)
	}
}

func testPause(t *testing.T, d sandbox.Driver, rig Rig) {
	g := started(t, d, rig)
	for range 2 {
		if err := g.Pause(t.Context()); err != nil {
			t.Fatalf("pause: %v", err)
		}
	}
	if p, err := g.Paused(t.Context()); err != nil || !p {
		t.Fatalf("paused: %v, %v", p, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := g.agent.Health(ctx); err == nil {
		t.Error("the agent of a paused sandbox answers")
	}
	for range 2 {
		if err := g.Resume(t.Context()); err != nil {
			t.Fatalf("resume: %v", err)
		}
	}
	g.must(t, "true")
}

// remember puts state into the guest that only a full restore brings back:
// a running process with a counter, an unlinked open file, the root layer, memory.
func (g *guest) remember(t *testing.T) {
	t.Helper()
	g.background(t, `
		echo secret > /tmp/gone; exec 3< /tmp/gone; rm /tmp/gone
		i=0; while :; do i=$((i+1)); echo $i > /workspace/count; if [ -e /tmp/ask ]; then cat <&3 > /tmp/answer; rm /tmp/ask; fi; sleep 0.05; done`)
	g.must(t, "dd if=/dev/urandom of=/dev/shm/blob bs=1M count=8 2>/dev/null; echo layer > /var/tmp/layer; sync")
	eventually(t, 10*time.Second, "the counter runs", func() error {
		if g.count(t) < 2 {
			return errors.New("not yet")
		}
		return nil
	})
}

func (g *guest) count(t *testing.T) int {
	t.Helper()
	out, _ := g.sh(t, "cat /workspace/count")
	n, err := strconv.Atoi(out)
	if err != nil {
		return 0 // the file is being written
	}
	return n
}

// recalls checks that what remember put in is there and goes on.
func (g *guest) recalls(t *testing.T, blob string, atLeast int) {
	t.Helper()
	if got := g.must(t, "md5sum < /dev/shm/blob"); got != blob {
		t.Errorf("memory: checksum %s, want %s", got, blob)
	}
	if got := g.must(t, "cat /var/tmp/layer"); got != "layer" {
		t.Errorf("root layer: %q", got)
	}
	g.must(t, "touch /tmp/ask")
	eventually(t, 10*time.Second, "the process reads its unlinked file", func() error {
		if out, _ := g.sh(t, "cat /tmp/answer"); out != "secret" {
			return fmt.Errorf("answer %q", out)
		}
		return nil
	})
	eventually(t, 10*time.Second, "the counter goes on", func() error {
		if n := g.count(t); n <= atLeast {
			return fmt.Errorf("%d, was %d", n, atLeast)
		}
		return nil
	})
}

func testCheckpoint(t *testing.T, d sandbox.Driver, rig Rig) {
	spec, secret := rig.Spec(t)
	sb, err := d.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	g := attach(t, sb, secret)
	g.remember(t)
	blob, count := g.must(t, "md5sum < /dev/shm/blob"), g.count(t)
	dir := g.frozen(t)
	next := restored(t, d, rig, g, dir, secret)
	if err := g.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	next.recalls(t, blob, count)
	if out := next.must(t, "hostname"); out != next.Spec().Hostname || out == spec.Hostname {
		t.Errorf("host name after restore: %q, want %q", out, next.Spec().Hostname)
	}
}

func testKeepRunning(t *testing.T, d sandbox.Driver, rig Rig) {
	spec, secret := rig.Spec(t)
	sb, err := d.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	g := attach(t, sb, secret)
	g.remember(t)
	blob, count := g.must(t, "md5sum < /dev/shm/blob"), g.count(t)
	dir := g.frozen(t)
	if p, err := g.Paused(t.Context()); err != nil || !p {
		t.Errorf("after a checkpoint the sandbox is not paused: %v", err)
	}
	fork := restored(t, d, rig, g, dir, secret)
	if err := g.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.recalls(t, blob, count)
	fork.recalls(t, blob, count)
	// From here on they are two.
	g.must(t, "echo source > /var/tmp/layer")
	if out := fork.must(t, "cat /var/tmp/layer"); out != "layer" {
		t.Errorf("the fork sees what its source wrote: %q", out)
	}
}

func testRestoreMany(t *testing.T, d sandbox.Driver, rig Rig) {
	spec, secret := rig.Spec(t)
	sb, err := d.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	g := attach(t, sb, secret)
	g.remember(t)
	blob, count := g.must(t, "md5sum < /dev/shm/blob"), g.count(t)
	dir := g.frozen(t)
	const copies = 4
	specs := make([]sandbox.Spec, copies)
	for i := range specs {
		specs[i] = rig.Again(t, spec)
	}
	all := make([]sandbox.Sandbox, copies)
	errs := make([]error, copies)
	var wg sync.WaitGroup
	for i := range specs {
		wg.Go(func() { all[i], errs[i] = d.Restore(t.Context(), specs[i], dir) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for _, sb := range all {
		attach(t, sb, secret).recalls(t, blob, count)
	}
}

func testCheckpointFails(t *testing.T, d sandbox.Driver, rig Rig) {
	g := started(t, d, rig)
	if err := g.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := g.Checkpoint(t.Context(), "/dev/null/nowhere"); err == nil {
		t.Fatal("a checkpoint into a file's folder worked")
	}
	if err := g.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.must(t, "true")
}

func testRestoreGarbage(t *testing.T, d sandbox.Driver, rig Rig) {
	before := rig.Held(t)
	t.Run("empty", func(t *testing.T) {
		spec, _ := rig.Spec(t)
		if _, err := d.Restore(t.Context(), spec, t.TempDir()); err == nil {
			t.Fatal("an empty folder was restored")
		}
	})
	checkHeld(t, rig, before)
}

func testRecover(t *testing.T, d sandbox.Driver, rig Rig) {
	spec, secret := rig.Spec(t)
	sb, err := d.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	g := attach(t, sb, secret)
	g.remember(t)
	blob, count := g.must(t, "md5sum < /dev/shm/blob"), g.count(t)
	again := recovered(t, rig, spec.ID)
	attach(t, again, secret).recalls(t, blob, count)
	if err := again.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the first process notices the end", func() error { return ended(g) })
}

func recovered(t *testing.T, rig Rig, id holt.SandboxID) sandbox.Sandbox {
	t.Helper()
	list, err := rig.Open(t).Recover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(sb sandbox.Sandbox) bool { return sb.Spec().ID == id })
	if i < 0 {
		t.Fatalf("sandbox %s was not recovered", id)
	}
	return list[i]
}

func testRecoverPaused(t *testing.T, d sandbox.Driver, rig Rig) {
	g := started(t, d, rig)
	if err := g.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := recovered(t, rig, g.Spec().ID)
	if p, err := again.Paused(t.Context()); err != nil || !p {
		t.Fatalf("recovered sandbox is not paused: %v", err)
	}
	if err := again.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.must(t, "true")
}

func testCrash(t *testing.T, d sandbox.Driver, rig Rig) {
	g := started(t, d, rig)
	rig.Kill(t, g)
	eventually(t, 10*time.Second, "the end is noticed", func() error { return ended(g) })
	if _, err := g.Dial(t.Context()); !errors.Is(err, sandbox.ErrGone) {
		t.Errorf("dial: %v, want %v", err, sandbox.ErrGone)
	}
	if err := g.Pause(t.Context()); err == nil {
		t.Error("a dead sandbox was paused")
	}
	list, err := rig.Open(t).Recover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, sb := range list {
		if sb.Spec().ID == g.Spec().ID {
			t.Error("a dead sandbox was recovered")
		}
	}
}

func testCloseTwice(t *testing.T, d sandbox.Driver, rig Rig) {
	g := started(t, d, rig)
	for range 2 {
		if err := g.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := ended(g); err != nil {
		t.Error(err)
	}
	if err := g.Resume(t.Context()); !errors.Is(err, sandbox.ErrGone) {
		t.Errorf("resume: %v, want %v", err, sandbox.ErrGone)
	}
}

func testStartFails(t *testing.T, d sandbox.Driver, rig Rig) {
	before := rig.Held(t)
	t.Run("no image", func(t *testing.T) {
		spec, _ := rig.Spec(t)
		spec.Image = "/nowhere.erofs"
		if _, err := d.Start(t.Context(), spec); err == nil {
			t.Fatal("started without an image")
		}
	})
	t.Run("twice", func(t *testing.T) {
		g := started(t, d, rig)
		if _, err := d.Start(t.Context(), g.Spec()); !holt.IsKind(err, holt.KindConflict) {
			t.Fatalf("second start: %v, want a conflict", err)
		}
		g.must(t, "true")
	})
	checkHeld(t, rig, before)
}

// testRelease makes and closes many sandboxes and looks for anything left.
func testRelease(t *testing.T, d sandbox.Driver, rig Rig) {
	before := rig.Held(t)
	for i := range Cycles {
		t.Run(strconv.Itoa(i), func(t *testing.T) { started(t, d, rig) })
	}
	checkHeld(t, rig, before)
}

// checkHeld compares what the host holds with before. Some releases are the
// kernel's to finish, a moment later.
func checkHeld(t *testing.T, rig Rig, before []string) {
	t.Helper()
	eventually(t, 20*time.Second, "everything is released", func() error {
		var leaked []string
		for _, r := range rig.Held(t) {
			if !slices.Contains(before, r) {
				leaked = append(leaked, r)
			}
		}
		if len(leaked) > 0 {
			return fmt.Errorf("%d resources are left:\n%s", len(leaked), strings.Join(leaked, "\n"))
		}
		return nil
	})
}
