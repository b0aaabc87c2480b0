package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holt-ide/holt/object/s3/s3test"
	"github.com/holt-ide/holt/test/server"
)

// bucket is an S3 server whose answers can be taken away.
type bucket struct {
	away atomic.Bool
	dir  string // of the bucket's files
	*s3test.Proxy
}

// withBucket returns a server, not started, that keeps its snapshots in a bucket.
func withBucket(t *testing.T, flags ...string) (*server.Server, *bucket) {
	t.Helper()
	real := s3test.Start(t)
	b := new(bucket)
	b.Proxy = s3test.NewProxy(t, real.URL, func(*http.Request) s3test.Fault {
		if b.away.Load() {
			return s3test.Refuse
		}
		return s3test.None
	})
	cfg := real.Config(t, b.URL)
	b.dir = filepath.Join(real.Dir, cfg.Bucket)
	return inBucket(t, b, cfg.Bucket, cfg.AccessKey, cfg.SecretKey, flags...), b
}

// inBucket returns another server on the same bucket.
func inBucket(t *testing.T, b *bucket, name, key, secret string, flags ...string) *server.Server {
	t.Helper()
	s := server.New(t, append([]string{"--store", "s3://" + name + "/holt/one", "--store-endpoint", b.URL}, flags...)...)
	s.Env = []string{"AWS_ACCESS_KEY_ID=" + key, "AWS_SECRET_ACCESS_KEY=" + secret}
	return s
}

// fill puts random bytes into the memory of a workspace and returns their hash.
func fill(t *testing.T, s *server.Server, name, size string) string {
	t.Helper()
	return s.Sh(t, name, "head -c "+size+" /dev/urandom >/dev/shm/r && sha256sum </dev/shm/r")
}

func hash(t *testing.T, s *server.Server, name string) string {
	t.Helper()
	return s.Sh(t, name, "sha256sum </dev/shm/r")
}

// A workspace goes to the bucket, its raw files go, and it comes back with everything
// that ran. While the bucket is away it suspends and resumes from the disk.
func TestSnapshotsLeaveTheMachine(t *testing.T) {
	s, b := withBucket(t, "--raw-copies", "1")
	b.away.Store(true)
	s.Start(t) // the store may be away
	s.TinyImage(t)
	s.Must(t, "create", "lab", "--image", "tiny", "--memory", "256m", "--disk", "256m")
	s.Must(t, "exec", "lab", "--", "sh", "-c", remembers, "memo", "word")
	life := tell(t, s, "lab", "?")
	sum := fill(t, s, "lab", "40000000")
	s.Sh(t, "lab", "echo typed >/workspace/file")
	s.Must(t, "suspend", "lab")
	s.AwaitKept(t, "lab", time.Minute, func(k server.Kept) bool { return slices.Equal(k.On, []string{"node"}) })
	for deadline := time.Now().Add(time.Minute); s.Show(t, "lab").Trouble == ""; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody says why the snapshot is not durable")
		}
	}
	s.Must(t, "resume", "lab")
	if got := tell(t, s, "lab", "?"); got != life {
		t.Errorf("without the store the process says %q, want %q", got, life)
	}
	b.away.Store(false)
	s.Must(t, "suspend", "lab")
	first := s.AwaitDurable(t, "lab", 2*time.Minute)
	gone := func(k server.Kept) bool { return k.Current && slices.Equal(k.On, []string{"store"}) }
	s.AwaitKept(t, "lab", time.Minute, gone)

	s.Must(t, "resume", "lab")
	if got := tell(t, s, "lab", "?"); got != life {
		t.Errorf("from the store the process says %q, want %q", got, life)
	}
	if got := hash(t, s, "lab"); got != sum {
		t.Errorf("memory from the store: %s, want %s", got, sum)
	}
	if got := s.Sh(t, "lab", "cat /workspace/file"); got != "typed" {
		t.Errorf("file from the store: %q", got)
	}
	s.Must(t, "suspend", "lab")
	if second := s.AwaitDurable(t, "lab", 2*time.Minute); second.ID == first.ID {
		t.Errorf("the snapshot is still %s", first.ID)
	}
	s.AwaitKept(t, "lab", time.Minute, gone)
	if !strings.Contains(s.Must(t, "logs", "lab"), "is durable") {
		t.Error("the log does not say that the snapshot is durable")
	}

	// A resume that needs the bucket while it is away fails, and works later.
	b.away.Store(true)
	if err := os.RemoveAll(filepath.Join(s.Dir, "store-cache")); err != nil {
		t.Fatal(err)
	}
	if r := s.Holt(t, "resume", "lab", "--no-wait"); r.Code != 0 {
		t.Fatalf("resume: %s", r.Stderr)
	}
	for deadline := time.Now().Add(time.Minute); !strings.Contains(s.Show(t, "lab").Message, "its snapshot is kept"); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the workspace says %q", s.Show(t, "lab").Message)
		}
	}
	b.away.Store(false)
	s.AwaitState(t, "lab", "RUNNING", 2*time.Minute)
	if got := tell(t, s, "lab", "?"); got != life {
		t.Errorf("after the store was away the process says %q, want %q", got, life)
	}
	if got := hash(t, s, "lab"); got != sum {
		t.Errorf("memory after the store was away: %s, want %s", got, sum)
	}
	s.Must(t, "rollback", "lab", "last-stored") // the one that it was just resumed from, or one before
	if got := tell(t, s, "lab", "?"); got != life {
		t.Errorf("after a rollback the process says %q, want %q", got, life)
	}
	s.Must(t, "rm", "lab", "--force")
}

// Raw files that rot are replaced by the store's, and nobody loses anything.
func TestRottenRawFilesComeFromTheStore(t *testing.T) {
	s := server.Start(t) // the default store, a directory
	s.TinyImage(t)
	s.Must(t, "create", "lab", "--image", "tiny", "--memory", "256m", "--disk", "256m")
	s.Must(t, "exec", "lab", "--", "sh", "-c", remembers, "memo", "word")
	life, sum := tell(t, s, "lab", "?"), fill(t, s, "lab", "20000000")
	s.Must(t, "suspend", "lab")
	k := s.AwaitDurable(t, "lab", 2*time.Minute)
	pages := filepath.Join(s.Dir, "node", "pool", "snapshots", k.ID, "pages.img")
	f, err := os.OpenFile(pages, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("rotten"), 5<<20); err != nil {
		t.Fatal(err)
	}
	f.Close()
	s.Must(t, "resume", "lab")
	if got := tell(t, s, "lab", "?"); got != life {
		t.Errorf("the process says %q, want %q", got, life)
	}
	if got := hash(t, s, "lab"); got != sum {
		t.Errorf("memory: %s, want %s", got, sum)
	}
	if !strings.Contains(s.Log(), "going on from the store") {
		t.Error("the damage was not noticed")
	}
}
