package journal

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/durable"
)

// Kind is what an entry does to those before it. The numbers are on the disk.
type Kind byte

// The kinds.
const (
	State  Kind = 1 // a whole document: what came before is of no use any more
	Update Kind = 2 // a change
	Mark   Kind = 3 // the file gets the text of here
	Done   Kind = 4 // the file has the text, and the document is closed: nothing is left
	forget Kind = 5 // the workspace is gone, or begins anew
)

// Entry is one thing that happened to a document.
type Entry struct {
	Document string // its name in the workspace
	Kind     Kind
	Data     []byte
}

// Options bounds a journal. What is zero has its default.
type Options struct {
	Bytes     int64 // of one workspace; 256 MiB
	Documents int   // of one workspace; 1,024
	Slack     int64 // a log that is smaller is never rewritten; 8 MiB
}

// Bounds of an entry.
const (
	MaxName   = 4 << 10
	MaxRecord = 32 << 20
)

const (
	logPrefix = "log-"
	magic     = "holt-journal 1\n\x00"
)

// Journal is a log that is open. It is safe for concurrent use.
type Journal struct {
	dir string
	opt Options
	log *slog.Logger

	mu      sync.Mutex
	ready   sync.Cond // there is something to write, or the journal is closing
	queue   *batch    // what the next flush writes; nil for nothing
	closing bool
	ended   chan struct{}

	// Of the goroutine that writes, and of Open; readers hold state.
	state sync.RWMutex
	file  *os.File
	num   uint64
	size  int64
	live  int64
	index map[holt.WorkspaceID]*workspace
	bad   bool // the log is begun anew before anything is written
}

// workspace is where the entries of one workspace are.
type workspace struct {
	documents map[string]*document
	bytes     int64
}

type document struct {
	entries []place
	bytes   int64
}

// place is a record in the log.
type place struct {
	at   int64
	size int32 // with its head
}

// batch is what is flushed together.
type batch struct {
	records []record
	done    chan struct{}
	err     error
}

// Open opens the journal in dir, and makes it if it is not there.
func Open(dir string, opt Options, log *slog.Logger) (*Journal, error) {
	set(&opt.Bytes, 256*holt.MiB)
	set(&opt.Documents, 1024)
	set(&opt.Slack, 8*holt.MiB)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make journal: %w", err)
	}
	if _, err := durable.Clean(dir); err != nil {
		return nil, fmt.Errorf("clean journal: %w", err)
	}
	j := &Journal{dir: dir, opt: opt, log: log, index: map[holt.WorkspaceID]*workspace{}, ended: make(chan struct{})}
	j.ready.L = &j.mu
	numbers, err := logs(dir)
	if err != nil {
		return nil, err
	}
	if len(numbers) == 0 {
		err = j.rewrite()
	} else {
		err = j.load(numbers[len(numbers)-1])
		for _, n := range numbers[:len(numbers)-1] {
			os.Remove(j.path(n)) // a crash came between the new log and this
		}
	}
	if err != nil {
		return nil, err
	}
	go j.run()
	return j, nil
}

func set[T int | int64](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

func (j *Journal) path(n uint64) string {
	return filepath.Join(j.dir, logPrefix+strconv.FormatUint(n, 10))
}

// logs returns the numbers of the logs in dir, in order.
func logs(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list journal: %w", err)
	}
	var list []uint64
	for _, e := range entries {
		if rest, ok := strings.CutPrefix(e.Name(), logPrefix); ok {
			if n, err := strconv.ParseUint(rest, 10, 64); err == nil {
				list = append(list, n)
			}
		}
	}
	slices.Sort(list)
	return list, nil
}

// load reads the log of a number and cuts off what is not whole.
func (j *Journal) load(n uint64) error {
	file, err := os.OpenFile(j.path(n), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return fmt.Errorf("open journal: %w", err)
	}
	r := newReader(file)
	if err := r.head(); err != nil {
		file.Close()
		return err
	}
	j.size = r.at
	for damaged := false; ; {
		at := r.at
		rec, err := r.next()
		if errors.Is(err, errSum) {
			damaged = true // or half of the last write
			continue
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, errTorn) {
				file.Close()
				return fmt.Errorf("read journal: %w", err)
			}
			break
		}
		if damaged {
			j.log.Error("a part of the journal is damaged and left out", "file", file.Name(), "from", j.size, "to", at)
			damaged = false
		}
		j.note(rec, at)
		j.size = r.at
	}
	if j.size < info.Size() {
		j.log.Warn("the journal ends in the middle of a write, which is left out", "file", file.Name(), "at", j.size, "bytes", info.Size()-j.size)
		if err := errors.Join(file.Truncate(j.size), file.Sync()); err != nil {
			file.Close()
			return fmt.Errorf("mend journal: %w", err)
		}
	}
	j.file, j.num = file, n
	return nil
}

