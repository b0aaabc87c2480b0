package files

import (
	"bufio"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/wire/guest"
)

const (
	defaultPaths = 50_000
	maxPaths     = 200_000
	maxPathBytes = 4096
)

// Index gives the paths of the regular files below a directory to send, relative to
// it and in no order. What .gitignore excludes is left out unless All is set. Of
// Search only Path, Globs, All and Max count. It reports whether Max cut the result.
func (f *Files) Index(ctx context.Context, s guestwire.Search, send func(path string) error) (truncated bool, err error) {
	root, err := f.resolve("path", s.Path)
	if err != nil {
		return false, err
	}
	if s.Max < 0 || s.Max > maxPaths {
		return false, holt.Invalidf("max", "max is at most %d", maxPaths)
	}
	if s.Max == 0 {
		s.Max = defaultPaths
	}
	if err := checkGlobs(s.Globs); err != nil {
		return false, err
	}
	if _, err := f.Stat(root); err != nil {
		return false, err
	}
	args := []string{"rg", "--files", "--null", "--no-config", "--hidden", "--glob=!.git", "--no-messages"}
	if s.All {
		args = append(args, "--no-ignore")
	}
	for _, g := range s.Globs {
		args = append(args, "--glob="+g)
	}
	run, err := f.ripgrep(append(args, "--", root))
	if err != nil {
		return false, err
	}
	stop := context.AfterFunc(ctx, run.kill)
	defer stop()
	truncated, err = run.paths(root, s.Max, send)
	run.kill() // one that has ended does not mind
	status, text := run.wait()
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil || truncated:
		return truncated, err
	case status.Code > 1 && text != "":
		return false, holt.Invalidf("path", "list files: %s", text)
	}
	return false, nil
}

// paths reads names that end with a zero byte. One that is too long or no UTF-8 is
// left out: nobody could ask for it.
func (s *search) paths(root string, most int, send func(string) error) (truncated bool, err error) {
	prefix := strings.TrimSuffix(root, "/") + "/"
	r := bufio.NewReaderSize(s.out, 2*maxPathBytes)
	for n := 0; ; {
		name, err := r.ReadSlice(0)
		for errors.Is(err, bufio.ErrBufferFull) {
			name = nil
			_, err = r.ReadSlice(0)
		}
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, nil // its exit code tells
		}
		if len(name) < 2 || !utf8.Valid(name) {
			continue
		}
		path := filepath.Clean(string(name[:len(name)-1]))
		if n++; n > most {
			return true, nil
		}
		if err := send(strings.TrimPrefix(path, prefix)); err != nil {
			return false, err
		}
	}
}
