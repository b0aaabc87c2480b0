package workspace

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/fault"
	"github.com/holt-ide/holt/meta"
)

// Images finds base images.
type Images interface {
	// Resolve returns the image that ref means now; "" means the default image.
	// An unknown one is KindNotFound or KindInvalid, with a text for the user.
	Resolve(ctx context.Context, ref string) (holt.ImageID, error)
}

// Config is what a [Manager] needs. Store (of rows), Node, NodeID and Images are required;
// the zero value of every other field works.
type Config struct {
	Store  meta.Store
	Node   Node
	NodeID holt.NodeID // workspaces of other nodes are left alone
	Images Images

	Snapshots SnapshotStore // keeps snapshots outside the node; nil means that nothing does

	Files        FileStore    // keeps files outside their volumes; nil means that nothing does
	CopyRevision CopyRevision // nil with Files

	Most       holt.Limits   // largest limits a workspace may ask for; a zero field means no bound
	MaxRunning int           // machines at once; 0 means no bound
	IdleAfter  time.Duration // for workspaces that do not say; 0 means never
	Parallel   int           // boots at once, and freezes and resumes at once; 0 means 4

	Log   *slog.Logger     // nil discards
	Now   func() time.Time // nil means time.Now
	Fault fault.Func       // called at every fault point; nil means fault.Point

	Backoff time.Duration // pause after a first failure, doubled each time up to a minute; 0 means 500 ms
	Tick    time.Duration // between looks at everything; 0 means 3 s
	Sample  time.Duration // between looks at activity; 0 means 10 s
	Garbage time.Duration // between collections of what no row names; 0 means 5 min

	KeepAfter time.Duration // how long a workspace sleeps before its snapshot goes to the store; 0 means 2 s
	KeepEvery time.Duration // between looks at what is to be kept, beside those that are asked for; 0 means 1 min
	KeepLast  int           // snapshots of a workspace that stay in the store, beside those that are named; 0 means 2
	Maintain  time.Duration // between collections in the store; 0 means an hour
	Scrub     time.Duration // between readings of all that is in the store; 0 means a week
}

func (c *Config) fill() {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.Backoff, 500*time.Millisecond)
	def(&c.Tick, 3*time.Second)
	def(&c.Sample, 10*time.Second)
	def(&c.Garbage, 5*time.Minute)
	def(&c.KeepAfter, 2*time.Second)
	def(&c.KeepEvery, time.Minute)
	def(&c.Maintain, time.Hour)
	def(&c.Scrub, 7*24*time.Hour)
	if c.KeepLast == 0 {
		c.KeepLast = 2
	}
	if c.Parallel == 0 {
		c.Parallel = 4
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Fault == nil {
		c.Fault = fault.Point
	}
}

// Manager drives the workspaces of one node. Its methods may be called
// concurrently.
type Manager struct {
	cfg Config

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	wg   sync.WaitGroup // every goroutine

	bell    bell          // rings after every write
	gates   gates         // one per workspace: steps do not overlap
	boots   chan struct{} // places for provisioning
	freezes chan struct{} // places for freezing and resuming

	keepBell chan struct{} // wakes the keeper

	mu       sync.Mutex // guards jobs, closed and troubles
	jobs     map[holt.WorkspaceID]*job
	close    bool
	troubles map[holt.SnapshotID]string // why a snapshot is not durable yet

	admission sync.Mutex // held while places to run are counted and taken; guards line
	line      []holt.WorkspaceID

	// images is held shared from the choice of an image until a row names it, and
	// alone while images are removed. Nothing else is taken while waiting for it.
	images sync.RWMutex

	active activity
}

// Open starts to drive the workspaces of the node. It removes what no row names
// before it returns; workspaces that a crash left half way, or whose machine is
// gone, are repaired from then on in the background.
func Open(ctx context.Context, cfg Config) (*Manager, error) {
	cfg.fill()
	m := &Manager{
		cfg: cfg, jobs: map[holt.WorkspaceID]*job{}, keepBell: make(chan struct{}, 1), troubles: map[holt.SnapshotID]string{},
		boots: make(chan struct{}, cfg.Parallel), freezes: make(chan struct{}, cfg.Parallel),
	}
	m.ctx, m.stop = context.WithCancel(context.WithoutCancel(ctx))
	err := m.forgetUnready(ctx)
	if err == nil {
		err = m.collect(ctx)
	}
	if err != nil {
		m.stop()
		return nil, fmt.Errorf("collect garbage: %w", err)
	}
	rows, err := m.all(ctx)
	if err != nil {
		m.stop()
		return nil, fmt.Errorf("read workspaces: %w", err)
	}
	for _, w := range rows {
		m.kick(w.ID)
	}
	m.wg.Go(m.listen)
	m.wg.Go(m.reconcile)
	m.wg.Go(m.watchIdle)
	if cfg.Snapshots != nil {
		m.wg.Go(m.keepLoop)
	}
	return m, nil
}

// Close stops driving. Effects under way are cancelled; machines run on. It
// returns when every goroutine has ended, or with ctx's error.
func (m *Manager) Close(ctx context.Context) error {
	m.mu.Lock()
	m.close = true
	m.mu.Unlock()
	m.flushActivity(ctx)
	m.stop()
	done := make(chan struct{})
	go func() { m.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for steps under way: %w", ctx.Err())
	}
}

// all returns every row of this node that is not DELETED, oldest first.
func (m *Manager) all(ctx context.Context, states ...holt.State) (rows []meta.Workspace, err error) {
	p := meta.Page{Limit: meta.MaxPage, States: states}
	for {
		page, next, err := m.cfg.Store.Workspaces().List(ctx, p)
		if err != nil {
			return nil, err
		}
		for _, w := range page {
			if w.Node == m.cfg.NodeID {
				rows = append(rows, w)
			}
		}
		if next == "" {
			return rows, nil
		}
		p.Cursor = next
	}
}

