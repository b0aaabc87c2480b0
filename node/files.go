package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/durable"
	"github.com/holt-ide/holt/fault"
	"github.com/holt-ide/holt/node/feed"
	"github.com/holt-ide/holt/persist"
	hostwire "github.com/holt-ide/holt/wire/host"
)

// Files keeps revisions of volumes outside the node; *persist.Store implements it.
type Files interface {
	Flush(ctx context.Context, f persist.Flush) (persist.Revision, error)
	Latest(ctx context.Context, ws holt.WorkspaceID) (persist.Revision, error)
	Pending(ws holt.WorkspaceID) (since time.Time, n int)
	Restore(ctx context.Context, ws holt.WorkspaceID, number int64, paths []string, to persist.Destination) (persist.Restored, error)
}

// FlushConfig says when files go to the store. Zero fields have defaults.
type FlushConfig struct {
	Interval time.Duration // from the first change to the flush, give or take a tenth; 30 s
	Save     time.Duration // from a save in an editor to the flush; 200 ms
	Rest     time.Duration // from the end of a machine to the flush of what it left; 1 s
	Full     time.Duration // between looks at everything: 5 min
	Parallel int           // flushes at once; 4
	Requests float64       // to the object store, a second, over some seconds; 50
}

func (c *FlushConfig) fill() {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.Interval, 30*time.Second)
	def(&c.Save, 200*time.Millisecond)
	def(&c.Rest, time.Second)
	def(&c.Full, 5*time.Minute)
	if c.Parallel == 0 {
		c.Parallel = 4
	}
}

// volumeNote is what the node remembers of a workspace's volume across its own restarts:
// DIR/files/ID.json. It is written before the volume may have what no revision has.
type volumeNote struct {
	Tenant   string    `json:"tenant"`
	Behind   bool      `json:"behind"`             // the volume may have what no revision has
	Since    time.Time `json:"since,omitzero"`     // of Behind
	Restored int64     `json:"restored,omitempty"` // it was made of this revision, and documents were not brought back since
}

// filer sends the files of volumes to the store: those of living machines when they
// change, and those of volumes at rest once.
type filer struct {
	n     *Node
	store Files // nil for none
	cfg   FlushConfig
	turns *persist.Scheduler

	mu      sync.Mutex // guards what is below, and the notes on the disk
	resting map[holt.WorkspaceID]*rest
	trouble map[holt.WorkspaceID]trouble
}

// rest is a volume at rest that waits for its flush, or is being flushed.
type rest struct {
	cancel context.CancelFunc
	again  chan struct{} // capacity 1: try now
	done   chan struct{}
}

// trouble is why a workspace's files are not in the store.
type trouble struct {
	since time.Time // of the first change that is not there
	text  string
	told  bool
}

func newFiler(n *Node, store Files, cfg FlushConfig) *filer {
	cfg.fill()
	return &filer{
		n: n, store: store, cfg: cfg, turns: persist.NewScheduler(persist.Schedule{Requests: cfg.Requests, Parallel: cfg.Parallel}, nil),
		resting: map[holt.WorkspaceID]*rest{}, trouble: map[holt.WorkspaceID]trouble{},
	}
}

func (f *filer) notePath(ws holt.WorkspaceID) string {
	return filepath.Join(f.n.cfg.Dir, "files", string(ws)+".json")
}

// note returns what is remembered of a volume; found is false for nothing.
func (f *filer) note(ws holt.WorkspaceID) (v volumeNote, found bool, err error) {
	body, err := os.ReadFile(f.notePath(ws))
	if errors.Is(err, fs.ErrNotExist) {
		return v, false, nil
	} else if err != nil {
		return v, false, fmt.Errorf("read note of a volume: %w", err)
	}
	if err := json.Unmarshal(body, &v); err != nil {
		return v, false, fmt.Errorf("decode note of volume %s: %w", ws, err)
	}
	return v, true, nil
}

