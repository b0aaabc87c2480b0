package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	holt "github.com/holt-ide/holt"
)

// The files of a recipe, version 1:
//
//	recipe.json    settings, see recipeFile
//	packages.txt   Debian packages, one a line; # starts a comment
//	overlay/       files laid over the tree, mode 0644, owned by root; optional
//	setup.sh       run last, as root in the tree, without network; optional
const (
	recipeSettings = "recipe.json"
	recipePackages = "packages.txt"
	recipeOverlay  = "overlay"
	recipeSetup    = "setup.sh"

	// builderVersion goes into every recipe's hash. Raise it when the builder
	// makes something else of the same recipe.
	builderVersion = "3"
)

// Recipe is a declarative description of an image, read by [LoadRecipe].
type Recipe struct {
	Name     string // of the recipe: "default"
	files    fs.FS
	packages []string
	set      recipeFile
}

type recipeFile struct {
	Version int      `json:"version"`
	Suite   string   `json:"suite"`             // Debian release: "bookworm"
	Variant string   `json:"variant"`           // of mmdebstrap: "minbase", or "extract" to only unpack the packages
	Shell   []string `json:"shell"`             // in the tree, runs setup.sh: ["/bin/sh"]
	Exclude []string `json:"exclude,omitempty"` // dpkg path-exclude patterns
	Include []string `json:"include,omitempty"` // dpkg path-include patterns
	Config  struct {
		Env     []string          `json:"env,omitempty"`
		WorkDir string            `json:"work_dir,omitempty"`
		Labels  map[string]string `json:"labels,omitempty"`
	} `json:"config"`
}

// LoadRecipe reads the recipe in directory dir of fsys.
func LoadRecipe(fsys fs.FS, dir string) (*Recipe, error) {
	sub, err := fs.Sub(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("image recipe: %w", err)
	}
	r := &Recipe{Name: path.Base(dir), files: sub}
	b, err := fs.ReadFile(sub, recipeSettings)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, holt.Errorf(holt.KindNotFound, "there is no image recipe %q: it needs the files %s and %s", dir, recipeSettings, recipePackages)
	}
	if err != nil {
		return nil, fmt.Errorf("image recipe: %w", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(b)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r.set); err != nil {
		return nil, holt.Wrap(holt.KindInvalid, err, path.Join(dir, recipeSettings)+" is not a recipe")
	}
	if r.packages, err = readList(sub, recipePackages); err != nil {
		return nil, fmt.Errorf("image recipe: %w", err)
	}
	return r, r.check()
}

func (r *Recipe) check() error {
	switch {
	case r.set.Version != 1:
		return holt.Invalidf("version", "recipe %s has version %d, this Holt knows 1", r.Name, r.set.Version)
	case r.set.Suite == "":
		return holt.Invalidf("suite", "recipe %s names no Debian suite, such as bookworm", r.Name)
	case r.set.Variant != "minbase" && r.set.Variant != "extract":
		return holt.Invalidf("variant", "recipe %s has variant %q: use minbase or extract", r.Name, r.set.Variant)
	case len(r.set.Shell) == 0:
		return holt.Invalidf("shell", "recipe %s names no shell for %s, such as /bin/sh", r.Name, recipeSetup)
	case len(r.packages) == 0:
		return holt.Invalidf("packages", "recipe %s lists no packages", r.Name)
	}
	for _, p := range r.packages {
		if strings.ContainsAny(p, ", \t\"'/") {
			return holt.Invalidf("packages", "recipe %s: %q is not a package name", r.Name, p)
		}
	}
	return nil
}

func readList(fsys fs.FS, name string) ([]string, error) {
	b, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out, nil
}

// Hash identifies what a build of the recipe on this machine would use: its
// files, the architecture, the builder and its tools. Package
// versions are not part of it: a cached image stays until the recipe changes or
// the image is removed.
func (r *Recipe) Hash() (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "builder %s\narch %s\n", builderVersion, runtime.GOARCH)
	for _, tool := range []string{"mmdebstrap", "mkfs.erofs"} {
		v, err := toolHash(tool)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "tool %s %s\n", tool, v)
	}
	var names []string
	err := fs.WalkDir(r.files, ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			names = append(names, p)
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read recipe %s: %w", r.Name, err)
	}
	slices.Sort(names)
	for _, p := range names {
		b, err := fs.ReadFile(r.files, p)
		if err != nil {
			return "", fmt.Errorf("read recipe %s: %w", r.Name, err)
		}
		fmt.Fprintf(h, "file %q %x\n", p, sha256.Sum256(b))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// toolHash identifies a tool by its content: quicker than asking for its
// version, and it also notices a patched one.
func toolHash(tool string) (string, error) {
	bin, err := lookTool(tool)
	if err != nil {
		return "", err
	}
	f, err := os.Open(bin)
	if err != nil {
		return "", fmt.Errorf("read tool: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read tool %s: %w", bin, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
