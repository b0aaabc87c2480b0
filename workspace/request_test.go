package workspace

import (
	"testing"

	"github.com/holt-ide/holt"
)

// Defaults never exceed what the server allows: who asks for nothing is not refused.
func TestDefaultsWithinBounds(t *testing.T) {
	most := unbounded(holt.Limits{CPUs: 1, Memory: holt.GiB, Disk: 2 * holt.GiB, Root: 2 * holt.GiB, Processes: 100})
	if got := withDefaults(holt.Limits{}, most); got.Check(most) != nil || got.Memory != holt.GiB || got.CPUs != 1 {
		t.Errorf("defaults %+v are outside of %+v", got, most)
	}
	asked := holt.Limits{CPUs: 2, Memory: 3 * holt.GiB}
	if got := withDefaults(asked, most); got.Memory != asked.Memory || got.CPUs != asked.CPUs || got.Check(most) == nil {
		t.Errorf("what was asked for was changed: %+v", got)
	}
	if got := withDefaults(holt.Limits{}, unbounded(holt.Limits{})); got != holt.DefaultLimits {
		t.Errorf("without bounds: %+v, want %+v", got, holt.DefaultLimits)
	}
}
