package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/fault"
	"github.com/holt-ide/holt/persist"
	hostwire "github.com/holt-ide/holt/wire/host"
)

// rebuilt says what became of a volume that was not there, or could not be used.
type rebuilt struct {
	text string // for its user; "" if the volume was as it should be
}

// provideVolume makes sure that the workspace has a volume that can be used: the one that
// is there, else one with the files of the latest revision, else an empty one. Where it is
// not known whether there is a revision it fails: nobody shall find an empty project
// whose files exist.
func (n *Node) provideVolume(ctx context.Context, spec hostwire.Spec) (rebuilt, error) {
	ok, err := n.volumes.Exists(spec.Workspace)
	if err != nil {
		return rebuilt{}, fmt.Errorf("look for volume: %w", err)
	}
	damage := error(nil)
	if ok && n.files.store != nil {
		if damage, err = n.tryVolume(ctx, spec.Workspace); err != nil {
			return rebuilt{}, err
		}
	}
	if ok && damage == nil {
		return rebuilt{}, nil
	}
	rev, err := n.latest(ctx, spec.Workspace)
	if err != nil {
		return rebuilt{}, err
	}
	out := rebuilt{}
	if damage != nil {
		if rev.Number == 0 {
			return rebuilt{}, holt.Wrap(holt.KindCorrupt, damage, "the volume is damaged, and there is no revision of its files")
		}
		name, err := n.volumes.SetAside(spec.Workspace)
		if err != nil {
			return rebuilt{}, err
		}
		n.log.Error("a volume is damaged and was set aside", "workspace", spec.Workspace, "file", name, "err", damage)
	}
	if rev.Number == 0 {
		return out, n.volumes.Create(ctx, spec.Workspace, spec.Limits.Disk)
	}
	begin := time.Now()
	// Before the volume gets its name: what was typed comes back into files of then.
	if err := n.files.change(spec.Workspace, func(v *volumeNote) { v.Tenant, v.Restored = spec.Tenant, rev.Number }); err != nil {
		return out, err
	}
	var done persist.Restored
	fault.Point("rebuild.before")
	err = n.volumes.Build(ctx, spec.Workspace, spec.Limits.Disk, func(dir string) error {
		top, err := os.Open(dir)
		if err != nil {
			return fmt.Errorf("open volume: %w", err)
		}
		defer top.Close()
		done, err = n.files.store.Restore(ctx, spec.Workspace, rev.Number, nil, persist.Destination{Root: top})
		return err
	})
	if err != nil {
		return out, fmt.Errorf("make volume of revision %d: %w", rev.Number, err)
	}
	fault.Point("rebuild.after")
	took := time.Since(begin)
	n.log.Info("volume made of a revision", "workspace", spec.Workspace, "revision", rev.Number, "files", done.Files, "bytes", done.Bytes, "took", took)
	why := "there was no volume here"
	if damage != nil {
		why = "the volume was damaged"
	}
	if rev.Reason == "copy" && rev.Number == 1 {
		why = "made of another workspace's revision"
	}
	out.text = fmt.Sprintf("%s: the files are those of revision %d of %s (%d files, %s, in %v)", why, rev.Number,
		rev.At.UTC().Format("2006-01-02 15:04:05 UTC"), done.Files, holt.FormatSize(done.Bytes), took.Round(time.Millisecond))
	return out, nil
}

// latest returns the latest revision, with number 0 if there is none.
func (n *Node) latest(ctx context.Context, ws holt.WorkspaceID) (persist.Revision, error) {
	if n.files.store == nil {
		return persist.Revision{}, nil
	}
	rev, err := n.files.store.Latest(ctx, ws)
	if holt.IsKind(err, holt.KindNotFound) {
		return persist.Revision{}, nil
	} else if err != nil {
		return rev, fmt.Errorf("look for revisions: %w", err)
	}
	return rev, nil
}

// tryVolume mounts a volume at rest for a moment, and returns why it cannot be used.
func (n *Node) tryVolume(_ context.Context, ws holt.WorkspaceID) (damage, err error) {
	n.files.leave(ws)
	defer n.volumeLocks.lock(string(ws))()
	if err := n.volumes.Unmount(ws); err != nil { // what a crash left: never twice at a time
		return nil, err
	}
	err = n.volumes.Look(ws, func(dir string) error {
		entries, err := os.ReadDir(dir)
		if err == nil && len(entries) == 0 {
			err = unix.EUCLEAN
		}
		return err
	})
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EUCLEAN), errors.Is(err, unix.EBADMSG), errors.Is(err, unix.EIO), errors.Is(err, unix.EFBIG):
		return err, nil
	}
	return nil, err
}
