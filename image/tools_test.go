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

func utimesNoFollow(path string, ts []syscall.Timespec) error {
	u := make([]unix.Timespec, len(ts))
	for i, t := range ts {
		u[i] = unix.Timespec{Sec: t.Sec, Nsec: t.Nsec}
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, u, unix.AT_SYMLINK_NOFOLLOW)
}
