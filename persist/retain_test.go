package persist

import (
	"slices"
	"testing"
	"time"
)

func at(ages ...time.Duration) []Revision {
	now := time.Date(2026, 5, 1, 12, 30, 0, 0, time.UTC)
	var list []Revision
	for i, age := range ages {
		list = append(list, Revision{Number: int64(i + 1), At: now.Add(-age)})
	}
	return list
}

func TestThin(t *testing.T) {
	const hour, day = time.Hour, 24 * time.Hour
	named := at(400*day, 2*hour, 2*hour-time.Minute, 0)
	named[0].Name, named[1].Name = "release", "before the move"
	for name, c := range map[string]struct {
		list []Revision
		drop []int64
	}{
		"none":           {nil, nil},
		"one":            {at(0), nil},
		"the last hour":  {at(59*time.Minute, 40*time.Minute, 40*time.Minute, time.Second, 0), nil},
		"a day":          {at(5*hour, 5*hour-time.Minute, 3*hour, 3*hour-20*time.Minute, 2*hour, 0), []int64{1, 3}},
		"a month":        {at(9*day, 9*day-time.Hour, 8*day, 0), []int64{1}},
		"older":          {at(400*day, 31*day, 29*day, 0), []int64{1, 2}},
		"rested":         {at(5*hour, 59*time.Minute, 30*time.Minute), []int64{}},
		"named":          {named, []int64{}},
		"a clock ahead":  {at(0, -365*day, -time.Minute, time.Minute), []int64{}},
		"named in a row": {at(0), nil},
	} {
		got := thin(c.list)
		if !slices.Equal(got, c.drop) && len(got)+len(c.drop) > 0 {
			t.Errorf("%s: dropped %v, want %v", name, got, c.drop)
		}
	}
}

// Thinning again and again, as time passes, keeps what thinning once would keep at least.
func TestThinIsStable(t *testing.T) {
	begin := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	var list []Revision
	for i := range 4000 {
		list = append(list, Revision{Number: int64(i + 1), At: begin.Add(time.Duration(i) * 17 * time.Minute)})
		drop := thin(list)
		list = slices.DeleteFunc(list, func(r Revision) bool { return slices.Contains(drop, r.Number) })
		if len(thin(list)) > 0 {
			t.Fatal("not all was thinned at once")
		}
	}
	if n := len(list); n < 4+22+28 || n > 4+24+31 {
		t.Errorf("%d revisions are left of 47 days", n)
	}
	for i := 1; i < len(list); i++ {
		if gap := list[i].At.Sub(list[i-1].At); gap > 25*time.Hour {
			t.Errorf("a gap of %v after %v", gap, list[i-1].At)
		}
	}
}
