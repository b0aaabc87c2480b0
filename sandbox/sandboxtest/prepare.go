package sandboxtest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/sandbox"
)

// opened prepares a sandbox with every writable mount left open, and returns the
// mounts that belong there.
func opened(t *testing.T, d sandbox.Driver, spec sandbox.Spec) (sandbox.Prepared, []sandbox.Mount) {
	t.Helper()
	p, ok := d.(sandbox.Preparer)
	if !ok {
		t.Fatalf("%T claims to prepare sandboxes and has no method for it", d)
	}
	var later []sandbox.Mount
	spec.Mounts = slices.Clone(spec.Mounts)
	for i, m := range spec.Mounts {
		if !m.ReadOnly {
			later = append(later, m)
			spec.Mounts[i].Source = ""
		}
	}
	if len(later) < 2 {
		t.Fatalf("the rig has only %d writable mounts", len(later))
	}
	made, err := p.Prepare(t.Context(), spec)
	if err != nil {
		t.Fatalf("prepare: %v", err)
	}
	return made, later
}

func testPrepareStart(t *testing.T, d sandbox.Driver, rig Rig) {
	spec, secret := rig.Spec(t)
	p, mounts := opened(t, d, spec)
	sb, err := p.Start(t.Context(), mounts)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	g := attach(t, sb, secret)
	g.must(t, "echo kept > /workspace/file && echo x > ~/file && ! echo x > /.holt/file")
	if out := g.must(t, "stat -c %U /workspace"); out != "dev" {
		t.Errorf("/workspace belongs to %s", out)
	}
	for _, m := range sb.Spec().Mounts {
		if m.Source == "" {
			t.Errorf("the mount at %s still has no source", m.Target)
		}
	}
	if err := p.Close(t.Context()); err != nil { // does nothing now
		t.Error(err)
	}
	g.must(t, "true")
	again := recovered(t, rig, spec.ID)
	attach(t, again, secret).must(t, "cat /workspace/file")
}

func testPrepareRestore(t *testing.T, d sandbox.Driver, rig Rig) {
	spec, secret := rig.Spec(t)
	first, mounts := opened(t, d, spec)
	sb, err := first.Start(t.Context(), mounts)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	g := attach(t, sb, secret)
	g.remember(t)
	g.must(t, "echo kept > /workspace/file")
	blob, count := g.must(t, "md5sum < /dev/shm/blob"), g.count(t)
	dir := g.frozen(t)
	next, mounts := opened(t, d, rig.Again(t, g.Spec()))
	sb, err = next.Restore(t.Context(), mounts, dir)
	if err != nil {
		t.Fatalf("restore: %v", err)
	}
	h := attach(t, sb, secret)
	h.recalls(t, blob, count)
	h.must(t, "grep kept /workspace/file && echo new > /workspace/file")
	// The source's folder is another one.
	if err := g.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.must(t, "grep kept /workspace/file")
}

func testPrepareUnused(t *testing.T, d sandbox.Driver, rig Rig) {
	before := rig.Held(t)
	t.Run("closed", func(t *testing.T) {
		spec, _ := rig.Spec(t)
		p, mounts := opened(t, d, spec)
		for range 2 {
			if err := p.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case <-p.Done():
		case <-time.After(10 * time.Second):
			t.Error("it is closed and has not ended")
		}
		if _, err := p.Start(t.Context(), mounts); !errors.Is(err, sandbox.ErrGone) {
			t.Errorf("start after close: %v, want %v", err, sandbox.ErrGone)
		}
	})
	t.Run("forgotten", func(t *testing.T) {
		spec, _ := rig.Spec(t)
		opened(t, d, spec)
		list, err := rig.Open(t).Recover(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, sb := range list {
			if sb.Spec().ID == spec.ID {
				t.Error("a sandbox that was never set going was recovered")
			}
		}
	})
	t.Run("no source", func(t *testing.T) {
		spec, _ := rig.Spec(t)
		p, mounts := opened(t, d, spec)
		if _, err := p.Start(t.Context(), mounts[:1]); !holt.IsKind(err, holt.KindInvalid) {
			t.Errorf("start with a mount missing: %v, want %v", err, holt.KindInvalid)
		}
	})
	t.Run("garbage", func(t *testing.T) {
		spec, _ := rig.Spec(t)
		p, mounts := opened(t, d, spec)
		if _, err := p.Restore(t.Context(), mounts, t.TempDir()); err == nil {
			t.Error("an empty folder was restored")
		}
	})
	checkHeld(t, rig, before)
}
