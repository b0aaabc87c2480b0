package image

import (
	"path/filepath"
	"regexp"

	holt "github.com/holt-ide/holt"
)

var (
	nameRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}$`)
	idRE   = regexp.MustCompile(`^sha256-[0-9a-f]{64}$`)
)

// ValidID reports whether id has the form of an image ID.
func ValidID(id holt.ImageID) bool { return idRE.MatchString(string(id)) }

// CheckName reports why name cannot name an image: names are those of container
// images (letters, digits and . _ / : @ -, at most 255) and never look like an ID.
func CheckName(name string) error {
	switch {
	case name == "":
		return holt.Invalid("image", "an image needs a name, such as default")
	case idRE.MatchString(name):
		return holt.Invalidf("image", "%q looks like an image ID: choose a name, such as default", name)
	case !nameRE.MatchString(name):
		return holt.Invalidf("image", "%q cannot name an image: use letters, digits and . _ / : @ -, at most 255, starting with a letter or digit", name)
	}
	return nil
}

// CacheDir is where images and other costly build results are kept between
// runs: $HOLT_CACHE, or holt in the user's cache directory. getenv is os.Getenv
// in programs.
func CacheDir(getenv func(string) string) string {
	if dir := getenv("HOLT_CACHE"); dir != "" {
		return dir
	}
	if dir := getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "holt")
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".cache", "holt")
	}
	return "/var/cache/holt"
}
