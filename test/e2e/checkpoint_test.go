package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holt-ide/holt/api"

	"github.com/holt-ide/holt/test/server"
)

// remembers is a process that holds a word in memory alone, and tells it to who
// asks.
const remembers = `
mkdir -p /tmp/memo && cd /tmp/memo
setsid sh -c 'word="$1"
while :; do
	if [ -e ask ]; then
		read -r new <ask; rm ask
		if [ "$new" != "?" ]; then word=$new; fi
		echo "$word $$" >next && mv next answer
	fi
	sleep 0.05
done' memo "$1" >/dev/null 2>&1 &
`

const tellScript = `cd /tmp/memo && rm -f answer && echo "$1" >new && mv new ask && while [ ! -e answer ]; do sleep 0.05; done; cat answer`

func tell(t *testing.T, s *server.Server, name, word string) (answer string) {
	t.Helper()
	return strings.TrimSpace(s.Must(t, "exec", name, "--", "sh", "-c", tellScript, "tell", word))
}

// TestCheckpoints: keep a running machine, go on, go back, and change one's mind.
func TestCheckpoints(t *testing.T) {
	s := server.Start(t)
	s.TinyImage(t)
	s.Must(t, "create", "lab", "--image", "tiny", "--memory", "256m", "--disk", "256m")
	s.Must(t, "exec", "lab", "--", "sh", "-c", remembers, "memo", "first")
	s.Sh(t, "lab", "echo first >/workspace/file; echo first >/usr/local/file 2>/dev/null || echo first >/tmp/file")
	first := tell(t, s, "lab", "?")
	if !strings.HasPrefix(first, "first ") {
		t.Fatalf("the process remembers %q", first)
	}
	var made api.Checkpoint
	if err := json.Unmarshal([]byte(s.Must(t, "checkpoint", "lab", "one", "--json")), &made); err != nil {
		t.Fatal(err)
	}
	if made.Label != "one" || made.Bytes == 0 || made.PauseMS == 0 {
		t.Errorf("checkpoint: %+v", made)
	}
	if got := tell(t, s, "lab", "?"); got != first {
		t.Errorf("after the checkpoint the process says %q, want %q", got, first)
	}
	if r := s.Holt(t, "checkpoint", "lab", "one"); r.Code != 4 || !strings.Contains(r.Stderr, "choose another label") {
		t.Errorf("the label again: code %d, %s", r.Code, r.Stderr)
	}
	if r := s.Holt(t, "checkpoint", "lab", "../x"); r.Code != 2 || !strings.Contains(r.Stderr, "is not a label") {
		t.Errorf("a bad label: code %d, %s", r.Code, r.Stderr)
	}

	second := tell(t, s, "lab", "second")
	s.Sh(t, "lab", "echo second >/workspace/file; touch /workspace/new")
	s.Must(t, "rollback", "lab", "one")
	if got := tell(t, s, "lab", "?"); got != first {
		t.Errorf("after the rollback the process says %q, want %q", got, first)
	}
	if out := s.Must(t, "exec", "lab", "--", "sh", "-c", "cat /workspace/file; ls /workspace/new 2>&1 || :"); !strings.HasPrefix(out, "first\n") || !strings.Contains(out, "No such file") {
		t.Errorf("after the rollback the files are %q", out)
	}
	if ls := s.Must(t, "snapshot", "ls", "lab"); !strings.Contains(ls, "one") || !strings.Contains(ls, "before-rollback") {
		t.Errorf("snapshot ls: %s", ls)
	}

	s.Must(t, "fork", "lab", "copy", "--from", "before-rollback")
	if got := tell(t, s, "copy", "?"); got != second {
		t.Errorf("the fork of what was replaced says %q, want %q", got, second)
	}
	s.Must(t, "rollback", "lab", "before-rollback") // undo
	if got := tell(t, s, "lab", "?"); got != second {
		t.Errorf("after the undo the process says %q, want %q", got, second)
	}

	// From a frozen workspace, and over a restart of the server.
	s.Must(t, "suspend", "lab")
	s.Must(t, "checkpoint", "lab", "frozen")
	s.Kill(t)
	s.Start(t)
	s.Must(t, "rollback", "lab", "one")
	if got := tell(t, s, "lab", "?"); got != first {
		t.Errorf("after the restart and the rollback the process says %q, want %q", got, first)
	}
	s.Must(t, "snapshot", "verify", "lab")

	damaged(t, s, made.ID)
	if r := s.Holt(t, "snapshot", "verify", "lab"); r.Code != 1 || !strings.Contains(r.Stdout, "one\tDAMAGED") || !strings.Contains(r.Stdout, "frozen\tok") || !strings.Contains(r.Stderr, "pages.img is damaged") {
		t.Errorf("verify: code %d, %s, %s", r.Code, r.Stdout, r.Stderr)
	}
	third := tell(t, s, "lab", "third")
	if r := s.Holt(t, "rollback", "lab", "one"); r.Code != 4 || !strings.Contains(r.Stderr, "not rolled back") || !strings.Contains(r.Stderr, "pages.img is damaged") {
		t.Errorf("rollback to what is damaged: code %d, %s", r.Code, r.Stderr)
	}
	if got := tell(t, s, "lab", "?"); got != third {
		t.Errorf("after the refused rollback the process says %q, want %q", got, third)
	}

	s.Must(t, "snapshot", "rm", "lab", "one")
	if r := s.Holt(t, "rollback", "lab", "one"); r.Code != 3 || !strings.Contains(r.Stderr, "no checkpoint") {
		t.Errorf("rollback to what is removed: code %d, %s", r.Code, r.Stderr)
	}
	s.Must(t, "stop", "lab")
	if r := s.Holt(t, "checkpoint", "lab"); r.Code != 4 || !strings.Contains(r.Stderr, "RUNNING or SUSPENDED") {
		t.Errorf("checkpoint of a stopped workspace: code %d, %s", r.Code, r.Stderr)
	}
	s.Must(t, "rm", "lab")
	s.Must(t, "rm", "copy", "--force")
	left, err := filepath.Glob(filepath.Join(s.Dir, "node/pool/snapshots/*"))
	if err != nil || len(left) > 0 {
		t.Errorf("snapshots are left of removed workspaces: %v, %v", left, err)
	}
}

// damaged flips a bit in the memory of a snapshot.
func damaged(t *testing.T, s *server.Server, id string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(s.Dir, "node/pool/snapshots", id, "pages.img"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, 5000); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 4
	if _, err := f.WriteAt(b, 5000); err != nil {
		t.Fatal(err)
	}
}
