package chunk_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
	"github.com/holt-ide/holt/object/objecttest"
	"github.com/holt-ide/holt/snapshot/chunk"
)

var errCrashed = errors.New("the process is dead")

// crasher is a store whose process dies at an operation: the operation does or does
// not take effect, and nothing after it does.
type crasher struct {
	objecttest.Script
	mu    sync.Mutex
	left  int  // operations until the crash; negative for never
	after bool // the last one takes effect
	dead  bool
	ops   int
}

func newCrasher(next object.Store) *crasher {
	c := &crasher{left: -1}
	c.Next = next
	c.Before = func(objecttest.Verb, object.Key) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.ops++
		if c.dead {
			return errCrashed
		}
		if c.left == 0 && !c.after {
			c.dead = true
			return errCrashed
		}
		return nil
	}
	c.After = func(objecttest.Verb, object.Key) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.dead {
			return errCrashed // it was under way when the process died: it took effect
		}
		if c.left == 0 {
			c.dead = true
			return errCrashed
		}
		if c.left > 0 {
			c.left--
		}
		return nil
	}
	return c
}

func (c *crasher) arm(left int, after bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left, c.after, c.dead, c.ops = left, after, false, 0
}

func (c *crasher) crashed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead
}

// exact reports what is stored and not needed, and what is needed and not stored.
func exact(ctx context.Context, objects object.Store, s *chunk.Store) (leaked, missing []object.Key, err error) {
	entries, err := s.Entries(ctx)
	if err != nil {
		return nil, nil, err
	}
	needed := map[object.Key]bool{}
	for _, e := range entries {
		for _, k := range s.Keys(e) {
			needed[k] = true
		}
	}
	there := map[object.Key]bool{}
	for info, err := range objects.List(ctx, "tenant/") {
		if err != nil {
			return nil, nil, err
		}
		there[info.Key] = true
		kind := strings.Split(string(info.Key), "/")[1]
		if !needed[info.Key] && kind != "catalog" && kind != "format" {
			leaked = append(leaked, info.Key)
		}
	}
	for k := range needed {
		if !there[k] {
			missing = append(missing, k)
		}
	}
	return leaked, missing, nil
}

// A crash at any operation of anything leaves every snapshot whole that had been
// committed, the new one whole or not there, and nothing behind after a collection.
func TestCrashAtEveryOperation(t *testing.T) {
	base := newPair(t)
	third := files{"pages.img": append(noise(7, 30_000), base.first["pages.img"][:50_000]...)}
	all := map[holt.SnapshotID]files{"first": base.first, "second": base.second, "third": third}
	for name, act := range map[string]struct {
		do    func(ctx context.Context, s *chunk.Store) error
		keeps []holt.SnapshotID // whatever happens
	}{
		"commit": {func(ctx context.Context, s *chunk.Store) error {
			_, err := save(ctx, s, chunk.New{ID: "third", Workspace: "ws", Parent: "second"}, third)
			return err
		}, []holt.SnapshotID{"first", "second"}},
		"copy": {func(ctx context.Context, s *chunk.Store) error {
			_, err := s.Copy(ctx, "first", chunk.New{ID: "copy", Workspace: "ws-2"})
			return err
		}, []holt.SnapshotID{"first", "second"}},
		"delete and collect": {func(ctx context.Context, s *chunk.Store) error {
			if err := s.Delete(ctx, "first"); err != nil {
				return err
			}
			_, err := s.Collect(ctx)
			return err
		}, []holt.SnapshotID{"second"}},
		"compact": {func(ctx context.Context, s *chunk.Store) error {
			if _, err := s.Compact(ctx, 0.999); err != nil {
				return err
			}
			_, err := s.Collect(ctx)
			return err
		}, []holt.SnapshotID{"first", "second"}},
		"retain": {func(ctx context.Context, s *chunk.Store) error {
			_, err := s.Retain(ctx, "ws", 1)
			return err
		}, []holt.SnapshotID{"second"}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			finished := false
			for n := 0; !finished; n++ {
				for _, after := range []bool{false, true} {
					p := newPair(t)
					if name == "compact" { // something to compact
						if err := open(t, p.cfg).Delete(ctx, "first"); err != nil {
							t.Fatal(err)
						}
						mustSave(t, open(t, p.cfg), chunk.New{ID: "first", Workspace: "ws"}, files{"pages.img": base.first["pages.img"][:30_000]})
						all["first"] = files{"pages.img": base.first["pages.img"][:30_000]}
						if err := open(t, p.cfg).Delete(ctx, "second"); err != nil {
							t.Fatal(err)
						}
						mustSave(t, open(t, p.cfg), chunk.New{ID: "second", Workspace: "ws", Alone: true}, base.second)
					} else {
						all["first"] = base.first
					}
					all["copy"] = all["first"]
					c := newCrasher(p.objects)
					cfg := p.cfg
					cfg.Objects = c
					s := open(t, cfg)
					c.arm(n, after)
					err := act.do(ctx, s)
					if !c.crashed() {
						if err != nil {
							t.Fatal(err)
						}
						finished = true
					}
					// The next process.
					s, repaired := p.reopen(t)
					if repaired != nil {
						t.Fatalf("crash %d needed a repair", n)
					}
					if err := s.Recover(ctx); err != nil {
						t.Fatal(err)
					}
					for range 2 {
						entries, err := s.Entries(ctx)
						if err != nil {
							t.Fatal(err)
						}
						var ids []holt.SnapshotID
						for _, e := range entries {
							ids = append(ids, e.ID)
							if err := check(ctx, s, e.ID, all[e.ID]); err != nil {
								t.Fatalf("crash %d: %v", n, err)
							}
						}
						for _, id := range act.keeps {
							if !slices.Contains(ids, id) {
								t.Fatalf("crash %d: %s is gone", n, id)
							}
						}
						if _, err := s.Collect(ctx); err != nil {
							t.Fatal(err)
						}
						if leaked, missing, err := exact(ctx, p.objects, s); err != nil || len(leaked)+len(missing) > 0 {
							t.Fatalf("crash %d: leaked %q, missing %q, %v", n, leaked, missing, err)
						}
					}
				}
			}
		})
	}
}
