// Package home fills the home of a new workspace. The home is a folder of the
// workspace's volume, which hides what the image has there; a new one is empty.
package home

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// limits of a skeleton, so that an odd image cannot fill the volume.
const (
	maxFiles = 1000
	maxFile  = 1 << 20 // bytes
)

// Seed copies the files of skel (usually /etc/skel) into the directory home,
// owned by uid and gid, if home is empty. A missing skel is an image's choice and
// no error. Links and special files are left out.
//
// It runs as root before any process of the user, so that nobody races it; a home
// that is not empty is the user's and is not touched.
func Seed(skel, home string, uid, gid int) error {
	entries, err := os.ReadDir(home)
	if err != nil {
		return fmt.Errorf("read home: %w", err)
	}
	for _, e := range entries {
		if e.Name() != "lost+found" {
			return nil
		}
	}
	count := 0
	err = filepath.WalkDir(skel, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(skel, path)
		if err != nil || rel == "." {
			return err
		}
		if count++; count > maxFiles {
			return fmt.Errorf("more than %d files in %s", maxFiles, skel)
		}
		return copyEntry(path, filepath.Join(home, rel), d, uid, gid)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("seed home: %w", err)
	}
	return nil
}

func copyEntry(src, dst string, d fs.DirEntry, uid, gid int) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	switch {
	case d.IsDir():
		if err := os.Mkdir(dst, info.Mode().Perm()); err != nil {
			return err
		}
		return os.Lchown(dst, uid, gid)
	case !d.Type().IsRegular() || info.Size() > maxFile:
		return nil
	}
	from, err := os.Open(src)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Chown(uid, gid), to.Close())
}
