// Package lazy presents a snapshot of package chunk as a directory of ordinary
// files, read-only, whose bytes are fetched, verified and decompressed when they are
// first touched. A runtime can be restored from it before the memory has arrived.
//
// # Guarantees
//
// A read returns the bytes that were written, or an I/O error (EIO): when a chunk is
// damaged, lost or cannot be fetched. It never returns zeros in their place. When
// the process that serves the mount dies, reads fail with an error as well
// (ENOTCONN). Whoever restores from the mount is told through [Config.OnError] and
// takes the machine away.
//
// What has been read stays in the kernel's page cache, where a later read finds it
// without asking here.
//
// # Reading ahead
//
// The mount records which parts are read, in the order of their first reads
// ([Mount.Trace]). Given to the next mount of the snapshot, or of its successor, they
// are put into the page cache in that order before anybody asks. What was put there
// is not seen being read, so a trace keeps what the one before it had.
//
// Linux only; mounting needs root. It is imported by node alone.
package lazy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt/snapshot/chunk"
)

// Config says how a snapshot is presented.
type Config struct {
	Dir string // an empty directory; what a dead process left mounted there is unmounted

	// Trace is what is read ahead of the first reads; empty for nothing.
	Trace chunk.Trace
	// Ahead bounds the parts that are fetched ahead at once; 0 means 4.
	Ahead int

	// OnError is called for every read that failed, with the file and the cause.
	// It may be called concurrently.
	OnError func(file string, err error)

	Log *slog.Logger // nil means none
}

// granule is the unit in which reads are recorded.
const granule = 64 << 10

// Mount is a snapshot that is mounted.
type Mount struct {
	cfg    Config
	view   *chunk.View
	server *fuse.Server
	nodes  map[string]*node
	cancel context.CancelFunc
	ahead  sync.WaitGroup

	mu      sync.Mutex
	touched map[string]map[int64]bool // granules by file
	trace   chunk.Trace
	handles int             // files that are open
	idle    []chan struct{} // closed when there are none
}

