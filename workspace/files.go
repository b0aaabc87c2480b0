package workspace

import (
	"context"
	"fmt"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
	hostwire "github.com/holt-ide/holt/wire/host"
)

// FileStore keeps the files of workspaces outside their volumes, as revisions. Package
// node implements it. KindUnavailable says that the store is away, KindUnsupported that
// there is none.
type FileStore interface {
	// SyncFiles returns when all that the workspace's files are when it is called is in
	// the store, with the number of the revision that has it.
	SyncFiles(ctx context.Context, ws holt.WorkspaceID, tenant, reason string) (int64, error)

	// RestoreFiles brings paths of a revision back into a running machine, after it has
	// made a revision of the files as they are.
	RestoreFiles(ctx context.Context, id holt.SandboxID, r RestoreFiles) (RestoredFiles, error)

	// FilesState tells how far the files are on their way to the store.
	FilesState(ws holt.WorkspaceID) (FilesState, error)
}

// The words of the commands; see package hostwire.
type (
	FilesState    = hostwire.FilesState
	RestoreFiles  = hostwire.RestoreFiles
	RestoredFiles = hostwire.RestoredFiles
)

// CopyRevision publishes a revision of a workspace as the first one of another, which has
// none, of the same tenant.
type CopyRevision func(ctx context.Context, from holt.WorkspaceID, number int64, to holt.WorkspaceID) error

// errNoFiles is returned where revisions are needed and none are kept.
var errNoFiles error = holt.Errorf(holt.KindUnsupported, "this server keeps no files outside its volumes: it was started with --store none")

// Durability is how far the files of a workspace are.
type Durability struct {
	FilesState
	Latest meta.Revision // number 0 if there is none yet
}

// Durability tells how far the files of a workspace are on their way to the store.
func (m *Manager) Durability(ctx context.Context, id holt.WorkspaceID) (d Durability, err error) {
	if m.cfg.Files == nil {
		return d, nil
	}
	if d.FilesState, err = m.cfg.Files.FilesState(id); err != nil {
		return d, err
	}
	d.Latest, err = m.cfg.Store.Revisions().Latest(ctx, id)
	if holt.IsKind(err, holt.KindNotFound) {
		err = nil
	}
	return d, err
}

// Sync returns when all that the files of a workspace are now is in the store, with the
// revision that has it.
func (m *Manager) Sync(ctx context.Context, nameOrID string) (meta.Revision, error) {
	if m.cfg.Files == nil {
		return meta.Revision{}, errNoFiles
	}
	w, err := m.Get(ctx, nameOrID)
	if err != nil {
		return meta.Revision{}, err
	}
	for try := 0; ; try++ {
		number, err := m.cfg.Files.SyncFiles(ctx, w.ID, tenantOf(w.Owner), "sync")
		if err == nil && number == 0 {
			err = holt.Errorf(holt.KindConflict, "%s has no files yet", w.Name)
		}
		if err == nil {
			return m.cfg.Store.Revisions().Get(ctx, w.ID, number)
		}
		// A machine that is just beginning or ending: its volume is free soon.
		now, gerr := m.Get(ctx, string(w.ID))
		if gerr != nil || try >= 20 || now.State == w.State && now.Sandbox == w.Sandbox {
			return meta.Revision{}, err
		}
		w = now
		select {
		case <-ctx.Done():
			return meta.Revision{}, ctx.Err()
		case <-time.After(m.cfg.Backoff):
		}
	}
}

// Restore brings paths of a revision back into a workspace that runs, all of it without
// paths, and returns what it did. What the files were before is a revision of its own,
// which undoes it.
func (m *Manager) Restore(ctx context.Context, nameOrID string, number int64, paths []string, exact bool) (RestoredFiles, error) {
	if m.cfg.Files == nil {
		return RestoredFiles{}, errNoFiles
	}
	w, err := m.Get(ctx, nameOrID)
	if err != nil {
		return RestoredFiles{}, err
	}
	if _, err := m.cfg.Store.Revisions().Get(ctx, w.ID, number); err != nil {
		return RestoredFiles{}, err
	}
	if w.State != holt.Running {
		if w, err = m.Wake(ctx, w.ID); err != nil {
			return RestoredFiles{}, err
		}
	}
	done, err := m.cfg.Files.RestoreFiles(ctx, w.Sandbox, RestoreFiles{From: w.ID, Number: number, Paths: paths, Exact: exact})
	if err != nil {
		return done, err
	}
	what := "all files"
	if len(paths) == 1 {
		what = paths[0]
	} else if len(paths) > 1 {
		what = fmt.Sprintf("%d paths", len(paths))
	}
	text := fmt.Sprintf("%s of revision %d came back (%d files written, %d removed); as it was before is revision %d", what, number, done.Files, done.Removed, done.Before)
	return done, m.note(ctx, w, time.Time{}, note{name: "restored", text: text})
}

// ForkRevision makes a new workspace of the files of a revision of another one, with its
// image and limits, and returns at once.
func (m *Manager) ForkRevision(ctx context.Context, nameOrID, newName string, number int64) (meta.Workspace, error) {
	if m.cfg.CopyRevision == nil {
		return meta.Workspace{}, errNoFiles
	}
	if err := holt.CheckName(newName); err != nil {
		return meta.Workspace{}, err
	}
	m.images.RLock()
	defer m.images.RUnlock()
	src, err := m.Get(ctx, nameOrID)
	if err != nil {
		return meta.Workspace{}, err
	}
	if _, err := m.cfg.Store.Workspaces().ByName(ctx, newName); err == nil {
		return meta.Workspace{}, meta.ErrNameTaken
	}
	// The revision comes first: without a volume, the machine is made of that.
	id := holt.NewWorkspaceID()
	m.cfg.Fault("fork-revision.before")
	if err := m.cfg.CopyRevision(ctx, src.ID, number, id); err != nil {
		return meta.Workspace{}, err
	}
	m.cfg.Fault("fork-revision.copied")
	w, err := m.add(ctx, meta.Workspace{
		ID: id, Name: newName, Owner: src.Owner, ImageRef: src.ImageRef, Image: src.Image, Limits: src.Limits, Git: src.Git, Egress: src.Egress,
		IdleAfter: src.IdleAfter, ForkedFrom: src.ID,
	})
	if err != nil {
		if undo := m.cfg.Store.Revisions().Remove(context.WithoutCancel(ctx), id); undo != nil {
			m.cfg.Log.Warn("undo a copy of a revision", "workspace", id, "err", undo)
		}
	}
	return w, err
}

// replaceImage makes w use what its image's name means here, when the image itself is not
// here, and reports whether it did: a workspace that comes to another node is worth more
// than the very image it had.
func (m *Manager) replaceImage(ctx context.Context, seen meta.Workspace, cause error) bool {
	if !holt.IsKind(cause, holt.KindNotFound) {
		return false
	}
	other, err := m.cfg.Images.Resolve(ctx, seen.ImageRef)
	if err != nil || other == seen.Image {
		return false
	}
	err = m.settle(seen, "replace-image", func(w *meta.Workspace) []note {
		w.Image = other
		return []note{{name: "image-replaced", text: fmt.Sprintf("the image %s is not on this server: going on with what %q is here, %s", seen.Image, seen.ImageRef, other)}}
	})
	return err == nil
}
