package persist

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/fault"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/object"
)

// Revision is a durable state of a workspace's files.
type Revision = meta.Revision

// Config says what a store works with. Objects and Revisions are needed.
type Config struct {
	Objects   object.Store // holds packs; each call is retried by itself, see package object/retry
	Revisions meta.Revisions

	// Spool is a directory for packs that wait because the objects cannot be reached;
	// "" for none. One process uses it.
	Spool     string
	SpoolSize int64 // bytes in it at most; default 2 GiB

	Cache    int64 // bytes of trees that are kept in memory; default 32 MiB
	PackSize int64 // stored bytes after which a pack is sent; default 32 MiB, at most 48 MiB
	Bounds   Bounds

	// Published, if set, is called with each revision once it is durable, and Dropped with a workspace whose
	// revisions waited for the store and cannot be published: it is to be flushed soon.
	Published func(Revision)
	Dropped   func(context.Context, holt.WorkspaceID)

	// Announce, if set, returns events that become visible with a revision.
	Announce func(Revision) []meta.Event

	Log   *slog.Logger     // default: none
	Now   func() time.Time // default: time.Now
	Fault fault.Func       // default: fault.Point
}

// Bounds is what is kept of a volume at most. Beyond, things are left out and counted.
// Zero fields have defaults.
type Bounds struct {
	Entries int64 // files, links and folders; default 1,000,000
	File    int64 // bytes of one file; default 8 GiB
}

// Store keeps and brings back revisions. Its methods may be called concurrently;
// flushes of one workspace come one after the other.
type Store struct {
	cfg   Config
	log   *slog.Logger
	trees *blobCache
	spool *spool

	delivering sync.Mutex // held by whom delivers; before line.mu

	mu    sync.Mutex // guards what is below; nothing is called with it held
	lines map[holt.WorkspaceID]*line
}

// line is what is known of a workspace between flushes.
type line struct {
	doubt atomic.Bool // a check has found damage: read again what last is

	mu     sync.Mutex // held during a flush
	loaded bool
	last   Revision // the latest; Number 0 for none
	rules  string   // the ignore rules that last was made with
	// Files that are as in last although their inode or time of change is another one:
	// read once already.
	seen map[string]seen
}

// New returns a store. It reads the spool and reaches for nothing else. KindCorrupt if
// the spool is damaged.
func New(cfg Config) (*Store, error) {
	if cfg.PackSize == 0 {
		cfg.PackSize = 32 << 20
	}
	cfg.PackSize = min(cfg.PackSize, packRoom)
	if cfg.Cache == 0 {
		cfg.Cache = 32 << 20
	}
	if cfg.SpoolSize == 0 {
		cfg.SpoolSize = 2 << 30
	}
	if cfg.Bounds.Entries == 0 {
		cfg.Bounds.Entries = 1_000_000
	}
	if cfg.Bounds.File == 0 {
		cfg.Bounds.File = 8 << 30
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Fault == nil {
		cfg.Fault = fault.Point
	}
	cfg.Objects = counted{cfg.Objects}
	q, err := openSpool(cfg.Spool, cfg.SpoolSize)
	if err != nil {
		return nil, err
	}
	return &Store{cfg: cfg, log: cfg.Log, trees: newBlobCache(int(cfg.Cache)), spool: q, lines: map[holt.WorkspaceID]*line{}}, nil
}

func (s *Store) line(ws holt.WorkspaceID) *line {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lines[ws]
	if l == nil {
		l = &line{}
		s.lines[ws] = l
	}
	return l
}

// Latest returns the latest revision of a workspace, or a KindNotFound error.
func (s *Store) Latest(ctx context.Context, ws holt.WorkspaceID) (Revision, error) {
	return s.cfg.Revisions.Latest(ctx, ws)
}

// Get returns one revision, the latest for number 0, or a KindNotFound error.
func (s *Store) Get(ctx context.Context, ws holt.WorkspaceID, number int64) (Revision, error) {
	if number == 0 {
		return s.cfg.Revisions.Latest(ctx, ws)
	}
	return s.cfg.Revisions.Get(ctx, ws, number)
}

// List returns up to limit revisions with numbers below before, the latest first; 0
// means no bound.
func (s *Store) List(ctx context.Context, ws holt.WorkspaceID, before int64, limit int) ([]Revision, error) {
	return s.cfg.Revisions.List(ctx, ws, before, limit)
}

// Name gives a revision a name, which keeps it for ever; "" takes it.
func (s *Store) Name(ctx context.Context, ws holt.WorkspaceID, number int64, name string) error {
	return s.cfg.Revisions.Name(ctx, ws, number, name)
}

// Forget removes all revisions of a workspace. What only they needed goes with the
// next [Store.Collect].
func (s *Store) Forget(ctx context.Context, ws holt.WorkspaceID) error {
	l := s.line(ws)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := s.cfg.Revisions.Remove(ctx, ws); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.lines, ws)
	return nil
}

// Flush is one look at a workspace's files.
type Flush struct {
	Workspace holt.WorkspaceID
	Tenant    holt.UserID // the owner; blobs are shared among the workspaces of one
	Root      *os.File    // the volume's top folder, open for reading; not closed
	IDs       uint32      // what the mount adds to the volume's user and group IDs

	// Dirty names what may have changed since the last flush, from the top:
	// "workspace/src/a.go". A folder means its own names, not what is in folders in it.
	// Nil means everything; after a start of the process everything is looked at anyway.
	Dirty []string

	Reason string // "interval", "save", "suspend", …
	Name   string // of the revision, if it shall be kept for ever
}
