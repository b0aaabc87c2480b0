package depot

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/fault"
	"github.com/holt-ide/holt/object"
	"github.com/holt-ide/holt/snapshot"
	"github.com/holt-ide/holt/snapshot/chunk"
)

// manifestFile is the name under which the raw manifest is in the store.
const manifestFile = "manifest"

// Kept is a snapshot that the store has.
type Kept struct {
	Bytes  int64 // of its files
	Stored int64 // bytes that it added
}

// New is a raw snapshot that is to be kept in the store.
type New struct {
	ID       holt.SnapshotID
	Parent   holt.SnapshotID   // the one before it in the store, or ""
	Describe json.RawMessage   // goes into the store beside it
	Extra    map[string]string // files that go along, by the name that they have in the store; see [Depot.Extra]
}

// Keep commits a raw snapshot to a tenant's part of the store and returns when
// everything that it refers to has been read back. Called again it finishes or
// repeats what is left. KindCorrupt says that the raw files are damaged.
func (d *Depot) Keep(ctx context.Context, name string, n New) (Kept, error) {
	id := n.ID
	m, err := d.Get(id)
	if err != nil {
		return Kept{}, err
	}
	t, err := d.tenant(ctx, name)
	if err != nil {
		return Kept{}, d.noted(err)
	}
	fault.Point("keep.begun")
	e, err := d.committed(ctx, t, id)
	if err != nil {
		return Kept{}, d.noted(err)
	}
	if e == nil {
		if e, err = d.commit(ctx, t, m, n); err != nil {
			return Kept{}, d.noted(err)
		}
	}
	fault.Point("keep.committed")
	if err := d.MarkStored(id, snapshot.Place{Tenant: name, At: time.Now().UTC()}); err != nil {
		return Kept{}, err
	}
	fault.Point("keep.marked")
	select {
	case d.kick <- struct{}{}: // raw files may go now
	default:
	}
	return Kept{Bytes: e.Bytes, Stored: e.Stored}, d.noted(nil)
}

// committed returns the snapshot as the store has it from an earlier call, or nil.
// One that is damaged there is given up.
func (d *Depot) committed(ctx context.Context, t *tenant, id holt.SnapshotID) (*chunk.Entry, error) {
	e, err := find(ctx, t.back, id)
	if err != nil || e == nil {
		return nil, err
	}
	r, err := t.back.Verify(ctx, id)
	if err != nil {
		return nil, err
	}
	if r.Err() == nil {
		return e, nil
	}
	d.log.Warn("a snapshot is damaged in the store, it is written again", "snapshot", id, "err", r.Err())
	return nil, t.back.Delete(ctx, id)
}

func find(ctx context.Context, s *chunk.Store, id holt.SnapshotID) (*chunk.Entry, error) {
	entries, err := s.Entries(ctx)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(entries, func(e chunk.Entry) bool { return e.ID == id }); i >= 0 {
		return &entries[i], nil
	}
	return nil, nil
}

func (d *Depot) commit(ctx context.Context, t *tenant, m *snapshot.Manifest, asked New) (*chunk.Entry, error) {
	begin := time.Now()
	n := chunk.New{ID: m.ID, Workspace: m.Workspace, Parent: asked.Parent, CreatedAt: m.CreatedAt, Meta: asked.Describe}
	man, err := d.write(ctx, t.back, m, n, asked.Extra)
	if holt.IsKind(err, holt.KindCorrupt) {
		if verr := d.Store.Verify(ctx, m); verr != nil {
			return nil, verr // the raw files are what is damaged
		}
		d.log.Warn("an older snapshot is damaged in the store, this one is written without its chunks", "snapshot", m.ID, "err", err)
		n.Alone = true
		man, err = d.write(ctx, t.back, m, n, asked.Extra)
	}
	if err != nil {
		return nil, err
	}
	s := man.Stats
	d.log.Info("snapshot stored", "snapshot", m.ID, "workspace", m.Workspace, "bytes", s.Plain, "zero", s.Zero, "duplicate", s.Duplicate,
		"new", s.New, "stored", s.Stored, "took", time.Since(begin).Round(time.Millisecond))
	return &chunk.Entry{ID: man.ID, Bytes: man.Bytes(), Stored: s.Stored}, nil
}

func (d *Depot) write(ctx context.Context, s *chunk.Store, m *snapshot.Manifest, n chunk.New, extra map[string]string) (_ *chunk.Manifest, err error) {
	here, release := d.Raw(m.ID)
	defer release()
	if !here {
		return nil, holt.Errorf(holt.KindNotFound, "the files of snapshot %s are not here any more", m.ID)
	}
	w, err := s.Begin(ctx, n)
	if err != nil {
		return nil, fmt.Errorf("begin to store snapshot: %w", err)
	}
	defer func() {
		if err != nil {
			if aerr := w.Abort(context.WithoutCancel(ctx)); aerr != nil {
				d.log.Info("what was written of a snapshot is left to the collector", "snapshot", m.ID, "err", aerr)
			}
		}
	}()
	encoded, err := d.Encoded(m.ID)
	if err != nil {
		return nil, err
	}
	if err := w.Add(ctx, manifestFile, bytes.NewReader(encoded), int64(len(encoded))); err != nil {
		return nil, err
	}
	for _, f := range m.Files {
		r, err := d.Reader(m, f.Name)
		if err != nil {
			return nil, err
		}
		err = w.Add(ctx, f.Name, patient{r, d}, f.Size)
		r.Close()
		if err != nil {
			return nil, err
		}
	}
	for _, as := range slices.Sorted(maps.Keys(extra)) {
		if err := addFile(ctx, w, as, extra[as]); err != nil {
			return nil, err
		}
	}
	return w.Commit(ctx)
}