// New mounts a view at cfg.Dir. The mount takes the view over: Close closes it. When
// New fails, the view is still the caller's.
func New(view *chunk.View, cfg Config) (*Mount, error) {
	if cfg.Ahead == 0 {
		cfg.Ahead = 4
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := unix.Unmount(cfg.Dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
		return nil, fmt.Errorf("clear mount point: %w", err)
	}
	m := &Mount{cfg: cfg, view: view, nodes: map[string]*node{}, touched: map[string]map[int64]bool{}}
	root := &rootNode{m: m}
	forever := 24 * time.Hour // nothing ever changes
	server, err := fs.Mount(cfg.Dir, root, &fs.Options{
		EntryTimeout: &forever, AttrTimeout: &forever,
		MountOptions: fuse.MountOptions{
			FsName: "holt-snapshot", Name: "holt", AllowOther: true, DisableXAttrs: true, DirectMountStrict: true,
			DirectMountFlags: unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC,
			MaxReadAhead:     128 << 10, MaxBackground: 64,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("mount snapshot: %w", err)
	}
	m.server = server
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	if len(cfg.Trace.Touches) > 0 {
		m.ahead.Go(func() { m.readAhead(ctx) })
	}
	return m, nil
}

// Dir returns where the files are.
func (m *Mount) Dir() string { return m.cfg.Dir }

// Close unmounts and closes the view. Files that are still open give errors from
// then on where their bytes are not in the page cache.
func (m *Mount) Close() error {
	m.cancel()
	m.ahead.Wait()
	err := m.view.Close()
	var st unix.Stat_t
	serr := unix.Stat(m.cfg.Dir, &st)
	// Not by the server, which waits for the kernel without end.
	if uerr := unix.Unmount(m.cfg.Dir, unix.UMOUNT_NOFOLLOW); errors.Is(uerr, unix.EBUSY) {
		// Somebody has files open: the name goes now, the rest with the last of them.
		if uerr := unix.Unmount(m.cfg.Dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); uerr != nil {
			err = errors.Join(err, fmt.Errorf("unmount snapshot: %w", uerr))
		}
		return err
	} else if uerr != nil {
		return errors.Join(err, fmt.Errorf("unmount snapshot: %w", uerr))
	}
	// A process that was started while it was mounted may have a mount namespace with
	// a copy of it, and the kernel goes on talking to us for that one's sake.
	ended := make(chan struct{})
	go func() { m.server.Wait(); close(ended) }()
	patience := time.NewTimer(endPatience)
	defer patience.Stop()
	select {
	case <-ended:
		return err
	case <-patience.C:
	}
	if serr == nil {
		serr = os.WriteFile(fmt.Sprintf("/sys/fs/fuse/connections/%d/abort", unix.Minor(st.Dev)), []byte("1"), 0)
	}
	m.cfg.Log.Info("a copy of a snapshot's mount lives on in another mount namespace", "dir", m.cfg.Dir, "abort", serr)
	return err
}

// endPatience is how long the kernel may take to forget a mount.
const endPatience = time.Second

// Trace returns what has been read so far and what was given to read ahead.
func (m *Mount) Trace() chunk.Trace {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := chunk.Trace{Touches: append([]chunk.Touch(nil), m.cfg.Trace.Touches...)}
	all.Touches = append(all.Touches, m.trace.Touches...)
	return all
}

// Idle returns a channel that is closed as soon as nobody has a file open, which may
// be at once.
func (m *Mount) Idle() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := make(chan struct{})
	if m.handles == 0 {
		close(c)
	} else {
		m.idle = append(m.idle, c)
	}
	return c
}

// Wait returns when everything that was to be read ahead is in the page cache, or
// has failed.
func (m *Mount) Wait() { m.ahead.Wait() }

// readAhead fetches what the trace names. It is advice: what fails is passed over,
// and met again by whoever needs it.
func (m *Mount) readAhead(ctx context.Context) {
	var g errgroup.Group
	g.SetLimit(m.cfg.Ahead)
	for _, t := range m.cfg.Trace.Touches {
		n := m.nodes[t.File]
		if n == nil || ctx.Err() != nil {
			continue
		}
		// The kernel takes content for files only that it has looked up.
		if _, err := os.Stat(filepath.Join(m.cfg.Dir, t.File)); err != nil {
			continue
		}
		for at := t.Offset; at < min(t.Offset+t.Length, n.file.Size()); at += 1 << 20 {
			length := min(1<<20, t.Offset+t.Length-at, n.file.Size()-at)
			g.Go(func() error {
				buf := make([]byte, length)
				if _, err := n.file.ReadContext(ctx, buf, at); err != nil && !errors.Is(err, io.EOF) {
					if ctx.Err() != nil {
						return nil // nobody needs it any more
					}
					m.cfg.Log.Info("read ahead failed", "file", t.File, "offset", at, "err", err)
				} else if errno := n.WriteCache(at, buf); errno != 0 {
					m.cfg.Log.Info("read ahead was not taken", "file", t.File, "offset", at, "err", errno)
				}
				return nil
			})
		}
	}
	_ = g.Wait() // nothing in it fails
}

// touch records a read.
func (m *Mount) touch(file string, off, length int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := m.touched[file]
	if seen == nil {
		seen = map[int64]bool{}
		m.touched[file] = seen
	}
	for g := off / granule; g*granule < off+length; g++ {
		if seen[g] {
			continue
		}
		seen[g] = true
		list := m.trace.Touches
		if n := len(list); n > 0 && list[n-1].File == file && list[n-1].Offset+list[n-1].Length == g*granule {
			list[n-1].Length += granule
			continue
		}
		m.trace.Touches = append(list, chunk.Touch{File: file, Offset: g * granule, Length: granule})
	}
}

// rootNode is the directory.
type rootNode struct {
	fs.Inode
	m *Mount
}

var _ fs.NodeOnAdder = (*rootNode)(nil)

// OnAdd makes the files.
func (r *rootNode) OnAdd(ctx context.Context) {
	for _, info := range r.m.view.Manifest().Files {
		f, err := r.m.view.Open(info.Name)
		if err != nil {
			r.m.cfg.Log.Error("file of a snapshot is not in its index", "file", info.Name, "err", err)
			continue
		}
		n := &node{m: r.m, file: f}
		r.m.nodes[info.Name] = n
		r.AddChild(info.Name, r.NewPersistentInode(ctx, n, fs.StableAttr{Mode: syscall.S_IFREG}), false)
	}
}

// node is one file.
type node struct {
	fs.Inode
	m    *Mount
	file *chunk.File
}

var (
	_ fs.NodeGetattrer = (*node)(nil)
	_ fs.NodeOpener    = (*node)(nil)
	_ fs.NodeReader    = (*node)(nil)
)

// Getattr implements [fs.NodeGetattrer].
func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	at := n.m.view.Manifest().CreatedAt
	out.Mode, out.Size, out.Blocks = syscall.S_IFREG|0o444, uint64(n.file.Size()), uint64(n.file.Size()+511)/512
	out.SetTimes(&at, &at, &at)
	return 0
}

// Open implements [fs.NodeOpener].
func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		return nil, 0, syscall.EROFS
	}
	n.m.mu.Lock()
	defer n.m.mu.Unlock()
	n.m.handles++
	return &handle{m: n.m}, fuse.FOPEN_KEEP_CACHE, 0
}

// handle is one open of a file.
type handle struct{ m *Mount }

var _ fs.FileReleaser = (*handle)(nil)

// Release implements [fs.FileReleaser]. The kernel calls it with the last close.
func (h *handle) Release(context.Context) syscall.Errno {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if h.m.handles--; h.m.handles == 0 {
		for _, c := range h.m.idle {
			close(c)
		}
		h.m.idle = nil
	}
	return 0
}

// Read implements [fs.NodeReader].
func (n *node) Read(ctx context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	got, err := n.file.ReadContext(ctx, dest, off)
	if err != nil && !errors.Is(err, io.EOF) {
		if ctx.Err() != nil {
			return nil, syscall.EINTR // the reader was interrupted, nothing is wrong
		}
		n.m.cfg.Log.Error("read of a snapshot failed", "file", n.file.Name(), "offset", off, "err", err)
		if n.m.cfg.OnError != nil {
			n.m.cfg.OnError(n.file.Name(), err)
		}
		return nil, syscall.EIO
	}
	n.m.touch(n.file.Name(), off, int64(got))
	return fuse.ReadResultData(dest[:got]), 0
}