// change edits a volume's note.
func (f *filer) change(ws holt.WorkspaceID, edit func(*volumeNote)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	was, found, err := f.note(ws)
	if err != nil {
		f.n.log.Error("the note of a volume is made anew", "workspace", ws, "err", err)
	}
	v := was
	edit(&v)
	if found && v == was {
		return nil
	}
	body, err := json.Marshal(v)
	if err == nil {
		err = durable.WriteFile(f.notePath(ws), body, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write note of a volume: %w", err)
	}
	return nil
}

// behind notes that the volume may have what no revision has, before it is so.
func (f *filer) behind(ws holt.WorkspaceID, tenant string) error {
	if f.store == nil {
		return nil
	}
	return f.change(ws, func(v *volumeNote) {
		if tenant != "" {
			v.Tenant = tenant
		}
		if !v.Behind {
			v.Behind, v.Since = true, time.Now().UTC()
		}
	})
}

// forget drops what is remembered of a volume that is no more.
func (f *filer) forget(ws holt.WorkspaceID) error {
	f.leave(ws)
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.trouble, ws)
	return durable.Remove(f.notePath(ws))
}

// open makes ready, and begins with what a former process left behind.
func (f *filer) open() error {
	dir := filepath.Join(f.n.cfg.Dir, "files")
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make directory for notes of volumes: %w", err)
	}
	if _, err := durable.Clean(dir); err != nil {
		return fmt.Errorf("clean notes of volumes: %w", err)
	}
	if f.store == nil {
		return nil
	}
	f.n.wg.Go(func() { f.turns.Run(f.n.run) })
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list notes of volumes: %w", err)
	}
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), ".json"); ok {
			f.rest(holt.WorkspaceID(id))
		}
	}
	return nil
}

// rest flushes the volume of a workspace without a machine soon, if that is behind.
func (f *filer) rest(ws holt.WorkspaceID) {
	if f.store == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.resting[ws] != nil || f.n.run.Err() != nil {
		return
	}
	ctx, cancel := context.WithCancel(f.n.run)
	r := &rest{cancel: cancel, again: make(chan struct{}, 1), done: make(chan struct{})}
	f.resting[ws] = r
	f.n.wg.Go(func() {
		defer close(r.done)
		defer cancel()
		f.restLoop(ctx, ws, r.again)
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.resting[ws] == r {
			delete(f.resting, ws)
		}
	})
}

// leave ends what is done with a volume at rest, and returns when nothing of it is
// open any more.
func (f *filer) leave(ws holt.WorkspaceID) {
	f.mu.Lock()
	r := f.resting[ws]
	delete(f.resting, ws)
	f.mu.Unlock()
	if r != nil {
		r.cancel()
		<-r.done
	}
}

func (f *filer) restLoop(ctx context.Context, ws holt.WorkspaceID, again <-chan struct{}) {
	const most = 5 * time.Minute
	for wait := f.cfg.Rest; ; wait = min(max(2*wait, f.cfg.Interval), most) {
		select {
		case <-ctx.Done():
			return
		case <-again:
		case <-time.After(jitter(wait)):
		}
		_, err := f.flushRest(ctx, ws, "suspend")
		if err == nil || ctx.Err() != nil {
			return
		}
		if !holt.KindOf(err).Retryable() {
			f.n.log.Error("files of a volume at rest cannot be kept", "workspace", ws, "err", err)
		}
	}
}

// jitter is d, a tenth more or less, so that many do not come at once.
func jitter(d time.Duration) time.Duration { return d - d/10 + rand.N(d/5+1) }

// errNoVolume reports that there is nothing to look at.
var errNoVolume error = holt.Errorf(holt.KindNotFound, "there is no volume of this workspace here")

// flushRest makes a revision of a volume at rest, if it is behind.
func (f *filer) flushRest(ctx context.Context, ws holt.WorkspaceID, reason string) (rev persist.Revision, err error) {
	defer f.n.volumeLocks.lock(string(ws))()
	v, found, err := f.note(ws)
	if err != nil || !found || !v.Behind || v.Tenant == "" {
		return rev, err
	}
	records, err := f.n.records()
	if err != nil {
		return rev, err
	}
	for _, r := range records {
		if r.Workspace == ws {
			return rev, nil // a machine has it
		}
	}
	if ok, err := f.n.volumes.Exists(ws); err != nil || !ok {
		return rev, err
	}
	ctx, leave, err := f.turn(ctx, ws, holt.UserID(v.Tenant), false)
	if err != nil {
		return rev, err
	}
	defer leave()
	fault.Point("files.before-rest")
	err = f.n.volumes.Look(ws, func(dir string) error {
		top, err := os.Open(dir)
		if err != nil {
			return fmt.Errorf("open volume: %w", err)
		}
		defer top.Close()
		rev, err = f.store.Flush(ctx, persist.Flush{Workspace: ws, Tenant: holt.UserID(v.Tenant), Root: top, Reason: reason})
		return err
	})
	f.noted(nil, ws, v.Since, err)
	if err != nil {
		return rev, err
	}
	fault.Point("files.rest-flushed")
	return rev, f.change(ws, func(v *volumeNote) { v.Behind, v.Since = false, time.Time{} })
}

