package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	holt "github.com/holt-ide/holt"
)

// BuildOptions control [Store.Build].
type BuildOptions struct {
	Name     string // "" means the recipe's name
	CacheDir string // a directory for images shared between stores, "" for none; see [CacheDir]
	Rebuild  bool   // build even when the recipe's image is there, to get newer packages
	Progress Progress
}

// Build returns the image of the recipe under the wanted name. It is built with
// mmdebstrap only when neither the store nor the cache has one of the same
// [Recipe.Hash]; a cold build of the default recipe takes minutes and needs the
// host's Debian mirror.
func (s *Store) Build(ctx context.Context, r *Recipe, opt BuildOptions) (Image, error) {
	if opt.Name == "" {
		opt.Name = r.Name
	}
	if err := CheckName(opt.Name); err != nil {
		return Image{}, err
	}
	hash, err := r.Hash()
	if err != nil {
		return Image{}, err
	}
	if im, ok := s.built(ctx, hash); ok && !opt.Rebuild {
		if err := s.Tag(im.ID, opt.Name); err != nil {
			return Image{}, err
		}
		return s.Resolve(ctx, opt.Name)
	}
	if opt.CacheDir == "" {
		return s.build(ctx, r, hash, opt)
	}
	ph := opt.Progress.Phase("cache")
	cache, err := OpenWait(ctx, filepath.Join(opt.CacheDir, "images"), s.log)
	if err != nil {
		return Image{}, fmt.Errorf("image cache: %w", err)
	}
	defer cache.Close()
	im, ok := cache.built(ctx, hash)
	ph.End()
	if !ok || opt.Rebuild {
		if im, err = cache.build(ctx, r, hash, opt); err != nil {
			return Image{}, err
		}
	}
	if err := cache.Prune(ctx, time.Now().Add(-PruneAfter)); err != nil {
		s.log.Warn("remove old images from the cache", "err", err)
	}
	return s.Adopt(ctx, cache, im.ID, opt.Name, opt.Progress)
}

// PruneAfter is how long an image stays in the cache after a newer one took its
// name: tests that started before may use it by path.
const PruneAfter = 24 * time.Hour

// Prune removes images without a name that were made before a moment. It is for
// caches: a store that machines use may hold nameless images that they need.
func (s *Store) Prune(ctx context.Context, before time.Time) error {
	for _, im := range s.List() {
		if len(im.Names) == 0 && im.Created.Before(before) {
			if err := s.Remove(ctx, string(im.ID)); err != nil {
				return err
			}
		}
	}
	return nil
}

// built finds the newest whole image made from the recipe hash.
func (s *Store) built(ctx context.Context, hash string) (Image, bool) {
	for _, im := range s.List() {
		if im.Source.Kind == FromRecipe && im.Source.Digest == hash {
			if im, err := s.Resolve(ctx, string(im.ID)); err == nil {
				return im, true
			}
		}
	}
	return Image{}, false
}

func (s *Store) build(ctx context.Context, r *Recipe, hash string, opt BuildOptions) (Image, error) {
	if os.Geteuid() != 0 {
		return Image{}, holt.Errorf(holt.KindUnsupported, "building an image needs root: run it with sudo")
	}
	done, err := s.begin(ctx)
	if err != nil {
		return Image{}, err
	}
	defer done()
	tree, remove, err := s.TempTree()
	if err != nil {
		return Image{}, err
	}
	defer remove()
	for _, step := range []func() error{
		func() error { return r.installPackages(ctx, tree, opt.Progress) },
		func() error { return r.layOverlay(tree) },
		func() error { return r.setup(ctx, tree, opt.Progress) },
		func() error { return finish(tree) },
	} {
		if err := step(); err != nil {
			return Image{}, fmt.Errorf("build image %s: %w", r.Name, noSpace(err))
		}
	}
	im, err := s.importTree(ctx, tree, ImportOptions{
		Names: []string{opt.Name}, Progress: opt.Progress,
		Source: Source{Kind: FromRecipe, Ref: r.Name, Digest: hash},
		Config: Config{Env: r.set.Config.Env, User: UserName, WorkDir: r.set.Config.WorkDir, Labels: r.set.Config.Labels},
	})
	if err != nil {
		return Image{}, fmt.Errorf("build image %s: %w", r.Name, err)
	}
	return im, nil
}

