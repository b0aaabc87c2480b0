package chunk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
)

// Copy makes a snapshot of another one's files: a manifest and an index of its own,
// and the same chunks. Neither needs the other afterwards. Meta nil takes the
// source's. KindNotFound if there is no source, KindConflict if there is a snapshot
// n.ID already.
func (s *Store) Copy(ctx context.Context, from holt.SnapshotID, n New) (*Manifest, error) {
	if err := object.CheckKey(object.Key(n.ID)); err != nil || len(n.Label) > 128 {
		return nil, holt.Invalidf("snapshot", "%.40q cannot name a snapshot, or its label is longer than 128 bytes", n.ID)
	}
	for {
		m, source, err := s.tryCopy(ctx, from, n)
		if err == nil || source.Txn == "" || ctx.Err() != nil {
			return m, err
		}
		// The compactor may have rewritten the source meanwhile.
		c, _, cerr := s.load(ctx)
		if cerr != nil {
			return nil, errors.Join(err, cerr)
		}
		if now := c.find(from); now == nil || now.Txn == source.Txn {
			return nil, err
		}
	}
}

// tryCopy is Copy. It returns the source as it was found.
func (s *Store) tryCopy(ctx context.Context, from holt.SnapshotID, n New) (_ *Manifest, source Entry, _ error) {
	txn := newTxn()
	err := s.change(ctx, func(c *catalog) error {
		if c.transaction(txn) != nil {
			return errUnchanged // it took effect
		}
		if c.find(n.ID) != nil {
			return holt.Errorf(holt.KindConflict, "there is a snapshot %s already", n.ID)
		}
		e := c.find(from)
		if e == nil {
			return holt.Errorf(holt.KindNotFound, "there is no snapshot %s", from)
		}
		if e.Damage != "" {
			return holt.Errorf(holt.KindCorrupt, "snapshot %s is not copied: %s", from, e.Damage)
		}
		source = *e
		source.Segments = maps.Clone(e.Segments)
		c.Transactions = append(c.Transactions, transaction{Txn: txn, Owner: s.cfg.Owner, StartedAt: time.Now(), Base: source.Segments})
		return nil
	})
	if err != nil {
		return nil, Entry{}, err
	}
	s.cfg.Fault("copy.begun")
	m, err := s.copyOf(ctx, txn, source, n)
	if err == nil {
		return m, source, nil
	}
	return nil, source, errors.Join(err, s.change(context.WithoutCancel(ctx), func(c *catalog) error {
		if c.transaction(txn) == nil {
			return errUnchanged
		}
		c.drop(txn)
		return nil
	}))
}

func (s *Store) copyOf(ctx context.Context, txn txnID, source Entry, n New) (*Manifest, error) {
	was, err := s.readManifest(ctx, s.objects, &source)
	if err != nil {
		return nil, err
	}
	x, err := s.readIndex(ctx, s.objects, was)
	if err != nil {
		return nil, err
	}
	plain := was.Stats.Plain - was.Stats.Zero
	m := &Manifest{
		ID: n.ID, Tenant: s.tenant, Workspace: n.Workspace, Parent: n.Parent, Label: n.Label, CreatedAt: n.CreatedAt, Txn: txn,
		Stats: Stats{Plain: was.Stats.Plain, Zero: was.Stats.Zero, Duplicate: plain}, Meta: n.Meta,
	}
	if m.Meta == nil {
		m.Meta = was.Meta
	}
	if m.CreatedAt.IsZero() {
		m.CreatedAt = was.CreatedAt
	}
	sum, err := s.describe(ctx, m, x)
	if err != nil {
		return nil, err
	}
	// What is new is read back; the chunks are the source's.
	back, err := s.readManifest(ctx, s.origin, &Entry{ID: m.ID, Txn: txn, ManifestSum: sum})
	if err == nil {
		_, err = s.readIndex(ctx, s.origin, back)
	}
	if err != nil {
		return nil, fmt.Errorf("verify copy: %w", err)
	}
	if err := s.publish(ctx, m, sum, source.Segments); err != nil {
		return nil, err
	}
	s.cfg.Fault("copy.committed")
	return m, nil
}
