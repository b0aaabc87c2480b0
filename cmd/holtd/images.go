package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/image"
	"github.com/holt-ide/holt/image/oci"
	"github.com/holt-ide/holt/images"
)

// imageRoom shows the image store to each room in that room's words.
type imageRoom struct {
	store *image.Store
	cache string
	log   *slog.Logger
}

// adoptDefault takes the default image from the build cache, if this store has
// none yet. A server without one works; it says how to make it when it is asked.
func (r imageRoom) adoptDefault(ctx context.Context) error {
	if _, err := r.store.Resolve(ctx, images.Default); err == nil || !holt.IsKind(err, holt.KindNotFound) {
		return err
	}
	cache, err := image.OpenWait(ctx, filepath.Join(r.cache, "images"), r.log)
	if err != nil {
		return fmt.Errorf("open image cache: %w", err)
	}
	defer cache.Close()
	im, err := cache.Resolve(ctx, images.Default)
	if holt.IsKind(err, holt.KindNotFound) {
		r.log.Warn("there is no default image yet: make it with `holt image build`")
		return nil
	} else if err != nil {
		return fmt.Errorf("look into image cache: %w", err)
	}
	_, err = r.store.Adopt(ctx, cache, im.ID, images.Default, nil)
	return err
}

// Resolve is what package workspace wants: the ID behind a reference.
func (r imageRoom) Resolve(ctx context.Context, ref string) (holt.ImageID, error) {
	if ref == "" {
		ref = images.Default
	}
	im, err := r.store.Resolve(ctx, ref)
	return im.ID, err
}

// Base is what package node wants: the file and the environment of an ID.
func (r imageRoom) Base(ctx context.Context, id holt.ImageID) (string, []string, error) {
	im, err := r.store.Resolve(ctx, string(id))
	return im.Path, im.Config.Env, err
}

// List is what the gateway shows.
func (r imageRoom) List(context.Context) ([]api.Image, error) {
	var list []api.Image
	for _, im := range r.store.List() {
		list = append(list, shown(im))
	}
	return list, nil
}

// Build makes one of our own images.
func (r imageRoom) Build(ctx context.Context, req api.BuildImage, progress func(api.Progress)) (api.Image, error) {
	if req.Recipe == "" {
		req.Recipe = images.Default
	}
	recipe, err := image.LoadRecipe(images.FS, req.Recipe)
	if err != nil {
		return api.Image{}, err
	}
	im, err := r.store.Build(ctx, recipe, image.BuildOptions{Name: req.Name, CacheDir: r.cache, Progress: told(progress)})
	return shown(im), err
}

// Pull brings a container image in.
func (r imageRoom) Pull(ctx context.Context, req api.PullImage, progress func(api.Progress)) (api.Image, error) {
	im, err := oci.Pull(ctx, req.Reference, r.store, oci.Options{Progress: told(progress), Log: r.log})
	if err != nil {
		return api.Image{}, err
	}
	if req.Name != "" {
		if err := r.store.Tag(im.ID, req.Name); err != nil {
			return api.Image{}, fmt.Errorf("name image: %w", err)
		}
		im, err = r.store.Resolve(ctx, req.Name)
	}
	return shown(im), err
}

func shown(im image.Image) api.Image {
	return api.Image{ID: string(im.ID), Names: im.Names, Bytes: im.Size, Source: im.Source.Ref, CreatedAt: im.Created}
}

func told(progress func(api.Progress)) image.Progress {
	return func(e image.Event) {
		progress(api.Progress{Phase: e.Phase, Text: e.Detail, Done: e.Done, Total: e.Total})
	}
}