// turn waits until a workspace may be flushed: requests to the store are bounded, and
// tenants take turns. The flush is made with the context that it returns.
func (f *filer) turn(ctx context.Context, ws holt.WorkspaceID, tenant holt.UserID, urgent bool) (context.Context, func(), error) {
	return f.turns.Enter(ctx, persist.Job{Workspace: ws, Tenant: tenant, Urgent: urgent})
}

// noted remembers how a flush ended, and tells the workspace's users when the store goes
// away and comes back. m is nil for a volume at rest.
func (f *filer) noted(m *machine, ws holt.WorkspaceID, since time.Time, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	f.mu.Lock()
	was, had := f.trouble[ws]
	now := was
	if err != nil {
		if !had || !since.IsZero() && since.Before(now.since) {
			now.since = since
		}
		now.text, now.told = reasonOf(err), true
		f.trouble[ws] = now
	} else {
		delete(f.trouble, ws)
	}
	f.mu.Unlock()
	switch {
	case err != nil && (!was.told || was.text != now.text):
		f.n.log.Warn("files are not in the store", "workspace", ws, "since", now.since, "err", err)
		f.n.noticeOf(m, ws, "files-behind", fmt.Sprintf("not durable since %s: %s; the changes are on this server's disk", now.since.UTC().Format("15:04:05 UTC"), bounded(now.text)))
	case err == nil && was.told:
		f.n.noticeOf(m, ws, "files-durable", "all changes are durable again")
	}
}

// reasonOf is the text of err for the user.
func reasonOf(err error) string {
	if e, ok := errors.AsType[*holt.Error](err); ok && e.Text != "" {
		return e.Text
	}
	return err.Error()
}

// filing is the files of a living machine.
type filing struct {
	f      *filer
	m      *machine
	ws     holt.WorkspaceID
	tenant holt.UserID
	feed   *feed.Feed
	top    *os.File
	save   chan struct{} // capacity 1: somebody saved a file

	flushing sync.Mutex // held during a flush, and by stop
	stopped  bool
	mu       sync.Mutex
	busy     time.Time // the first change that is being flushed now; zero for none
	seen     time.Time // up to when everything is in a revision
	ctx      context.Context
	cancel   context.CancelFunc
	done     chan struct{}
}

// begin keeps the files of a machine whose volume is mounted.
func (f *filer) begin(m *machine) {
	r := m.snapshotRecord()
	if f.store == nil {
		return
	}
	tenant := r.Tenant
	if tenant == "" { // a record of an earlier version
		if v, _, err := f.note(r.Workspace); err == nil {
			tenant = v.Tenant
		}
	}
	if tenant == "" {
		f.n.log.Warn("the files of a machine are not kept until it starts anew: whose they are is not in its record", "sandbox", r.Sandbox, "workspace", r.Workspace)
		return
	}
	dir := f.n.volumes.MountPoint(r.Workspace)
	top, err := os.Open(dir)
	if err == nil {
		var fd *feed.Feed
		if fd, err = feed.Open(dir); err == nil {
			if refused := fd.Refused(); refused != nil {
				f.n.log.Warn("the kernel does not report changes of files: all are looked at each time", "err", refused)
			}
			g := &filing{f: f, m: m, ws: r.Workspace, tenant: holt.UserID(tenant), feed: fd, top: top, save: make(chan struct{}, 1), done: make(chan struct{})}
			g.ctx, g.cancel = context.WithCancel(f.n.run)
			m.filing.Store(g)
			f.n.wg.Go(g.run)
			return
		}
		top.Close()
	}
	f.n.log.Error("the files of a machine are not kept", "sandbox", r.Sandbox, "workspace", r.Workspace, "err", err)
}

// end stops keeping the files of a machine. Nothing of its volume is open when it
// returns.
func (f *filer) end(m *machine) {
	g := m.filing.Load()
	if g == nil {
		return
	}
	g.cancel()
	<-g.done
	g.flushing.Lock()
	defer g.flushing.Unlock()
	if g.stopped {
		return
	}
	g.stopped = true
	g.feed.Close()
	g.top.Close()
}

