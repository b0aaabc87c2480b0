package fault

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt/object/s3/s3test"
	"github.com/holt-ide/holt/test/server"
)

// inventory prints all of a project that a person could miss: types, modes, links, sizes,
// times and contents.
const inventory = `cd /workspace && find . -mindepth 1 -printf '%y %m %l %p\n' | LC_ALL=C sort && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum && find . -type f -printf '%T@ %p\n' | LC_ALL=C sort`

// landscape makes a project with history and everything that is easily lost.
const landscape = `set -e
cd /workspace
git init -q -b main . && git config user.email ada@example.org && git config user.name Ada
mkdir -p src/deep/er && echo 'package main' >src/main.go && printf 'a\0b' >binary
git add . && git commit -qm first && git tag v1
for i in $(seq 30); do echo "line $i" >>src/main.go; git commit -qam "commit $i"; done
git checkout -qb feature && echo feature >src/deep/er/feature && git add . && git commit -qm feature
echo changed >>src/main.go; echo staged >staged; git add staged; echo untracked >untracked
mkdir empty 'empty/with space' && chmod 0700 empty
printf '#!/bin/sh\necho ran\n' >run.sh && chmod 0755 run.sh && echo secret >secret && chmod 0400 secret
ln -s src/main.go link && ln -s /nowhere/at/all dangling && ln -s src folder-link
echo umlaut >'grüße 日本語 😀.txt' && echo newline >"$(printf 'with\nnewline')"
echo long >"$(head -c 200 /dev/zero | tr '\0' n)"
truncate -s 3M sparse && head -c 3000000 /dev/urandom >random && touch -d '2001-02-03 04:05:06.789' random
echo node_modules >.gitignore && git add .gitignore && mkdir node_modules && echo ignored >node_modules/package
echo home >~/.bashrc-of-mine`

// nodeLost takes everything of a node away: processes, mounts, disk.
func nodeLost(t *testing.T, s *server.Server) {
	t.Helper()
	s.Kill(t)
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && bytes.Contains(line, []byte(s.Dir+"/")) {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
				t.Fatal(err)
			}
		}
	}
	unmountBelow(t, s.Dir)
	var left error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if left = os.RemoveAll(s.Dir); left == nil {
			return
		}
		unmountBelow(t, s.Dir)
	}
	t.Fatal(left)
}

func unmountBelow(t *testing.T, dir string) {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(table)), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if f := strings.Fields(lines[i]); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			if err := unix.Unmount(f[4], unix.MNT_DETACH); err != nil && err != unix.EINVAL {
				t.Fatalf("unmount %s: %v", f[4], err)
			}
		}
	}
}

// durability is what the tests read of how far files are.
type durability struct {
	State    string
	Revision int64
	Since    time.Time
	Trouble  string
}

func durabilityOf(t *testing.T, s *server.Server, name string) durability {
	t.Helper()
	var w struct{ Durability durability }
	if err := json.Unmarshal([]byte(s.Must(t, "show", name, "--json")), &w); err != nil {
		t.Fatal(err)
	}
	return w.Durability
}

// awaitDurability waits until the files of a workspace are as far as want says.
func awaitDurability(t *testing.T, s *server.Server, name string, within time.Duration, want func(durability) bool) durability {
	t.Helper()
	var d durability
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if d = durabilityOf(t, s, name); want(d) {
			return d
		}
	}
	t.Fatalf("%s after %v: %+v", name, within, d)
	return d
}

func isDurable(d durability) bool { return d.State == "durable" }

// outside returns flags that put what must outlive a node beside its data directory.
func outside(s *server.Server) []string {
	kept := filepath.Join(filepath.Dir(s.Dir), "kept")
	return []string{"--database", filepath.Join(kept, "holt.db"), "--journal-dir", filepath.Join(kept, "journal")}
}