// reconcile looks at everything now and then: for work that nobody told of, for
// machines that are gone, and for garbage.
func (m *Manager) reconcile() {
	tick := time.NewTicker(m.cfg.Tick)
	defer tick.Stop()
	swept := m.cfg.Now()
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-tick.C:
		}
		if err := m.look(m.ctx); err != nil && m.ctx.Err() == nil {
			m.cfg.Log.Error("reconcile", "err", err)
		}
		if m.cfg.Now().Sub(swept) < m.cfg.Garbage {
			continue
		}
		swept = m.cfg.Now()
		if err := m.collect(m.ctx); err != nil && m.ctx.Err() == nil {
			m.cfg.Log.Error("collect garbage", "err", err)
		}
	}
}

// look kicks every workspace that has something to do.
func (m *Manager) look(ctx context.Context) error {
	rows, err := m.all(ctx)
	if err != nil {
		return fmt.Errorf("read workspaces: %w", err)
	}
	inv, err := m.cfg.Node.Inventory(ctx)
	if err != nil {
		return fmt.Errorf("list what exists: %w", err)
	}
	occupied := 0
	for _, w := range rows {
		if occupies(w.State) {
			occupied++
		}
	}
	full := m.cfg.MaxRunning > 0 && occupied >= m.cfg.MaxRunning
	for _, w := range rows {
		switch s := decide(w, viewOf(w, inv)); {
		case s == stepRest:
		case s == stepStart && full && w.Message != "": // waits in line, which is kicked
		default:
			m.kick(w.ID)
		}
	}
	return nil
}

// listen notes what machines did on their own.
func (m *Manager) listen() {
	for {
		select {
		case <-m.ctx.Done():
			return
		case n, ok := <-m.cfg.Node.Notices():
			if !ok {
				return
			}
			if err := m.hear(m.ctx, n); err != nil && m.ctx.Err() == nil {
				m.cfg.Log.Error("note what a machine did", "workspace", n.Workspace, "notice", n.Name, "err", err)
			}
			if n.Exited {
				m.kick(n.Workspace)
			}
		}
	}
}

func (m *Manager) hear(ctx context.Context, n Notice) error {
	w, err := m.cfg.Store.Workspaces().Get(ctx, n.Workspace)
	if err != nil {
		return err
	}
	if n.Sandbox != w.Sandbox || n.Exited && w.State != holt.Running {
		return nil // a machine we replaced or are ending
	}
	return m.note(ctx, w, n.At, note{name: n.Name, text: n.Text})
}

// collect frees what exists on the node and is named in no row. Rows name things
// before they exist, and the rows are read after the list, so nothing that is
// being made is taken for garbage.
//
// A volume goes only when its workspace is known to be DELETED: files of a
// workspace that the database does not know may be all that is left of somebody's
// work, so they are reported and kept.
func (m *Manager) collect(ctx context.Context) error {
	inv, err := m.cfg.Node.Inventory(ctx)
	if err != nil {
		return fmt.Errorf("list what exists: %w", err)
	}
	rows, err := m.all(ctx)
	if err != nil {
		return fmt.Errorf("read workspaces: %w", err)
	}
	checkpoints, err := m.cfg.Store.Checkpoints().All(ctx)
	if err != nil {
		return fmt.Errorf("read checkpoints: %w", err)
	}
	line, err := m.cfg.Store.Snapshots().All(ctx)
	if err != nil {
		return fmt.Errorf("read snapshots: %w", err)
	}
	known := map[holt.WorkspaceID]bool{}
	sandboxes := map[holt.SandboxID]bool{}
	snapshots := namedSnapshots(rows, checkpoints)
	for _, w := range rows {
		known[w.ID] = true
		sandboxes[w.Sandbox] = true
	}
	for _, s := range line {
		snapshots[s.ID] = true
	}
	for _, s := range inv.Sandboxes {
		if !sandboxes[s.ID] {
			m.cfg.Log.Info("release a sandbox that nothing names", "sandbox", s.ID, "workspace", s.Workspace)
			m.cfg.Fault("collect.before-release")
			m.freed(ctx, m.cfg.Node.Release(ctx, s.ID))
		}
	}
	for _, id := range inv.Snapshots {
		if !snapshots[id] {
			m.cfg.Log.Info("discard a snapshot that nothing names", "snapshot", id)
			m.cfg.Fault("collect.before-discard")
			m.freed(ctx, m.cfg.Node.DiscardSnapshot(ctx, id))
		}
	}
	for _, id := range inv.Volumes {
		if !known[id] {
			m.freed(ctx, m.collectVolume(ctx, id))
		}
	}
	return ctx.Err()
}

// freed logs that something could not be freed. It stays garbage and is tried
// again at the next collection.
func (m *Manager) freed(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		m.cfg.Log.Warn("collect garbage", "err", err)
	}
}

func (m *Manager) collectVolume(ctx context.Context, id holt.WorkspaceID) error {
	w, err := m.cfg.Store.Workspaces().Get(ctx, id)
	switch {
	case holt.IsKind(err, holt.KindNotFound):
		m.cfg.Log.Warn("keep a volume of a workspace that the database does not know", "workspace", id)
		return nil
	case err != nil:
		return err
	case w.State != holt.Deleted:
		return nil // made since the rows were read, or another node's
	}
	m.cfg.Log.Info("discard the volume of a deleted workspace", "workspace", id)
	return m.cfg.Node.DiscardVolume(ctx, id)
}
