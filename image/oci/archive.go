package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	holt "github.com/holt-ide/holt"
	"github.com/holt-ide/holt/image"
)

const (
	maxDocument       = 4 << 20 // bytes of a manifest, index or configuration
	maxArchiveEntries = 20_000
	maxIndexDepth     = 4 // indexes within indexes
)

// Load reads a container image from the tar archive r, plain or compressed: an
// OCI layout, or what `docker save` writes. It is stored under name. An archive
// with several images is refused unless one alone is for this platform.
//
// Errors are those of [Pull]; a file that is no such archive is
// [holt.KindInvalid].
func Load(ctx context.Context, r io.Reader, name string, st *image.Store, opt Options) (image.Image, error) {
	if err := image.CheckName(name); err != nil {
		return image.Image{}, err
	}
	dir, remove, err := st.TempTree()
	if err != nil {
		return image.Image{}, err
	}
	defer remove()
	a := &archive{dir: dir, size: opt.Size, files: map[string]archived{}, lim: opt.Limits.withDefaults()}
	ph := opt.Progress.Phase("read")
	if err := a.unpack(ctx, r, ph); err != nil {
		return image.Image{}, fmt.Errorf("read image archive: %w", err)
	}
	ph.End()
	src, err := a.source()
	if err != nil {
		return image.Image{}, fmt.Errorf("read image archive: %w", err)
	}
	src.ref, src.names = name, []string{name}
	return importSource(ctx, src, st, opt.Progress, opt.Limits, opt.logger())
}

// archive is the unpacked content of an image archive. Files are kept under
// numbers, never under their own names.
type archive struct {
	dir   string
	size  int64 // of the archive as it comes in, 0 if unknown
	lim   Limits
	files map[string]archived // by name in the archive
}

type archived struct {
	path string // of the stored content; "" for a link
	link string // name of the file that has the content
	size int64
}

func (a *archive) unpack(ctx context.Context, r io.Reader, ph *image.Phase) error {
	in := &countingReader{ctx: ctx, r: r, seen: func(n int64) { ph.Step(n, a.size, true, "") }}
	plain, err := decompress(in)
	if err != nil {
		return err
	}
	defer plain.Close()
	tr := tar.NewReader(&ratioReader{r: plain, in: in, lim: a.lim})
	total := int64(0)
	for n := 0; ; n++ {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) && n > 0 {
			return readRest(plain, in)
		}
		if n == 0 && (errors.Is(err, io.EOF) || errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF)) {
			return &holt.Error{Kind: holt.KindInvalid, Field: "image", Err: err,
				Text: "this is not a tar archive of an image: give what docker save writes, or an OCI layout as a tar, plain or compressed"}
		}
		if err != nil {
			return tarError(err, false)
		}
		if n >= maxArchiveEntries {
			return entryError(hdr.Name, refuse("is one too many: an archive may have %d", maxArchiveEntries))
		}
		if total += hdr.Size; hdr.Size < 0 || total > a.lim.Bytes {
			return entryError(hdr.Name, refuse("exceeds the limit of %s for the archive", holt.FormatSize(a.lim.Bytes)))
		}
		if err := a.keep(hdr, tr, n); err != nil {
			return entryError(hdr.Name, err)
		}
	}
}

// readRest reads the padding after the archive's end, so that whoever sends the
// archive comes to an end too.
func readRest(plain, in io.Reader) error {
	for _, r := range []io.Reader{plain, in} {
		n, err := io.Copy(io.Discard, io.LimitReader(r, maxPadding+1))
		if err != nil {
			return fetchError(err)
		}
		if n > maxPadding {
			return holt.Invalidf("image", "more than %s follow the end of the archive", holt.FormatSize(maxPadding))
		}
	}
	return nil
}

