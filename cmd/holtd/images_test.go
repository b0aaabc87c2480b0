package main

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"go.uber.org/goleak"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/gateway"
	"github.com/holt-ide/holt/image"
	"github.com/holt-ide/holt/image/imagetest"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/test/stand"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// archive is what docker save writes for an image with one file.
func archive(t *testing.T, content string) []byte {
	t.Helper()
	img, err := crane.Image(map[string][]byte{"etc/app": []byte(content)})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg = cfg.DeepCopy()
	cfg.Architecture, cfg.OS, cfg.Config = "", "linux", v1.Config{Env: []string{"APP=1"}}
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("app:1")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := tarball.Write(tag, img, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// withImages puts up a server on a real image store.
func withImages(t *testing.T) (*stand.Stand, *image.Store) {
	t.Helper()
	imagetest.NeedRoot(t)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	store, err := image.Open(t.TempDir(), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	room := &imageRoom{store: store, log: log}
	s := stand.New(t, func(cfg *gateway.Config) { cfg.Images = room })
	room.users = s.Manager
	return s, store
}

func TestLoadAndRemoveImage(t *testing.T) {
	s, store := withImages(t)
	ctx, c := t.Context(), s.Client(t)
	b := archive(t, "one")
	var phases []string
	img, err := c.LoadImage(ctx, "team/app:1", bytes.NewReader(b), int64(len(b)), func(p api.Progress) {
		phases = append(phases, p.Phase)
		if p.Phase == "read" && p.Done > 0 && (!p.Bytes || p.Total != int64(len(b))) {
			t.Errorf("arrival shown as %+v", p)
		}
	})
	if err != nil || !slices.Equal(img.Names, []string{"team/app:1"}) {
		t.Fatalf("load: %+v, %v", img, err)
	}
	if !slices.Contains(phases, "read") || !slices.Contains(phases, "layer 1/1") {
		t.Errorf("phases %v", phases)
	}
	if im, err := store.Resolve(ctx, "team/app:1"); err != nil || !slices.Contains(im.Config.Env, "APP=1") {
		t.Errorf("stored as %+v, %v", im, err)
	}
	if err := store.Tag(holt.ImageID(img.ID), "second"); err != nil {
		t.Fatal(err)
	}
	row, err := s.Store.Workspaces().Create(ctx, meta.Workspace{
		ID: holt.NewWorkspaceID(), Name: "demo", State: holt.Stopped, Goal: holt.WantStopped, Node: "other",
		Image: holt.ImageID(img.ID), CreatedAt: time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	inUse := func(ref string) {
		t.Helper()
		if err := c.RemoveImage(ctx, ref); !holt.IsKind(err, holt.KindConflict) || !strings.Contains(err.Error(), "demo") {
			t.Errorf("rm %s: %v", ref, err)
		}
	}
	inUse(img.ID)
	if err := c.RemoveImage(ctx, "second"); err != nil { // it has another name
		t.Errorf("rm of a second name: %v", err)
	}
	inUse("team/app:1")
	row.State = holt.Deleted
	if _, err := s.Store.Workspaces().Update(ctx, row); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(store.List()[0].Path, 1); err != nil { // damage does not keep it
		t.Fatal(err)
	}
	if err := c.RemoveImage(ctx, "team/app:1"); err != nil {
		t.Errorf("rm: %v", err)
	}
	if left := store.List(); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
	if err := c.RemoveImage(ctx, "team/app:1"); !holt.IsKind(err, holt.KindNotFound) {
		t.Errorf("rm of nothing: %v", err)
	}
}

func TestLoadRefusesWhatIsNoImage(t *testing.T) {
	s, store := withImages(t)
	whole := archive(t, "one")
	damaged := bytes.Replace(whole, []byte("sha256:"), []byte("sha256:00"), 1)
	for _, tc := range []struct {
		what string
		body io.Reader
		kind holt.Kind
		says string
	}{
		{"text", strings.NewReader("hello"), holt.KindInvalid, "not a tar archive"},
		{"endless zeros", endless{}, holt.KindInvalid, ""},
		{"half of it", bytes.NewReader(whole[:len(whole)/2]), holt.KindInvalid, ""},
		{"a name", bytes.NewReader(whole), holt.KindInvalid, "cannot name an image"},
		{"damage", bytes.NewReader(damaged), "", ""},
	} {
		as := "app"
		if tc.what == "a name" {
			as = "../app"
		}
		_, err := s.Client(t).LoadImage(t.Context(), as, tc.body, 0, nil)
		if e, ok := errors.AsType[*holt.Error](err); !ok || tc.kind != "" && e.Kind != tc.kind || !strings.Contains(e.Text, tc.says) {
			t.Errorf("%s: %v (%s)", tc.what, err, holt.KindOf(err))
		}
	}
	if left := store.List(); len(left) != 0 {
		t.Errorf("kept: %+v", left)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }
