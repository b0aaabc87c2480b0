package oci_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	holt "github.com/holt-ide/holt"
	"github.com/holt-ide/holt/image"
	"github.com/holt-ide/holt/image/imagetest"
	"github.com/holt-ide/holt/image/oci"
)

func openStore(t *testing.T) *image.Store {
	t.Helper()
	imagetest.NeedRoot(t)
	st, err := image.Open(t.TempDir(), slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// startRegistry serves an in-process registry; damage may change its answers.
func startRegistry(t *testing.T, damage func(path string, body []byte) []byte) (host string, requests *atomic.Int64) {
	t.Helper()
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	requests = new(atomic.Int64)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if damage == nil || r.Method != http.MethodGet {
			inner.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		inner.ServeHTTP(rec, r)
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(rec.Code)
		w.Write(damage(r.URL.Path, rec.Body.Bytes()))
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://"), requests
}

type file struct{ name, text string }

func layerOf(t *testing.T, files ...file) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.text)), Typeflag: tar.TypeReg}
		if strings.HasSuffix(f.name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func buildImage(t *testing.T, layers ...[]byte) v1.Image {
	t.Helper()
	img := empty.Image
	for _, b := range layers {
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil })
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", runtime.GOARCH
	cfg.Config = v1.Config{Env: []string{"A=1", "PATH=/bin"}, User: "app", WorkingDir: "/srv", Labels: map[string]string{"k": "v"}}
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		t.Fatal(err)
	}
	return img
}

// sample has two layers: the second hides, replaces and adds.
func sample(t *testing.T) v1.Image {
	return buildImage(t,
		layerOf(t, file{"etc/", ""}, file{"etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\n"},
			file{"etc/old", "1"}, file{"etc/both", "1"}, file{"bin/sh", "#!"}),
		layerOf(t, file{"etc/.wh.old", ""}, file{"etc/both", "2"}, file{"opt/new", "2"}))
}

func push(t *testing.T, host, ref string, img v1.Image) string {
	t.Helper()
	full := host + "/" + ref
	r, err := name.ParseReference(full)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(r, img); err != nil {
		t.Fatal(err)
	}
	return full
}

// extract reads a stored image with the system's own EROFS tool.
func extract(t *testing.T, im image.Image) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "x")
	if out, err := exec.Command("/usr/bin/fsck.erofs", "--extract="+dir, im.Path).CombinedOutput(); err != nil {
		t.Fatalf("fsck.erofs: %v: %s", err, out)
	}
	return dir
}

func contains(t *testing.T, dir, name, want string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil || string(b) != want {
		t.Errorf("%s = %q, %v, want %q", name, b, err, want)
	}
}

