package fault

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"

	"github.com/holt-ide/holt/test/server"
)

// filler takes the space of a pool away.
type filler struct {
	t    *testing.T
	path string
}

func (f filler) free() int64 {
	var s unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(f.path), &s); err != nil {
		f.t.Error(err)
	}
	return int64(s.Bavail) * s.Bsize
}

// fill takes what is free, but for about leave bytes.
func (f filler) fill(leave int64) {
	file, err := os.OpenFile(f.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		f.t.Error(err)
		return
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		f.t.Error(err)
		return
	}
	for at, step := info.Size(), f.free()-leave; step >= 1<<16; {
		err := unix.Fallocate(int(file.Fd()), 0, at, step)
		switch {
		case err == nil:
			at += step
			step = f.free() - leave
		case errors.Is(err, unix.ENOSPC):
			step /= 2
		case !errors.Is(err, unix.EINTR):
			f.t.Error(err)
			return
		}
	}
}

func (f filler) empty() {
	if err := os.Remove(f.path); err != nil {
		f.t.Error(err)
	}
}

// TestFullDisk: a suspend for which there is no space fails, says so, and leaves
// the machine running; with space it works.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	s := server.Start(t, "--pool-size", "1g")
	s.TinyImage(t)
	w := newWitness(s)
	small(t, s, "main")
	s.Sh(t, "main", "for d in /dev/shm /tmp; do head -c 60m /dev/urandom >$d/random; done")
	const sum = "cat /dev/shm/random /tmp/random | sha256sum"
	hash := s.Sh(t, "main", sum)
	alive := live(t, s, "main", "full")
	pool := filler{t, filepath.Join(s.Dir, "node/pool/filler")}
	before := w.settle(t)["main"]

	for _, c := range []struct {
		name string
		fill func(t *testing.T) (done func())
	}{
		{"before", func(*testing.T) func() { pool.fill(32 << 20); return func() {} }},
		{"during", func(t *testing.T) func() { return pool.fillWhenWriting(t, s) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r server.Result
			for range 10 {
				done := c.fill(t)
				r = s.Holt(t, "suspend", "main")
				done()
				if r.Code != 0 {
					break
				}
				// The snapshot was written faster than the disk was filled.
				pool.empty()
				s.Must(t, "resume", "main")
				before = w.settle(t)["main"]
			}
			if r.Code == 0 || !strings.Contains(r.Stderr, "disk") || !strings.Contains(r.Stderr, "runs on") {
				t.Errorf("suspend on a full disk: code %d, %q", r.Code, r.Stderr)
			}
			pool.empty()
			after := w.settle(t)["main"]
			if after.State != string(holt.Running) || after.SandboxID != before.SandboxID || !strings.Contains(after.Message, "disk") {
				t.Fatalf("main is %s in %s (was %s): %s", after.State, after.SandboxID, before.SandboxID, after.Message)
			}
			if log := s.Must(t, "logs", "main"); !strings.Contains(log, after.Message) {
				t.Errorf("the log does not tell: %s", log)
			}
			alive.check(t, s)
			s.Sh(t, "main", "echo more >>/workspace/more && sync")
		})
	}
	s.Must(t, "suspend", "main")
	s.Must(t, "resume", "main")
	alive.check(t, s)
	if got := s.Sh(t, "main", sum+"; cat /workspace/more"); got != hash+"\nmore\nmore" {
		t.Errorf("after all: %q, want %q and two lines", got, hash)
	}
	w.settle(t)
}

// fillWhenWriting fills the pool as soon as a snapshot's memory is being
// written. The returned function waits for that.
func (f filler) fillWhenWriting(t *testing.T, s *server.Server) (done func()) {
	t.Helper()
	finished := make(chan struct{})
	deadline := time.Now().Add(time.Minute)
	go func() {
		defer close(finished)
		for time.Now().Before(deadline) {
			found, err := filepath.Glob(filepath.Join(s.Dir, "node/pool/snapshots/.*.tmp/checkpoint.img"))
			if err != nil || len(found) > 0 {
				f.fill(0)
				return
			}
		}
		t.Error("no snapshot was begun")
	}()
	return func() { <-finished }
}

// TestNearlyFullDisk: no new machine on a disk that is nearly full, and a clear
// word why.
func TestNearlyFullDisk(t *testing.T) {
	t.Parallel()
	s := server.Start(t, "--pool-size", "1g")
	s.TinyImage(t)
	w := newWitness(s)
	pool := filler{t, filepath.Join(s.Dir, "node/pool/filler")}
	pool.fill(48 << 20)
	r := s.Holt(t, "create", "main", "--image", "tiny", "--memory", "256m", "--disk", "64m")
	if r.Code == 0 || !strings.Contains(r.Stderr, "nearly full") {
		t.Errorf("create on a full disk: code %d, %s", r.Code, r.Stderr)
	}
	if got := w.settle(t)["main"]; got.State != string(holt.Failed) {
		t.Errorf("main is %s: %s", got.State, got.Message)
	}
	pool.empty()
	s.Must(t, "resume", "main")
	s.Sh(t, "main", "true")
	w.settle(t)
}
