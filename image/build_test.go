package image_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/holt-ide/holt/image"
	"github.com/holt-ide/holt/image/imagetest"
	"github.com/holt-ide/holt/images"
)

// inside runs a command in an extracted image, as root, without network.
func inside(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: dir, Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%q: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestTinyImage(t *testing.T) {
	im := imagetest.Tiny(t)
	dir := mount(t, im)
	if got := inside(t, dir, "/bin/bash", "-c", "echo $BASH_VERSION; stat -c %U /workspace; ls -a /.holt | wc -l"); !strings.HasPrefix(got, "5.") || !strings.HasSuffix(got, "dev\n2") {
		t.Errorf("bash in the image says %q", got)
	}
	if im.Config.User != "dev" || im.Config.WorkDir != "/workspace" {
		t.Errorf("config %+v", im.Config)
	}
}

// A second build from the cache is an adoption: nothing is built.
func TestBuildUsesTheCache(t *testing.T) {
	want := imagetest.Tiny(t)
	r, err := image.LoadRecipe(images.FS, images.Tiny)
	if err != nil {
		t.Fatal(err)
	}
	st := open(t, t.TempDir())
	for range 2 {
		im, err := st.Build(t.Context(), r, image.BuildOptions{Name: "mine", CacheDir: image.CacheDir(os.Getenv), Progress: func(e image.Event) {
			if e.Phase == "packages" || e.Phase == "pack" {
				t.Errorf("the image was built again: phase %s", e.Phase)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		if im.ID != want.ID || im.Source.Ref != images.Tiny || im.Source.Kind != image.FromRecipe {
			t.Errorf("image %s from %+v, want %s", im.ID, im.Source, want.ID)
		}
	}
}

func TestDefaultImage(t *testing.T) {
	im := imagetest.Default(t)
	if most := int64(1500 << 20); im.Size > most {
		t.Errorf("the default image has %d bytes, more than %d", im.Size, most)
	}
	dir := mount(t, im)
	for _, tool := range []string{"python3", "pip", "node", "npm", "gcc", "g++", "make", "cmake", "gdb", "git", "curl", "rg", "vim", "htop", "less", "sudo",
		"ps", "ip", "ssh", "file", "unzip", "xz", "nc", "strace"} {
		if got := inside(t, dir, "/bin/sh", "-c", "command -v "+tool); got == "" {
			t.Errorf("%s is missing", tool)
		}
	}
	inside(t, dir, "/usr/sbin/visudo", "-cf", "/etc/sudoers.d/dev")
	inside(t, dir, "/usr/bin/python3", "-m", "venv", "/tmp/venv")
	inside(t, dir, "/bin/sh", "-c", `cd /tmp && printf '#include <iostream>\nint main(){std::cout<<6*7;}' > a.cc && g++ -o a a.cc && test "$(./a)" = 42`)
	if got := inside(t, dir, "/usr/bin/node", "-p", "6*7"); got != "42" {
		t.Errorf("node says %q", got)
	}
	if got := inside(t, dir, "/usr/bin/getent", "passwd", "1000"); got != "dev:*:1000:1000:Holt:/home/dev:/bin/bash" {
		t.Errorf("uid 1000 is %q", got)
	}
	for _, name := range []string{"etc/resolv.conf", "etc/hostname", "etc/hosts", "etc/machine-id"} {
		if fi, err := os.Lstat(filepath.Join(dir, name)); err != nil || !fi.Mode().IsRegular() {
			t.Errorf("%s: %v, %v, want a regular file", name, fi, err)
		}
	}
	if left, err := os.ReadDir(filepath.Join(dir, "dev")); err != nil || len(left) != 0 {
		t.Errorf("/dev has %v, %v, want nothing", left, err)
	}
}
