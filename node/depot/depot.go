package depot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/durable"
	"github.com/holt-ide/holt/object"
	"github.com/holt-ide/holt/snapshot"
	"github.com/holt-ide/holt/snapshot/chunk"
)

// Objects is an object store that was reached.
type Objects struct {
	// Store may answer from a cache, Origin does not; see [chunk.Config].
	Store, Origin object.Store

	// Shrink makes the cache in Store give up what it can, when the disk is nearly
	// full; nil if there is none.
	Shrink func()
}

// Config says what a depot works with.
type Config struct {
	Root   string // of the raw snapshots, where volumes can be copied to at once
	Mounts string // where lazy mounts go

	// Connect reaches the object storage. It is called again after it failed. Nil
	// means that there is none: every snapshot stays raw.
	Connect func(ctx context.Context) (Objects, error)

	// Owner names this node's unfinished writes, the same after a restart and
	// different from every other writer's to the same store.
	Owner string

	// RawLimit bounds the raw files that are kept beside a copy in the store; zero
	// means a fifth of the disk. Below a free tenth more of them go.
	RawLimit int64
	// Space measures the disk of Root.
	Space func() (free, total int64, err error)

	// Busy reports whether somebody waits for this host: then work that nobody
	// waits for pauses. Nil means never.
	Busy func() bool

	Log *slog.Logger // nil discards
}

// Depot is an open depot. The methods of the embedded store reach the raw files and
// manifests. All methods may be called concurrently for different snapshots.
type Depot struct {
	*snapshot.Store
	cfg Config
	log *slog.Logger

	connect sync.Mutex // held while the store is being reached; guards objects and tenants
	objects *Objects
	tenants map[string]*tenant
	failed  time.Time // when it could not be reached last
	cause   error

	mu    sync.Mutex // guards users
	users map[holt.SnapshotID]int

	kick chan struct{} // makes Run look
	away atomic.Bool   // the store was away when it was needed last
}

// tenant is one tenant's part of the store, for those who wait and for those who do
// not.
type tenant struct{ front, back *chunk.Store }

const (
	// reconnectAfter is how long nobody asks again after the store could not be reached.
	reconnectAfter = 5 * time.Second
	// connectPatience bounds how long others wait while somebody reaches for it.
	connectPatience = 30 * time.Second
)

// Open prepares the directories. It does not reach for the store.
func Open(cfg Config) (*Depot, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Busy == nil {
		cfg.Busy = func() bool { return false }
	}
	raw, err := snapshot.Open(cfg.Root)
	if err != nil {
		return nil, fmt.Errorf("open snapshots: %w", err)
	}
	if err := clearMounts(cfg.Mounts); err != nil {
		return nil, err
	}
	if err := durable.MkdirAll(cfg.Mounts, 0o711); err != nil {
		return nil, fmt.Errorf("make directory for mounts: %w", err)
	}
	return &Depot{Store: raw, cfg: cfg, log: cfg.Log, kick: make(chan struct{}, 1), tenants: map[string]*tenant{}, users: map[holt.SnapshotID]int{}}, nil
}

// Stores reports whether there is a store.
func (d *Depot) Stores() bool { return d.cfg.Connect != nil }

// errNoStore is returned where a store is needed and none was configured.
var errNoStore error = holt.Errorf(holt.KindUnsupported, "this server keeps no snapshots outside this machine")

// tenant returns a tenant's part of the store, which is reached now if it was not
// before.
func (d *Depot) tenant(ctx context.Context, name string) (*tenant, error) {
	if d.cfg.Connect == nil {
		return nil, errNoStore
	}
	d.connect.Lock()
	defer d.connect.Unlock()
	if t := d.tenants[name]; t != nil {
		return t, nil
	}
	if d.cause != nil && time.Since(d.failed) < reconnectAfter {
		return nil, d.cause
	}
	ctx, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	t, err := d.open(ctx, name)
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			d.failed, d.cause = time.Now(), err
			d.lost(err)
		}
		return nil, err
	}
	d.cause = nil
	d.tenants[name] = t
	return t, nil
}

// pageSize is the size of chunks. A machine that goes on from a snapshot writes its
// pages in a file again, but some pages more or less: larger chunks would begin at
// other places then, and none would be found again. See docs/decisions/0009.
const pageSize = 4 << 10