func checkSample(t *testing.T, im image.Image) {
	t.Helper()
	dir := extract(t, im)
	contains(t, dir, "etc/both", "2")
	contains(t, dir, "opt/new", "2")
	if _, err := os.Lstat(filepath.Join(dir, "etc/old")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("etc/old is still there: %v", err)
	}
	contains(t, dir, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\ndev:*:1000:1000:Holt:/home/dev:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\n")
	for _, d := range []string{"workspace", "home/dev", ".holt", "proc", "tmp"} {
		if fi, err := os.Lstat(filepath.Join(dir, d)); err != nil || !fi.IsDir() {
			t.Errorf("%s: %v, want a directory", d, err)
		}
	}
	c := im.Config
	if !slices.Equal(c.Env, []string{"A=1", "PATH=/bin"}) || c.User != "app" || c.WorkDir != "/srv" || c.Labels["k"] != "v" {
		t.Errorf("config %+v", c)
	}
}

func TestPull(t *testing.T) {
	st := openStore(t)
	host, requests := startRegistry(t, nil)
	ref := push(t, host, "team/app:1", sample(t))
	var phases []string
	im, err := oci.Pull(t.Context(), ref, st, oci.Options{Progress: func(e image.Event) {
		if e.End {
			phases = append(phases, e.Phase)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	checkSample(t, im)
	if want := []string{"manifest", "layer 1/2", "layer 2/2", "pack", "hash"}; !slices.Equal(phases, want) {
		t.Errorf("phases %q, want %q", phases, want)
	}
	if got, err := st.Resolve(t.Context(), ref); err != nil || got.ID != im.ID {
		t.Errorf("resolve %s: %v, %v", ref, got.ID, err)
	}

	before := requests.Load()
	again, err := oci.Pull(t.Context(), ref, st, oci.Options{})
	if err != nil || again.ID != im.ID {
		t.Fatalf("second pull: %s, %v", again.ID, err)
	}
	if n := requests.Load() - before; n > 4 {
		t.Errorf("the second pull made %d requests: it fetched layers again", n)
	}

	// The same content in another store has the same hash.
	other, err := oci.Pull(t.Context(), ref, openStore(t), oci.Options{})
	if err != nil || other.ID != im.ID {
		t.Errorf("another store: %s, %v, want %s", other.ID, err, im.ID)
	}
}

func TestPullChoosesPlatform(t *testing.T) {
	st := openStore(t)
	host, _ := startRegistry(t, nil)
	wrong, err := random.Image(1024, 1)
	if err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: wrong, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}},
		mutate.IndexAddendum{Add: sample(t), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}}})
	r, err := name.ParseReference(host + "/multi:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(r, index); err != nil {
		t.Fatal(err)
	}
	im, err := oci.Pull(t.Context(), r.String(), st, oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	checkSample(t, im)
}

func TestPullErrors(t *testing.T) {
	host, _ := startRegistry(t, nil)
	alien := sample(t)
	cfg, err := alien.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg = cfg.DeepCopy()
	cfg.Architecture = "s390x"
	if alien, err = mutate.ConfigFile(alien, cfg); err != nil {
		t.Fatal(err)
	}
	denied := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(denied.Close)
	for _, tc := range []struct {
		name, ref string
		kind      holt.Kind
		text      string
	}{
		{"malformed", "NOT//an image", holt.KindInvalid, "is not a container image"},
		{"unknown", host + "/none:1", holt.KindNotFound, "no such image"},
		{"other machine", push(t, host, "alien:1", alien), holt.KindUnsupported, "s390x"},
		{"closed port", "127.0.0.1:1/a:1", holt.KindUnavailable, "cannot be reached"},
		{"denied", strings.TrimPrefix(denied.URL, "http://") + "/a:1", holt.KindForbidden, "does not give"},
		{"not a tar", push(t, host, "text:1", buildImage(t, bytes.Repeat([]byte("no tar "), 1000))), holt.KindInvalid, "not a tar archive"},
		{"hostile", push(t, host, "evil:1", buildImage(t, layerOf(t, file{"../../etc/cron.d/x", "pwned"}))), holt.KindInvalid, `"../../etc/cron.d/x" has .. in its name`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			st := openStore(t)
			_, err := oci.Pull(t.Context(), tc.ref, st, oci.Options{})
			if !holt.IsKind(err, tc.kind) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("error %v (kind %s), want kind %s with %q", err, holt.KindOf(err), tc.kind, tc.text)
			}
			if all := st.List(); len(all) != 0 {
				t.Errorf("something was stored: %v", all)
			}
		})
	}
}

