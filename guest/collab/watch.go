package collab

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// watcher tells of changes to files by watching their directories, which also
// shows a file that is replaced. It may miss some: files are looked at now and
// then beside it.
type watcher struct {
	fs      *fsnotify.Watcher // nil where the machine has no more watches
	changed func(path string)

	mu    sync.Mutex
	files map[string]bool
	dirs  map[string]int // how many files are watched in each
}

func newWatcher(log *slog.Logger, changed func(path string)) *watcher {
	w := &watcher{changed: changed, files: map[string]bool{}, dirs: map[string]int{}}
	var err error
	if w.fs, err = fsnotify.NewWatcher(); err != nil {
		log.Warn("documents are not watched, only looked at", "err", err)
	}
	return w
}

// add watches a file, again where its directory is another one.
func (w *watcher) add(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	dir := filepath.Dir(path)
	if !w.files[path] {
		w.files[path] = true
		w.dirs[dir]++
	}
	if w.fs != nil {
		_ = w.fs.Add(dir) // a failure leaves the looks
	}
}

func (w *watcher) remove(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.files[path] {
		return
	}
	delete(w.files, path)
	dir := filepath.Dir(path)
	if w.dirs[dir]--; w.dirs[dir] == 0 {
		delete(w.dirs, dir)
		if w.fs != nil {
			_ = w.fs.Remove(dir) // it may be gone already
		}
	}
}

func (w *watcher) run(ctx context.Context) {
	if w.fs == nil {
		return
	}
	defer w.fs.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-w.fs.Events:
			if !ok {
				return
			}
			if e.Op != fsnotify.Chmod {
				w.changed(e.Name)
			}
		case _, ok := <-w.fs.Errors:
			if !ok {
				return
			}
			w.changed("") // there were more changes than could be told
		}
	}
}
