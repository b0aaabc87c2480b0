package collab

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/wire/guest"
)

// node takes what a journal's session sends, as the node outside would.
type node struct {
	*testing.T
	feed *Feed
	stop func()

	mu   sync.Mutex
	docs map[string][]guestwire.JournalEntry
	deaf bool // nothing is acknowledged
}

// journal begins a session, in place of the one before, if there was one.
func (d *desk) journal(before *node) *node {
	n := &node{T: d.T, feed: d.rooms.Feed(), docs: map[string][]guestwire.JournalEntry{}}
	if before != nil {
		before.stop()
		n.docs = before.docs
	}
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(d.Context())
	go func() {
		defer close(done)
		for {
			list, err := n.feed.Next(ctx)
			if err != nil {
				return
			}
			n.mu.Lock()
			for _, e := range list {
				switch e.Kind {
				case guestwire.JournalState:
					n.docs[e.Path] = nil
				case guestwire.JournalDone:
					delete(n.docs, e.Path)
					continue
				}
				if e.Kind != guestwire.JournalState && n.docs[e.Path] == nil {
					n.Errorf("%s: entry %d comes before a state", e.Path, e.Seq)
				}
				n.docs[e.Path] = append(n.docs[e.Path], e)
			}
			deaf := n.deaf
			n.mu.Unlock()
			if !deaf {
				if err := n.feed.Ack(list[len(list)-1].Seq); err != nil {
					n.Error(err)
				}
			}
		}
	}()
	n.stop = sync.OnceFunc(func() {
		cancel()
		<-done
		n.feed.Close()
	})
	d.Cleanup(n.stop)
	return n
}

func (n *node) kept(path string) []guestwire.JournalEntry {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]guestwire.JournalEntry{}, n.docs[path]...)
}

// replay brings a document back, and closes it again.
func (d *desk) replay(path string, entries []guestwire.JournalEntry) Replayed {
	d.Helper()
	r, err := d.rooms.Replay(d.Context(), path, entries, d.restored)
	if err != nil {
		d.Fatal(err)
	}
	return r
}

// crash is what a sandbox that is killed leaves: the files as they are now, and
// rooms that know nothing.
func (d *desk) crash(keepState bool) {
	d.Helper()
	copied := d.TempDir()
	if err := os.CopyFS(copied, os.DirFS(d.dir)); err != nil {
		d.Fatal(err)
	}
	d.rooms.Close() // what it writes now is not in the copy
	if !keepState {
		os.RemoveAll(filepath.Join(copied, "state"))
	}
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		d.Fatal(err)
	}
	for _, e := range entries {
		os.RemoveAll(filepath.Join(d.dir, e.Name()))
	}
	if err := os.CopyFS(d.dir, os.DirFS(copied)); err != nil {
		d.Fatal(err)
	}
	d.rooms = New(d.opt)
}

// slowly makes rooms that write files late.
func slowly(o *Options) { o.SaveDelay, o.SaveMost = time.Hour, time.Hour }

func TestJournalledEditsSurvive(t *testing.T) {
	for _, keep := range []bool{true, false} {
		d := newDesk(t, slowly)
		path := d.put("a.txt", "one\r\ntwo\r\n")
		n := d.journal(nil)
		e := d.open(path, Join{})
		e.awaits("one\ntwo\n")
		e.edit(3, 0, " and a half 😀")
		e.awaitsJournal()
		if got := d.content(path); got != "one\r\ntwo\r\n" {
			t.Fatalf("the file was written: %q", got)
		}
		entries := n.kept(path)
		n.stop()
		e.leave()
		d.crash(keep)
		if r := d.replay(path, entries); !r.Written {
			t.Errorf("nothing was written: %+v", r)
		}
		if got, want := d.content(path), "one and a half 😀\r\ntwo\r\n"; got != want {
			t.Errorf("the file has %q, want %q", got, want)
		}
		// A second time changes nothing.
		d.restart()
		if r := d.replay(path, entries); r.Written {
			t.Errorf("the second replay wrote: %+v", r)
		}
		if got, want := d.content(path), "one and a half 😀\r\ntwo\r\n"; got != want {
			t.Errorf("after a second replay the file has %q, want %q", got, want)
		}
		// A page that was open all the time comes back with the same state.
		epoch := e.epoch()
		d.connect(e, path, Join{Epoch: epoch})
		e.awaits("one and a half 😀\ntwo\n")
	}
}

