package image_test

import (
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt/image"
)

// extract unpacks a stored image with the system's own EROFS tool, which also
// checks the file system.
func extract(t *testing.T, im image.Image) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "x")
	if out, err := exec.Command("/usr/bin/fsck.erofs", "--extract="+dir, im.Path).CombinedOutput(); err != nil {
		t.Fatalf("fsck.erofs: %v: %s", err, out)
	}
	return dir
}

// mount shows a stored image as a directory with an empty /tmp: by the kernel
// where it knows EROFS, else extracted, which takes longer.
func mount(t *testing.T, im image.Image) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "erofs", "-o", "loop,ro", im.Path, dir).CombinedOutput(); err != nil {
		t.Logf("extracting the image, because mounting it failed: %v: %s", err, out)
		return extract(t, im)
	}
	t.Cleanup(func() { unmount(t, dir) })
	tmp := filepath.Join(dir, "tmp")
	if err := syscall.Mount("tmpfs", tmp, "tmpfs", 0, "size=256m"); err != nil {
		t.Fatalf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() { unmount(t, tmp) })
	return dir
}

func unmount(t *testing.T, dir string) {
	t.Helper()
	if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
		t.Errorf("unmount %s: %v", dir, err)
	}
}

func utimesNoFollow(path string, ts []syscall.Timespec) error {
	u := make([]unix.Timespec, len(ts))
	for i, t := range ts {
		u[i] = unix.Timespec{Sec: t.Sec, Nsec: t.Nsec}
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, u, unix.AT_SYMLINK_NOFOLLOW)
}