func addFile(ctx context.Context, w *chunk.Writer, as, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open %s: %w", as, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("measure %s: %w", as, err)
	}
	return w.Add(ctx, as, f, info.Size())
}

// maxExtra bounds a file that went along.
const maxExtra = 256 << 20

// Extra writes a file that went along with a snapshot to dst. KindNotFound if there is
// none of the name.
func (d *Depot) Extra(ctx context.Context, id holt.SnapshotID, as string, dst io.Writer) error {
	place, ok := d.Stored(id)
	if !ok {
		return holt.Errorf(holt.KindNotFound, "snapshot %s is not in the store", id)
	}
	t, err := d.tenant(ctx, place.Tenant)
	if err != nil {
		return d.noted(err)
	}
	v, err := t.front.View(ctx, id)
	if err != nil {
		return d.noted(err)
	}
	defer v.Close()
	f, err := v.Open(as)
	if err != nil {
		return err
	}
	if f.Size() > maxExtra {
		return holt.Errorf(holt.KindCorrupt, "%s in snapshot %s has %d bytes", as, id, f.Size())
	}
	_, err = io.Copy(dst, io.NewSectionReader(f, 0, f.Size()))
	return d.noted(err)
}

// patient reads the raw files when nobody waits for this host.
type patient struct {
	*snapshot.Reader
	d *Depot
}

var _ io.ReaderAt = patient{}

func (p patient) ReadAt(b []byte, off int64) (int, error) {
	p.d.yield(context.Background())
	return p.Reader.ReadAt(b, off)
}

// yielding is the store for reading back when nobody waits for this host.
type yielding struct {
	object.Store
	d *Depot
}

func (y yielding) Get(ctx context.Context, key object.Key, r object.Range) (object.Object, error) {
	if chunk.Immutable(key) { // the catalog is small, and others may wait for the change of it
		y.d.yield(ctx)
	}
	return y.Store.Get(ctx, key, r)
}

// yieldMost bounds a pause, so that a host that is always busy stores snapshots too.
const yieldMost = 2 * time.Second

// yield waits while somebody waits for this host.
func (d *Depot) yield(ctx context.Context) {
	for begin := time.Now(); d.cfg.Busy() && time.Since(begin) < yieldMost; {
		pause := time.NewTimer(5 * time.Millisecond)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return
		}
	}
}

// Import makes a snapshot of the store known here as id, one of a workspace's own:
// neither needs the other afterwards. Its files stay in the store. Called again it
// finishes or repeats what is left. KindNotFound if the tenant has no such snapshot.
func (d *Depot) Import(ctx context.Context, name string, from, id holt.SnapshotID, ws holt.WorkspaceID) (*snapshot.Manifest, error) {
	if m, err := d.Get(id); err == nil {
		return m, nil
	}
	t, err := d.tenant(ctx, name)
	if err != nil {
		return nil, d.noted(err)
	}
	if _, err := t.front.Copy(ctx, from, chunk.New{ID: id, Workspace: ws}); err != nil && !holt.IsKind(err, holt.KindConflict) {
		return nil, d.noted(err)
	}
	fault.Point("import.copied")
	encoded, err := readManifest(ctx, t.front, id)
	if err != nil {
		return nil, d.noted(err)
	}
	return d.Adopt(id, encoded, snapshot.Place{Tenant: name, At: time.Now().UTC()})
}

func readManifest(ctx context.Context, s *chunk.Store, id holt.SnapshotID) ([]byte, error) {
	v, err := s.View(ctx, id)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	f, err := v.Open(manifestFile)
	if err != nil {
		return nil, err
	}
	if f.Size() > snapshot.MaxManifest {
		return nil, holt.Errorf(holt.KindCorrupt, "the manifest in snapshot %s has %d bytes", id, f.Size())
	}
	body := make([]byte, f.Size())
	if _, err := f.ReadContext(ctx, body, 0); err != nil {
		return nil, err
	}
	return body, nil
}

// Entry is a snapshot in the store, with what was given to [Depot.Keep] to describe it.
type Entry struct {
	chunk.Entry
	Describe json.RawMessage
}

// Entries lists what the store has of a tenant, the latest first; with details, what
// describes each as well.
func (d *Depot) Entries(ctx context.Context, name string, details bool) ([]Entry, error) {
	t, err := d.tenant(ctx, name)
	if err != nil {
		return nil, d.noted(err)
	}
	all, err := t.front.Entries(ctx)
	if err != nil {
		return nil, d.noted(err)
	}
	list := make([]Entry, len(all))
	for i, e := range all {
		list[i].Entry = e
		if !details {
			continue
		}
		m, err := t.front.Manifest(ctx, e.ID)
		if holt.IsKind(err, holt.KindNotFound) || holt.IsKind(err, holt.KindCorrupt) {
			continue
		} else if err != nil {
			return nil, d.noted(err)
		}
		list[i].Describe = m.Meta
	}
	return list, nil
}

// Forget removes snapshots from the store. Unknown ones are no error.
func (d *Depot) Forget(ctx context.Context, name string, ids ...holt.SnapshotID) error {
	if len(ids) == 0 {
		return nil
	}
	t, err := d.tenant(ctx, name)
	if err != nil {
		return d.noted(err)
	}
	return d.noted(t.back.Delete(ctx, ids...))
}
