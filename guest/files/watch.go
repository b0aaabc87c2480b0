package files

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/fsnotify/fsnotify"
	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/wire/guest"
)

// maxWatched is the most directories of one watch; each costs kernel memory.
const maxWatched = 20_000

// Watch reports changes below a path until ctx ends or send fails, and returns
// why. Directories whose name is in ignore are left out. Nothing is queued here:
// when send is slow the kernel's queue overflows, which is told as a rescan.
func (f *Files) Watch(ctx context.Context, path string, ignore []string, send func(guestwire.WatchEvent) error) error {
	path, err := f.resolve("path", path)
	if err != nil {
		return err
	}
	if _, err := f.Stat(path); err != nil {
		return err
	}
	fw, err := fsnotify.NewWatcher()
	if err != nil {
		return holt.Wrap(holt.KindLimit, err, "too many file watches; close some")
	}
	defer fw.Close()
	w := &watch{f: f, fw: fw, ignore: ignore, send: send}
	if err := w.add(path, false); err != nil {
		return err
	}
	if err := send(guestwire.WatchEvent{Op: guestwire.OpReady, Path: path}); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-fw.Events:
			if !ok {
				return os.ErrClosed
			}
			err = w.event(e)
		case e, ok := <-fw.Errors:
			if !ok {
				return os.ErrClosed
			}
			err = w.lost(path, e)
		}
		if err != nil {
			return err
		}
	}
}

type watch struct {
	f      *Files
	fw     *fsnotify.Watcher
	ignore []string
	send   func(guestwire.WatchEvent) error
	count  int  // watched directories, the ones that are gone included
	full   bool // told that there are too many directories
}

// add watches a tree. With tell it reports what is in it already: a directory
// that was just made may have been filled before it was watched.
func (w *watch) add(root string, tell bool) error {
	var found []string
	full := false
	err := w.f.Rights.Do(func() error {
		return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				if path == root {
					return err
				}
				return nil // unreadable or just gone
			}
			if tell && path != root {
				found = append(found, path)
			}
			if !d.IsDir() && path != root {
				return nil
			}
			if path != root && slices.Contains(w.ignore, d.Name()) {
				return fs.SkipDir
			}
			if w.count++; w.count > maxWatched {
				w.count = len(w.fw.WatchList()) // some have gone since
				if full = w.count >= maxWatched; full {
					return fs.SkipAll
				}
			}
			err = w.fw.Add(path)
			if errors.Is(err, syscall.ENOSPC) {
				full = true
				return fs.SkipAll
			}
			if path != root && err != nil {
				return nil
			}
			return err
		})
	})
	if err != nil {
		return explain("watch", root, err)
	}
	for _, path := range found {
		if err := w.send(guestwire.WatchEvent{Op: guestwire.OpCreate, Path: path}); err != nil {
			return err
		}
	}
	if full && !w.full {
		w.full = true
		return w.send(guestwire.WatchEvent{Op: guestwire.OpRescan, Path: root,
			Text: "there are more directories than can be watched; exclude some"})
	}
	return nil
}

func (w *watch) event(e fsnotify.Event) error {
	if slices.Contains(w.ignore, filepath.Base(e.Name)) {
		return nil
	}
	ev := guestwire.WatchEvent{Path: e.Name}
	switch {
	case e.Has(fsnotify.Create):
		ev.Op = guestwire.OpCreate
	case e.Has(fsnotify.Remove), e.Has(fsnotify.Rename):
		ev.Op = guestwire.OpRemove
	case e.Has(fsnotify.Write):
		ev.Op = guestwire.OpWrite
	case e.Has(fsnotify.Chmod):
		ev.Op = guestwire.OpChmod
	default:
		return nil
	}
	if err := w.send(ev); err != nil {
		return err
	}
	if ev.Op != guestwire.OpCreate {
		return nil
	}
	if st, err := os.Lstat(e.Name); err != nil || !st.IsDir() {
		return nil
	}
	if err := w.add(e.Name, true); err != nil && !holt.IsKind(err, holt.KindNotFound) && !holt.IsKind(err, holt.KindForbidden) {
		return err
	}
	return nil
}

// lost handles an error of the watch: after an overflow the tree is watched anew,
// because directories may have been made unseen.
func (w *watch) lost(root string, err error) error {
	if !errors.Is(err, fsnotify.ErrEventOverflow) {
		return holt.Wrap(holt.KindUnavailable, err, "the watch broke; start it again")
	}
	if err := w.add(root, false); err != nil {
		return err
	}
	return w.send(guestwire.WatchEvent{Op: guestwire.OpRescan, Path: root, Text: "there were more changes than could be told"})
}
