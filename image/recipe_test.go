package image

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	holt "github.com/holt-ide/holt"
)

const goodRecipe = `{"version":1,"suite":"bookworm","variant":"extract","shell":["/bin/sh"],"config":{}}`

func recipeFS(settings, packages string) fstest.MapFS {
	return fstest.MapFS{
		"r/recipe.json":      {Data: []byte(settings)},
		"r/packages.txt":     {Data: []byte(packages)},
		"r/overlay/etc/motd": {Data: []byte("hi")},
	}
}

func TestLoadRecipe(t *testing.T) {
	r, err := LoadRecipe(recipeFS(goodRecipe, "# tools\ngit\n\n g++ # C++\n"), "r")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.packages, []string{"git", "g++"}) || r.Name != "r" {
		t.Errorf("recipe %q with packages %q", r.Name, r.packages)
	}
	for _, tc := range []struct {
		name, settings, packages, field string
		kind                            holt.Kind
	}{
		{"not JSON", "{", "git", "", holt.KindInvalid},
		{"unknown field", strings.Replace(goodRecipe, "suite", "suit", 1), "git", "", holt.KindInvalid},
		{"newer", strings.Replace(goodRecipe, "1", "2", 1), "git", "version", holt.KindInvalid},
		{"no suite", strings.Replace(goodRecipe, "bookworm", "", 1), "git", "suite", holt.KindInvalid},
		{"bad variant", strings.Replace(goodRecipe, "extract", "all", 1), "git", "variant", holt.KindInvalid},
		{"no shell", strings.Replace(goodRecipe, `"/bin/sh"`, "", 1), "git", "shell", holt.KindInvalid},
		{"no packages", goodRecipe, "# none\n", "packages", holt.KindInvalid},
		{"option as package", goodRecipe, "git\nvim, --x", "packages", holt.KindInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := LoadRecipe(recipeFS(tc.settings, tc.packages), "r")
			if !holt.IsKind(err, tc.kind) {
				t.Fatalf("error %v, want %s", err, tc.kind)
			}
			if e, ok := errors.AsType[*holt.Error](err); !ok || e.Field != tc.field {
				t.Errorf("error %#v, want one about field %q", err, tc.field)
			}
		})
	}
	if _, err := LoadRecipe(recipeFS(goodRecipe, "git"), "none"); !holt.IsKind(err, holt.KindNotFound) {
		t.Errorf("unknown recipe: %v, want not-found", err)
	}
}

