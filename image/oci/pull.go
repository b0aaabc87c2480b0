package oci

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	holt "github.com/holt-ide/holt"
	"github.com/holt-ide/holt/image"
)

// Options control [Pull] and [Load]. The zero value works.
type Options struct {
	Keychain  authn.Keychain    // credentials for registries; nil: none. Only Pull uses it
	Transport http.RoundTripper // nil: the default. Only Pull uses it
	Insecure  bool              // allow plain HTTP to any registry, not only to localhost
	Size      int64             // bytes of the archive, for the progress of Load; 0: unknown. Only Load uses it
	Limits    Limits
	Progress  image.Progress
	Log       *slog.Logger // nil: discard
}

func (o Options) logger() *slog.Logger {
	if o.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Log
}

// maxLayers is far above what any builder makes (overlayfs ends at 500).
const maxLayers = 1000

// Pull fetches the container image ref, such as "registry.example.com/team/app:1"
// or "python:3.12", for linux on this machine's architecture, and stores it under
// ref as given and as completed by the rules of container references. An image
// of the same digest that was pulled before is only named.
//
// Errors: [holt.KindInvalid] for a malformed reference and for hostile content,
// [holt.KindNotFound], [holt.KindForbidden] and [holt.KindUnavailable] from the
// registry, [holt.KindCorrupt] when bytes do not match their digest,
// [holt.KindUnsupported] when there is none for this platform.
func Pull(ctx context.Context, ref string, st *image.Store, opt Options) (image.Image, error) {
	var nopts []name.Option
	if opt.Insecure {
		nopts = append(nopts, name.Insecure)
	}
	r, err := name.ParseReference(ref, nopts...)
	if err != nil {
		return image.Image{}, &holt.Error{Kind: holt.KindInvalid, Field: "image",
			Text: fmt.Sprintf("%.200q is not a container image: write REGISTRY/NAME:TAG or NAME@sha256:DIGEST", ref), Err: err}
	}
	ropts := []remote.Option{
		remote.WithContext(ctx),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}),
		remote.WithUserAgent("holt"),
	}
	if opt.Keychain != nil {
		ropts = append(ropts, remote.WithAuthFromKeychain(opt.Keychain))
	}
	if opt.Transport != nil {
		ropts = append(ropts, remote.WithTransport(opt.Transport))
	}
	ph := opt.Progress.Phase("manifest")
	src, err := fromRegistry(r, ref, ropts)
	if err != nil {
		return image.Image{}, fmt.Errorf("pull %s: %w", ref, fetchError(err))
	}
	ph.End()
	return importSource(ctx, src, st, opt.Progress, opt.Limits, opt.logger())
}

// fromRegistry reads manifest and configuration; layers are fetched when they
// are opened. The library checks each against its digest as it reads.
func fromRegistry(r name.Reference, ref string, opts []remote.Option) (source, error) {
	img, err := remote.Image(r, opts...)
	if err != nil {
		return source{}, err
	}
	digest, err := img.Digest()
	if err != nil {
		return source{}, err
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return source{}, err
	}
	layers, err := img.Layers()
	if err != nil {
		return source{}, err
	}
	if len(layers) > maxLayers {
		return source{}, tooManyLayers(len(layers))
	}
	src := source{ref: ref, digest: digest.String(), config: cfg, names: []string{ref}}
	if full := r.Name(); full != ref {
		src.names = append(src.names, full)
	}
	for _, l := range layers {
		d, err := l.Digest()
		if err != nil {
			return source{}, err
		}
		size, err := l.Size()
		if err != nil {
			return source{}, err
		}
		src.layers = append(src.layers, layer{name: d.String(), size: size, open: func() (io.ReadCloser, error) { return l.Compressed() }})
	}
	return src, nil
}

func tooManyLayers(n int) error {
	return holt.Invalidf("image", "the image has %d layers: at most %d are allowed", n, maxLayers)
}
