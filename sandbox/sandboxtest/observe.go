package sandboxtest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holt-ide/holt/sandbox"
)

// refused tries something that no sandbox allows, and waits until the sandbox
// tells so. A sandbox that was just recovered may tell only of a later attempt.
func (g *guest) refused(t *testing.T) {
	t.Helper()
	eventually(t, 30*time.Second, "the refusal is told", func() error {
		if out, code := g.sh(t, "cat /dev/mem"); code == 0 {
			t.Fatalf("/dev/mem can be read: %q", out)
		}
		if seen := g.told(t, 200*time.Millisecond); len(seen) == 0 {
			return errors.New("nothing was told")
		}
		return nil
	})
}

// told returns what the sandbox tells until it has said nothing for so long.
func (g *guest) told(t *testing.T, quiet time.Duration) (seen []sandbox.Refusal) {
	t.Helper()
	for {
		select {
		case r := <-g.Sandbox.(sandbox.Observer).Refusals():
			if r.Probe == "" || r.Text == "" || len(r.Text) > 200 || strings.Trim(r.Text, printable) != "" {
				t.Errorf("refusal %+v", r)
			}
			seen = append(seen, r)
		case <-time.After(quiet):
			return seen
		}
	}
}

// printable are the characters that a text may have at its ends, where a guest's
// words would be.
const printable = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ()/._-+:,'"

// testObserve: what the kernel refuses is told, and ordinary work is not.
func testObserve(t *testing.T, d sandbox.Driver, rig Rig) {
	g := started(t, d, rig)
	g.must(t, "ls /proc /sys /dev >/dev/null; cat /proc/self/status /proc/meminfo >/dev/null; echo x > /workspace/x; cat /nowhere /proc/nowhere; kill -0 $$; true")
	if seen := g.told(t, 500*time.Millisecond); len(seen) != 0 {
		t.Errorf("ordinary work is told as %+v", seen)
	}
	g.refused(t)
	for _, probe := range []string{
		"cat /dev/vda", "cat /dev/kmsg", "cat /proc/kcore", "echo b > /proc/sysrq-trigger", "echo core > /proc/sys/kernel/core_pattern",
		"echo 1 > /sys/kernel/anything", "mknod /tmp/node b 8 0", "mount -t tmpfs none /mnt", "kill -9 1",
		// What a guest names itself must not reach the text as it is.
		"echo x > \"/proc/sys/$(printf 'a\\nb\\033[31m')\"",
	} {
		if out, code := g.sh(t, probe); code == 0 {
			t.Errorf("%s worked: %q", probe, out)
		}
		seen := g.told(t, 500*time.Millisecond)
		if len(seen) == 0 {
			t.Errorf("%s: nothing was told", probe)
		}
		t.Logf("%s: %+v", probe, seen)
	}
}

// testObserveFlood: a guest that is refused without pause, with nobody listening,
// gets on with it, and what got lost is counted.
func testObserveFlood(t *testing.T, d sandbox.Driver, rig Rig) {
	g := started(t, d, rig)
	g.must(t, "i=0; while [ $i -lt 20000 ]; do true 2>/dev/null <> /proc/sys/x; i=$((i+1)); done; true")
	var missed uint64
	eventually(t, 20*time.Second, "what got lost is counted", func() error {
		g.sh(t, "cat /dev/mem")
		for _, r := range g.told(t, 200*time.Millisecond) {
			missed += r.Missed
		}
		if missed == 0 {
			return errors.New("nothing is said to be lost")
		}
		return nil
	})
	t.Logf("%d messages were lost", missed)
	g.refused(t)
}

// testObserveLives: whatever happens to a sandbox, it tells.
func testObserveLives(t *testing.T, d sandbox.Driver, rig Rig) {
	spec, secret := rig.Spec(t)
	sb, err := d.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	g := attach(t, sb, secret)
	g.refused(t)
	again := attach(t, recovered(t, rig, spec.ID), secret)
	again.refused(t)
	if !d.Capabilities().Memory {
		return
	}
	dir := again.frozen(t)
	restored(t, d, rig, again, dir, secret).refused(t)
	if err := again.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	again.refused(t)
	if !d.Capabilities().Prepare {
		return
	}
	for _, boot := range []string{"start", "restore"} {
		next := rig.Again(t, spec)
		p, mounts := opened(t, d, next)
		var sb sandbox.Sandbox
		if boot == "start" {
			sb, err = p.Start(t.Context(), mounts)
		} else {
			sb, err = p.Restore(t.Context(), mounts, dir)
		}
		if err != nil {
			t.Fatal(fmt.Errorf("%s in a prepared sandbox: %w", boot, err))
		}
		attach(t, sb, secret).refused(t)
	}
}
