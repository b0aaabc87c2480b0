package persist

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// Tree is what was in a workspace's volume when a revision was made. Its methods may be
// called concurrently. Everything that is read is verified.
type Tree struct {
	s   *Store
	rev Revision
	top entry
}

// Open opens a revision, the latest for number 0. KindNotFound if it is not there,
// KindCorrupt if its beginning cannot be read.
func (s *Store) Open(ctx context.Context, ws holt.WorkspaceID, number int64) (*Tree, error) {
	r, err := s.Get(ctx, ws, number)
	if err != nil {
		return nil, err
	}
	return s.openTree(ctx, r)
}

func (s *Store) openTree(ctx context.Context, r Revision) (*Tree, error) {
	top, err := s.root(ctx, &r)
	if err != nil {
		return nil, fmt.Errorf("open revision %d: %w", r.Number, err)
	}
	return &Tree{s: s, rev: r, top: top}, nil
}

// Revision returns what was opened.
func (t *Tree) Revision() Revision { return t.rev }

func (e *entry) public(path string) Entry {
	return Entry{
		Path: path, Type: e.kind, Mode: e.mode, ModTime: e.mtime.time(), UID: e.uid, GID: e.gid, Size: e.size, Files: e.files, Target: e.target, Torn: e.torn,
	}
}

// clean brings a path into the form that trees use.
func clean(p string) string { return strings.TrimPrefix(path.Clean("/"+p), "/") }

func join(folder, name string) string {
	if folder == "" {
		return name
	}
	return folder + "/" + name
}

// find returns the entry at a path, as clean returns it.
func (t *Tree) find(ctx context.Context, at string) (entry, error) {
	e := t.top
	if at == "" {
		return e, nil
	}
	for name := range strings.SplitSeq(at, "/") {
		if e.kind != Folder {
			return entry{}, notThere(at, t.rev.Number)
		}
		list, err := t.s.entries(ctx, t.rev.Tenant, e.content)
		if err != nil {
			return entry{}, err
		}
		i, ok := search(list, name)
		if !ok {
			return entry{}, notThere(at, t.rev.Number)
		}
		e = list[i]
	}
	return e, nil
}

func notThere(at string, number int64) error {
	return holt.Errorf(holt.KindNotFound, "%.500q is not in revision %d", at, number)
}

// Stat describes what is at a path, following no link, or is KindNotFound.
func (t *Tree) Stat(ctx context.Context, at string) (Entry, error) {
	at = clean(at)
	e, err := t.find(ctx, at)
	if err != nil {
		return Entry{}, err
	}
	return e.public(at), nil
}

// List returns what is in a folder, sorted by name.
func (t *Tree) List(ctx context.Context, at string) ([]Entry, error) {
	at = clean(at)
	e, err := t.find(ctx, at)
	if err != nil {
		return nil, err
	}
	if e.kind != Folder {
		return nil, holt.Invalidf("path", "%.500q is not a folder", at)
	}
	list, err := t.s.entries(ctx, t.rev.Tenant, e.content)
	if err != nil {
		return nil, err
	}
	out := make([]Entry, len(list))
	for i := range list {
		out[i] = list[i].public(join(at, list[i].name))
	}
	return out, nil
}

// ErrSkipFolder, returned by the function given to Walk, leaves out what is in the folder.
var ErrSkipFolder = errors.New("leave this folder out")

// Walk calls f for what is at a path and everything below, a folder before what is in
// it, in the order of names. It ends with the first error of f.
func (t *Tree) Walk(ctx context.Context, at string, f func(Entry) error) error {
	at = clean(at)
	e, err := t.find(ctx, at)
	if err != nil {
		return err
	}
	return t.walk(ctx, at, &e, func(path string, e *entry) error { return f(e.public(path)) })
}

func (t *Tree) walk(ctx context.Context, at string, e *entry, f func(string, *entry) error) error {
	err := f(at, e)
	if errors.Is(err, ErrSkipFolder) && e.kind == Folder {
		return nil
	}
	if err != nil || e.kind != Folder {
		return err
	}
	list, err := t.s.entries(ctx, t.rev.Tenant, e.content)
	if err != nil {
		return fmt.Errorf("folder %.500q: %w", at, err)
	}
	for i := range list {
		if err := t.walk(ctx, join(at, list[i].name), &list[i], f); err != nil {
			return err
		}
	}
	return nil
}

// OpenFile returns the content of a file. Reading fails with KindCorrupt where it is
// damaged, after what comes before.
func (t *Tree) OpenFile(ctx context.Context, at string) (io.ReadCloser, error) {
	at = clean(at)
	e, err := t.find(ctx, at)
	if err != nil {
		return nil, err
	}
	if e.kind != File {
		return nil, holt.Invalidf("path", "%.500q is not a file", at)
	}
	parts, err := t.s.parts(ctx, t.rev.Tenant, e.content, e.size)
	if err != nil {
		return nil, err
	}
	return &fileReader{ctx: ctx, t: t, parts: parts}, nil
}

// fileReader reads a file part by part.
type fileReader struct {
	ctx   context.Context
	t     *Tree
	parts []part
	rest  []byte
	zeros int64
	err   error
}

// Read implements [io.Reader].
func (r *fileReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for r.err == nil && len(r.rest) == 0 && r.zeros == 0 {
		r.next()
	}
	switch {
	case len(r.rest) > 0:
		n := copy(p, r.rest)
		r.rest = r.rest[n:]
		return n, nil
	case r.zeros > 0:
		p = p[:min(int64(len(p)), r.zeros)]
		clear(p)
		r.zeros -= int64(len(p))
		return len(p), nil
	}
	return 0, r.err
}

func (r *fileReader) next() {
	if len(r.parts) == 0 {
		r.err = io.EOF
		return
	}
	p := r.parts[0]
	r.parts = r.parts[1:]
	if p.hole {
		r.zeros = p.size
		return
	}
	err := r.t.s.read(r.ctx, r.t.rev.Tenant, []meta.BlobID{p.id}, func(_ meta.BlobID, plain []byte) error {
		r.rest = plain
		return nil
	})
	if err == nil && int64(len(r.rest)) != p.size {
		r.rest, err = nil, holt.Errorf(holt.KindCorrupt, "blob %x has %d bytes, want %d", p.id[:8], len(r.rest), p.size)
	}
	if err != nil {
		r.err = err
	}
}

// Close implements [io.Closer].
func (r *fileReader) Close() error {
	r.parts, r.rest, r.zeros, r.err = nil, nil, 0, io.ErrClosedPipe
	return nil
}