func TestRecipeHash(t *testing.T) {
	hash := func(change func(fstest.MapFS)) string {
		t.Helper()
		fsys := recipeFS(goodRecipe, "git")
		change(fsys)
		r, err := LoadRecipe(fsys, "r")
		if err != nil {
			t.Fatal(err)
		}
		h, err := r.Hash()
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	same := hash(func(fstest.MapFS) {})
	if again := hash(func(fstest.MapFS) {}); again != same {
		t.Error("the same recipe has two hashes")
	}
	for name, change := range map[string]func(fstest.MapFS){
		"package": func(f fstest.MapFS) { f["r/packages.txt"] = &fstest.MapFile{Data: []byte("git\nvim")} },
		"overlay": func(f fstest.MapFS) { f["r/overlay/etc/motd"] = &fstest.MapFile{Data: []byte("ho")} },
		"rename": func(f fstest.MapFS) {
			f["r/overlay/etc/issue"] = f["r/overlay/etc/motd"]
			delete(f, "r/overlay/etc/motd")
		},
		"script": func(f fstest.MapFS) { f["r/setup.sh"] = &fstest.MapFile{Data: []byte("true")} },
	} {
		if hash(change) == same {
			t.Errorf("%s: the hash did not change", name)
		}
	}
}

func TestHostSources(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "sources.list.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"sources.list": "# old form\ndeb [arch=amd64 signed-by=/k.gpg] http://m.example/debian bookworm main contrib # all\n" +
			"deb-src http://m.example/debian bookworm main\ndeb http://m.example/debian trixie main\ndeb http://tools.example/x stable main\n",
		"sources.list.d/debian.sources": "Types: deb deb-src\n# a comment\nURIs: http://user:pw@n.example/debian\nSuites: bookworm bookworm-updates bookworm-backports\nComponents: main\nSigned-By: /k2.gpg\n" +
			"\nTypes: deb\nEnabled: no\nURIs: http://off.example/debian\nSuites: bookworm\nComponents: main\n" +
			"\nTypes: deb\nURIs: http://s.example/security\nSuites: bookworm-security\nComponents: main\nSigned-By:\n -----BEGIN\n .\n -----END\n",
		"sources.list.d/other.sources":  "Types: deb\nURIs: http://tools.example/y\nSuites: nodistro\nComponents: main\n",
		"sources.list.d/saved.list.bak": "deb http://bak.example/debian bookworm main\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := hostSources(dir, "bookworm")
	if err != nil {
		t.Fatal(err)
	}
	want := `Types: deb
URIs: http://m.example/debian
Suites: bookworm
Components: main contrib
Signed-By: /k.gpg

Types: deb
URIs: http://user:pw@n.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /k2.gpg

Types: deb
URIs: http://s.example/security
Suites: bookworm-security
Components: main
Signed-By: 
 -----BEGIN
 .
 -----END

`
	if got != want {
		t.Errorf("sources:\n%s\nwant:\n%s", got, want)
	}
	if _, err := hostSources(dir, "jammy"); !holt.IsKind(err, holt.KindUnsupported) || !strings.Contains(err.Error(), "Suites: jammy") {
		t.Errorf("another suite: %v, want what to add", err)
	}
	if _, err := hostSources(t.TempDir(), "bookworm"); !holt.IsKind(err, holt.KindUnsupported) {
		t.Errorf("no apt: %v, want unsupported", err)
	}
}

func TestGuestAptHasNoSecrets(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, name := range []string{"etc/apt/sources.list.d/0000x.sources", "etc/apt/apt.conf.d/99mmdebstrap"} {
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := root.WriteFile(name, []byte("http://user:pw@n.example"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	err = writeGuestApt(root, "URIs: http://user:pw@n.example/debian http://m.example/a@b\n", []string{
		`Acquire::http::Proxy "http://me:secret@proxy.example";`, `Acquire::Check-Valid-Until "false";`})
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	err = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			b, err := os.ReadFile(p)
			all.Write(b)
			return err
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "APT::Install-Recommends \"false\";\nAcquire::Check-Valid-Until \"false\";\nURIs: http://n.example/debian http://m.example/a@b\n"
	if all.String() != want {
		t.Errorf("the image has\n%s\nwant\n%s", all.String(), want)
	}
}

func TestMissingToolNamesItsPackage(t *testing.T) {
	toolPackages["mkfs.none"] = "none-utils"
	defer delete(toolPackages, "mkfs.none")
	_, err := lookTool("mkfs.none")
	if !holt.IsKind(err, holt.KindUnsupported) || !strings.Contains(err.Error(), "apt-get install none-utils") {
		t.Errorf("error %v, want what to install", err)
	}
}

func TestCacheDir(t *testing.T) {
	for _, tc := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"HOLT_CACHE": "/c", "HOME": "/h"}, "/c"},
		{map[string]string{"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/holt"},
		{map[string]string{"XDG_CACHE_HOME": "x", "HOME": "/h"}, "/h/.cache/holt"},
		{nil, "/var/cache/holt"},
	} {
		if got := CacheDir(func(k string) string { return tc.env[k] }); got != tc.want {
			t.Errorf("%v: %s, want %s", tc.env, got, tc.want)
		}
	}
}

func TestPrune(t *testing.T) {
	st, err := Open(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	now := time.Now()
	for i, age := range []time.Duration{0, 48 * time.Hour, 48 * time.Hour} {
		id := holt.ImageID(fmt.Sprintf("sha256-%064d", i))
		im := Image{ID: id, Path: filepath.Join(st.dir, string(id)+imageExt), Created: now.Add(-age)}
		err := st.add(im, []string{fmt.Sprint("name", min(i, 1))}, func(path string) error { return os.WriteFile(path, nil, 0o400) })
		if err != nil {
			t.Fatal(err)
		}
	}
	// 0 is young, 1 is old and lost its name to 2.
	delete(st.names, "name0")
	if err := st.Prune(t.Context(), now.Add(-PruneAfter)); err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, im := range st.List() {
		left = append(left, string(im.ID[len(im.ID)-1:]))
	}
	slices.Sort(left)
	if !slices.Equal(left, []string{"0", "2"}) {
		t.Errorf("left %q, want 0 and 2", left)
	}
}

func TestPackageCount(t *testing.T) {
	var last Event
	c := packageCounter{ph: Progress(func(e Event) { last = e }).Phase("packages")}
	for line := range strings.Lines("Reading package lists...\n0 upgraded, 2 newly installed, 0 to remove\nGet:1 http://m.example/debian bookworm/main amd64 git amd64 1:2.39 [7 kB]\n" +
		"Get:2 http://m.example/debian bookworm/main amd64 vim amd64 9.0 [1 kB]\nUnpacking git (1:2.39) ...\nUnpacking vim ...\nSetting up git (1:2.39) ...\n") {
		c.ph.last = c.ph.started // no throttling here
		c.ph.last = c.ph.last.Add(-progressEvery)
		c.line(strings.TrimSpace(line))
	}
	if last.Done != 5 || last.Total != 6 || !strings.HasPrefix(last.Detail, "Setting up git") {
		t.Errorf("last event %+v, want 5 of 6", last)
	}
}