// TestNodeLost: with the database, the journal and the store a machine that has nothing goes on where
// the last revision was, and with what was typed since.
func TestNodeLost(t *testing.T) {
	t.Parallel()
	real := s3test.Start(t)
	cfg := real.Config(t, real.URL)
	s := server.New(t, "--pool-size", "4g", "--store", "s3://"+cfg.Bucket+"/files", "--store-endpoint", real.URL)
	s.Flags = append(s.Flags, outside(s)...)
	s.Env = []string{"AWS_ACCESS_KEY_ID=" + cfg.AccessKey, "AWS_SECRET_ACCESS_KEY=" + cfg.SecretKey}
	s.Start(t)
	s.Must(t, "create", "lab")
	s.Sh(t, "lab", landscape)
	s.Sh(t, "lab", "echo begun >/workspace/note.txt")
	s.Must(t, "create", "asleep")
	s.Sh(t, "asleep", "echo asleep >/workspace/file")
	s.Must(t, "suspend", "asleep")
	awaitDurability(t, s, "asleep", time.Minute, isDurable)
	s.Must(t, "sync", "lab")
	want := s.Sh(t, "lab", inventory)
	status, log := s.Sh(t, "lab", "cd /workspace && git status --porcelain=v2 --branch"), s.Sh(t, "lab", "cd /workspace && git log --all --oneline")

	// Typed after the revision, and in the journal alone; another file is written, and lost.
	p := newTypist(t, s, "lab", "/workspace/note.txt", 0)
	time.Sleep(500 * time.Millisecond)
	nodeLost(t, s)
	journalled, _ := p.end(t)
	begin := time.Now()
	s.Start(t)
	up := time.Since(begin)
	s.AwaitState(t, "lab", "RUNNING", 2*time.Minute)
	t.Logf("node lost: server up after %v, workspace RUNNING after %v", up.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("recovery took %v, want less than a minute", took)
	}
	text := s.Sh(t, "lab", "cat /workspace/note.txt")
	words := strings.Fields(text)
	for i := range journalled {
		if n := strings.Count(" "+strings.Join(words, " ")+" ", fmt.Sprintf(" w%d ", i)); n != 1 {
			t.Fatalf("word %d of %d that were journalled is there %d times: %.300q", i, journalled, n, text)
		}
	}
	if journalled == 0 || len(words) == 0 || words[0] != "begun" {
		t.Errorf("%d words journalled; the file has %.100q", journalled, text)
	}
	s.Sh(t, "lab", "echo begun >/workspace/note.txt")
	without := func(inv string) string { // the note and its times, which were typed on
		var keep []string
		for l := range strings.Lines(inv) {
			if !strings.Contains(l, "note.txt") && !strings.Contains(l, "node_modules") && !strings.Contains(l, ".git/index") {
				keep = append(keep, l)
			}
		}
		return strings.Join(keep, "")
	}
	if got := s.Sh(t, "lab", inventory); without(got) != without(want) {
		t.Errorf("the project differs:\n%s", lineDiff(without(want), without(got)))
	}
	if got := s.Sh(t, "lab", "cd /workspace && git status --porcelain=v2 --branch"); got != status {
		t.Errorf("git status says\n%s\nwant\n%s", got, status)
	}
	if got := s.Sh(t, "lab", "cd /workspace && git log --all --oneline && git fsck --full --strict 2>&1"); got != log {
		t.Errorf("git log and fsck say\n%s\nwant\n%s", got, log)
	}
	if got := s.Sh(t, "lab", "cat ~/.bashrc-of-mine; stat -c '%U %a' /workspace/secret; ls /workspace/node_modules 2>&1 || true"); !strings.HasPrefix(got, "home\ndev 400") {
		t.Errorf("home and owner: %q", got)
	}
	if log := s.Must(t, "logs", "lab"); !strings.Contains(log, "files-restored") {
		t.Errorf("the log does not tell:\n%s", log)
	}
	// The one that slept.
	s.Must(t, "resume", "asleep")
	if got := s.Sh(t, "asleep", "cat /workspace/file"); got != "asleep" {
		t.Errorf("the suspended workspace has %q", got)
	}
}

// lineDiff is the first lines in which two texts differ.
func lineDiff(want, got string) string {
	have := map[string]bool{}
	for l := range strings.Lines(got) {
		have[l] = true
	}
	var out []string
	for l := range strings.Lines(want) {
		if !have[l] {
			out = append(out, "- "+l)
		}
		delete(have, l)
	}
	for l := range have {
		out = append(out, "+ "+l)
	}
	return strings.Join(out[:min(len(out), 20)], "")
}
