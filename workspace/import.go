package workspace

import (
	"context"
	"fmt"
	"slices"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// Stored lists what the store has of an owner's, the latest first: of every server
// that uses it. KindUnsupported if there is no store.
func (m *Manager) Stored(ctx context.Context, owner holt.UserID) ([]StoredSnapshot, error) {
	if m.cfg.Snapshots == nil {
		return nil, holt.Errorf(holt.KindUnsupported, "this server keeps no snapshots outside this machine: start holtd with --store")
	}
	return m.cfg.Snapshots.StoredSnapshots(ctx, tenantOf(owner), true)
}

// createFromStore makes a workspace that goes on from a snapshot of the store.
func (m *Manager) createFromStore(ctx context.Context, r CreateRequest) (meta.Workspace, error) {
	if r.Image != "" || r.Git != "" || r.Limits != (holt.Limits{}) || r.Egress != "" {
		return meta.Workspace{}, holt.Invalid("snapshot", "a workspace that goes on from a snapshot has the image, limits and network that it had: ask for nothing else beside it")
	}
	all, err := m.Stored(ctx, r.Owner)
	if err != nil {
		return meta.Workspace{}, err
	}
	i := slices.IndexFunc(all, func(s StoredSnapshot) bool { return s.ID == r.Snapshot })
	if i < 0 {
		return meta.Workspace{}, holt.Errorf(holt.KindNotFound, "the store has no snapshot %s of yours: see holt snapshot stored", r.Snapshot)
	}
	s := all[i]
	if s.Damage != "" || s.Describe == nil {
		return meta.Workspace{}, holt.Errorf(holt.KindCorrupt, "snapshot %s is damaged in the store: %s", s.ID, s.Damage)
	}
	d := *s.Describe
	r.Git, r.Limits, r.Egress = d.Git, d.Limits, d.Egress
	if r.IdleAfter == nil {
		r.IdleAfter = &d.IdleAfter
	}
	if err := m.check(&r); err != nil {
		return meta.Workspace{}, err
	}
	m.images.RLock()
	defer m.images.RUnlock()
	image, err := m.cfg.Images.Resolve(ctx, string(d.Image))
	if holt.IsKind(err, holt.KindNotFound) {
		return meta.Workspace{}, holt.Errorf(holt.KindNotFound, "snapshot %s needs the image %s (%s), which is not on this server: pull or load it first", s.ID, d.Image, d.ImageRef)
	} else if err != nil {
		return meta.Workspace{}, err
	}
	return m.add(ctx, meta.Workspace{
		Name: r.Name, Owner: r.Owner, ImageRef: d.ImageRef, Image: image, Limits: r.Limits, Git: r.Git, Egress: r.Egress, IdleAfter: *r.IdleAfter,
		PendingSnapshot: holt.NewSnapshotID(), FromSnapshot: s.ID,
	}, note{name: "from-snapshot", text: fmt.Sprintf("goes on from the snapshot of %s of %s", stampText(s.CreatedAt), d.Name)})
}

// fetch makes the snapshot that w goes on from known to the node. Its files stay in
// the store until they are touched.
func (m *Manager) fetch(ctx context.Context, w meta.Workspace) error {
	m.cfg.Fault("fetch.before")
	snap, err := m.cfg.Snapshots.ImportSnapshot(ctx, tenantOf(w.Owner), w.FromSnapshot, w.PendingSnapshot, w.ID)
	m.cfg.Fault("fetch.after")
	if err != nil {
		return m.failed(ctx, w, "fetch", "the snapshot could not be taken from the store", err)
	}
	return m.settle(w, "fetch", func(w *meta.Workspace) []note {
		w.Snapshot, w.SnapshotBytes, w.SnapshotAt = snap.ID, snap.Bytes, snap.CreatedAt
		w.PendingSnapshot, w.FromSnapshot, w.Attempts, w.Message = "", "", 0, ""
		return nil
	})
}
