package chunk

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
)

// Collected is what [Store.Collect] did.
type Collected struct {
	Objects int   // removed
	Bytes   int64 // of them
	GivenUp int   // writers that took longer than [Config.Patience]
}

// Recover ends the transactions that an earlier process of the same owner left
// behind. It is called before that owner's first Begin.
func (s *Store) Recover(ctx context.Context) error {
	return s.change(ctx, func(c *catalog) error {
		n := len(c.Transactions)
		c.Transactions = slices.DeleteFunc(c.Transactions, func(t transaction) bool { return t.Owner == s.cfg.Owner })
		if len(c.Transactions) == n {
			return errUnchanged
		}
		return nil
	})
}

// Collect removes every object that no snapshot and no writer refers to.
//
// It is safe beside commits, other collectors and crashes, because what is dead
// stays dead: a snapshot refers to objects of its own transaction and to what that
// transaction holds in the catalog since it began, and what it held then was
// alive. The listing comes first; then the catalog is swapped, which proves that
// it was read as it is; then what was listed and is named by neither is removed.
// A listing that is stale costs nothing but a later removal.
func (s *Store) Collect(ctx context.Context) (Collected, error) {
	var done Collected
	var listed []object.Info
	for info, err := range s.origin.List(ctx, s.tenant+"/") {
		if err != nil {
			return done, fmt.Errorf("list objects: %w", err)
		}
		listed = append(listed, info)
	}
	s.cfg.Fault("collect.listed")
	var alive func(key object.Key) bool
	err := s.change(ctx, func(c *catalog) error {
		done.GivenUp = 0
		c.Transactions = slices.DeleteFunc(c.Transactions, func(t transaction) bool {
			if time.Since(t.StartedAt) <= s.cfg.Patience {
				return false
			}
			done.GivenUp++
			return true
		})
		alive = s.alive(c)
		if slices.ContainsFunc(listed, func(i object.Info) bool { return !alive(i.Key) }) || done.GivenUp > 0 {
			return nil
		}
		return errUnchanged
	})
	if err != nil {
		return done, err
	}
	s.cfg.Fault("collect.decided")
	for _, info := range listed {
		if alive(info.Key) {
			continue
		}
		if err := s.objects.Delete(ctx, info.Key); err != nil {
			return done, fmt.Errorf("remove garbage: %w", err)
		}
		done.Objects++
		done.Bytes += info.Size
		s.cfg.Fault("collect.removed")
	}
	return done, nil
}

// alive returns whether an object is needed, as a catalog says. What it does not
// understand it leaves alone.
func (s *Store) alive(c *catalog) func(object.Key) bool {
	count := c.references()
	open, named, ids := map[txnID]bool{}, map[txnID]bool{}, map[holt.SnapshotID]bool{}
	for _, t := range c.Transactions {
		open[t.Txn] = true
	}
	for _, e := range c.Snapshots {
		named[e.Txn], ids[e.ID] = true, true
	}
	return func(key object.Key) bool {
		kind, name, _ := strings.Cut(strings.TrimPrefix(string(key), s.tenant+"/"), "/")
		switch kind {
		case "manifest", "index":
			return open[txnID(name)] || named[txnID(name)]
		case "segment":
			txn, number, _ := strings.Cut(name, "-")
			n, err := strconv.ParseUint(number, 10, 32)
			return err != nil || open[txnID(txn)] || count[segmentID{txnID(txn), uint32(n)}] > 0
		case "trace":
			return ids[holt.SnapshotID(name)]
		}
		return true
	}
}