// saved makes the files go to the store at once.
func (m *machine) saved() {
	if g := m.filing.Load(); g != nil {
		select {
		case g.save <- struct{}{}:
		default:
		}
	}
}

// run flushes when there is something to flush.
func (g *filing) run() {
	defer close(g.done)
	cfg := &g.f.cfg
	// What happened before the feed was open is not known: soon it is.
	full := time.NewTimer(jitter(min(cfg.Interval/2, 10*time.Second)))
	defer full.Stop()
	for {
		var due <-chan time.Time
		reason := "interval"
		select {
		case <-g.ctx.Done():
			return
		case <-full.C:
			full.Reset(jitter(cfg.Full))
			due, reason = time.After(0), "look"
		case <-g.save:
			due, reason = time.After(cfg.Save), "save"
		case <-g.feed.Changed():
			due = time.After(jitter(cfg.Interval))
		}
		for waiting := true; waiting; {
			select {
			case <-g.ctx.Done():
				return
			case <-g.save:
				if reason != "save" {
					due, reason = time.After(cfg.Save), "save"
				}
			case <-due:
				waiting = false
			}
		}
		_, err := g.flush(g.ctx, reason, reason == "look")
		if err != nil && g.ctx.Err() == nil {
			g.f.n.log.Debug("flush files", "workspace", g.ws, "err", err)
			select { // what was given back rings already
			case <-g.ctx.Done():
				return
			case <-time.After(jitter(cfg.Interval / 2)):
			}
		}
	}
}

// flush makes a revision of what changed, or of what differs if everything shall be looked
// at, and returns the latest.
func (g *filing) flush(ctx context.Context, reason string, all bool) (persist.Revision, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(g.ctx, cancel)()
	ctx, leave, err := g.f.turn(ctx, g.ws, g.tenant, reason != "interval")
	if err != nil {
		return persist.Revision{}, err
	}
	defer leave()
	g.flushing.Lock()
	defer g.flushing.Unlock()
	if g.stopped || ctx.Err() != nil {
		return persist.Revision{}, holt.Errorf(holt.KindUnavailable, "the machine is ending: its files are kept after that")
	}
	begin := time.Now()
	c := g.feed.Take()
	if all {
		c.All = true
	}
	if c.None() {
		return g.f.store.Latest(ctx, g.ws)
	}
	if c.Since.IsZero() {
		c.Since = begin
	}
	g.setBusy(c.Since)
	defer g.setBusy(time.Time{})
	fault.Point("files.before-flush")
	f := persist.Flush{Workspace: g.ws, Tenant: g.tenant, Root: g.top, IDs: g.m.slot.IDBase(), Reason: reason}
	if !c.All {
		f.Dirty = c.Paths
	}
	rev, err := g.f.store.Flush(ctx, f)
	fault.Point("files.after-flush")
	switch {
	case errors.Is(err, persist.ErrQueued): // it waits on the disk: nothing has to be looked at again
	case err != nil:
		g.feed.Return(c)
	default:
		g.mu.Lock()
		g.seen = begin
		g.mu.Unlock()
		g.m.filed(begin)
	}
	g.f.noted(g.m, g.ws, c.Since, err)
	return rev, err
}

func (g *filing) setBusy(since time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy = since
}

// state is how far the files of the machine are.
func (g *filing) state() hostwire.FilesState {
	s := hostwire.FilesState{Keeps: true}
	since, dirty := g.feed.Dirty()
	g.mu.Lock()
	if !g.busy.IsZero() {
		s.Flushing = true
		if !dirty || g.busy.Before(since) {
			since, dirty = g.busy, true
		}
	}
	s.Seen = g.seen
	g.mu.Unlock()
	if dirty {
		s.Behind, s.Since = true, since
	}
	return s
}

