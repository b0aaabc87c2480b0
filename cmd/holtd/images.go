package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

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
	users imageUsers // nil until the lifecycle is open: nothing is removed before
}

// imageUsers tells who needs an image; [workspace.Manager] does.
type imageUsers interface {
	// WithImageUsers calls do with the names of the workspaces that need the
	// image; no other one can come to need it meanwhile.
	WithImageUsers(ctx context.Context, id holt.ImageID, do func(users []string) error) error
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

// Load brings a container image in from an archive.
func (r imageRoom) Load(ctx context.Context, name string, archive io.Reader, size int64, progress func(api.Progress)) (api.Image, error) {
	im, err := oci.Load(ctx, archive, name, r.store, oci.Options{Size: size, Progress: told(progress), Log: r.log})
	return shown(im), err
}

// Remove removes a name or an image that no workspace needs. A damaged one can
// be removed too, so its file is not looked at.
func (r imageRoom) Remove(ctx context.Context, ref string) error {
	im, ok := r.find(ref)
	if !ok {
		return r.store.Remove(ctx, ref) // says what there is
	}
	return r.users.WithImageUsers(ctx, im.ID, func(users []string) error {
		now, ok := r.find(ref) // names may have moved
		if ok && now.ID != im.ID {
			return holt.Errorf(holt.KindConflict, "%q came to mean another image at this moment: look with `holt image ls` and try again", ref)
		}
		others := slices.DeleteFunc(slices.Clone(now.Names), func(n string) bool { return n == ref })
		stays := ref != string(im.ID) && len(others) > 0
		if len(users) > 0 && !stays {
			return holt.Errorf(holt.KindConflict, "image %s is in use by %s: remove these first, with `holt rm`", ref, enumerate(users))
		}
		return r.store.Remove(ctx, ref)
	})
}

func (r imageRoom) find(ref string) (image.Image, bool) {
	all := r.store.List()
	i := slices.IndexFunc(all, func(im image.Image) bool { return string(im.ID) == ref || slices.Contains(im.Names, ref) })
	if i < 0 {
		return image.Image{}, false
	}
	return all[i], true
}

// enumerate lists the first names for people.
func enumerate(names []string) string {
	const most = 10
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

func shown(im image.Image) api.Image {
	return api.Image{ID: string(im.ID), Names: im.Names, Bytes: im.Size, Source: im.Source.Ref, CreatedAt: im.Created}
}

func told(progress func(api.Progress)) image.Progress {
	return func(e image.Event) {
		progress(api.Progress{Phase: e.Phase, Text: e.Detail, Done: e.Done, Total: e.Total, Bytes: e.Bytes})
	}
}
