package chunk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
)

// Entry is a snapshot as the catalog knows it.
type Entry struct {
	ID          holt.SnapshotID  `json:"id"`
	Workspace   holt.WorkspaceID `json:"workspace"`
	Parent      holt.SnapshotID  `json:"parent,omitempty"`
	Label       string           `json:"label,omitempty"`
	CreatedAt   time.Time        `json:"created_at"`
	Sequence    uint64           `json:"sequence"` // of the change that made it current; larger is later
	Bytes       int64            `json:"bytes"`    // of its files
	Stored      int64            `json:"stored"`   // bytes that it added to the store
	Damage      string           `json:"damage,omitempty"`
	Txn         txnID            `json:"txn"`
	ManifestSum string           `json:"manifest_sum"` // SHA-256, hexadecimal
	Segments    refs             `json:"segments"`
}

// transaction is a writer at work. It holds on to the segments that it may reuse.
type transaction struct {
	Txn       txnID     `json:"txn"`
	Owner     string    `json:"owner"`
	StartedAt time.Time `json:"started_at"`
	Base      refs      `json:"base"`
}

// catalog is the one object that changes: everything that it does not name is garbage.
type catalog struct {
	Tenant       string        `json:"tenant"`
	Sequence     uint64        `json:"sequence"` // raised by each change
	Nonce        string        `json:"nonce"`    // makes each body unique, see package object/retry
	Snapshots    []Entry       `json:"snapshots"`
	Transactions []transaction `json:"transactions"`
}

func decodeCatalog(data []byte) (*catalog, error) {
	c := new(catalog)
	if err := unseal(catalogKind, data, c); err != nil {
		return nil, err
	}
	seen := map[holt.SnapshotID]bool{}
	for _, e := range c.Snapshots {
		if e.ID == "" || seen[e.ID] || !e.Txn.valid() || !e.Segments.valid() {
			return nil, fmt.Errorf("entry %q does not add up", e.ID)
		}
		seen[e.ID] = true
	}
	for _, t := range c.Transactions {
		if !t.Txn.valid() || !t.Base.valid() {
			return nil, fmt.Errorf("transaction %q does not add up", t.Txn)
		}
	}
	return c, nil
}

func (c *catalog) find(id holt.SnapshotID) *Entry {
	i := slices.IndexFunc(c.Snapshots, func(e Entry) bool { return e.ID == id })
	if i < 0 {
		return nil
	}
	return &c.Snapshots[i]
}

func (c *catalog) transaction(txn txnID) *transaction {
	i := slices.IndexFunc(c.Transactions, func(t transaction) bool { return t.Txn == txn })
	if i < 0 {
		return nil
	}
	return &c.Transactions[i]
}

// references counts, for every segment, the snapshots and transactions that hold
// it. It is counted anew each time, so that no count can be wrong.
func (c *catalog) references() map[segmentID]int {
	n := map[segmentID]int{}
	for _, e := range c.Snapshots {
		for id := range e.Segments {
			n[id]++
		}
	}
	for _, t := range c.Transactions {
		for id := range t.Base {
			n[id]++
		}
	}
	return n
}

// chain returns the snapshots of a workspace, the latest first.
func (c *catalog) chain(ws holt.WorkspaceID) []Entry {
	var list []Entry
	for _, e := range c.Snapshots {
		if e.Workspace == ws {
			e.Segments = maps.Clone(e.Segments)
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b Entry) int { return int(int64(b.Sequence) - int64(a.Sequence)) })
	return list
}

// load reads the catalog and its tag.
func (s *Store) load(ctx context.Context) (*catalog, object.ETag, error) {
	o, err := s.origin.Get(ctx, s.catalogKey(), object.Range{})
	switch {
	case holt.IsKind(err, holt.KindNotFound), holt.IsKind(err, holt.KindCorrupt):
		return nil, "", holt.Wrap(holt.KindCorrupt, err, "the catalog of snapshots is lost or damaged: it can be made anew from their manifests")
	case err != nil:
		return nil, "", fmt.Errorf("read catalog: %w", err)
	}
	c, err := decodeCatalog(o.Body)
	if err == nil && c.Tenant != s.tenant {
		err = fmt.Errorf("it is that of tenant %q", c.Tenant)
	}
	if err != nil {
		return nil, "", corrupt(err, "the catalog of snapshots is damaged: it can be made anew from their manifests")
	}
	return c, o.ETag, nil
}

// corrupt makes err KindCorrupt, unless it is of another kind already.
func corrupt(err error, text string) error {
	if _, ok := errors.AsType[*holt.Error](err); ok {
		return err
	}
	return holt.Wrap(holt.KindCorrupt, err, text)
}

// errUnchanged is returned by a change that has nothing to do.
var errUnchanged = errors.New("nothing to change")

// maxSwaps bounds how often a change of the catalog is tried against others'.
const maxSwaps = 200

// change reads the catalog, lets f change it, and swaps it in, again from the start
// while others change it in between. When f returns an error nothing changes;
// errUnchanged ends it without one. f must find its own change done when it is
// called after that took effect unnoticed.
func (s *Store) change(ctx context.Context, f func(c *catalog) error) error {
	for n := range maxSwaps {
		c, tag, err := s.load(ctx)
		if err != nil {
			return err
		}
		if err := f(c); errors.Is(err, errUnchanged) {
			return nil
		} else if err != nil {
			return err
		}
		err = s.swap(ctx, c, object.IfMatch(tag))
		if !holt.IsKind(err, holt.KindConflict) {
			return err
		}
		pause := time.NewTimer(rand.N(min(time.Millisecond<<min(n, 10), 200*time.Millisecond)) + 1)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return fmt.Errorf("change catalog: %w", ctx.Err())
		}
	}
	return holt.Errorf(holt.KindUnavailable, "too many others change the snapshots of tenant %s", s.tenant)
}

func (s *Store) swap(ctx context.Context, c *catalog, cond object.Condition) error {
	c.Sequence++
	c.Nonce = holt.NewID()
	data, err := seal(catalogKind, c)
	if err != nil {
		return err
	}
	if _, err = s.origin.Put(ctx, s.catalogKey(), data, cond); err != nil {
		return fmt.Errorf("write catalog: %w", err)
	}
	return nil
}
