// Package imagetest gives tests the real images, built once on a machine and
// kept in the build cache (see [image.CacheDir]). Only tests import it.
package imagetest

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/holt-ide/holt/image"
	"github.com/holt-ide/holt/images"
)

// Default returns the image that workspaces get by default. The first call on a
// machine builds it, which takes minutes.
func Default(t testing.TB) image.Image { return build(t, images.Default) }

// Tiny returns a small image with busybox and bash, and the user dev like every
// image. The first call on a machine builds it, which takes seconds.
func Tiny(t testing.TB) image.Image { return build(t, images.Tiny) }

// build returns an image in the cache. Its path stays valid after the store is
// closed: nothing removes images from the cache while tests run.
func build(t testing.TB, name string) image.Image {
	t.Helper()
	NeedRoot(t)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	st, err := image.OpenWait(t.Context(), filepath.Join(image.CacheDir(os.Getenv), "images"), log)
	if err != nil {
		t.Fatalf("open image cache: %v", err)
	}
	defer st.Close()
	r, err := image.LoadRecipe(images.FS, name)
	if err != nil {
		t.Fatal(err)
	}
	im, err := st.Build(t.Context(), r, image.BuildOptions{Progress: func(e image.Event) {
		if e.End {
			t.Logf("image %s: %s took %s", name, e.Phase, e.Took)
		}
	}})
	if err != nil {
		t.Fatalf("build image %s: %v", name, err)
	}
	return im
}

// NeedRoot skips the test when it does not run as root: making and mounting
// images needs it. `make test` and CI run as root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, as in `sudo make test`")
	}
}
