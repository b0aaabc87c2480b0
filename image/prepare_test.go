package image_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/holt-ide/holt/image"
	"github.com/holt-ide/holt/image/imagetest"
)

// prepare runs image.Prepare on a tree made of path → content, where content
// "-> X" is a link, "dir" a directory and "pipe" a FIFO.
func prepare(t *testing.T, tree map[string]string) (string, error) {
	t.Helper()
	imagetest.NeedRoot(t)
	base := t.TempDir()
	dir := filepath.Join(base, "tree")
	if err := os.WriteFile(filepath.Join(base, "secret"), []byte("untouched"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, what := range tree {
		p := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(p), 0o755)
		if err == nil {
			target, isLink := strings.CutPrefix(what, "-> ")
			switch {
			case isLink:
				err = os.Symlink(target, p)
			case what == "dir":
				err = os.MkdirAll(p, 0o755)
			case what == "pipe":
				err = syscall.Mkfifo(p, 0o600)
			default:
				err = os.WriteFile(p, []byte(what), 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	err = image.Prepare(root)
	if b, rerr := os.ReadFile(filepath.Join(base, "secret")); rerr != nil || string(b) != "untouched" {
		t.Fatalf("something outside the tree changed: %q, %v", b, rerr)
	}
	return dir, err
}

func TestPrepareAccounts(t *testing.T) {
	const dev = "dev:*:1000:1000:Holt:/home/dev:/bin/sh\n"
	for _, tc := range []struct {
		name string
		tree map[string]string
		want string
	}{
		{"empty image", nil, "root:x:0:0:root:/root:/bin/sh\n" + dev},
		{"new user", map[string]string{"etc/passwd": "root:x:0:0::/root:/bin/sh"}, "root:x:0:0::/root:/bin/sh\n" + dev},
		{"another name for 1000", map[string]string{"etc/passwd": "root:x:0:0::/:/\nubuntu:x:1000:1000::/home/ubuntu:/bin/bash\nz:x:5:5::/:/\n"},
			"root:x:0:0::/:/\n" + dev + "ubuntu:x:1000:1000::/home/ubuntu:/bin/bash\nz:x:5:5::/:/\n"},
		{"dev is there", map[string]string{"etc/passwd": "dev:x:1000:1000::/home/dev:/bin/zsh\n"}, "dev:x:1000:1000::/home/dev:/bin/zsh\n"},
		{"bash", map[string]string{"bin/bash": "#!", "etc/passwd": "root:x:0:0::/:/\n"}, "root:x:0:0::/:/\ndev:*:1000:1000:Holt:/home/dev:/bin/bash\n"},
		{"link within", map[string]string{"etc/passwd": "-> ../usr/passwd", "usr/passwd": "root:x:0:0::/:/\n"}, "root:x:0:0::/:/\n" + dev},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, err := prepare(t, tc.tree)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := os.ReadFile(filepath.Join(dir, "etc/passwd")); err != nil || string(b) != tc.want {
				t.Errorf("passwd:\n%s%v\nwant:\n%s", b, err, tc.want)
			}
			if b, err := os.ReadFile(filepath.Join(dir, "etc/group")); err != nil || !strings.Contains(string(b), "dev:x:1000:\n") {
				t.Errorf("group: %q, %v", b, err)
			}
		})
	}
}

func TestPrepareMakesWhatAWorkspaceNeeds(t *testing.T) {
	dir, err := prepare(t, map[string]string{
		"etc/resolv.conf": "-> /run/systemd/resolve/stub-resolv.conf", "etc/hosts": "pipe", "etc/hostname/x": "a directory", "var/tmp": "-> ../tmp", "tmp": "dir",
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etc/resolv.conf", "etc/hosts", "etc/hostname", "etc/machine-id"} {
		if fi, err := os.Lstat(filepath.Join(dir, name)); err != nil || !fi.Mode().IsRegular() || fi.Mode().Perm() != 0o644 {
			t.Errorf("%s: %v, %v, want a regular file", name, fi, err)
		}
	}
	for _, name := range []string{"workspace", "home/dev"} {
		fi, err := os.Lstat(filepath.Join(dir, name))
		if err != nil || !fi.IsDir() || fi.Sys().(*syscall.Stat_t).Uid != 1000 {
			t.Errorf("%s: %v, %v, want a directory of uid 1000", name, fi, err)
		}
	}
}

func TestPrepareRefuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		tree map[string]string
		text string
	}{
		{"etc leads out", map[string]string{"etc": "-> .."}, "/etc"},
		{"passwd leads out", map[string]string{"etc/passwd": "-> ../../secret"}, "/etc/passwd"},
		{"passwd is a pipe", map[string]string{"etc/passwd": "pipe"}, "/etc/passwd"},
		{"passwd is huge", map[string]string{"etc/passwd": strings.Repeat("x\n", 1<<20)}, "/etc/passwd"},
		{"dev has another id", map[string]string{"etc/passwd": "dev:x:7:7::/:/bin/sh\n"}, "another id than 1000"},
		{"var/tmp is an absolute link", map[string]string{"var/tmp": "-> /tmp", "tmp": "dir"}, "/var/tmp"},
		{"workspace is a file", map[string]string{"workspace": "x"}, "/workspace"},
		{"workspace is a link", map[string]string{"workspace": "-> srv", "srv": "dir"}, "/workspace"},
		{"agent directory leads out", map[string]string{".holt": "-> .."}, "/.holt"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := prepare(t, tc.tree)
			if err == nil || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("error %v, want one about %s", err, tc.text)
			}
		})
	}
}
