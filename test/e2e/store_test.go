package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holt-ide/holt/object/s3/s3test"
	"github.com/holt-ide/holt/test/bins"
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

// holdScript fills 60 % of 256 MiB with random bytes: 58 MiB in each of two tmpfs, which
// may have a quarter of the memory, and 38 MiB of text in a process that tells its
// sum to who asks.
const holdScript = `head -c 60817408 /dev/urandom >/dev/shm/r; head -c 60817408 /dev/urandom >/tmp/r
setsid bash -c 'x=$(head -c 29884416 /dev/urandom | base64)
while :; do
	if [ -e /tmp/ask-x ]; then rm /tmp/ask-x; echo "$x" | sha256sum >/tmp/next-x; mv /tmp/next-x /tmp/answer-x; fi
	sleep 0.05
done' >/dev/null 2>&1 &`

const hashScript = `rm -f /tmp/answer-x; touch /tmp/ask-x; while [ ! -e /tmp/answer-x ]; do sleep 0.05; done
cat /tmp/answer-x; sha256sum </dev/shm/r; sha256sum </tmp/r`

// A workspace whose memory is mostly random bytes goes from one server to another
// through the bucket alone, again and again, and no bit of it changes.
func TestMovesThroughTheBucket(t *testing.T) {
	real := s3test.Start(t)
	b := &bucket{Proxy: s3test.NewProxy(t, real.URL, nil)}
	cfg := real.Config(t, b.URL)
	rounds := 2
	if os.Getenv("HOLT_SLOW") == "1" {
		rounds = 20
	}
	var servers [2]*server.Server
	for i := range servers {
		// Different data directories, networks and caches; the one bucket is all
		// that they share.
		servers[i] = inBucket(t, b, cfg.Bucket, cfg.AccessKey, cfg.SecretKey, "--raw-copies", "1", "--network-range", fmt.Sprintf("10.%d.0.0/16", 223+i))
		if i == 1 { // a later build of the agent: the machine's own goes with it
			agent, err := os.ReadFile(bins.Path(t, "holt-guest"))
			if err != nil {
				t.Fatal(err)
			}
			other := filepath.Join(t.TempDir(), "holt-guest")
			if err := os.WriteFile(other, append(agent, "later"...), 0o755); err != nil {
				t.Fatal(err)
			}
			servers[i].Flags = append(servers[i].Flags, "--guest", other)
		}
		servers[i].Start(t)
		servers[i].TinyImage(t)
	}
	s := servers[0]
	s.Must(t, "create", "w0", "--image", "tiny", "--memory", "256m", "--disk", "256m")
	s.Must(t, "exec", "w0", "--", "sh", "-c", remembers, "memo", "word")
	s.Sh(t, "w0", holdScript)
	sum := s.Sh(t, "w0", hashScript)
	life := tell(t, s, "w0", "?")
	s.Sh(t, "w0", "echo typed >/workspace/file")
	for i := range rounds {
		from, to := servers[i%2], servers[(i+1)%2]
		was, name := fmt.Sprintf("w%d", i), fmt.Sprintf("w%d", i+1)
		from.Must(t, "suspend", was)
		k := from.AwaitDurable(t, was, 5*time.Minute)
		if i == 0 { // the other server has never heard of it
			if r := to.Holt(t, "show", was); r.Code == 0 {
				t.Fatal("the servers share more than the bucket")
			}
			if list := to.Must(t, "snapshot", "stored"); !strings.Contains(list, k.ID) {
				t.Errorf("the bucket's list on the other server:\n%s", list)
			}
		}
		to.Must(t, "create", name, "--snapshot", k.ID)
		if w := to.Show(t, name); w.Message != "" {
			t.Fatalf("round %d: %s", i, w.Message)
		}
		from.Must(t, "rm", was)
		if got := tell(t, to, name, "?"); got != life {
			t.Fatalf("round %d: the process says %q, want %q", i, got, life)
		}
		if got := to.Sh(t, name, hashScript); got != sum {
			t.Fatalf("round %d: memory %s, want %s", i, got, sum)
		}
		if got := to.Sh(t, name, "cat /workspace/file"); got != "typed" {
			t.Fatalf("round %d: file %q", i, got)
		}
	}
}

// A machine whose memory stops arriving is ended: it never goes on with zeros in the
// place of its memory.
func TestMemoryThatDoesNotArrive(t *testing.T) {
	s, b := withBucket(t, "--raw-copies", "1")
	s.Start(t)
	s.TinyImage(t)
	s.Must(t, "create", "lab", "--image", "tiny", "--memory", "512m", "--disk", "256m")
	sum := fill(t, s, "lab", "120000000")
	s.Sh(t, "lab", "echo typed >/workspace/file")
	s.Must(t, "suspend", "lab")
	k := s.AwaitDurable(t, "lab", 2*time.Minute)
	s.AwaitKept(t, "lab", time.Minute, func(k server.Kept) bool { return k.Current && slices.Equal(k.On, []string{"store"}) })
	if err := os.RemoveAll(filepath.Join(s.Dir, "store-cache")); err != nil {
		t.Fatal(err)
	}
	// After some segments no more are given out, so that the machine may be running
	// already.
	var left atomic.Int64
	left.Store(20)
	b.SetFault(func(r *http.Request) s3test.Fault {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/segment/") && left.Add(-1) < 0 {
			return s3test.Refuse
		}
		return s3test.None
	})
	r := s.Holt(t, "resume", "lab", "--no-wait")
	if r.Code != 0 {
		t.Fatal(r.Stderr)
	}
	// Either it never came up, and its snapshot is kept; or it came up, was ended, and
	// went on from its files.
	var w server.Workspace
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if w = s.Show(t, "lab"); strings.Contains(w.Message, "its snapshot is kept") || strings.Contains(w.Message, "started afresh") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the workspace is %s: %q", w.State, w.Message)
		}
	}
	t.Logf("%s: %s", w.State, w.Message)
	b.SetFault(nil)
	s.AwaitState(t, "lab", "RUNNING", 2*time.Minute)
	if got := s.Sh(t, "lab", "cat /workspace/file"); got != "typed" {
		t.Errorf("file %q", got)
	}
	if got := s.Sh(t, "lab", "if [ -e /dev/shm/r ]; then sha256sum </dev/shm/r; else echo gone; fi"); got != sum && got != "gone" {
		t.Errorf("memory that nobody wrote: %s, want %s or none", got, sum)
	} else if got == "gone" && !strings.Contains(w.Message, "started afresh") {
		t.Errorf("the memory of a snapshot that was kept is gone")
	}
	// In any case the snapshot in the store is what it was.
	s.Must(t, "rollback", "lab", k.ID)
	if got := hash(t, s, "lab"); got != sum {
		t.Errorf("memory from the store: %s, want %s", got, sum)
	}
}