func (d *Depot) open(ctx context.Context, name string) (*tenant, error) {
	if d.objects == nil {
		o, err := d.cfg.Connect(ctx)
		if err != nil {
			return nil, fmt.Errorf("reach the store of snapshots: %w", err)
		}
		d.objects = &o
	}
	front := chunk.Config{Objects: d.objects.Store, Origin: d.objects.Origin, Tenant: name, Owner: d.cfg.Owner, ChunkSize: pageSize}
	back := front
	// What nobody waits for takes one core at most, and pauses for those who wait.
	back.Workers, back.Uploads = 1, 2
	back.Origin = yielding{d.objects.Origin, d}
	t := new(tenant)
	var err error
	if t.front, err = chunk.Open(ctx, front); holt.IsKind(err, holt.KindCorrupt) {
		d.log.Error("the catalog of snapshots is damaged, it is made anew from their manifests", "tenant", name, "err", err)
		r, rerr := chunk.Repair(ctx, front)
		if rerr != nil {
			return nil, errors.Join(err, rerr)
		}
		d.log.Warn("made the catalog of snapshots anew", "tenant", name, "found", len(r.Found), "unreadable", len(r.Unreadable))
		t.front, err = chunk.Open(ctx, front)
	}
	if err != nil {
		return nil, fmt.Errorf("open the store of snapshots: %w", err)
	}
	if t.back, err = chunk.Open(ctx, back); err != nil {
		return nil, fmt.Errorf("open the store of snapshots: %w", err)
	}
	// Whatever this node was writing when it ended is not being written any more.
	if err := t.back.Recover(ctx); err != nil {
		return nil, fmt.Errorf("recover the store of snapshots: %w", err)
	}
	return t, nil
}

// noted logs when the store goes away and when it comes back, once each.
func (d *Depot) noted(err error) error {
	switch {
	case err == nil:
		if d.away.Swap(false) {
			d.log.Info("the store of snapshots can be reached again")
		}
	case holt.IsKind(err, holt.KindUnavailable), holt.IsKind(err, holt.KindTimeout), holt.IsKind(err, holt.KindForbidden):
		d.lost(err)
	}
	return err
}

func (d *Depot) lost(err error) {
	if !d.away.Swap(true) {
		d.log.Warn("the store of snapshots cannot be used: workspaces suspend and resume from this disk alone until it can", "err", err)
	}
}

// use keeps the raw files of a snapshot until release is called.
func (d *Depot) use(id holt.SnapshotID) (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.users[id]++
	return sync.OnceFunc(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.users[id]--; d.users[id] == 0 {
			delete(d.users, id)
		}
	})
}

// Raw returns whether the files of a snapshot are here, and keeps them here until
// release is called.
func (d *Depot) Raw(id holt.SnapshotID) (here bool, release func()) {
	release = d.use(id)
	if d.Evicted(id) {
		release()
		return false, func() {}
	}
	return true, release
}

// Evict removes the raw files of a snapshot that the store has too, unless they are
// in use. It does nothing for one that is not stored, evicted or unknown.
func (d *Depot) Evict(id holt.SnapshotID) error {
	if _, ok := d.Stored(id); !ok || d.Evicted(id) {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock() // nobody may begin to use it meanwhile
	if d.users[id] > 0 {
		return nil
	}
	return d.Store.Evict(id)
}

// Copy makes an independent copy of a snapshot, raw or in the store, wherever the
// source is.
func (d *Depot) Copy(ctx context.Context, from, to holt.SnapshotID) (*snapshot.Manifest, error) {
	here, release := d.Raw(from)
	defer release()
	if here {
		return d.Store.Copy(ctx, from, to)
	}
	place, ok := d.Stored(from)
	if !ok {
		return nil, holt.Errorf(holt.KindNotFound, "there is no snapshot %s", from)
	}
	m, err := d.Get(from)
	if err != nil {
		return nil, err
	}
	return d.Import(ctx, place.Tenant, from, to, m.Workspace)
}

// Verify reads every byte of a snapshot, or of the named raw files, wherever it is.
func (d *Depot) Verify(ctx context.Context, m *snapshot.Manifest, names ...string) error {
	here, release := d.Raw(m.ID)
	defer release()
	if here {
		return d.Store.Verify(ctx, m, names...)
	}
	place, _ := d.Stored(m.ID)
	return d.verifyStored(ctx, place.Tenant, m.ID)
}

// VerifyAll reads every copy of a snapshot that there is.
func (d *Depot) VerifyAll(ctx context.Context, m *snapshot.Manifest) error {
	place, stored := d.Stored(m.ID)
	here, release := d.Raw(m.ID)
	defer release()
	var err error
	if here {
		err = d.Store.Verify(ctx, m)
	}
	if stored {
		if serr := d.verifyStored(ctx, place.Tenant, m.ID); serr != nil {
			err = errors.Join(err, fmt.Errorf("the copy in the store: %w", serr))
		}
	}
	return err
}

func (d *Depot) verifyStored(ctx context.Context, name string, id holt.SnapshotID) error {
	t, err := d.tenant(ctx, name)
	if err != nil {
		return d.noted(err)
	}
	r, err := t.front.Verify(ctx, id)
	if err != nil {
		return d.noted(err)
	}
	return r.Err()
}
