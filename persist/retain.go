package persist

import (
	"context"
	"slices"
	"time"

	"github.com/holt-ide/holt"
)

// How long revisions are kept. Ages count from the latest revision of the workspace, so
// that a project that rested for a year has its history still, and a clock that is wrong for
// a while costs little.
const (
	keepAll    = time.Hour           // all that are younger
	keepHourly = 24 * time.Hour      // the last of each hour
	keepDaily  = 30 * 24 * time.Hour // the last of each day
)

// thin returns the numbers of those revisions of one workspace, in the order of their
// numbers, that are kept no longer. The last and the named ones are always kept.
func thin(list []Revision) (drop []int64) {
	if len(list) == 0 {
		return nil
	}
	now := list[len(list)-1].At
	type slot struct {
		size time.Duration
		at   int64
	}
	taken := map[slot]bool{}
	for i := len(list) - 1; i >= 0; i-- {
		r := &list[i]
		var s slot
		switch age := now.Sub(r.At); {
		case i == len(list)-1 || age < keepAll: // a time that lies ahead as well: a clock was set back
			continue
		case age < keepHourly:
			s = slot{time.Hour, r.At.Unix() / 3600}
		case age < keepDaily:
			s = slot{24 * time.Hour, r.At.Unix() / 86400}
		default:
			if r.Name == "" {
				drop = append(drop, r.Number)
			}
			continue
		}
		if taken[s] && r.Name == "" {
			drop = append(drop, r.Number)
		}
		taken[s] = true
	}
	slices.Reverse(drop)
	return drop
}

// Thin forgets the revisions of a workspace that are kept no longer: all of the hour before
// the latest stay, then one for each hour of a day, then one for each day of a month, and
// the named ones. It returns how many were forgotten. The space comes back with [Store.Collect].
func (s *Store) Thin(ctx context.Context, ws holt.WorkspaceID) (int, error) {
	list, err := s.cfg.Revisions.List(ctx, ws, 0, 0)
	if err != nil {
		return 0, err
	}
	sorted := make([]Revision, len(list))
	for i := range list {
		sorted[len(list)-1-i] = list[i]
	}
	drop := thin(sorted)
	if len(drop) == 0 {
		return 0, nil
	}
	return len(drop), s.cfg.Revisions.Remove(ctx, ws, drop...)
}
