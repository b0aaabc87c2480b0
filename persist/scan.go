package persist

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt/persist/ignore"
)

// dirt says which part of a tree may have changed. Nil means none of it.
type dirt struct {
	self  bool // the names in this folder
	whole bool // everything below as well
	below map[string]*dirt
}

var allDirt = &dirt{self: true, whole: true}

// dirtOf makes a tree of paths. Paths that cannot be are left out.
func dirtOf(paths []string) *dirt {
	top := &dirt{}
	for _, p := range paths {
		d := top
		for name := range strings.SplitSeq(strings.Trim(p, "/"), "/") {
			if name == "" || name == "." {
				continue
			}
			if d.below == nil {
				d.below = map[string]*dirt{}
			}
			next := d.below[name]
			if next == nil {
				next = &dirt{}
				d.below[name] = next
			}
			d = next
		}
		d.self = true
	}
	return top
}

func (d *dirt) child(name string) *dirt {
	switch {
	case d == nil:
		return nil
	case d.whole:
		return allDirt
	}
	return d.below[name]
}

// seen is how a file was when it was read and found to be as it was kept.
type seen struct {
	inode uint64
	ctime stamp
}

// scan is one look at a volume: it compares it with the revision before, and keeps
// what is new.
type scan struct {
	s     *Store
	w     *writer
	ids   uint32
	rules *ignore.Rules
	since time.Time       // what changed at or after it is read again: the clock of the files is coarse
	seen  map[string]seen // of the line; additions go to fresh
	fresh map[string]seen

	entries int64 // looked at
	torn    int64
	skipped int64
	report  map[string]int64 // why something was skipped
}

// baseError is that of reading the revision before, which a flush can do without.
type baseError struct{ err error }

func (e *baseError) Error() string { return "read revision before: " + e.err.Error() }
func (e *baseError) Unwrap() error { return e.err }

func (c *scan) skip(why string) {
	c.skipped++
	c.report[why]++
}

// folder looks at an open folder. was is what was kept of it, nil for nothing. It
// returns the folder's content with the totals of what is in it, and whether anything
// differs from was.
func (c *scan) folder(ctx context.Context, dir int, path string, depth int, was *entry, d *dirt) (now entry, changed bool, err error) {
	if err := ctx.Err(); err != nil {
		return entry{}, false, err
	}
	var old []entry
	if was != nil {
		if old, err = c.s.entries(ctx, c.w.tenant, was.content); err != nil {
			return entry{}, false, &baseError{err}
		}
	}
	var look []string
	listed := was == nil || d.self
	if listed {
		if look, err = names(dir, c.s.cfg.Bounds.Entries); err != nil {
			return entry{}, false, err
		}
	} else {
		for name := range d.below {
			look = append(look, name)
		}
		slices.Sort(look)
	}
	var list []entry
	at := 0
	// keep passes over old entries with names before name: they are gone if the whole
	// folder was listed, and as they were if not.
	keep := func(name string, end bool) {
		for at < len(old) && (end || old[at].name < name) {
			if listed {
				changed = true
			} else {
				list = append(list, old[at])
			}
			at++
		}
	}
	for _, name := range look {
		keep(name, false)
		var before *entry
		if at < len(old) && old[at].name == name {
			before = &old[at]
			at++
		}
		e, ok, err := c.look(ctx, dir, path, name, depth, before, d.child(name))
		if err != nil {
			return entry{}, false, err
		}
		if ok {
			list = append(list, e)
		}
		if ok != (before != nil) || ok && !same(before, &e) {
			changed = true
		}
	}
	keep("", true)
	if was != nil && !changed {
		return *was, false, nil
	}
	for i := range list {
		e := &list[i]
		now.files++
		if e.kind == Folder {
			now.files += e.files
		}
		if e.kind != Link {
			now.size += e.size
		}
	}
	now.content, err = c.w.folder(ctx, list)
	return now, true, err
}

// look looks at one name. ok is false when there is nothing to be kept under it.
func (c *scan) look(ctx context.Context, dir int, path, name string, depth int, was *entry, d *dirt) (e entry, ok bool, err error) {
	if path != "" {
		path += "/"
	}
	path += name
	st, err := statAt(dir, name)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return e, false, nil
	} else if err != nil {
		return e, false, fmt.Errorf("look at %.200q: %w", path, err)
	}
	kind := st.Mode & unix.S_IFMT
	if depth == 0 && (kind != unix.S_IFDIR || name != topWorkspace && name != topHome) {
		return e, false, nil // the file system's own
	}
	if c.rules.Match(path, kind == unix.S_IFDIR) {
		return e, false, nil
	}
	if !goodName(name) || len(path) > maxPath || depth >= maxDepth {
		c.skip("path too long or deep")
		return e, false, nil
	}
	if c.entries++; c.entries > c.s.cfg.Bounds.Entries {
		c.skip("too many entries")
		return e, false, nil
	}
	e = entry{name: name, mode: st.Mode & 0o7777, mtime: stampOf(st.Mtim), uid: c.id(st.Uid), gid: c.id(st.Gid), inode: st.Ino, ctime: stampOf(st.Ctim)}
	switch kind {
	case unix.S_IFREG:
		e.kind = File
		return c.file(ctx, dir, path, &st, e, was)
	case unix.S_IFLNK:
		e.kind, e.mode = Link, 0o777
		if e.target, err = linkTarget(dir, name); err != nil {
			return e, false, gone(err)
		}
		if len(e.target) > maxTarget {
			c.skip("link too long")
			return e, false, nil
		}
		return e, true, nil
	case unix.S_IFDIR:
		return c.below(ctx, dir, path, depth, e, was, d)
	}
	c.skip("socket, pipe or device")
	return e, false, nil
}