// installPackages fills the empty directory tree with the recipe's packages.
func (r *Recipe) installPackages(ctx context.Context, tree string, progress Progress) error {
	bin, err := lookTool("mmdebstrap")
	if err != nil {
		return err
	}
	sources, err := hostSources(aptDir, r.set.Suite)
	if err != nil {
		return err
	}
	aptOptions, err := hostAptOptions(ctx)
	if err != nil {
		return err
	}
	list, err := os.CreateTemp("", "holt-*.sources") // mmdebstrap goes by the extension
	if err != nil {
		return fmt.Errorf("write apt sources: %w", err)
	}
	defer os.Remove(list.Name())
	_, err = list.WriteString(sources)
	if err := errors.Join(err, list.Close()); err != nil {
		return fmt.Errorf("write apt sources: %w", err)
	}
	args := []string{"--verbose", "--mode=root", "--format=directory", "--variant=" + r.set.Variant,
		"--skip=output/dev", "--aptopt=APT::Install-Recommends \"false\"", "--include=" + strings.Join(r.packages, ",")}
	for _, o := range aptOptions {
		args = append(args, "--aptopt="+o)
	}
	for _, p := range r.set.Exclude {
		args = append(args, "--dpkgopt=path-exclude="+p)
	}
	for _, p := range r.set.Include {
		args = append(args, "--dpkgopt=path-include="+p)
	}
	cmd := exec.CommandContext(ctx, bin, append(args, r.set.Suite, tree, list.Name())...)
	cmd.Env = []string{"PATH=" + toolPath, "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it unmounts and ends its children
	ph := progress.Phase("packages")
	count := packageCounter{ph: ph}
	if tail, err := run(cmd, nil, count.line); err != nil {
		if strings.Contains(tail, "No space left") {
			err = errors.Join(syscall.ENOSPC, err)
		}
		return fmt.Errorf("install packages with mmdebstrap: %w", err)
	}
	ph.End()
	root, err := os.OpenRoot(tree)
	if err != nil {
		return err
	}
	defer root.Close()
	return writeGuestApt(root, sources, aptOptions)
}

// packageCounter turns the output of apt and dpkg into a count: each package is
// fetched, unpacked and set up once, so there are three steps for each.
type packageCounter struct {
	ph         *Phase
	total      int64
	fetched    int64
	unpacked   int64
	configured int64
}

var newlyInstalled = regexp.MustCompile(`(\d+) newly installed`)

func (c *packageCounter) line(s string) {
	detail := s
	switch first, rest, _ := strings.Cut(s, " "); {
	case strings.Contains(s, "newly installed"):
		if m := newlyInstalled.FindStringSubmatch(s); m != nil {
			n, _ := strconv.ParseInt(m[1], 10, 32) // digits; absurdly many mean no percentage
			c.total += 3 * n
		}
	case strings.HasPrefix(first, "Get:"):
		c.fetched++
		detail = "fetch " + path.Base(rest)
		if f := strings.Fields(rest); len(f) > 4 {
			detail = "fetch " + f[4]
		}
	case first == "Unpacking":
		c.unpacked++
	case first == "Setting" && strings.HasPrefix(rest, "up "):
		c.configured++
	default:
		return
	}
	c.ph.Step(min(c.fetched+c.unpacked+c.configured, c.total), c.total, false, detail)
}

// layOverlay copies the recipe's overlay over the tree.
func (r *Recipe) layOverlay(tree string) error {
	root, err := os.OpenRoot(tree)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(r.files, recipeOverlay, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && p == recipeOverlay {
			return fs.SkipAll
		}
		name := strings.TrimPrefix(strings.TrimPrefix(p, recipeOverlay), "/")
		switch {
		case err != nil:
			return err
		case name == "":
			return nil
		case d.IsDir():
			return root.MkdirAll(name, 0o755)
		}
		b, err := fs.ReadFile(r.files, p)
		if err != nil {
			return err
		}
		return replaceFile(root, name, b)
	})
}

// setup prepares the tree and runs the recipe's script in it: as root, in its
// own mount, process, IPC, host name and network namespaces, so that it has no
// network and nothing it starts outlives it. Recipes are trusted; this is for
// repeatability, not for defence.
func (r *Recipe) setup(ctx context.Context, tree string, progress Progress) error {
	root, err := os.OpenRoot(tree)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := Prepare(root); err != nil {
		return err
	}
	script, err := fs.ReadFile(r.files, recipeSetup)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	ph := progress.Phase("setup")
	cmd := exec.CommandContext(ctx, r.set.Shell[0], append(slices.Clone(r.set.Shell[1:]), "-eu", "-s")...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + toolPath, "LC_ALL=C.UTF-8", "HOME=/root", "DEBIAN_FRONTEND=noninteractive"}
	cmd.Stdin = bytes.NewReader(script)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Chroot: tree, Setpgid: true,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS | syscall.CLONE_NEWNET,
	}
	if _, err := run(cmd, nil, func(s string) { ph.Step(0, 0, false, s) }); err != nil {
		return fmt.Errorf("run %s: %w", recipeSetup, err)
	}
	ph.End()
	return Prepare(root)
}

// finish empties what belongs to a running system or is only of use in a build.
func finish(tree string) error {
	root, err := os.OpenRoot(tree)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, dir := range []string{"dev", "run", "tmp", "var/tmp", "var/log", "var/cache/apt", "var/lib/apt/lists", "var/cache/ldconfig"} {
		if err := emptyDir(root, dir); err != nil {
			return fmt.Errorf("empty /%s: %w", dir, err)
		}
	}
	return nil
}

// emptyDir removes what is in a directory, if it is there.
func emptyDir(root *os.Root, dir string) error {
	fi, err := root.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && !fi.IsDir()) {
		return nil
	}
	if err != nil {
		return err
	}
	entries, err := fs.ReadDir(root.FS(), dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := root.RemoveAll(path.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return root.Chtimes(dir, time.Time{}, madeTime)
}
