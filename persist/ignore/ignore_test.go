package ignore_test

import (
	"testing"

	"github.com/holt-ide/holt/persist/ignore"
)

func TestDefaults(t *testing.T) {
	r := ignore.New("")
	for path, want := range map[string]bool{
		"workspace":                        false,
		"workspace/node_modules":           true,
		"workspace/a/b/node_modules":       true,
		"workspace/node_modules.txt":       false,
		"workspace/.git":                   false,
		"workspace/x/__pycache__":          true,
		"workspace/crate/target/debug":     true,
		"workspace/target/release":         true,
		"workspace/target":                 false,
		"home/.cache":                      true,
		"home/project/.cache":              false,
		"home/.npm":                        true,
		"home/.bashrc":                     false,
		"elsewhere/node_modules":           false,
		"workspace/a/.holt-restore-abc":    true,
		"home/.config/.holt-restore-12345": true,
	} {
		if got := r.Match(path, true); got != want {
			t.Errorf("folder %s: %v, want %v", path, got, want)
		}
	}
	if r.Match("workspace/node_modules", false) {
		t.Error("a file of the name node_modules is left out")
	}
}

func TestOwnPatterns(t *testing.T) {
	r := ignore.New("!node_modules/\n/build/\n*.log\n!keep.log\n")
	for path, want := range map[string]bool{
		"workspace/node_modules": false, "workspace/build": true, "workspace/a/build": false,
		"workspace/x.log": true, "workspace/keep.log": false, "home/x.log": false,
	} {
		if got := r.Match(path, true); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
}
