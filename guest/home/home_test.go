package home_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/holt-ide/holt/guest/home"
)

func skeleton(t *testing.T) string {
	t.Helper()
	skel := t.TempDir()
	for _, err := range []error{
		os.WriteFile(filepath.Join(skel, ".bashrc"), []byte("alias ll='ls -l'\n"), 0o640),
		os.Mkdir(filepath.Join(skel, ".config"), 0o700),
		os.WriteFile(filepath.Join(skel, ".config", "x"), []byte("y"), 0o644),
		os.Symlink("/etc/shadow", filepath.Join(skel, "link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return skel
}

func TestSeedFillsAnEmptyHome(t *testing.T) {
	dir := t.TempDir()
	if err := home.Seed(skeleton(t), dir, os.Getuid(), os.Getgid()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, ".bashrc")); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf(".bashrc: %v, %v", info, err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, ".config", "x")); err != nil || string(b) != "y" {
		t.Errorf("nested file: %q, %v", b, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "link")); err == nil {
		t.Error("a link was copied")
	}
}

func TestSeedLeavesAUsedHomeAlone(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := home.Seed(skeleton(t), dir, os.Getuid(), os.Getgid()); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("home has %v, %v", left, err)
	}
}

func TestSeedWithoutSkeleton(t *testing.T) {
	if err := home.Seed(filepath.Join(t.TempDir(), "none"), t.TempDir(), 0, 0); err != nil {
		t.Error(err)
	}
}
