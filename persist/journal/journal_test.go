package journal

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
)

func open(t *testing.T, dir string, o Options) *Journal {
	t.Helper()
	j, err := Open(dir, o, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func add(t *testing.T, j *Journal, ws holt.WorkspaceID, list ...Entry) {
	t.Helper()
	if err := j.Append(ws, list); err != nil {
		t.Fatal(err)
	}
}

// holds fails unless the journal has exactly these entries of a workspace.
func holds(t *testing.T, j *Journal, ws holt.WorkspaceID, want ...Entry) {
	t.Helper()
	got, err := j.Read(ws)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s has\n%v, want\n%v", ws, got, want)
	}
}

func entry(doc string, k Kind, data string) Entry { return Entry{doc, k, []byte(data)} }

func TestWhatIsKept(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	holds(t, j, "ws-1")
	add(t, j, "ws-1", entry("a", State, "A"), entry("b", State, "B"), entry("a", Update, "1"), entry("a", Mark, ""))
	add(t, j, "ws-2", entry("a", State, "other"))
	add(t, j, "ws-1", entry("a", Update, "2"), entry("b", Done, ""))
	want := []Entry{entry("a", State, "A"), entry("a", Update, "1"), entry("a", Mark, ""), entry("a", Update, "2")}
	for range 2 {
		holds(t, j, "ws-1", want...)
		holds(t, j, "ws-2", entry("a", State, "other"))
		j.Close()
		j = open(t, dir, Options{})
	}
	add(t, j, "ws-1", entry("a", State, "A12"))
	holds(t, j, "ws-1", entry("a", State, "A12"))
	if err := j.Discard("ws-1"); err != nil {
		t.Fatal(err)
	}
	holds(t, j, "ws-1")
	j.Close()
	j = open(t, dir, Options{})
	holds(t, j, "ws-1")
	holds(t, j, "ws-2", entry("a", State, "other"))
}

// Whatever a crash leaves of the last write: all that was acknowledged before is
// there, and of the rest a beginning.
func TestTornAnywhere(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	add(t, j, "ws-1", entry("a", State, "A"))
	before, _ := j.Size()
	add(t, j, "ws-1", entry("a", Update, "one"), entry("a", Update, "two"))
	j.Close()
	whole, err := os.ReadFile(filepath.Join(dir, "log-1"))
	if err != nil {
		t.Fatal(err)
	}
	for cut := before; cut <= int64(len(whole)); cut++ {
		for _, tail := range [][]byte{nil, bytes.Repeat([]byte{0}, 40), bytes.Repeat([]byte{0xff}, 40)} {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "log-1"), append(bytes.Clone(whole[:cut]), tail...), 0o600); err != nil {
				t.Fatal(err)
			}
			j := open(t, dir, Options{})
			got, err := j.Read("ws-1")
			if err != nil || len(got) == 0 || len(got) > 3 || string(got[0].Data) != "A" {
				t.Fatalf("cut at %d: %v, %v", cut, got, err)
			}
			add(t, j, "ws-1", entry("a", Update, "after"))
			j.Close()
			j = open(t, dir, Options{})
			holds(t, j, "ws-1", append(got, entry("a", Update, "after"))...)
			j.Close()
		}
	}
}

// A flipped bit costs the record that it is in and no other one.
func TestFlippedBit(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	var ends []int64
	for i := range 5 {
		add(t, j, "ws-1", entry("a", Update, fmt.Sprint(i)))
		size, _ := j.Size()
		ends = append(ends, size)
	}
	j.Close()
	name := filepath.Join(dir, "log-1")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	whole[ends[2]-1] ^= 4
	if err := os.WriteFile(name, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	j = open(t, dir, Options{})
	holds(t, j, "ws-1", entry("a", Update, "0"), entry("a", Update, "1"), entry("a", Update, "3"), entry("a", Update, "4"))
}

func TestForeignLog(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "log-7"), []byte("holt-journal 9\n\x00what comes"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}, slog.Default()); !holt.IsKind(err, holt.KindCorrupt) {
		t.Errorf("opened: %v", err)
	}
}

// The log stays small however much goes through it, and nothing is lost on the way
// from one to the next.
func TestLogIsRewritten(t *testing.T) {
	dir := t.TempDir()
	o := Options{Slack: 64 << 10}
	j := open(t, dir, o)
	add(t, j, "ws-old", entry("kept", State, "K"))
	big := string(bytes.Repeat([]byte("x"), 10_000))
	for i := range 300 {
		add(t, j, "ws-1", entry("a", State, big), entry("a", Update, fmt.Sprint(i)))
		if i%50 == 25 {
			j.Close()
			j = open(t, dir, o)
		}
	}
	if size, live := j.Size(); size > 2*o.Slack || live > 11_000 {
		t.Errorf("%d bytes of which %d are of use", size, live)
	}
	holds(t, j, "ws-old", entry("kept", State, "K"))
	holds(t, j, "ws-1", entry("a", State, big), entry("a", Update, "299"))
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 {
		t.Errorf("the directory has %v, %v", names, err)
	}
}