// note keeps the index in step with a record at an offset. state is held, or
// nobody else is there yet.
func (j *Journal) note(rec record, at int64) {
	w := j.index[rec.workspace]
	if rec.kind == forget {
		if w != nil {
			j.live -= w.bytes
			delete(j.index, rec.workspace)
		}
		return
	}
	if w == nil {
		w = &workspace{documents: map[string]*document{}}
		j.index[rec.workspace] = w
	}
	d := w.documents[rec.document]
	drop := func() {
		if d != nil {
			j.live -= d.bytes
			w.bytes -= d.bytes
			delete(w.documents, rec.document)
		}
	}
	if rec.kind == Done {
		drop()
		if len(w.documents) == 0 {
			delete(j.index, rec.workspace)
		}
		return
	}
	if rec.kind == State {
		drop()
		d = nil
	}
	if d == nil {
		d = &document{}
		w.documents[rec.document] = d
	}
	size := rec.size()
	d.entries = append(d.entries, place{at, int32(size)})
	d.bytes += size
	w.bytes += size
	j.live += size
}

// Append writes entries of a workspace, in order, and returns when they are on the
// disk. Calls at one time share a flush. Too much for one workspace is
// [holt.KindLimit], of which nothing is written.
func (j *Journal) Append(ws holt.WorkspaceID, entries []Entry) error {
	records := make([]record, len(entries))
	for i, e := range entries {
		if e.Kind < State || e.Kind > Done {
			return holt.Invalidf("kind", "%d is no kind of a journal's entry", e.Kind)
		}
		records[i] = record{kind: e.Kind, workspace: ws, document: e.Document, data: e.Data}
		if len(e.Document) > MaxName || len(e.Data) > MaxRecord-MaxName-holtIDRoom {
			return &holt.Error{Kind: holt.KindLimit, Limit: "journal", Text: "an edit is too large to be kept in the journal"}
		}
	}
	return j.write(records)
}

// Discard forgets what is kept of a workspace.
func (j *Journal) Discard(ws holt.WorkspaceID) error {
	j.state.RLock()
	known := j.index[ws] != nil
	j.state.RUnlock()
	if !known {
		return nil
	}
	return j.write([]record{{kind: forget, workspace: ws}})
}

func (j *Journal) write(records []record) error {
	if len(records) == 0 {
		return nil
	}
	j.mu.Lock()
	if j.closing {
		j.mu.Unlock()
		return holt.Errorf(holt.KindUnavailable, "the journal is closed")
	}
	// A batch has the entries of many callers and one result. Those that a bound
	// refuses must not spoil it for the others, so the bound is looked at here: by
	// what is on the disk, which the entries on their way may pass a little.
	if err := j.admit(records); err != nil {
		j.mu.Unlock()
		return err
	}
	if j.queue == nil {
		j.queue = &batch{done: make(chan struct{})}
	}
	b := j.queue
	b.records = append(b.records, records...)
	j.ready.Signal()
	j.mu.Unlock()
	<-b.done
	return b.err
}

// admit looks whether a workspace may have more. What makes it less always may.
func (j *Journal) admit(records []record) error {
	j.state.RLock()
	defer j.state.RUnlock()
	w := j.index[records[0].workspace]
	if w == nil {
		return nil
	}
	var more int64
	documents := len(w.documents)
	for _, r := range records {
		d := w.documents[r.document]
		switch r.kind {
		case Done, forget:
			return nil
		case State:
			if d != nil {
				more -= d.bytes
			} else {
				documents++
			}
		}
		more += r.size()
	}
	if w.bytes+more > j.opt.Bytes || documents > j.opt.Documents {
		return &holt.Error{Kind: holt.KindLimit, Limit: "journal", Text: fmt.Sprintf(
			"the workspace has too much in the journal (%s in %d documents) that is not in its files yet", holt.FormatSize(w.bytes), len(w.documents))}
	}
	return nil
}

// Read returns what is kept of a workspace, document by document, each from its
// last state on.
func (j *Journal) Read(ws holt.WorkspaceID) ([]Entry, error) {
	j.state.RLock()
	defer j.state.RUnlock()
	w := j.index[ws]
	if w == nil {
		return nil, nil
	}
	var list []Entry
	for _, name := range slices.Sorted(maps.Keys(w.documents)) {
		for _, p := range w.documents[name].entries {
			body := make([]byte, p.size)
			if _, err := j.file.ReadAt(body, p.at); err != nil {
				return nil, fmt.Errorf("read journal: %w", err)
			}
			rec, err := decode(body)
			if err != nil {
				return nil, holt.Wrap(holt.KindCorrupt, err, fmt.Sprintf("the journal of %s is damaged at %d", name, p.at))
			}
			list = append(list, Entry{Document: rec.document, Kind: rec.kind, Data: rec.data})
		}
	}
	return list, nil
}

// Size is how many bytes the log has, and how many of them are of use.
func (j *Journal) Size() (total, live int64) {
	j.state.RLock()
	defer j.state.RUnlock()
	return j.size, j.live
}

// Close writes what is queued and closes the journal.
func (j *Journal) Close() error {
	j.mu.Lock()
	j.closing = true
	j.ready.Signal()
	j.mu.Unlock()
	<-j.ended
	return j.file.Close()
}
