package oci

import (
	"errors"
	"io/fs"
	"path"
	"strings"
)

// A layer removes things of lower layers by whiteouts: an entry DIR/.wh.NAME
// hides DIR/NAME, and DIR/.wh..wh..opq hides everything in DIR. Neither hides
// what the same layer brings, wherever in the archive it stands.
const (
	whiteoutPrefix = ".wh."
	opaqueMark     = ".wh..opq" // after the prefix
)

// maxVisits bounds the entries looked at for whiteouts, in relation to the
// entries allowed: without it, many marks over one large directory would cost
// the square of its size.
const maxVisits = 8

func (t *tree) whiteout(dir, hidden string) error {
	switch {
	case hidden == "" || hidden == "." || hidden == "..":
		return refuse("is a whiteout of nothing")
	case hidden == opaqueMark:
		return t.hideAll(dir)
	case strings.HasPrefix(hidden, whiteoutPrefix):
		return nil // bookkeeping of an old union file system
	}
	fi, err := t.root.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // hides nothing
	}
	if err != nil {
		return err
	}
	t.leave()
	_, err = t.hide(path.Join(dir, hidden), inodeOf(fi))
	return err
}

// hideAll removes what lower layers made in dir.
func (t *tree) hideAll(dir string) error {
	fi, err := t.root.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		return refuse("marks something that is not a directory as opaque")
	}
	t.leave()
	_, err = t.hideIn(dir, inodeOf(fi))
	return err
}

// hide removes name, in the directory of inode dir, as far as lower layers made
// it, and reports whether something of it stays.
func (t *tree) hide(name string, dir uint64) (kept bool, err error) {
	if t.visits++; t.visits > maxVisits*t.lim.Entries {
		return false, refuse("costs too much: the image hides the same files again and again")
	}
	fi, err := t.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, kept = t.made[place{dir, path.Base(name)}]
	if fi.IsDir() {
		inside, err := t.hideIn(name, inodeOf(fi))
		if err != nil {
			return false, err
		}
		kept = kept || inside
	}
	if kept {
		return true, nil
	}
	return false, t.root.Remove(name)
}

// hideIn is hide for everything in the directory name of inode dir.
func (t *tree) hideIn(name string, dir uint64) (kept bool, err error) {
	d, err := t.openDir(name)
	if err != nil {
		return false, err
	}
	entries, err := d.ReadDir(-1)
	d.Close()
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		k, err := t.hide(path.Join(name, e.Name()), dir)
		if err != nil {
			return false, err
		}
		kept = kept || k
	}
	return kept, nil
}