// keep stores one entry of the archive.
func (a *archive) keep(hdr *tar.Header, content io.Reader, n int) error {
	name, err := cleanName(hdr.Name)
	if err != nil {
		return err
	}
	switch hdr.Typeflag {
	case tar.TypeDir, tar.TypeXGlobalHeader:
		return nil
	case tar.TypeReg, tar.TypeSymlink, tar.TypeLink:
	default:
		return refuse("is neither a file nor a link")
	}
	if _, ok := a.files[name]; ok {
		return refuse("is there twice")
	}
	switch hdr.Typeflag {
	case tar.TypeSymlink: // older docker save links equal layers
		a.files[name] = archived{link: path.Join(path.Dir(name), hdr.Linkname)}
		return nil
	case tar.TypeLink:
		a.files[name] = archived{link: path.Clean(hdr.Linkname)}
		return nil
	}
	p := filepath.Join(a.dir, strconv.Itoa(n))
	f, err := os.OpenFile(p, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	a.files[name] = archived{path: p, size: hdr.Size}
	return err
}

// find returns a file of the archive, through at most one link.
func (a *archive) find(name string) (archived, error) {
	f, ok := a.files[path.Clean(name)]
	if ok && f.path == "" {
		f, ok = a.files[f.link]
	}
	if !ok || f.path == "" {
		return archived{}, holt.Invalidf("image", "the archive has no file %.200q, which it refers to", name)
	}
	return f, nil
}

// document reads a small file.
func (a *archive) document(name string) ([]byte, error) {
	f, err := a.find(name)
	if err != nil {
		return nil, err
	}
	if f.size > maxDocument {
		return nil, holt.Invalidf("image", "%.200q in the archive is larger than %s", name, holt.FormatSize(maxDocument))
	}
	return os.ReadFile(f.path)
}

// blob reads a small blob of an OCI layout and checks its digest.
func (a *archive) blob(h v1.Hash) ([]byte, error) {
	b, err := a.document(blobName(h))
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(b); h.Algorithm != "sha256" || hex.EncodeToString(sum[:]) != h.Hex {
		return nil, holt.Wrap(holt.KindCorrupt, errDigest, "the archive is damaged: "+blobName(h))
	}
	return b, nil
}

func blobName(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

func (a *archive) layer(name string) (layer, error) {
	f, err := a.find(name)
	if err != nil {
		return layer{}, err
	}
	return layer{name: name, size: f.size, open: func() (io.ReadCloser, error) { return os.Open(f.path) }}, nil
}

// source reads the manifest of whichever kind the archive has.
func (a *archive) source() (source, error) {
	if _, ok := a.files["index.json"]; ok {
		b, err := a.document("index.json")
		if err != nil {
			return source{}, err
		}
		return a.fromIndex(b, maxIndexDepth)
	}
	if _, ok := a.files["manifest.json"]; ok {
		return a.fromDockerSave()
	}
	return source{}, holt.Invalid("image", "the file is a tar archive but not of a container image: it has neither index.json (OCI layout) nor manifest.json (docker save)")
}

// fromIndex picks the one image for this platform.
func (a *archive) fromIndex(b []byte, depth int) (source, error) {
	index, err := v1.ParseIndexManifest(bytes.NewReader(b))
	if err != nil {
		return source{}, holt.Wrap(holt.KindInvalid, err, "the archive's index is damaged")
	}
	var fit []v1.Descriptor
	for _, d := range index.Manifests {
		p := d.Platform
		if p == nil || (p.OS == "linux" && p.Architecture == runtime.GOARCH) {
			fit = append(fit, d)
		}
	}
	if len(fit) != 1 {
		return source{}, holt.Errorf(holt.KindUnsupported, "the archive has %d images for linux/%s: save exactly one", len(fit), runtime.GOARCH)
	}
	m, err := a.blob(fit[0].Digest)
	if err != nil {
		return source{}, err
	}
	if fit[0].MediaType.IsIndex() {
		if depth == 0 {
			return source{}, holt.Errorf(holt.KindInvalid, "the archive's indexes are nested more than %d deep", maxIndexDepth)
		}
		return a.fromIndex(m, depth-1)
	}
	return a.fromManifest(m, fit[0].Digest)
}

func (a *archive) fromManifest(b []byte, digest v1.Hash) (source, error) {
	m, err := v1.ParseManifest(bytes.NewReader(b))
	if err != nil {
		return source{}, holt.Wrap(holt.KindInvalid, err, "the archive's manifest is damaged")
	}
	if len(m.Layers) > maxLayers {
		return source{}, tooManyLayers(len(m.Layers))
	}
	b, err = a.blob(m.Config.Digest)
	if err != nil {
		return source{}, err
	}
	src := source{digest: digest.String()}
	if src.config, err = parseConfig(b); err != nil {
		return source{}, err
	}
	for _, d := range m.Layers {
		l, err := a.layer(blobName(d.Digest))
		if err != nil {
			return source{}, err
		}
		src.layers = append(src.layers, l)
	}
	return src, nil
}

// fromDockerSave reads manifest.json. It names no digests, so the image goes by
// that of its configuration, which has the digests of the layers.
func (a *archive) fromDockerSave() (source, error) {
	b, err := a.document("manifest.json")
	if err != nil {
		return source{}, err
	}
	var list []struct {
		Config string
		Layers []string
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return source{}, holt.Wrap(holt.KindInvalid, err, "the archive's manifest.json is damaged")
	}
	if len(list) != 1 {
		return source{}, holt.Invalidf("image", "the archive has %d images: save exactly one", len(list))
	}
	if len(list[0].Layers) > maxLayers {
		return source{}, tooManyLayers(len(list[0].Layers))
	}
	if b, err = a.document(list[0].Config); err != nil {
		return source{}, err
	}
	sum := sha256.Sum256(b)
	src := source{digest: "config-sha256:" + hex.EncodeToString(sum[:])}
	if src.config, err = parseConfig(b); err != nil {
		return source{}, err
	}
	for _, name := range list[0].Layers {
		l, err := a.layer(name)
		if err != nil {
			return source{}, err
		}
		src.layers = append(src.layers, l)
	}
	return src, nil
}

func parseConfig(b []byte) (*v1.ConfigFile, error) {
	c, err := v1.ParseConfigFile(strings.NewReader(string(b)))
	if err != nil {
		return nil, holt.Wrap(holt.KindInvalid, err, "the image's configuration is damaged")
	}
	return c, nil
}
