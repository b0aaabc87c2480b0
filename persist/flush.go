package persist

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/object"
	"github.com/holt-ide/holt/persist/ignore"
)

// ErrQueued reports a flush whose packs wait on the disk of the node, because the
// store cannot be reached. It is KindUnavailable.
var ErrQueued error = &holt.Error{Kind: holt.KindUnavailable, Text: "the store cannot be reached: what changed waits on this node's disk"}

// coarse is how far the clock of the kernel that stamps files may lag behind ours.
const coarse = 50 * time.Millisecond

// Flush looks at a workspace's files and makes a revision of them. It returns when
// everything of the revision is in the store. If nothing has changed, it returns the
// latest as it is. Kinds of errors: KindUnavailable when the store cannot be reached,
// which is [ErrQueued] when the revision, which is returned then, waits on the disk;
// KindNoSpace when store or spool are full; KindCorrupt when the volume or the revision
// before cannot be read.
func (s *Store) Flush(ctx context.Context, f Flush) (Revision, error) {
	if err := object.CheckKey(packKey(f.Tenant, f.Reason+"x")); f.Tenant == "" || err != nil {
		return Revision{}, holt.Invalidf("tenant", "%.60q cannot name a tenant, or %.60q a reason", f.Tenant, f.Reason)
	}
	l := s.line(f.Workspace)
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := 0; ; n++ {
		r, err := s.flush(ctx, l, &f)
		if err != nil && !errors.Is(err, ErrQueued) {
			l.loaded = false // what Dirty said is forgotten by now: the next one looks at everything
		}
		if n < 3 && errors.Is(err, meta.ErrRevisionStale) {
			// Somebody else has published, or what this one reused was collected: look
			// again at everything, with what is there now.
			s.log.Info("flush begins again: the revisions have changed meanwhile", "workspace", f.Workspace)
			continue
		}
		return r, err
	}
}

// record describes a revision in its pack. All that a row of the database has can be
// made anew from it and the trees.
type record struct {
	Workspace holt.WorkspaceID `json:"workspace"`
	Number    int64            `json:"number"`
	Base      int64            `json:"base,omitempty"`
	At        time.Time        `json:"at"`
	Reason    string           `json:"reason"`
	Name      string           `json:"name,omitempty"`
	Root      meta.BlobID      `json:"root"`
	Torn      int64            `json:"torn,omitempty"`
	Skipped   int64            `json:"skipped,omitempty"`
}

// load reads what the latest revision is, unless it is known.
func (s *Store) load(ctx context.Context, l *line, ws holt.WorkspaceID) error {
	if l.loaded {
		return nil
	}
	var last Revision
	// The queue first: what leaves it meanwhile is published by then.
	if q, _, _ := s.spool.last(ws); q != nil {
		last = q.p.Revision
	} else {
		var err error
		if last, err = s.cfg.Revisions.Latest(ctx, ws); err != nil && !holt.IsKind(err, holt.KindNotFound) {
			return fmt.Errorf("read latest revision: %w", err)
		}
	}
	if l.seen == nil || last.Txn != l.last.Txn {
		l.seen = map[string]seen{}
	}
	l.last = last
	return nil
}

func (s *Store) flush(ctx context.Context, l *line, f *Flush) (Revision, error) {
	if l.doubt.Swap(false) {
		l.loaded = false
	}
	first := !l.loaded
	if err := s.load(ctx, l, f.Workspace); err != nil {
		return Revision{}, err
	}
	top, err := openFolder(int(f.Root.Fd()), ".")
	if err != nil {
		return Revision{}, fmt.Errorf("open volume: %w", err)
	}
	defer unix.Close(top)
	if st, err := statAt(top, topWorkspace); err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		// An empty revision of a volume that is not there would be the latest.
		return Revision{}, holt.Wrap(holt.KindCorrupt, errors.Join(err, errors.New("there is no folder "+topWorkspace)), "the workspace's volume cannot be read")
	}
	rules, err := readRules(top)
	if err != nil {
		return Revision{}, err
	}
	d := allDirt
	if !first && f.Dirty != nil && rules.Text() == l.rules {
		d = dirtOf(f.Dirty)
	}
	at := s.cfg.Now().UTC().Truncate(time.Microsecond)
	var was *entry
	if l.last.Number > 0 && l.last.Tenant == f.Tenant {
		var root entry
		if l.last.Damage != "" {
			err = &baseError{holt.Errorf(holt.KindCorrupt, "it is damaged: %s", l.last.Damage)}
		} else if root, err = s.root(ctx, &l.last); err != nil {
			err = &baseError{err}
		}
		was = &root
	}
	c := s.newScan(l, f, rules)
	var now entry
	var changed bool
	if err == nil {
		now, changed, err = c.folder(ctx, top, "", 0, was, d)
	}
	if base, ok := errors.AsType[*baseError](err); ok && s.doWithout(base) {
		// Everything is read instead. What is known is not stored again, unless it is damaged.
		c.w.abandon()
		s.log.Warn("the revision before cannot be read: all files are read anew", "workspace", f.Workspace, "revision", l.last.Number, "err", base.err)
		c = s.newScan(l, f, rules)
		c.w.alone = holt.IsKind(base, holt.KindCorrupt)
		now, _, err = c.folder(ctx, top, "", 0, nil, allDirt)
		changed = err == nil && (c.w.alone || idOf(topEntry(&now)) != l.last.Root)
	}
	if err != nil {
		c.w.abandon()
		return Revision{}, err
	}
	l.rules = rules.Text()
	for path, how := range c.fresh {
		l.seen[path] = how
	}
	if !changed && f.Name == "" {
		c.w.abandon()
		l.loaded = true
		return s.settled(ctx, l)
	}
	r, err := s.publish(ctx, l, f, c, now, at)
	if err != nil && !errors.Is(err, ErrQueued) {
		c.w.abandon()
		return Revision{}, err
	}
	l.loaded, l.last = true, r
	return r, err
}