// Folders of a volume. There is nothing else that is kept.
const (
	topWorkspace = "workspace"
	topHome      = "home"
)

// gone makes an error of what was removed or replaced between two looks none: the next
// flush will see what is there.
func gone(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EXDEV), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ESTALE):
		return nil
	}
	return err
}

// below looks at a folder in a folder.
func (c *scan) below(ctx context.Context, dir int, path string, depth int, e entry, was *entry, d *dirt) (entry, bool, error) {
	e.kind = Folder
	if was != nil && was.kind != Folder {
		was = nil
	}
	if was == nil || was.inode != e.inode { // another one of the same name
		d = allDirt
	}
	var now entry
	if d == nil {
		now = *was
	} else {
		fd, err := openFolder(dir, e.name)
		if err != nil {
			return e, false, gone(err)
		}
		defer unix.Close(fd)
		if now, _, err = c.folder(ctx, fd, path, depth+1, was, d); err != nil {
			return e, false, err
		}
	}
	e.size, e.files, e.content = now.size, now.files, now.content
	return e, true, nil
}

// id returns a user's or group's ID as it is on the volume.
func (c *scan) id(host uint32) uint32 {
	if host < c.ids || host-c.ids > 0xffff {
		return usualID // nobody that the volume knows
	}
	return host - c.ids
}

// attempts is how often a file is read that changes meanwhile.
const attempts = 3

// file looks at a file, and reads it unless it is as it was.
func (c *scan) file(ctx context.Context, dir int, path string, st *unix.Stat_t, e entry, was *entry) (entry, bool, error) {
	e.size = st.Size
	if c.unchanged(path, &e, was) {
		// All but what tells that it is unchanged may still differ: they do not without
		// a new time of change.
		e.content, e.torn = was.content, was.torn
		return *was, true, nil
	}
	if st.Size > c.s.cfg.Bounds.File {
		c.skip("file too large")
		return e, false, nil
	}
	var began time.Time
	for n := 1; ; n++ {
		began = c.s.cfg.Now()
		steady, err := c.read(ctx, dir, &e)
		if err != nil {
			return e, false, fmt.Errorf("read %.200q: %w", path, err)
		}
		if e.kind != File {
			return e, false, nil // it is gone
		}
		if steady || n == attempts {
			e.torn = !steady
			break
		}
		if e.size > c.s.cfg.Bounds.File {
			c.skip("file too large")
			return e, false, nil
		}
		select {
		case <-ctx.Done():
			return e, false, ctx.Err()
		case <-time.After(time.Duration(n) * 5 * time.Millisecond):
		}
	}
	if e.torn {
		c.torn++
		c.s.cfg.Fault("persist.torn")
	} else if was != nil && same(was, &e) && e.ctime.time().Before(began.Add(-coarse)) {
		c.fresh[path] = seen{e.inode, e.ctime}
	}
	return e, true, nil
}

// unchanged reports whether a file is certainly as was says.
func (c *scan) unchanged(path string, e, was *entry) bool {
	if was == nil || was.kind != File || was.torn || was.size != e.size || was.mode != e.mode || was.uid != e.uid || was.gid != e.gid || was.mtime != e.mtime {
		return false
	}
	if c.seen[path] == (seen{e.inode, e.ctime}) {
		return true
	}
	return was.inode == e.inode && was.ctime == e.ctime && e.ctime.time().Before(c.since)
}

// read reads a file once, and fills in what belongs to what was read. It reports
// whether the file stayed the same meanwhile.
func (c *scan) read(ctx context.Context, dir int, e *entry) (steady bool, err error) {
	fd, err := openAt(dir, e.name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOATIME, 0)
	if errors.Is(err, unix.EPERM) {
		fd, err = openAt(dir, e.name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	}
	if err != nil {
		e.kind = 0
		return false, gone(err)
	}
	f := os.NewFile(uintptr(fd), "file")
	defer f.Close()
	var before, after unix.Stat_t
	if err := unix.Fstat(fd, &before); err != nil {
		return false, err
	}
	if before.Mode&unix.S_IFMT != unix.S_IFREG {
		e.kind = 0
		return false, nil
	}
	e.mode, e.mtime, e.uid, e.gid = before.Mode&0o7777, stampOf(before.Mtim), c.id(before.Uid), c.id(before.Gid)
	e.inode, e.ctime, e.size = before.Ino, stampOf(before.Ctim), before.Size
	if e.size > c.s.cfg.Bounds.File {
		return false, nil
	}
	var short bool
	e.content, e.size, err = c.w.content(ctx, f, before.Size)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		short, err = true, nil
	}
	if err != nil {
		return false, err
	}
	if err := unix.Fstat(fd, &after); err != nil {
		return false, err
	}
	return !short && after.Size == before.Size && after.Mtim == before.Mtim && after.Ctim == before.Ctim, nil
}
