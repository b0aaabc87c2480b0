// Package oci brings container images into an [image.Store]: [Pull] from a
// registry, [Load] from a tar archive (an OCI layout or what `docker save`
// writes).
//
// The layers are flattened into one private directory, made usable as a
// workspace ([image.Prepare]) and packed. Everything in an image is hostile
// input:
//   - Every byte is checked against the digest that names it, from the manifest
//     down to the uncompressed layers.
//   - No entry is written, linked or removed outside the directory, whatever
//     links earlier entries made.
//   - Sizes, counts, names and compression ratios are bounded by [Limits].
//   - `..`, hard links to absolute paths, links that lead out, devices and
//     unknown entry types end the import with the entry's name; nothing is kept.
//
// Absolute targets of symbolic links are legal and kept. Extended attributes
// (security.capability, user.*) are set in the directory, but the packed EROFS
// image has none, see package image: programs that rely on file capabilities
// need sudo in a workspace.
package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	holt "github.com/holt-ide/holt"
	"github.com/holt-ide/holt/image"
)

// source is a container image ready to be flattened.
type source struct {
	ref    string   // as the user knows it
	names  []string // for the stored image
	digest string   // "sha256:HEX" of the manifest
	config *v1.ConfigFile
	layers []layer // from the lowest up
}

// layer is one compressed or plain tar.
type layer struct {
	name string // for errors: its digest or file
	size int64  // bytes as stored, at least 0
	open func() (io.ReadCloser, error)
}

// importSource flattens src and stores the result.
func importSource(ctx context.Context, src source, st *image.Store, progress image.Progress, lim Limits, log *slog.Logger) (image.Image, error) {
	if err := src.check(); err != nil {
		return image.Image{}, err
	}
	if im, ok := stored(ctx, st, src); ok {
		for _, n := range src.names {
			if err := st.Tag(im.ID, n); err != nil {
				return image.Image{}, err
			}
		}
		return st.Resolve(ctx, string(im.ID))
	}
	if os.Geteuid() != 0 {
		return image.Image{}, holt.Errorf(holt.KindUnsupported, "importing a container image needs root, because files keep their owners: run it with sudo")
	}
	dir, remove, err := st.TempTree()
	if err != nil {
		return image.Image{}, err
	}
	defer remove()
	if err := flattenAll(ctx, src, dir, progress, lim.withDefaults(), log); err != nil {
		return image.Image{}, fmt.Errorf("image %s: %w", src.ref, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return image.Image{}, fmt.Errorf("image %s: %w", src.ref, err)
	}
	defer root.Close()
	if err := image.Prepare(root); err != nil {
		return image.Image{}, fmt.Errorf("image %s: %w", src.ref, err)
	}
	c := src.config.Config
	return st.Import(ctx, dir, image.ImportOptions{
		Names: src.names, Progress: progress,
		Source: image.Source{Kind: image.FromOCI, Ref: src.ref, Digest: src.digest},
		Config: image.Config{Env: c.Env, User: c.User, WorkDir: c.WorkingDir, Labels: c.Labels},
	})
}

// check refuses what cannot run here or is not consistent.
func (s source) check() error {
	c := s.config
	if (c.OS != "" && c.OS != "linux") || (c.Architecture != "" && c.Architecture != runtime.GOARCH) {
		return &holt.Error{Kind: holt.KindUnsupported, Field: "image",
			Text: fmt.Sprintf("image %s is for %s/%s, this server runs linux/%s", s.ref, c.OS, c.Architecture, runtime.GOARCH)}
	}
	if len(c.RootFS.DiffIDs) != len(s.layers) {
		return holt.Errorf(holt.KindCorrupt, "image %s is damaged: its manifest lists %d layers and its configuration %d", s.ref, len(s.layers), len(c.RootFS.DiffIDs))
	}
	for _, n := range s.names {
		if err := image.CheckName(n); err != nil {
			return err
		}
	}
	return nil
}

// stored finds an image of the same digest that was imported before.
func stored(ctx context.Context, st *image.Store, src source) (image.Image, bool) {
	all := st.List()
	i := slices.IndexFunc(all, func(im image.Image) bool {
		return im.Source.Kind == image.FromOCI && im.Source.Digest == src.digest
	})
	if i < 0 {
		return image.Image{}, false
	}
	im, err := st.Resolve(ctx, string(all[i].ID))
	return im, err == nil
}

func flattenAll(ctx context.Context, src source, dir string, progress image.Progress, lim Limits, log *slog.Logger) error {
	t, err := newTree(dir, lim)
	if err != nil {
		return err
	}
	defer t.close()
	for i, l := range src.layers {
		ph := progress.Phase(fmt.Sprintf("layer %d/%d", i+1, len(src.layers)))
		if err := l.apply(ctx, t, src.config.RootFS.DiffIDs[i], ph); err != nil {
			return fmt.Errorf("layer %d of %d (%s): %w", i+1, len(src.layers), l.name, err)
		}
		ph.End()
	}
	if t.skippedXattrs > 0 {
		log.Warn("image has extended attributes that are not kept", "image", src.ref, "attributes", t.skippedXattrs)
	}
	return t.finish()
}

// apply reads the layer, checks that its content has the digest diffID, and
// writes it over the tree.
func (l layer) apply(ctx context.Context, t *tree, diffID v1.Hash, ph *image.Phase) error {
	rc, err := l.open()
	if err != nil {
		return fetchError(err)
	}
	defer rc.Close()
	in := &countingReader{ctx: ctx, r: rc, seen: func(n int64) { ph.Step(n, l.size, true, "") }}
	plain, err := decompress(in)
	if err != nil {
		return err
	}
	defer plain.Close()
	check, err := newDigestReader(&ratioReader{r: plain, in: in, lim: t.lim}, diffID)
	if err != nil {
		return err
	}
	if err := t.apply(ctx, check); err != nil {
		return err
	}
	// Padding after the archive's end belongs to the digest, as does the
	// compressed stream's own checksum at its end.
	if n, err := io.Copy(io.Discard, io.LimitReader(check, maxPadding+1)); err != nil {
		return fetchError(err)
	} else if n > maxPadding {
		return holt.Errorf(holt.KindInvalid, "more than %s follow the end of the archive", holt.FormatSize(maxPadding))
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return fetchError(err)
	}
	return check.verify()
}

// maxPadding is what may follow the end of a layer's tar; writers pad to blocks
// of up to a few MiB.
const maxPadding = 64 << 20

// errDigest marks content that does not have the digest that names it.
var errDigest = errors.New("content does not match its digest")
