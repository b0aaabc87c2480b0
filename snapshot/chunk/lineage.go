package chunk

import (
	"context"
	"fmt"
	"slices"

	"github.com/holt-ide/holt"
)

// Entries returns all snapshots of the tenant, the latest first.
func (s *Store) Entries(ctx context.Context) ([]Entry, error) {
	c, _, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(c.Snapshots, func(a, b Entry) int { return int(int64(b.Sequence) - int64(a.Sequence)) })
	return c.Snapshots, nil
}

// Chain returns the snapshots of a workspace, the latest first.
func (s *Store) Chain(ctx context.Context, ws holt.WorkspaceID) ([]Entry, error) {
	c, _, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	return c.chain(ws), nil
}

// Current returns the latest snapshot of a workspace that is not known to be
// damaged, and the later ones that are. KindNotFound if no whole one is left.
func (s *Store) Current(ctx context.Context, ws holt.WorkspaceID) (current Entry, damaged []Entry, err error) {
	chain, err := s.Chain(ctx, ws)
	if err != nil {
		return Entry{}, nil, err
	}
	for i, e := range chain {
		if e.Damage == "" {
			return e, chain[:i], nil
		}
	}
	return Entry{}, chain, holt.Errorf(holt.KindNotFound, "workspace %s has no snapshot that is whole", ws)
}

// MarkDamaged notes what was found damaged in a snapshot: it is not current any
// more, and nothing new is built on it. "" takes the note back.
func (s *Store) MarkDamaged(ctx context.Context, id holt.SnapshotID, what string) error {
	return s.edit(ctx, id, func(e *Entry, _ *catalog) error {
		if e.Damage == what {
			return errUnchanged
		}
		e.Damage = what
		return nil
	})
}

// SetLabel names a snapshot, which is then kept by [Store.Retain]; "" takes the
// name back. KindConflict if another one of the workspace has it.
func (s *Store) SetLabel(ctx context.Context, id holt.SnapshotID, label string) error {
	if len(label) > 128 {
		return &holt.Error{Kind: holt.KindInvalid, Field: "label", Limit: "128", Text: "a label has at most 128 bytes"}
	}
	return s.edit(ctx, id, func(e *Entry, c *catalog) error {
		if e.Label == label {
			return errUnchanged
		}
		for _, other := range c.Snapshots {
			if label != "" && other.Workspace == e.Workspace && other.Label == label {
				return holt.Errorf(holt.KindConflict, "snapshot %s has the label %q already", other.ID, label)
			}
		}
		e.Label = label
		return nil
	})
}

func (s *Store) edit(ctx context.Context, id holt.SnapshotID, f func(*Entry, *catalog) error) error {
	return s.change(ctx, func(c *catalog) error {
		e := c.find(id)
		if e == nil {
			return holt.Errorf(holt.KindNotFound, "there is no snapshot %s", id)
		}
		return f(e, c)
	})
}

// Delete forgets snapshots. Unknown ones are no error. What only they needed is
// removed by the next [Store.Collect].
func (s *Store) Delete(ctx context.Context, ids ...holt.SnapshotID) error {
	var gone []Entry
	err := s.change(ctx, func(c *catalog) error {
		found := false
		c.Snapshots = slices.DeleteFunc(c.Snapshots, func(e Entry) bool {
			if !slices.Contains(ids, e.ID) {
				return false
			}
			found = true
			if !slices.ContainsFunc(gone, func(g Entry) bool { return g.Txn == e.Txn }) {
				gone = append(gone, e)
			}
			return true
		})
		if !found {
			return errUnchanged
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete snapshots: %w", err)
	}
	s.cfg.Fault("chunk.deleted")
	// The manifests go at once: a repair would take them for living ones.
	for _, e := range gone {
		if err := s.objects.Delete(ctx, s.manifestKey(e.Txn)); err != nil {
			return fmt.Errorf("delete manifest: %w", err)
		}
	}
	return nil
}

// Retain deletes the snapshots of a workspace but those with a label and the
// latest keep whole ones; keep is 1 at least. Damaged ones go. It returns what it
// deleted.
func (s *Store) Retain(ctx context.Context, ws holt.WorkspaceID, keep int) ([]holt.SnapshotID, error) {
	chain, err := s.Chain(ctx, ws)
	if err != nil {
		return nil, err
	}
	var drop []holt.SnapshotID
	whole := 0
	for _, e := range chain {
		if e.Damage == "" {
			whole++
		}
		if e.Label == "" && (e.Damage != "" || whole > max(keep, 1)) {
			drop = append(drop, e.ID)
		}
	}
	if whole == 0 || len(drop) == 0 {
		return nil, nil // a damaged snapshot is better than none
	}
	return drop, s.Delete(ctx, drop...)
}

// Scrub verifies every snapshot, notes in the catalog which are damaged, and
// returns their reports. Where an earlier note turns out to be wrong (a disk that
// came back), it is taken back.
func (s *Store) Scrub(ctx context.Context) ([]*Report, error) {
	entries, err := s.Entries(ctx)
	if err != nil {
		return nil, err
	}
	var damaged []*Report
	for _, e := range entries {
		r, err := s.Verify(ctx, e.ID)
		if holt.IsKind(err, holt.KindNotFound) {
			continue // deleted meanwhile
		} else if err != nil {
			return damaged, err
		}
		what := ""
		if err := r.Err(); err != nil {
			what = err.Error()
			damaged = append(damaged, r)
		}
		if err := s.MarkDamaged(ctx, e.ID, what); err != nil && !holt.IsKind(err, holt.KindNotFound) {
			return damaged, err
		}
	}
	return damaged, nil
}