func TestPullRefusesDamage(t *testing.T) {
	for _, what := range []string{"layer", "config"} {
		t.Run(what, func(t *testing.T) {
			img := sample(t)
			target, err := img.ConfigName()
			if what == "layer" {
				var layers []v1.Layer
				if layers, err = img.Layers(); err == nil {
					target, err = layers[1].Digest()
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			host, _ := startRegistry(t, func(path string, body []byte) []byte {
				if strings.HasSuffix(path, target.String()) {
					body[len(body)/2] ^= 1
				}
				return body
			})
			st := openStore(t)
			_, err = oci.Pull(t.Context(), push(t, host, "a:1", img), st, oci.Options{})
			if k := holt.KindOf(err); k != holt.KindCorrupt && k != holt.KindInvalid {
				t.Errorf("error %v (kind %s), want corrupt or invalid", err, k)
			}
			if all := st.List(); len(all) != 0 {
				t.Errorf("something was stored: %v", all)
			}
		})
	}
}

// A manifest may be honest about compressed layers and lie about their content.
func TestPullChecksDiffIDs(t *testing.T) {
	img := sample(t)
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg = cfg.DeepCopy()
	cfg.RootFS.DiffIDs[0], cfg.RootFS.DiffIDs[1] = cfg.RootFS.DiffIDs[1], cfg.RootFS.DiffIDs[0]
	lying, err := mutate.ConfigFile(img, cfg)
	if err != nil {
		t.Fatal(err)
	}
	host, _ := startRegistry(t, nil)
	_, err = oci.Pull(t.Context(), push(t, host, "liar:1", lying), openStore(t), oci.Options{})
	if !holt.IsKind(err, holt.KindCorrupt) {
		t.Errorf("error %v (kind %s), want corrupt", err, holt.KindOf(err))
	}
}

func TestPullEndsWithItsContext(t *testing.T) {
	host, _ := startRegistry(t, nil)
	ref := push(t, host, "a:1", sample(t))
	ctx, cancel := context.WithCancel(t.Context())
	st := openStore(t)
	_, err := oci.Pull(ctx, ref, st, oci.Options{Progress: func(e image.Event) {
		if strings.HasPrefix(e.Phase, "layer 2") {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want canceled", err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(stPath(t, st)), ".tree-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// stPath returns a path in the store's directory.
func stPath(t *testing.T, st *image.Store) string {
	t.Helper()
	dir, remove, err := st.TempTree()
	if err != nil {
		t.Fatal(err)
	}
	remove()
	return dir
}

func TestCompressionBomb(t *testing.T) {
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	const size = 64 << 20
	if err := w.WriteHeader(&tar.Header{Name: "zeros", Size: size, Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	host, _ := startRegistry(t, nil)
	ref := push(t, host, "bomb:1", buildImage(t, plain.Bytes()))
	_, err := oci.Pull(t.Context(), ref, openStore(t), oci.Options{Limits: oci.Limits{RatioFrom: 1 << 20}})
	if !holt.IsKind(err, holt.KindInvalid) || !strings.Contains(err.Error(), "bomb") {
		t.Errorf("error %v, want one about a bomb", err)
	}
}

func TestZstdLayer(t *testing.T) {
	b := layerOf(t, file{"hello", "zstd"})
	var buf bytes.Buffer
	w, err := zstd.NewWriter(&buf)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil },
		tarball.WithMediaType(types.OCILayerZStd))
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(buildImage(t), l)
	if err != nil {
		t.Fatal(err)
	}
	host, _ := startRegistry(t, nil)
	im, err := oci.Pull(t.Context(), push(t, host, "z:1", img), openStore(t), oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	contains(t, extract(t, im), "hello", "zstd")
}

func TestLoad(t *testing.T) {
	img := sample(t)
	archives := map[string][]byte{}

	var saved bytes.Buffer
	tag, err := name.NewTag("app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.Write(tag, img, &saved); err != nil {
		t.Fatal(err)
	}
	archives["docker save"] = saved.Bytes()

	dir := t.TempDir()
	lp, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := lp.AppendImage(img); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("tar", "-C", dir, "-cf", "-", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	archives["OCI layout"] = out
	if out, err = exec.Command("tar", "-C", dir, "-czf", "-", ".").Output(); err != nil {
		t.Fatal(err)
	}
	archives["OCI layout, gzip"] = out

	var id holt.ImageID
	for kind, b := range archives {
		t.Run(kind, func(t *testing.T) {
			im, err := oci.Load(t.Context(), bytes.NewReader(b), "app", openStore(t), oci.Options{})
			if err != nil {
				t.Fatal(err)
			}
			checkSample(t, im)
			if id != "" && im.ID != id {
				t.Errorf("ID %s, another kind of archive gave %s", im.ID, id)
			}
			id = im.ID
		})
	}
}

func TestLoadErrors(t *testing.T) {
	index := func(digest string) string {
		return fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"size":1,"digest":"sha256:%s"}]}`, types.OCIManifestSchema1, digest)
	}
	zeros := strings.Repeat("0", 64)
	saved := layerOf(t, file{"README", strings.Repeat("hi", 5000)})
	for _, tc := range []struct {
		name  string
		bytes []byte
		kind  holt.Kind
		text  string
	}{
		{"not a tar", bytes.Repeat([]byte("hello "), 500), holt.KindInvalid, "not a tar archive"},
		{"empty", nil, holt.KindInvalid, "not a tar archive"},
		{"short", []byte("hello"), holt.KindInvalid, "not a tar archive"},
		{"cut off", saved[:len(saved)/2], holt.KindInvalid, "cut off"},
		{"much after the end", slices.Concat(layerOf(t, file{"README", "hi"}), make([]byte, 65<<20)), holt.KindInvalid, "follow the end"},
		{"another tar", layerOf(t, file{"README", "hi"}), holt.KindInvalid, "not of a container image"},
		{"dot dot", layerOf(t, file{"../index.json", "{}"}), holt.KindInvalid, `"../index.json"`},
		{"twice", layerOf(t, file{"index.json", "{}"}, file{"./index.json", "{}"}), holt.KindInvalid, "is there twice"},
		{"no manifest", layerOf(t, file{"index.json", index(zeros)}), holt.KindInvalid, "has no file"},
		{"damaged manifest", layerOf(t, file{"index.json", index(zeros)}, file{"blobs/sha256/" + zeros, "{}"}), holt.KindCorrupt, "damaged"},
		{"damaged index", layerOf(t, file{"index.json", "{"}), holt.KindInvalid, "index is damaged"},
		{"large index", layerOf(t, file{"index.json", strings.Repeat(" ", 5<<20)}), holt.KindInvalid, "larger than"},
		{"several", layerOf(t, file{"manifest.json", `[{},{}]`}), holt.KindInvalid, "2 images"},
		{"none", layerOf(t, file{"index.json", `{"schemaVersion":2,"manifests":[]}`}), holt.KindUnsupported, "0 images"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			st := openStore(t)
			_, err := oci.Load(t.Context(), bytes.NewReader(tc.bytes), "app", st, oci.Options{})
			if !holt.IsKind(err, tc.kind) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("error %v (kind %s), want kind %s with %q", err, holt.KindOf(err), tc.kind, tc.text)
			}
		})
	}
}
