package feed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// MaxPaths is how many changed paths are told apart between two calls of
// [Feed.Take].
const MaxPaths = 16384

// mask is what counts as a change.
const mask = unix.FAN_CREATE | unix.FAN_DELETE | unix.FAN_MOVED_FROM | unix.FAN_MOVED_TO |
	unix.FAN_MODIFY | unix.FAN_ATTRIB | unix.FAN_CLOSE_WRITE | unix.FAN_ONDIR

// Changes is what may have changed since the last call of [Feed.Take].
type Changes struct {
	All   bool      // anything may have
	Paths []string  // relative to the volume's top, with slashes, sorted; nil with All
	Since time.Time // of the first; zero if there is none
}

// None reports whether nothing changed.
func (c Changes) None() bool { return !c.All && len(c.Paths) == 0 }

// Feed is the changes of one volume. It is safe for concurrent use.
type Feed struct {
	top     *os.File // of the mount; keeps it busy
	queue   *os.File // of the kernel; nil if it refused
	refusal error
	ring    chan struct{} // capacity 1
	done    chan struct{}

	mu      sync.Mutex
	entries map[entry]struct{}
	extra   map[string]struct{} // given back
	all     bool
	since   time.Time
	heard   uint64
	closed  bool
}

// entry is one in a folder, by the folder's handle.
type entry struct{ kind, handle, name string }

// Open begins to listen to the file system that is mounted at dir. The first
// [Feed.Take] says All.
func Open(dir string) (*Feed, error) {
	top, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open volume: %w", err)
	}
	f := &Feed{top: top, ring: make(chan struct{}, 1), done: make(chan struct{}), entries: map[entry]struct{}{}, extra: map[string]struct{}{}}
	f.queue, f.refusal = listen(top)
	f.everything()
	if f.queue == nil {
		close(f.done)
		return f, nil
	}
	go f.run()
	return f, nil
}

func listen(top *os.File) (*os.File, error) {
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK|unix.FAN_REPORT_DFID_NAME, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make queue of changes: %w", err)
	}
	if err := unix.FanotifyMark(fd, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, mask, int(top.Fd()), ""); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listen to changes: %w", err)
	}
	return os.NewFile(uintptr(fd), "fanotify"), nil
}

// Refused returns why the kernel does not report, or nil if it does.
func (f *Feed) Refused() error { return f.refusal }

// Heard is how many reports came so far.
func (f *Feed) Heard() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.heard
}

// Changed rings when something changed after a [Feed.Take]. It rings once for many.
func (f *Feed) Changed() <-chan struct{} { return f.ring }

// Dirty reports since when something may have changed that was not taken yet. A
// feed that cannot know says so only where it was told.
func (f *Feed) Dirty() (since time.Time, dirty bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.since, !f.since.IsZero()
}

// everything makes all of the volume count as changed. mu may be held by nobody.
func (f *Feed) everything() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.allLocked()
}

func (f *Feed) allLocked() {
	f.all = true
	clear(f.entries)
	clear(f.extra)
	f.touch()
}

func (f *Feed) touch() {
	if f.since.IsZero() {
		f.since = time.Now()
	}
	select {
	case f.ring <- struct{}{}:
	default:
	}
}

// Take returns what changed, and forgets it.
func (f *Feed) Take() Changes {
	f.mu.Lock()
	c := Changes{All: f.all || f.queue == nil, Since: f.since}
	entries, extra := f.entries, f.extra
	f.entries, f.extra, f.all, f.since = map[entry]struct{}{}, map[string]struct{}{}, false, time.Time{}
	select {
	case <-f.ring:
	default:
	}
	closed := f.closed
	f.mu.Unlock()
	if c.All || closed {
		return c
	}
	paths, ok := f.resolve(entries)
	if !ok {
		c.All = true
		return c
	}
	for p := range extra {
		paths[p] = struct{}{}
	}
	for p := range paths {
		c.Paths = append(c.Paths, p)
	}
	slices.Sort(c.Paths)
	return c
}

// Return gives changes back that could not be dealt with, to come with the next.
func (f *Feed) Return(c Changes) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case c.All, len(f.extra)+len(f.entries)+len(c.Paths) > MaxPaths:
		f.allLocked()
	case !f.all:
		for _, p := range c.Paths {
			f.extra[p] = struct{}{}
		}
	}
	if !c.Since.IsZero() && (f.since.IsZero() || c.Since.Before(f.since)) {
		f.since = c.Since
	}
}

// Close ends the feed and lets the mount go.
func (f *Feed) Close() {
	f.mu.Lock()
	was, queue := f.closed, f.queue
	f.closed = true
	f.mu.Unlock()
	if was {
		return
	}
	if queue != nil {
		queue.Close() // which ends run
	}
	<-f.done
	f.top.Close()
}