// FilesState tells how far the files of a workspace are; see package workspace.
func (n *Node) FilesState(ws holt.WorkspaceID) (hostwire.FilesState, error) {
	f := n.files
	s := hostwire.FilesState{Keeps: f.store != nil}
	if !s.Keeps {
		return s, nil
	}
	if g := n.filingOf(ws); g != nil {
		s = g.state()
	} else {
		v, _, err := f.note(ws)
		if err != nil {
			return s, err
		}
		s.Behind, s.Since = v.Behind, v.Since
	}
	if since, waiting := f.store.Pending(ws); waiting > 0 {
		if !s.Behind || since.Before(s.Since) {
			s.Behind, s.Since = true, since
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if t, ok := f.trouble[ws]; ok {
		s.Trouble, s.Behind = t.text, true
		if s.Since.IsZero() || t.since.Before(s.Since) {
			s.Since = t.since
		}
	}
	return s, nil
}

// FilesPublished hears of every revision that is in the store by now; cmd passes it on from there.
func (n *Node) FilesPublished(rev persist.Revision) {
	f := n.files
	if _, waiting := f.store.Pending(rev.Workspace); waiting > 0 {
		return
	}
	var m *machine
	if g := n.filingOf(rev.Workspace); g != nil {
		m = g.m
		m.filed(rev.At)
	}
	f.noted(m, rev.Workspace, time.Time{}, nil)
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := f.resting[rev.Workspace]; r != nil {
		select {
		case r.again <- struct{}{}:
		default:
		}
	}
}

// FilesDropped hears that what waited for the store was given up: all is looked at again.
func (n *Node) FilesDropped(ws holt.WorkspaceID) {
	if g := n.filingOf(ws); g != nil {
		g.feed.Return(feed.Changes{All: true})
		return
	}
	if err := n.files.behind(ws, ""); err != nil {
		n.log.Error("note that a volume is behind", "workspace", ws, "err", err)
	}
	n.files.rest(ws)
}

// filingOf returns the files of the living machine of a workspace, or nil.
func (n *Node) filingOf(ws holt.WorkspaceID) *filing {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range n.machines {
		if m.rec.Workspace == ws {
			return m.filing.Load()
		}
	}
	return nil
}

// SyncFiles returns when everything that a workspace's files are now is in the store; see
// package workspace.
func (n *Node) SyncFiles(ctx context.Context, ws holt.WorkspaceID, tenant, reason string) (int64, error) {
	f := n.files
	if f.store == nil {
		return 0, errNoFiles
	}
	if g := n.filingOf(ws); g != nil {
		g.m.writeDocuments(ctx)
		rev, err := g.flush(ctx, reason, true)
		return rev.Number, err
	}
	if ok, err := n.volumes.Exists(ws); err != nil || !ok {
		return 0, errors.Join(err, errNoVolume)
	}
	if _, found, err := f.note(ws); err != nil {
		return 0, err
	} else if !found { // of an earlier version
		if err := f.behind(ws, tenant); err != nil {
			return 0, err
		}
	}
	rev, err := f.flushRest(ctx, ws, reason)
	if err == nil && rev.Number == 0 {
		rev, err = f.store.Latest(ctx, ws)
	}
	return rev.Number, err
}

// errNoFiles is returned where revisions are needed and none are kept.
var errNoFiles error = holt.Errorf(holt.KindUnsupported, "this server keeps no files outside its volumes: it was started with --store none")

// RestoreFiles brings paths of a revision back into the volume of a living machine; see
// package workspace.
func (n *Node) RestoreFiles(ctx context.Context, id holt.SandboxID, r hostwire.RestoreFiles) (hostwire.RestoredFiles, error) {
	m, err := n.find(id)
	if err != nil {
		return hostwire.RestoredFiles{}, err
	}
	if n.files.store == nil {
		return hostwire.RestoredFiles{}, errNoFiles
	}
	m.op.Lock() // no freeze meanwhile
	defer m.op.Unlock()
	g := m.filing.Load()
	if g == nil {
		return hostwire.RestoredFiles{}, holt.Errorf(holt.KindUnavailable, "the files of this machine are not kept yet: try again in a moment")
	}
	m.writeDocuments(ctx)
	before, err := g.flush(ctx, "before-restore", true)
	if err != nil {
		return hostwire.RestoredFiles{}, fmt.Errorf("keep the files as they are: %w", err)
	}
	fault.Point("files.before-restore")
	var done persist.Restored
	err = n.volumes.Unshifted(m.snapshotRecord().Workspace, func(dir string) error {
		top, err := os.Open(dir)
		if err != nil {
			return fmt.Errorf("open volume: %w", err)
		}
		defer top.Close()
		done, err = n.files.store.Restore(ctx, r.From, r.Number, r.Paths, persist.Destination{Root: top, Exact: r.Exact})
		return err
	})
	if err != nil {
		return hostwire.RestoredFiles{}, err
	}
	m.saved()
	return hostwire.RestoredFiles{Before: before.Number, Files: done.Files, Same: done.Same, Removed: done.Removed, Bytes: done.Bytes}, nil
}
