package gvisor_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/sandbox"
	"github.com/holt-ide/holt/sandbox/gvisor"
	"github.com/holt-ide/holt/test/bins"
)

// A machine pauses, is saved and runs on whether or not it is attended: an
// attendant that dies, or a build of the runtime that has none, costs time only.
func TestAttendants(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("sandboxes need root")
	}
	r := newRig(t)
	old := filepath.Join(r.dir, "runsc-old")
	script := fmt.Sprintf("#!/bin/sh\nfor a; do [ \"$a\" != attend ] || exit 128; done\nexec %q \"$@\"\n", bins.Path(t, "runsc"))
	if err := os.WriteFile(old, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, runtime := range map[string]string{"killed": bins.Path(t, "runsc"), "none": old} {
		t.Run(name, func(t *testing.T) {
			d, err := gvisor.Open(t.Context(), gvisor.Config{Dir: filepath.Join(r.dir, name), Runsc: runtime, Cgroup: r.cgroup})
			if err != nil {
				t.Fatal(err)
			}
			spec, _ := r.Spec(t)
			sb, err := d.Start(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := sb.Close(context.WithoutCancel(t.Context())); err != nil {
					t.Error(err)
				}
				if left := attending(t, spec.ID); len(left) > 0 {
					t.Errorf("attendants %v outlived their machine", left)
				}
				if err := d.Detach(); err != nil {
					t.Error(err)
				}
			})
			answers := func(patience time.Duration) bool {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				for {
					if healthy(ctx, sb) {
						return true
					}
					select {
					case <-ctx.Done():
						return false
					case <-time.After(20 * time.Millisecond):
					}
				}
			}
			if !answers(20 * time.Second) {
				t.Fatal("the machine does not come up")
			}
			if err := sb.Pause(t.Context()); err != nil {
				t.Fatal(err)
			}
			attended := attending(t, spec.ID)
			if want := map[string]int{"killed": 1}[name]; len(attended) != want {
				t.Fatalf("%d attendants, want %d", len(attended), want)
			}
			for _, pid := range attended {
				if err := unix.Kill(pid, unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			for i := 0; len(attending(t, spec.ID)) > 0 && i < 500; i++ {
				time.Sleep(10 * time.Millisecond)
			}
			if answers(300 * time.Millisecond) {
				t.Error("the machine is not paused")
			}
			// An attendant that is found dead may fail one call, and only one.
			if err := sb.Checkpoint(t.Context(), filepath.Join(t.TempDir(), "a")); err != nil {
				t.Log("first checkpoint:", err)
				if err := sb.Checkpoint(t.Context(), filepath.Join(t.TempDir(), "b")); err != nil {
					t.Error(err)
				}
			}
			if err := sb.Resume(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !answers(5 * time.Second) {
				t.Error("the machine does not run on")
			}
		})
	}
}

// healthy reports whether the agent answers at all: without its secret it refuses.
func healthy(ctx context.Context, sb sandbox.Sandbox) bool {
	conn, err := sb.Dial(ctx)
	if err != nil {
		return false
	}
	defer conn.Close()
	if at, ok := ctx.Deadline(); ok && conn.SetDeadline(at) != nil {
		return false
	}
	if _, err := fmt.Fprint(conn, "GET /v1/health HTTP/1.0\r\nHost: guest\r\n\r\n"); err != nil {
		return false
	}
	line := make([]byte, len("HTTP/1.0 "))
	_, err = conn.Read(line)
	return err == nil && bytes.HasPrefix(line, []byte("HTTP/1"))
}

// attending returns the attendants of a sandbox.
func attending(t *testing.T, id holt.SandboxID) (pids []int) {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		args, err := os.ReadFile(name + "/cmdline")
		if err != nil || !strings.HasSuffix(string(args), "\x00attend\x00"+string(id)+"\x00") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(name))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}
