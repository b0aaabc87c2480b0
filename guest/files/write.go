package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/wire/guest"
	"golang.org/x/sys/unix"
)

// tempPattern names files being written, so that a list can tell them.
const tempPattern = ".holt-write-*"

// Write replaces a file's content as one step and returns what is there then. A
// symbolic link is followed. The mode and owner of an existing file are kept; a
// new one has o.Mode. On any error the file is as it was.
//
// A precondition holds against every other write through the agent. Against the
// guest's own processes it is checked at the last moment.
func (f *Files) Write(ctx context.Context, path string, r io.Reader, o guestwire.WriteOptions) (info guestwire.FileInfo, err error) {
	path, err = f.resolve("path", path)
	if err != nil {
		return info, err
	}
	if o.Mode == 0 {
		o.Mode = 0o644
	}
	w := &write{o: o}
	defer w.cleanup(f)
	if err := f.Rights.Do(func() error { return w.begin(path) }); err != nil {
		return info, explain("write", path, err)
	}
	if err := w.copy(ctx, r); err != nil {
		return info, explain("write", path, err)
	}
	f.commit.Lock()
	defer f.commit.Unlock()
	if err := f.Rights.Do(w.prepare); err != nil {
		return info, explain("write", path, err)
	}
	if w.exists && !w.mine() {
		// Outside of Do: only root gives a file away. The user may write this
		// one, see begin.
		if err := w.temp.Chown(int(w.old.Uid), int(w.old.Gid)); err != nil {
			f.Log.Info("a written file changed its owner", "path", path, "err", err)
		}
	}
	err = f.Rights.Do(func() error {
		info, err = w.commit(path)
		return err
	})
	return info, explain("write", path, err)
}

// write is one write under way.
type write struct {
	o      guestwire.WriteOptions
	real   string // the path with links followed
	temp   *os.File
	exists bool
	old    unix.Stat_t
}

// begin checks what can be checked early and makes the temporary file.
func (w *write) begin(path string) (err error) {
	if w.real, err = target(path); err != nil {
		return err
	}
	if err := w.check(); err != nil {
		return err
	}
	if w.exists {
		// A directory's owner may replace files in it that he may not write.
		// A shell's redirection could not, so this cannot either.
		probe, err := os.OpenFile(w.real, os.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		probe.Close()
	}
	w.temp, err = os.CreateTemp(filepath.Dir(w.real), tempPattern)
	return err
}

// check reads the present file and compares it with the preconditions.
func (w *write) check() error {
	err := unix.Lstat(w.real, &w.old)
	w.exists = err == nil
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	refuse := func(text string) error {
		return &holt.Error{Kind: holt.KindConflict, Field: "path", Text: w.real + " " + text, Err: guestwire.ErrPrecondition}
	}
	switch {
	case w.exists && typeOf(&w.old) != guestwire.TypeFile:
		return holt.Invalidf("path", "%s is not a regular file", w.real)
	case w.o.New && w.exists:
		return refuse("exists already")
	case w.o.IfMatch == "":
		return nil
	case !w.exists:
		return refuse("was removed since it was read")
	case w.o.IfMatch != "*" && w.o.IfMatch != etag(&w.old):
		return refuse("was changed since it was read")
	}
	return nil
}

// mine reports whether a file the user makes has the owner it must have.
func (w *write) mine() bool {
	info, err := statFile(w.temp, "")
	return err == nil && info.UID == w.old.Uid && info.GID == w.old.Gid
}

func (w *write) copy(ctx context.Context, r io.Reader) error {
	if _, err := io.Copy(w.temp, &reader{ctx: ctx, r: r}); err != nil {
		return err
	}
	return w.temp.Sync()
}

// prepare checks again and gives the temporary file its mode.
func (w *write) prepare() error {
	if err := w.check(); err != nil {
		return err
	}
	mode := w.o.Mode & 0o777
	if w.exists {
		mode = w.old.Mode & 0o777 // as after any write: no setuid with new content
	}
	return w.temp.Chmod(os.FileMode(mode))
}

// commit gives the temporary file its name.
func (w *write) commit(path string) (guestwire.FileInfo, error) {
	rename := os.Rename
	if w.o.New {
		rename = renameNew
	}
	if err := rename(w.temp.Name(), w.real); err != nil {
		if w.o.New && errors.Is(err, unix.EEXIST) {
			return guestwire.FileInfo{}, &holt.Error{Kind: holt.KindConflict, Field: "path",
				Text: w.real + " exists already", Err: guestwire.ErrPrecondition}
		}
		return guestwire.FileInfo{}, err
	}
	temp := w.temp
	w.temp = nil
	defer temp.Close()
	if err := syncDir(filepath.Dir(w.real)); err != nil {
		return guestwire.FileInfo{}, fmt.Errorf("sync directory: %w", err)
	}
	return statFile(temp, path)
}

func (w *write) cleanup(f *Files) {
	if w.temp == nil {
		return
	}
	w.temp.Close()
	_ = f.Rights.Do(func() error { return os.Remove(w.temp.Name()) }) // a leftover has a name that tells
}

// reader ends with its context and marks errors as those of the sender, which
// are not the file system's.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r *reader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.r.Read(b)
	if err != nil && err != io.EOF {
		err = &holt.Error{Kind: holt.KindInvalid, Field: "body", Text: "the request's body broke off; nothing was changed", Err: err}
	}
	return n, err
}

// Temporary reports whether a name is that of a file being written.
func (f *Files) Temporary(name string) bool {
	ok, _ := filepath.Match(tempPattern, name) // the pattern is sound
	return ok
}
