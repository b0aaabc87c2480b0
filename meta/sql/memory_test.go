package sql

import (
	"path/filepath"
	"testing"

	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/meta/metatest"
)

// inMemory is a database whose revisions are the ones of tests.
type inMemory struct {
	meta.Store
	revisions *metatest.Revisions
}

func (m inMemory) Revisions() meta.Revisions { return m.revisions }

// What other packages test with behaves as the real thing.
func TestMemoryRevisions(t *testing.T) {
	metatest.RunRevisions(t, func(t *testing.T) func(*testing.T) meta.Store {
		r := new(metatest.Revisions)
		path := filepath.Join(t.TempDir(), "x.db")
		return func(t *testing.T) meta.Store {
			s := opener("sqlite:" + path)(t)
			r.Events = s.Events()
			return inMemory{s, r}
		}
	})
}