// A crash between the new log and the end of the old one.
func TestTwoLogs(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	add(t, j, "ws-1", entry("a", State, "new"))
	j.Close()
	raw, err := os.ReadFile(filepath.Join(dir, "log-1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"log-10", "log-9"} {
		if err := os.WriteFile(filepath.Join(dir, n), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		raw = []byte(magic)
	}
	if err := os.Remove(filepath.Join(dir, "log-1")); err != nil {
		t.Fatal(err)
	}
	j = open(t, dir, Options{})
	holds(t, j, "ws-1", entry("a", State, "new"))
	if _, err := os.Stat(filepath.Join(dir, "log-9")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old log is still there: %v", err)
	}
}

func TestBounds(t *testing.T) {
	j := open(t, t.TempDir(), Options{Bytes: 1000, Documents: 2})
	limit := func(list ...Entry) {
		t.Helper()
		if err := j.Append("ws-1", list); !holt.IsKind(err, holt.KindLimit) {
			t.Errorf("%v, want %v", err, holt.KindLimit)
		}
	}
	add(t, j, "ws-1", entry("a", State, "A"), entry("b", State, "B"))
	limit(entry("c", State, "C"))
	limit(entry("a", Update, string(make([]byte, 1000))))
	limit(entry(string(make([]byte, MaxName+1)), State, ""))
	limit(entry("a", State, string(make([]byte, MaxRecord))))
	if err := j.Append("ws-1", []Entry{{"a", 77, nil}}); !holt.IsKind(err, holt.KindInvalid) {
		t.Errorf("unknown kind: %v", err)
	}
	add(t, j, "ws-2", entry("c", State, "another workspace has its own bounds"))
	add(t, j, "ws-1", entry("a", Done, ""))
	add(t, j, "ws-1", entry("c", State, "C"))
	holds(t, j, "ws-1", entry("b", State, "B"), entry("c", State, "C"))
}

// Many at once: each one's entries are there in order, and share flushes.
func TestConcurrentAppends(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{Slack: 4096})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			ws := holt.WorkspaceID(fmt.Sprintf("ws-%d", w))
			for i := range 60 {
				e := []Entry{entry("doc", Update, fmt.Sprint(i))}
				if rand.IntN(20) == 0 {
					e = append([]Entry{entry("other", State, "x")}, e...)
				}
				if err := j.Append(ws, e); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	j.Close()
	j = open(t, dir, Options{})
	for w := range 8 {
		list, err := j.Read(holt.WorkspaceID(fmt.Sprintf("ws-%d", w)))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, e := range list {
			if e.Document == "doc" {
				if string(e.Data) != fmt.Sprint(n) {
					t.Fatalf("ws-%d: %s comes where %d belongs", w, e.Data, n)
				}
				n++
			}
		}
		if n != 60 {
			t.Errorf("ws-%d has %d entries", w, n)
		}
	}
	if err := j.Append("ws-1", []Entry{entry("a", State, "")}); err != nil {
		t.Fatal(err)
	}
	j.Close()
	if err := j.Append("ws-1", []Entry{entry("a", State, "")}); !holt.IsKind(err, holt.KindUnavailable) {
		t.Errorf("append after close: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	r := record{kind: State, workspace: "ws-1", document: "a", data: []byte("text")}
	f.Add(r.append(nil))
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := decode(b)
		if err == nil && !bytes.Equal(rec.append(nil), b) && len(rec.append(nil)) >= len(b) {
			t.Errorf("%x reads as %+v", b, rec)
		}
		newReader(bytes.NewReader(b)).next()
	})
}

// A full disk refuses, keeps what was acknowledged, and is not fatal.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) }) // runs after the journal is closed
	j := open(t, filepath.Join(dir, "journal"), Options{})
	var want []Entry
	for i := range 100 {
		e := entry("a", Update, fmt.Sprintf("%d %s", i, make([]byte, 20_000)))
		err := j.Append("ws-1", []Entry{e})
		if err == nil {
			want = append(want, e)
			continue
		}
		if !holt.IsKind(err, holt.KindNoSpace) {
			t.Fatalf("entry %d: %v, want %v", i, err, holt.KindNoSpace)
		}
		if len(want) < 10 {
			t.Fatalf("full after %d entries", len(want))
		}
		holds(t, j, "ws-1", want...)
		break
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=4m"); err != nil {
		t.Fatal(err)
	}
	e := entry("a", Update, "there is space again")
	add(t, j, "ws-1", e)
	holds(t, j, "ws-1", append(want, e)...)
}
