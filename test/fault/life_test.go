package fault

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holt-ide/holt/api/client"

	"github.com/holt-ide/holt/test/server"
)

// slow is set for long runs.
var slow = os.Getenv("HOLT_SLOW") == "1"

// connect returns a client of the server as it runs now. It does not wait for a
// server that is gone.
func connect(t *testing.T, s *server.Server) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{URL: s.URL, Token: s.Token, Patience: -1})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// faulty returns a holtd with fault points, built once for all tests.
func faulty(t *testing.T) string {
	t.Helper()
	path, err := buildFaulty()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var buildFaulty = sync.OnceValues(func() (string, error) {
	path := filepath.Join(faultyDir, "holtd")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-tags", "faults", "-o", path, "github.com/holt-ide/holt/cmd/holtd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as `make build`, so that the packages are in the cache
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build a holtd with fault points: %w\n%s", err, out)
	}
	return path, nil
})

// small is a workspace that is made in a moment.
func small(t *testing.T, s *server.Server, name string) {
	t.Helper()
	s.Must(t, "create", name, "--image", "tiny", "--memory", "256m", "--disk", "256m")
}

// life is what lives in a workspace: a process that counts in memory, a mark in
// memory and one in a file. It tells a machine that went on from one that was
// started afresh.
type life struct {
	name, mark, pid string
}

const liveScript = `
rm -rf /dev/shm/life && mkdir /dev/shm/life && echo "$1" >/dev/shm/life/mark
echo "$1" >/workspace/mark && sync
cd /dev/shm/life
setsid sh -c 'i=0; while :; do i=$((i+1)); echo $i >next && mv next count; sleep 0.05; done' >/dev/null 2>&1 &
echo $! | tee pid
`

// live starts a life.
func live(t *testing.T, s *server.Server, name, mark string) life {
	t.Helper()
	pid := s.Must(t, "exec", name, "--", "sh", "-c", liveScript, "live", mark)
	return life{name: name, mark: mark, pid: pid}
}

// as returns the same life in a fork.
func (l life) as(name string) life { l.name = name; return l }

const lookScript = `
cd /dev/shm/life && cat mark pid /workspace/mark || exit 1
was=$(cat count) || exit 1
n=0; while [ "$(cat count)" = "$was" ]; do n=$((n+1)); [ $n -lt 200 ] || { echo "does not count"; exit 1; }; sleep 0.05; done
kill -0 "$(cat pid)"
`

// check reports a life that did not go on.
func (l life) check(t *testing.T, s *server.Server) {
	t.Helper()
	r := s.Holt(t, "exec", l.name, "--", "sh", "-c", lookScript)
	if got := strings.Fields(r.Stdout); r.Code != 0 || len(got) != 3 || got[0] != l.mark || got[1] != l.pid || got[2] != l.mark {
		t.Errorf("%s did not go on with mark %s and process %s: code %d, %q %q", l.name, l.mark, l.pid, r.Code, r.Stdout, r.Stderr)
	}
}

// files reports files that are gone; processes may be.
func (l life) files(t *testing.T, s *server.Server) {
	t.Helper()
	if got := s.Sh(t, l.name, "cat /workspace/mark"); got != l.mark {
		t.Errorf("%s: the file says %q, want %q", l.name, got, l.mark)
	}
}

// eventually waits until f has no complaint.
func eventually(t *testing.T, within time.Duration, f func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatalf("after %v: %v", within, err)
}
