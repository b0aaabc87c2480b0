package workspace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/holt-ide/holt"
)

func TestImageUsers(t *testing.T) {
	w := newWorld(t)
	w.running("a")
	if _, err := w.m.Create(t.Context(), CreateRequest{Name: "b", Image: "other"}); err != nil {
		t.Fatal(err)
	}
	w.want("a", holt.WantSuspended)
	w.reach("a", holt.Suspended)
	if _, err := w.m.Fork(t.Context(), "a", "c", ""); err != nil {
		t.Fatal(err)
	}
	c := w.reach("c", holt.Running)
	users := func(id holt.ImageID) (got []string) {
		t.Helper()
		if err := w.m.WithImageUsers(t.Context(), id, func(names []string) error { got = names; return nil }); err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := users("sha256-default"); !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("the default image is used by %v", got)
	}
	if err := w.m.Delete(t.Context(), c.ID, true); err != nil {
		t.Fatal(err)
	}
	w.reach("c", holt.Deleted)
	if got := users("sha256-default"); !slices.Equal(got, []string{"a"}) {
		t.Errorf("after a removal the default image is used by %v", got)
	}
	if got := users("sha256-none"); got != nil {
		t.Errorf("an unknown image is used by %v", got)
	}
	refused := errors.New("refused")
	if err := w.m.WithImageUsers(t.Context(), "sha256-other", func([]string) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("the error of do became %v", err)
	}
}

// removable knows one image until it is removed.
type removable struct {
	mu   sync.Mutex
	gone bool
}

func (r *removable) Resolve(context.Context, string) (holt.ImageID, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone {
		return "", holt.Errorf(holt.KindNotFound, "the image is gone")
	}
	return "sha256-default", nil
}

// Whoever is first, the removal or the creation, no workspace is left whose
// image is not there.
func TestNoWorkspaceOfARemovedImage(t *testing.T) {
	w := newWorld(t)
	for n := range 30 {
		image := &removable{}
		w.m.cfg.Images = image
		name := fmt.Sprintf("a%d", n)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := w.m.Create(t.Context(), CreateRequest{Name: name}); err != nil && !holt.IsKind(err, holt.KindNotFound) {
				t.Errorf("create: %v", err)
			}
		})
		wg.Go(func() {
			err := w.m.WithImageUsers(t.Context(), "sha256-default", func(users []string) error {
				image.mu.Lock()
				defer image.mu.Unlock()
				image.gone = !slices.Contains(users, name)
				return nil
			})
			if err != nil {
				t.Errorf("remove: %v", err)
			}
		})
		wg.Wait()
		_, err := w.m.Get(t.Context(), name)
		if made := err == nil; made == image.gone {
			t.Fatalf("the workspace was made: %v, its image is gone: %v", made, image.gone)
		}
	}
}
