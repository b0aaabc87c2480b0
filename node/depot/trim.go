package depot

import (
	"context"
	"slices"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/snapshot/chunk"
)

// Parts of the disk: below lowSpace of it free, raw files that the store has too go,
// until there is enoughSpace.
const (
	lowSpace    = 0.10
	enoughSpace = 0.15
)

// Trim removes raw files that the store has too, those of the oldest snapshots first,
// until they are within the limit, and need bytes and the watermark are free.
func (d *Depot) Trim(need int64) (freed int64, err error) {
	free, total, err := d.cfg.Space()
	if err != nil {
		return 0, err
	}
	limit := d.cfg.RawLimit
	if limit == 0 {
		limit = total / 5
	}
	short := need - free
	if float64(free) < lowSpace*float64(total) {
		short = max(short, int64(enoughSpace*float64(total))-free)
		d.shrink()
	}
	type raw struct {
		id    holt.SnapshotID
		at    time.Time
		bytes int64
	}
	ids, err := d.List()
	if err != nil {
		return 0, err
	}
	var list []raw
	sum := int64(0)
	for _, id := range ids {
		if _, ok := d.Stored(id); !ok || d.Evicted(id) {
			continue
		}
		m, err := d.Get(id)
		if err != nil {
			continue // damaged here: nobody resumes from it
		}
		bytes, err := d.Usage(id)
		if err != nil {
			continue // removed meanwhile
		}
		list, sum = append(list, raw{id, m.CreatedAt, bytes}), sum+bytes
	}
	slices.SortFunc(list, func(a, b raw) int { return a.at.Compare(b.at) })
	for _, r := range list {
		if sum <= limit && freed >= short {
			break
		}
		if err := d.Evict(r.id); err != nil {
			return freed, err
		}
		if d.Evicted(r.id) {
			sum, freed = sum-r.bytes, freed+r.bytes
			d.log.Info("the raw files of a snapshot are gone, the store has them", "snapshot", r.id, "bytes", r.bytes)
		}
	}
	return freed, nil
}

// shrink makes the cache of the store smaller.
func (d *Depot) shrink() {
	d.connect.Lock()
	defer d.connect.Unlock()
	if d.objects != nil && d.objects.Shrink != nil {
		d.objects.Shrink()
	}
}

// Run trims now and then until ctx ends.
func (d *Depot) Run(ctx context.Context) {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for {
		if _, err := d.Trim(0); err != nil {
			d.log.Warn("remove raw files of snapshots", "err", err)
		}
		select {
		case <-tick.C:
		case <-d.kick:
		case <-ctx.Done():
			return
		}
	}
}

const trimEvery = 30 * time.Second

// Maintained is what [Depot.Maintain] did.
type Maintained struct {
	Collected chunk.Collected
	Compacted chunk.Compacted
}

// Maintain gives back what nobody refers to in a tenant's part of the store, and
// rewrites segments of which less than half is used.
func (d *Depot) Maintain(ctx context.Context, name string) (Maintained, error) {
	var m Maintained
	t, err := d.tenant(ctx, name)
	if err != nil {
		return m, d.noted(err)
	}
	if m.Compacted, err = t.back.Compact(ctx, 0.5); err != nil {
		return m, d.noted(err)
	}
	m.Collected, err = t.back.Collect(ctx)
	return m, d.noted(err)
}

// Scrub reads everything that the store has of a tenant, marks what is damaged, and
// returns it with how.
func (d *Depot) Scrub(ctx context.Context, name string) (damaged map[holt.SnapshotID]string, err error) {
	t, err := d.tenant(ctx, name)
	if err != nil {
		return nil, d.noted(err)
	}
	reports, err := t.back.Scrub(ctx)
	damaged = map[holt.SnapshotID]string{}
	for _, r := range reports {
		damaged[r.Snapshot] = r.Err().Error()
	}
	return damaged, d.noted(err)
}