// What others wrote into the file after our last write is kept beside what was
// typed, once.
func TestReplayMergesOthers(t *testing.T) {
	d := newDesk(t, slowly)
	path := d.put("a.txt", "one\ntwo\nthree\n")
	n := d.journal(nil)
	e := d.open(path, Join{})
	e.awaits("one\ntwo\nthree\n")
	e.edit(0, 0, "zero\n")
	d.rooms.Flush(t.Context())
	e.edit(0, 0, "minus one\n")
	e.awaitsJournal()
	entries := n.kept(path)
	n.stop()
	e.leave()
	d.crash(true)
	d.put("a.txt", strings.Replace(d.content(path), "three", "three and four", 1))
	d.replay(path, entries)
	if got, want := d.content(path), "minus one\nzero\none\ntwo\nthree and four\n"; got != want {
		t.Errorf("the file has %q, want %q", got, want)
	}
}

// Others who write while the document is open are not merged twice.
func TestReplayAfterOthers(t *testing.T) {
	d := newDesk(t, slowly)
	path := d.put("a.txt", "one\ntwo\n")
	n := d.journal(nil)
	e := d.open(path, Join{})
	e.awaits("one\ntwo\n")
	e.edit(0, 0, "typed\n")
	e.awaitsJournal()
	d.put("a.txt", "one\ninserted\ntwo\n")
	e.awaits("typed\none\ninserted\ntwo\n")
	e.edit(0, 0, "more ")
	e.awaitsJournal()
	entries := n.kept(path)
	n.stop()
	e.leave()
	for _, keep := range []bool{true, false} {
		d.crash(keep)
		d.put("a.txt", "one\ninserted\ntwo\n")
		d.replay(path, entries)
		if got, want := d.content(path), "more typed\none\ninserted\ntwo\n"; got != want {
			t.Errorf("the file has %q, want %q", got, want)
		}
		d.restart()
	}
}

func TestReplayOfWhatIsGone(t *testing.T) {
	d := newDesk(t, slowly)
	kept, removed := d.put("dir.txt", "a\n"), d.put("removed.txt", "b\n")
	n := d.journal(nil)
	a, b := d.open(kept, Join{}), d.open(removed, Join{})
	a.awaits("a\n")
	b.awaits("b\n")
	a.edit(0, 0, "typed ")
	a.awaitsJournal()
	if err := os.Remove(removed); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is told as gone", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.status.Gone })
	eventually(t, "the journal forgets a file that was removed", func() bool { return len(n.kept(removed)) == 0 })
	entries := n.kept(kept)
	n.stop()
	a.leave()
	b.leave()
	d.crash(false)
	// The file went with the machine: it comes back.
	if err := os.Remove(kept); err != nil {
		t.Fatal(err)
	}
	d.replay(kept, entries)
	if got := d.content(kept); got != "typed a\n" {
		t.Errorf("the file has %q", got)
	}
}

// A document that began anew meanwhile is not mixed with the old one; what was
// typed is beside it.
func TestReplayOfAnOlderEpoch(t *testing.T) {
	d := newDesk(t, slowly)
	path := d.put("a.txt", "one\n")
	n := d.journal(nil)
	e := d.open(path, Join{})
	e.awaits("one\n")
	e.edit(0, 0, "typed ")
	e.awaitsJournal()
	entries := n.kept(path)
	n.stop()
	e.leave()
	d.crash(false)
	f := d.open(path, Join{})
	f.awaits("one\n")
	f.leave()
	d.restart()
	r := d.replay(path, entries)
	if d.content(path) != "one\n" || d.content(r.Beside) != "typed one\n" {
		t.Errorf("%+v: the file has %q, the one beside it %q", r, d.content(path), d.content(r.Beside))
	}
}

// Whatever a session of the journal was cut off at, the next one has it all.
func TestSessionsFollowEachOther(t *testing.T) {
	d := newDesk(t, nil)
	path := d.put("a.txt", "")
	e := d.open(path, Join{})
	e.epoch()
	var n *node
	var want strings.Builder
	for i := range 30 {
		n = d.journal(n)
		n.mu.Lock()
		n.deaf = i%3 == 1
		n.mu.Unlock()
		for range rand.IntN(5) {
			e.edit(want.Len(), 0, "x")
			want.WriteString("x")
			if rand.IntN(4) == 0 {
				time.Sleep(10 * time.Millisecond) // the file is written
			}
		}
		if rand.IntN(2) == 0 {
			n.stop()
		}
	}
	n = d.journal(n)
	e.edit(want.Len(), 0, "!")
	want.WriteString("!")
	e.awaitsJournal()
	entries := n.kept(path)
	n.stop()
	e.leave()
	d.crash(false)
	d.replay(path, entries)
	if got := d.content(path); got != want.String() {
		t.Errorf("the file has %q, want %q", got, want.String())
	}
}

