package chunk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
)

// Repaired is what [Repair] found.
type Repaired struct {
	Needed     bool     // the catalog was lost or damaged
	Found      []Entry  // the latest first; Damage says what each lacks
	Unreadable []Damage // manifests that name no snapshot any more
}

// Repair makes a tenant's catalog anew from the manifests, if it is lost or damaged.
// Labels and the order are those of the manifests, so changes of a label are lost,
// and a snapshot whose deletion a crash cut short may come back. Writers at work
// are given up. A catalog that is whole stays as it is.
func Repair(ctx context.Context, cfg Config) (*Repaired, error) {
	s, err := configure(cfg)
	if err != nil {
		return nil, err
	}
	if _, _, err := s.load(ctx); err == nil {
		return &Repaired{}, nil
	} else if !holt.IsKind(err, holt.KindCorrupt) {
		return nil, err
	}
	r := &Repaired{Needed: true}
	byID := map[holt.SnapshotID][]Entry{}
	gen := map[txnID]int{}
	for info, err := range s.origin.List(ctx, s.tenant+"/manifest/") {
		if err != nil {
			return nil, fmt.Errorf("list manifests: %w", err)
		}
		m, sum, err := s.findManifest(ctx, info.Key)
		if holt.IsKind(err, holt.KindCorrupt) {
			r.Unreadable = append(r.Unreadable, Damage{Object: info.Key, What: err.Error()})
			continue
		} else if err != nil {
			return nil, err
		}
		gen[m.Txn] = m.Generation
		byID[m.ID] = append(byID[m.ID], Entry{
			ID: m.ID, Workspace: m.Workspace, Parent: m.Parent, Label: m.Label, CreatedAt: m.CreatedAt, Bytes: m.Bytes(), Stored: m.Stats.Stored,
			Txn: m.Txn, ManifestSum: sum, Segments: m.Segments,
		})
	}
	for _, list := range byID {
		// The compactor may have left two forms of one snapshot: the newer one that is whole.
		slices.SortFunc(list, func(a, b Entry) int { return gen[b.Txn] - gen[a.Txn] })
		best := -1
		for i := range list {
			report, err := s.verify(ctx, &list[i])
			if err != nil {
				return nil, err
			}
			if err := report.Err(); err != nil {
				list[i].Damage = err.Error()
			} else {
				best = i
				break
			}
		}
		r.Found = append(r.Found, list[max(best, 0)])
	}
	slices.SortFunc(r.Found, func(a, b Entry) int {
		if c := b.CreatedAt.Compare(a.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(string(b.Txn), string(a.Txn))
	})
	c := &catalog{Tenant: s.tenant}
	for i := range r.Found {
		r.Found[i].Sequence = uint64(len(r.Found) - i)
	}
	c.Snapshots, c.Sequence = r.Found, uint64(len(r.Found))
	if err := s.replace(ctx, c); err != nil {
		return nil, err
	}
	_, err = s.origin.Put(ctx, s.key("format"), []byte("holt-chunks 1\n"), object.Condition{})
	return r, err
}

func (s *Store) findManifest(ctx context.Context, key object.Key) (*Manifest, string, error) {
	o, err := s.origin.Get(ctx, key, object.Range{})
	if err != nil && !holt.IsKind(err, holt.KindNotFound) && !holt.IsKind(err, holt.KindCorrupt) {
		return nil, "", fmt.Errorf("read manifest: %w", err)
	}
	var m *Manifest
	if err == nil {
		m, err = decodeManifest(o.Body)
	}
	if err == nil && (m.Tenant != s.tenant || s.manifestKey(m.Txn) != key) {
		err = errors.New("it does not belong here")
	}
	if err != nil {
		return nil, "", holt.Wrap(holt.KindCorrupt, err, "a manifest is damaged")
	}
	return m, sumOf(o.Body), nil
}

// replace puts a catalog in the place of one that is lost or damaged.
func (s *Store) replace(ctx context.Context, c *catalog) error {
	o, err := s.origin.Get(ctx, s.catalogKey(), object.Range{})
	switch {
	case err == nil:
		return s.swap(ctx, c, object.IfMatch(o.ETag))
	case holt.IsKind(err, holt.KindCorrupt): // it has no tag that could be trusted
		if err := s.origin.Delete(ctx, s.catalogKey()); err != nil {
			return fmt.Errorf("remove damaged catalog: %w", err)
		}
	case !holt.IsKind(err, holt.KindNotFound):
		return fmt.Errorf("read catalog: %w", err)
	}
	return s.swap(ctx, c, object.IfAbsent)
}
