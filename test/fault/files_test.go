package fault

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt/api/client"
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

// farm is a server whose store can be taken away or slowed down.
type farm struct {
	*server.Server
	away atomic.Bool
	slow atomic.Int64 // nanoseconds for each request
}

func newFarm(t *testing.T, flags ...string) *farm {
	t.Helper()
	f := new(farm)
	real := s3test.Start(t)
	front := s3test.NewProxy(t, real.URL, func(r *http.Request) s3test.Fault {
		if d := time.Duration(f.slow.Load()); d > 0 {
			select {
			case <-time.After(d):
			case <-r.Context().Done():
			}
		}
		if f.away.Load() {
			return s3test.Refuse
		}
		return s3test.None
	})
	cfg := real.Config(t, front.URL)
	f.Server = server.New(t, append([]string{"--pool-size", "3g", "--store", "s3://" + cfg.Bucket + "/files", "--store-endpoint", front.URL, "--flush-interval", "1s"}, flags...)...)
	f.Env = []string{"AWS_ACCESS_KEY_ID=" + cfg.AccessKey, "AWS_SECRET_ACCESS_KEY=" + cfg.SecretKey}
	f.Start(t)
	f.TinyImage(t)
	return f
}

// revision reads a file of a revision through the interface.
func revision(t *testing.T, s *server.Server, name string, number int64, path string) (string, error) {
	t.Helper()
	c, err := client.New(client.Config{URL: s.URL, Token: s.Token})
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.ReadRevision(t.Context(), name, number, path)
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return string(b), err
}

// TestStoreAway: without the store the workspace works on, what it writes is not called
// durable, and is as soon as the store is back, whatever was killed meanwhile.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	s := newFarm(t)
	small(t, s.Server, "main")
	s.Sh(t, "main", "echo before >/workspace/file")
	s.Must(t, "sync", "main")
	before := awaitDurability(t, s.Server, "main", time.Minute, isDurable)

	s.away.Store(true)
	gone := time.Now()
	s.Sh(t, "main", "echo during >/workspace/file")
	d := awaitDurability(t, s.Server, "main", time.Minute, func(d durability) bool { return d.Trouble != "" })
	if d.State != "journalled" || d.Since.IsZero() || d.Revision != before.Revision {
		t.Errorf("without the store: %+v", d)
	}
	if log := s.Must(t, "logs", "main"); !strings.Contains(log, "not durable since") {
		t.Errorf("the log does not tell:\n%s", log)
	}
	if r := s.Holt(t, "sync", "main"); r.Code == 0 {
		t.Errorf("synced without a store: %s", r.Stdout)
	}
	s.Kill(t)
	s.Start(t)
	s.Sh(t, "main", "echo 'and later' >>/workspace/file")
	if d := durabilityOf(t, s.Server, "main"); d.State != "journalled" {
		t.Errorf("after a restart without the store: %+v", d)
	}
	if slow {
		time.Sleep(5*time.Minute - time.Since(gone))
	}
	s.away.Store(false)
	back := time.Now()
	d = awaitDurability(t, s.Server, "main", 2*time.Minute, isDurable)
	t.Logf("store away for %v: durable again %v after it was back", back.Sub(gone).Round(time.Millisecond), time.Since(back).Round(time.Millisecond))
	if got, err := revision(t, s.Server, "main", d.Revision, "/workspace/file"); err != nil || got != "during\nand later\n" {
		t.Errorf("the revision has %q, %v", got, err)
	}
	if got, err := revision(t, s.Server, "main", before.Revision, "/workspace/file"); err != nil || got != "before\n" {
		t.Errorf("the revision before has %q, %v", got, err)
	}
	eventually(t, 10*time.Second, func() error {
		if log := s.Must(t, "logs", "main"); !strings.Contains(log, "durable again") {
			return fmt.Errorf("the log does not tell that the store is back:\n%s", log)
		}
		return nil
	})

	// A slow store makes nobody wait who does not ask.
	s.slow.Store(int64(2 * time.Second))
	begin := time.Now()
	s.Sh(t, "main", "for i in 1 2 3 4 5; do echo slow >>/workspace/file; done")
	s.Must(t, "suspend", "main")
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("work and suspend took %v", took)
	}
	t.Logf("slow store: work and suspend took %v", time.Since(begin).Round(time.Millisecond))
	s.slow.Store(0)
	awaitDurability(t, s.Server, "main", time.Minute, isDurable)
}