// The journal of a document stays small however much is typed.
func TestJournalStaysSmall(t *testing.T) {
	d := newDesk(t, nil)
	path := d.put("a.txt", "")
	n := d.journal(nil)
	e := d.open(path, Join{})
	e.epoch()
	for range 300 {
		e.edit(0, 0, string(bytes.Repeat([]byte("a"), 10_000)))
		e.edit(0, 9_990, "")
	}
	e.awaitsJournal()
	size := 0
	for _, en := range n.kept(path) {
		size += len(en.Data)
	}
	if size > 2*stateEvery+100_000 {
		t.Errorf("the journal has %d bytes for a document of %d", size, len(e.text()))
	}
	e.leave()
	d.rooms.Close()
	eventually(t, "a closed document leaves nothing", func() bool { return len(n.kept(path)) == 0 })
	d.rooms = New(d.opt)
}

func TestJournalThatIsNone(t *testing.T) {
	d := newDesk(t, nil)
	path := d.put("a.txt", "one\n")
	for name, entries := range map[string][]guestwire.JournalEntry{
		"nothing":     nil,
		"no state":    {{Kind: guestwire.JournalUpdate, Path: path}},
		"no JSON":     {{Kind: guestwire.JournalState, Path: path, Data: []byte("x\n")}},
		"other path":  {{Kind: guestwire.JournalState, Path: path, Data: []byte(`{"version":1,"path":"/etc/passwd","epoch":"e"}` + "\n\x00\x00")}},
		"bad updates": {{Kind: guestwire.JournalState, Path: path, Data: []byte(`{"version":1,"path":"` + path + `","epoch":"e"}` + "\n\xff\xff")}},
	} {
		if _, err := d.rooms.Replay(t.Context(), path, entries, false); err == nil {
			t.Errorf("%s: replayed", name)
		}
	}
	if d.content(path) != "one\n" {
		t.Errorf("the file has %q", d.content(path))
	}
	if err := d.rooms.Feed().Ack(7); !holt.IsKind(err, holt.KindInvalid) {
		t.Errorf("acknowledged what was not sent: %v", err)
	}
}

// While edits are held nothing comes after a flush, and then all of them do.
func TestHold(t *testing.T) {
	d := newDesk(t, slowly)
	path := d.put("a.txt", "")
	e := d.open(path, Join{})
	e.epoch()
	e.edit(0, 0, "before ")
	d.rooms.Hold(time.Hour)
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.edit(-1, 0, "after")
	}()
	d.rooms.Flush(t.Context())
	time.Sleep(20 * time.Millisecond)
	if got := d.content(path); got != "before " {
		t.Errorf("the file has %q", got)
	}
	d.rooms.Release()
	<-done
	d.rooms.Flush(t.Context())
	if got := d.content(path); got != "before after" {
		t.Errorf("the file has %q after the release", got)
	}
	d.rooms.Hold(time.Millisecond)
	e.edit(-1, 0, "!") // comes through by itself
}

// A volume that was lost comes back as it was some time before the crash, and the
// journal knows only a later state of the document.
func TestReplayOverOlderFiles(t *testing.T) {
	for _, opened := range []bool{false, true} {
		for _, others := range []bool{false, true} {
			d := newDesk(t, slowly)
			path := d.put("a.txt", "one\ntwo\n")
			revision := d.TempDir()
			keep := func() {
				if err := os.CopyFS(revision, os.DirFS(d.dir)); err != nil {
					d.Fatal(err)
				}
			}
			if !opened {
				keep()
			}
			n := d.journal(nil)
			e := d.open(path, Join{})
			e.awaits("one\ntwo\n")
			e.edit(0, 0, "first\n")
			d.rooms.Flush(t.Context())
			if opened {
				keep()
			}
			e.edit(0, 0, "second\n")
			d.rooms.Flush(t.Context())
			n = d.journal(n) // which begins with the state of now
			e.edit(0, 0, "third\n")
			e.awaitsJournal()
			entries := n.kept(path)
			n.stop()
			e.leave()
			d.rooms.Close()
			if err := os.RemoveAll(d.dir); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(d.dir, os.DirFS(revision)); err != nil {
				t.Fatal(err)
			}
			want := "third\nsecond\nfirst\none\ntwo\n"
			if others && opened { // after our last write, and before the revision was made
				d.put("a.txt", d.content(path)+"others\n")
				want += "others\n"
			}
			d.rooms = New(d.opt)
			d.restored = true
			d.replay(path, entries)
			if got := d.content(path); got != want {
				t.Errorf("opened before the revision: %v, changed by others: %v: the file has %q, want %q", opened, others, got, want)
			}
		}
	}
}

func TestSavesAreHints(t *testing.T) {
	d := newDesk(t, nil)
	d.rooms.Saved("/nobody/hears/it")
	f := d.rooms.Feed()
	defer f.Close()
	d.rooms.Saved("/a.txt")
	list, err := f.Next(t.Context())
	if err != nil || len(list) != 1 || list[0].Kind != guestwire.JournalSaved || list[0].Path != "/a.txt" || len(list[0].Data) > 0 {
		t.Fatalf("%+v, %v", list, err)
	}
	if err := f.Ack(list[0].Seq); err != nil {
		t.Fatal(err)
	}
}
