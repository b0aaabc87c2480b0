package difftest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Modules installs the JavaScript packages of this directory, unless they are in
// the cache, and returns the directory that holds node_modules.
func Modules(ctx context.Context) (string, error) {
	_, file, _, _ := runtime.Caller(0)
	return Install(ctx, filepath.Dir(file))
}

// Install is [Modules] for the packages that a directory's lock file pins. It
// needs the source tree.
func Install(ctx context.Context, dir string) (string, error) {
	_, file, _, _ := runtime.Caller(0)
	script := filepath.Join(filepath.Dir(file), "..", "..", "scripts", "npm-cache")
	cmd := exec.CommandContext(ctx, script, dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("install npm packages: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
