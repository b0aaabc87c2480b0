package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holt-ide/holt/test/server"
)

// A server is copied while it runs, and what is made of the copy has everything:
// files as they were, a suspended machine that goes on where it was, and people.
func TestBackup(t *testing.T) {
	s := server.Start(t, "--pool-size", "3g")
	s.TinyImage(t)
	for _, name := range []string{"runs", "sleeps"} {
		s.Must(t, "create", name, "--image", "tiny", "--memory", "256m", "--disk", "256m")
		s.Sh(t, name, "mkdir -p /workspace/a/b; echo "+name+" >/workspace/a/b/file; ln -s b/file /workspace/a/link; chmod 600 /workspace/a/b/file")
	}
	s.Sh(t, "sleeps", "sleep 86400 >/dev/null 2>&1 & echo $! >/workspace/pid")
	s.Must(t, "suspend", "sleeps")
	s.AwaitDurable(t, "sleeps", time.Minute)

	stop := make(chan struct{})
	written := make(chan int)
	go func() { // it changes all the time
		n := 0
		defer func() { written <- n }()
		for {
			select {
			case <-stop:
				return
			default:
				n++
				s.Sh(t, "runs", "echo line >>/workspace/log; sync")
			}
		}
	}()
	target := filepath.Join(filepath.Dir(s.Dir), "backup")
	var made struct {
		Files   int      `json:"files"`
		Missing []string `json:"missing"`
	}
	did := verb(t, s, "backup", "--json", target)
	if err := json.Unmarshal([]byte(did), &made); err != nil {
		t.Fatal(err)
	}
	close(stop)
	lines := <-written
	if made.Files == 0 || len(made.Missing) > 0 {
		t.Errorf("the backup has %d files and misses %q", made.Files, made.Missing)
	}
	verb(t, s, "verify-backup", target)
	if left, err := filepath.Glob(filepath.Join(s.Dir, "node", "pool", ".backup")); err != nil || len(left) > 0 {
		t.Errorf("left in the pool: %v, %v", left, err)
	}
	s.Must(t, "rm", "--force", "runs")
	s.Must(t, "rm", "--force", "sleeps")

	again := server.New(t, "--pool-size", "3g")
	verb(t, again, "restore", target)
	again.Start(t)
	for _, name := range []string{"runs", "sleeps"} {
		got := again.Sh(t, name, "cat /workspace/a/link; stat -c %a /workspace/a/b/file")
		if want := name + "\n600"; strings.TrimSpace(got) != want {
			t.Errorf("%s has %q, want %q", name, got, want)
		}
	}
	again.Sh(t, "sleeps", "kill -0 $(cat /workspace/pid)") // its memory came along
	if n := len(strings.Fields(again.Sh(t, "runs", "cat /workspace/log"))); n > lines {
		t.Errorf("%d lines were restored and %d written", n, lines)
	}

	// A damaged backup is refused, and says where.
	img, err := filepath.Glob(filepath.Join(target, "data", "node", "pool", "volumes", "*.img"))
	if err != nil || len(img) == 0 {
		t.Fatal(img, err)
	}
	flip(t, img[0])
	for _, args := range [][]string{{"verify-backup", target}, {"restore", "--data-dir", filepath.Join(filepath.Dir(s.Dir), "third"), target}} {
		did := s.Verb(t, args[0], args[1:]...)
		if did.Code != 1 || !strings.Contains(did.Stderr, filepath.Base(img[0])) {
			t.Errorf("%s of a damaged backup: code %d: %s", args[0], did.Code, did.Stderr)
		}
	}
	if did := s.Verb(t, "backup", target); did.Code != 1 || !strings.Contains(did.Stderr, "exists already") {
		t.Errorf("a second backup of the name: code %d: %s", did.Code, did.Stderr)
	}
}

// verb runs a verb of holtd that must succeed and returns what it printed.
func verb(t *testing.T, s *server.Server, name string, args ...string) string {
	t.Helper()
	did := s.Verb(t, name, args...)
	if did.Code != 0 {
		t.Fatalf("holtd %s: code %d: %s", name, did.Code, did.Stderr)
	}
	return did.Stdout
}

// flip changes a bit in the middle of what is not a hole of a file.
func flip(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at, err := f.Seek(0, 3) // SEEK_DATA
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	for ; ; at++ { // zeros are not stored, so a bit in them may be anywhere
		if _, err := f.ReadAt(b, at); err != nil {
			t.Fatal(err)
		}
		if b[0] != 0 {
			break
		}
	}
	b[0] ^= 0x40
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}