// TestVolumeLost: a volume that is gone or damaged is made anew from the latest revision and the journal.
func TestVolumeLost(t *testing.T) {
	t.Parallel()
	s := newFarm(t)
	w := newWitness(s.Server)
	small(t, s.Server, "main")
	id := w.workspaces(t)["main"].ID
	volume := filepath.Join(s.Dir, "node", "pool", "volumes", id+".img")
	s.Sh(t, "main", "mkdir /workspace/empty; echo kept >/workspace/file; echo begun >/workspace/note.txt")
	s.Must(t, "sync", "main")

	// Under the machine, which ends after it: the text that was typed is in the journal alone.
	p := newTypist(t, s.Server, "main", "/workspace/note.txt", 0)
	time.Sleep(500 * time.Millisecond)
	if err := os.Remove(volume); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	took := w.awaitNew(t, "main", w.killSandbox(t, "main"))
	journalled, _ := p.end(t)
	t.Logf("volume deleted and sandbox killed: back after %v", took.Round(time.Millisecond))
	if took := time.Since(begin); took > recovery {
		t.Errorf("recovery took %v", took)
	}
	if got := s.Sh(t, "main", "cat /workspace/file; ls -d /workspace/empty"); got != "kept\n/workspace/empty" {
		t.Errorf("the files are %q", got)
	}
	text := " " + strings.Join(strings.Fields(s.Sh(t, "main", "cat /workspace/note.txt")), " ") + " "
	for i := range journalled {
		if n := strings.Count(text, fmt.Sprintf(" w%d ", i)); n != 1 {
			t.Fatalf("word %d of %d that were journalled is there %d times: %.200q", i, journalled, n, text)
		}
	}
	if journalled == 0 {
		t.Error("nothing was journalled")
	}

	// At rest, and damaged.
	s.Sh(t, "main", "echo changed >/workspace/file")
	s.Must(t, "stop", "main")
	awaitDurability(t, s.Server, "main", time.Minute, isDurable)
	f, err := os.OpenFile(volume, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(make([]byte, 1<<20), 0)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	begin = time.Now()
	s.Must(t, "resume", "main")
	t.Logf("volume damaged: back after %v", time.Since(begin).Round(time.Millisecond))
	if got := s.Sh(t, "main", "cat /workspace/file"); got != "changed" {
		t.Errorf("the file has %q", got)
	}
	if log := s.Must(t, "logs", "main"); !strings.Contains(log, "the volume was damaged") {
		t.Errorf("the log does not tell:\n%s", log)
	}
	if _, err := os.Stat(strings.TrimSuffix(volume, ".img") + ".damaged"); err != nil {
		t.Errorf("the damaged volume was not set aside: %v", err)
	}
}

// TestKilledWhileFlushing: holtd is killed at any moment while files go to the store; what
// was called durable is there ever after, whole.
func TestKilledWhileFlushing(t *testing.T) {
	t.Parallel()
	s := newFarm(t)
	small(t, s.Server, "main")
	rounds := 10
	if slow {
		rounds = 30
	}
	begin := time.Now()
	s.Must(t, "sync", "main")
	usual := time.Since(begin)
	told := map[int64]string{} // by revision: what /workspace/file had when it was called durable
	var wait []time.Duration
	for i := range rounds {
		text := fmt.Sprintf("round %d\n", i)
		s.Sh(t, "main", fmt.Sprintf("echo round %d >/workspace/file; head -c 400000 /dev/urandom >/workspace/r%d", i, i%5))
		done := make(chan server.Result, 1)
		go func() { done <- s.Holt(t, "sync", "main", "--json") }()
		time.Sleep(rand.N(2 * usual))
		s.Kill(t)
		if r := <-done; r.Code == 0 {
			var got struct{ Number int64 }
			if err := json.Unmarshal([]byte(r.Stdout), &got); err != nil {
				t.Fatal(err)
			}
			told[got.Number] = text
		}
		begin := time.Now()
		s.Start(t)
		if got := s.Sh(t, "main", "cat /workspace/file"); got != strings.TrimSpace(text) {
			t.Fatalf("after a kill the file has %q", got)
		}
		wait = append(wait, time.Since(begin))
	}
	var r struct{ Number int64 }
	if err := json.Unmarshal([]byte(s.Must(t, "sync", "main", "--json")), &r); err != nil {
		t.Fatal(err)
	}
	told[r.Number] = fmt.Sprintf("round %d\n", rounds-1)
	for number, want := range told {
		if got, err := revision(t, s.Server, "main", number, "/workspace/file"); err != nil || got != want {
			t.Errorf("revision %d has %q, %v; it was durable with %q", number, got, err, want)
		}
	}
	slices.Sort(wait)
	t.Logf("killed %d times, %d syncs were answered; back after %v (median), %v (longest)", rounds, len(told)-1,
		wait[len(wait)/2].Round(time.Millisecond), wait[len(wait)-1].Round(time.Millisecond))
	// All of it, as a new workspace finds it.
	s.Must(t, "restore", "main", fmt.Sprintf("@%d", r.Number), "--into", "copy")
	if a, b := s.Sh(t, "main", "cd /workspace && sha256sum *"), s.Sh(t, "copy", "cd /workspace && sha256sum *"); a != b {
		t.Errorf("the copy has\n%s\nwant\n%s", b, a)
	}
}

// TestRestore: files come back, and a restore can be undone.
func TestRestore(t *testing.T) {
	t.Parallel()
	s := server.Start(t, "--pool-size", "3g") // the store is a directory here
	s.TinyImage(t)
	small(t, s, "main")
	sync := func() int64 {
		t.Helper()
		var r struct{ Number int64 }
		if err := json.Unmarshal([]byte(s.Must(t, "sync", "main", "--json")), &r); err != nil {
			t.Fatal(err)
		}
		return r.Number
	}
	s.Sh(t, "main", "cd /workspace && mkdir -p src && echo one >src/a && echo b >src/b && chmod 0755 src/b && printf 'node_modules\\n!keep\\n' >.holtignore && mkdir junk && echo '/junk' >>.holtignore && echo j >junk/j")
	first := sync()
	s.Sh(t, "main", "cd /workspace && echo two >src/a && rm src/b && echo new >src/c")
	second := sync()
	if got := s.Must(t, "diff", "main", fmt.Sprint(first), fmt.Sprint(second), "--names"); got != "M\t/workspace/src/a\nD\t/workspace/src/b\nA\t/workspace/src/c" {
		t.Errorf("the difference is\n%s", got)
	}
	if got := s.Must(t, "diff", "main", fmt.Sprint(first), "src/a"); !strings.Contains(got, "-one\n+two") {
		t.Errorf("the difference is\n%s", got)
	}
	if got := s.Must(t, "history", "main", "src/b"); !strings.Contains(got, "removed") || strings.Count(got, "\n") != 2 {
		t.Errorf("the history is\n%s", got)
	}
	var done struct{ Before, Files, Removed int64 }
	if err := json.Unmarshal([]byte(s.Must(t, "restore", "main", fmt.Sprintf("src@%d", first), "--json")), &done); err != nil {
		t.Fatal(err)
	}
	if got := s.Sh(t, "main", "cd /workspace && cat src/a src/b src/c && stat -c '%a %U' src/b && cat junk/j"); got != "one\nb\nnew\n755 dev\nj" || done.Before != second {
		t.Errorf("restored to %q, %+v", got, done)
	}
	s.Must(t, "restore", "main", "--exact", fmt.Sprintf("@%d", done.Before))
	if got := s.Sh(t, "main", "cd /workspace && cat src/a src/c && ls src && cat junk/j"); got != "two\nnew\na\nc\nj" {
		t.Errorf("undone to %q", got)
	}
	for _, wrong := range [][]string{{"restore", "main", "src/a@999"}, {"restore", "main", "nothing@1"}, {"history", "main", "/etc/passwd"}, {"diff", "main", "x"}, {"restore", "main", "src"}, {"restore", "main", fmt.Sprintf("../../etc@%d", first)}} {
		if r := s.Holt(t, wrong...); r.Code != 2 && r.Code != 3 {
			t.Errorf("holt %s: code %d: %s", strings.Join(wrong, " "), r.Code, r.Stderr)
		}
	}
	s.Must(t, "suspend", "main")
	s.Must(t, "restore", "main", fmt.Sprintf("src/a@%d", first)) // wakes it
	if got := s.Sh(t, "main", "cat /workspace/src/a"); got != "one" {
		t.Errorf("restored to %q", got)
	}
	s.Must(t, "rm", "main", "--force")
	if r := s.Holt(t, "history", "main"); r.Code != 3 {
		t.Errorf("the history of a removed workspace: code %d: %s", r.Code, r.Stdout)
	}
}