// newScan begins a look at the files of a workspace.
func (s *Store) newScan(l *line, f *Flush, rules *ignore.Rules) *scan {
	return &scan{
		s: s, w: s.newWriter(f.Tenant), ids: f.IDs, rules: rules, since: l.last.At.Add(-coarse),
		seen: l.seen, fresh: map[string]seen{}, report: map[string]int64{},
	}
}

// doWithout reports whether a flush goes on although the revision before cannot be
// read: because it is damaged, or because the store is away and the new one can wait.
func (s *Store) doWithout(err error) bool {
	return holt.IsKind(err, holt.KindCorrupt) || s.spool.dir != "" && holt.KindOf(err).Retryable()
}

// topEntry returns the blob of a top folder: it tells nothing of the folder itself,
// so that equal content has equal bytes.
func topEntry(now *entry) []byte {
	return appendEntry(nil, &entry{kind: Folder, mode: 0o755, uid: usualID, gid: usualID, size: now.size, files: now.files, content: now.content})
}

// settled returns the latest revision of a workspace in which nothing has changed.
func (s *Store) settled(ctx context.Context, l *line) (Revision, error) {
	if l.last.Number == 0 || !l.last.PublishedAt.IsZero() {
		return l.last, nil
	}
	if _, _, n := s.spool.last(l.last.Workspace); n > 0 {
		return l.last, ErrQueued
	}
	// It has been delivered.
	r, err := s.cfg.Revisions.Get(ctx, l.last.Workspace, l.last.Number)
	if holt.IsKind(err, holt.KindNotFound) || err == nil && r.Txn != l.last.Txn {
		return Revision{}, meta.ErrRevisionStale
	} else if err != nil {
		return Revision{}, fmt.Errorf("read revision: %w", err)
	}
	l.last = r
	return r, nil
}

// publish ends what a scan began.
func (s *Store) publish(ctx context.Context, l *line, f *Flush, c *scan, now entry, at time.Time) (Revision, error) {
	w := c.w
	root, err := w.add(ctx, kindTree, topEntry(&now))
	if err != nil {
		return Revision{}, err
	}
	rec := record{
		Workspace: f.Workspace, Number: l.last.Number + 1, At: at, Reason: f.Reason, Name: f.Name,
		Root: root, Torn: c.torn, Skipped: c.skipped,
	}
	if l.last.Tenant == f.Tenant {
		rec.Base = l.last.Number
	}
	text, err := json.Marshal(rec)
	if err != nil {
		return Revision{}, fmt.Errorf("describe revision: %w", err)
	}
	id, err := w.add(ctx, kindRecord, text)
	if err != nil {
		return Revision{}, err
	}
	if err := w.resolve(ctx); err != nil {
		return Revision{}, err
	}
	if err := w.send(ctx); err != nil {
		return Revision{}, err
	}
	s.cfg.Fault("persist.packed")
	p := meta.Publication{
		Revision: Revision{
			Workspace: f.Workspace, Number: rec.Number, Tenant: f.Tenant, Txn: w.txn, Base: rec.Base, At: at, Reason: f.Reason, Name: f.Name,
			Root: root, Record: id, Files: now.files, Bytes: now.size, Stored: w.stored, Torn: c.torn, Skipped: c.skipped,
		},
		Packs: w.packs, Blobs: w.blobs, Reused: w.reused, Replace: w.alone,
	}
	return w.publish(ctx, p)
}

// readRules reads the workspace's own ignore rules.
func readRules(top int) (*ignore.Rules, error) {
	text, err := readSmall(top, topWorkspace+"/"+ignore.FileName, ignore.MaxSize)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", ignore.FileName, err)
	}
	return ignore.New(text), nil
}