// run reads the kernel's queue until the feed is closed.
func (f *Feed) run() {
	defer close(f.done)
	buf, queue := make([]byte, 64<<10), f.queue
	for {
		n, err := queue.Read(buf)
		if err != nil || n == 0 {
			f.mu.Lock()
			if !f.closed { // it will not be heard again: say All from now on
				f.refusal, f.all = fmt.Errorf("read changes: %w", errors.Join(err, unix.EIO)), true
				queue.Close()
				f.queue = nil
			}
			f.mu.Unlock()
			return
		}
		f.hear(buf[:n])
	}
}

const (
	metadataSize = 24 // struct fanotify_event_metadata
	infoHead     = 4  // struct fanotify_event_info_header
	fsidSize     = 8
	handleHead   = 8 // of struct file_handle
)

// hear notes the reports in b, which the kernel wrote: see fanotify(7).
func (f *Feed) hear(b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(b) >= metadataSize {
		size := int(binary.NativeEndian.Uint32(b))
		if size < metadataSize || size > len(b) {
			f.allLocked()
			return
		}
		event := b[:size]
		b = b[size:]
		f.heard++
		what := binary.NativeEndian.Uint64(event[8:])
		head := int(binary.NativeEndian.Uint16(event[6:]))
		e, ok := entryOf(event[min(head, size):])
		switch {
		case what&unix.FAN_Q_OVERFLOW != 0 || !ok:
			f.allLocked()
		case f.all:
			f.touch()
		case len(f.entries)+len(f.extra) >= MaxPaths:
			f.allLocked()
		default:
			f.entries[e] = struct{}{}
			f.touch()
		}
	}
}

// entryOf reads the record of a folder and a name among the records of a report.
func entryOf(b []byte) (entry, bool) {
	for len(b) >= infoHead {
		size := int(binary.NativeEndian.Uint16(b[2:]))
		if size < infoHead || size > len(b) {
			return entry{}, false
		}
		record := b[:size]
		b = b[size:]
		if record[0] != unix.FAN_EVENT_INFO_TYPE_DFID_NAME {
			continue
		}
		rest := record[infoHead:]
		if len(rest) < fsidSize+handleHead {
			return entry{}, false
		}
		rest = rest[fsidSize:]
		n := int(binary.NativeEndian.Uint32(rest))
		kind := rest[4:handleHead]
		rest = rest[handleHead:]
		if n > len(rest) {
			return entry{}, false
		}
		name, _, _ := strings.Cut(string(rest[n:]), "\x00")
		return entry{string(kind), string(rest[:n]), name}, true
	}
	return entry{}, false
}

// resolve finds the paths of entries. A folder that is gone is left out: that it
// went was reported of the folder above.
func (f *Feed) resolve(entries map[entry]struct{}) (map[string]struct{}, bool) {
	mount, err := pathOf(int(f.top.Fd()))
	if err != nil {
		return nil, false
	}
	paths, folders := map[string]struct{}{}, map[entry]string{}
	for e := range entries {
		key := entry{e.kind, e.handle, ""}
		dir, known := folders[key]
		if !known {
			if dir, err = f.folder(mount, e); err != nil {
				return nil, false
			}
			folders[key] = dir
		}
		if dir == "" {
			continue
		}
		if p := path.Join(dir, e.name); p != "." {
			paths[p] = struct{}{}
		}
	}
	return paths, true
}

// folder returns the path of an entry's folder in the volume, "." for its top, and
// "" for one that is gone.
func (f *Feed) folder(mount string, e entry) (string, error) {
	handle := unix.NewFileHandle(int32(binary.NativeEndian.Uint32([]byte(e.kind))), []byte(e.handle))
	fd, err := unix.OpenByHandleAt(int(f.top.Fd()), handle, unix.O_PATH|unix.O_CLOEXEC)
	if errors.Is(err, unix.ESTALE) || errors.Is(err, unix.ENOENT) {
		return "", nil
	} else if err != nil {
		return "", fmt.Errorf("open changed folder: %w", err)
	}
	defer unix.Close(fd)
	full, err := pathOf(fd)
	if err != nil {
		return "", err
	}
	if full == mount {
		return ".", nil
	}
	rel, inside := strings.CutPrefix(full, strings.TrimSuffix(mount, "/")+"/")
	if !inside || strings.HasSuffix(full, " (deleted)") && !exists(full) {
		return "", nil
	}
	return filepath.ToSlash(rel), nil
}

func pathOf(fd int) (string, error) {
	p, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return "", fmt.Errorf("find changed folder: %w", err)
	}
	return p, nil
}

func exists(p string) bool {
	_, err := os.Lstat(p)
	return err == nil
}
