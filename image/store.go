package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	holt "github.com/holt-ide/holt"
	"github.com/holt-ide/holt/durable"
)

// Store is a directory of images, open in one process at a time. Its methods
// may be called concurrently; imports and builds run one after the other.
type Store struct {
	dir  string
	log  *slog.Logger
	lock *os.File
	work chan struct{} // capacity 1: held while a tree is built, packed or adopted

	mu     sync.Mutex // guards what follows; never held during long I/O
	images map[holt.ImageID]Image
	names  map[string]holt.ImageID
}

// Open opens the store in dir, which is made if it is not there, and removes
// what a crash left half-written. It fails with [holt.KindConflict] when another
// process has the store open; [OpenWait] waits instead.
func Open(dir string, log *slog.Logger) (*Store, error) {
	return open(context.Background(), dir, log, false)
}

// OpenWait is [Open], and waits for another process to close the store until
// ctx is done.
func OpenWait(ctx context.Context, dir string, log *slog.Logger) (*Store, error) {
	return open(ctx, dir, log, true)
}

func open(ctx context.Context, dir string, log *slog.Logger, wait bool) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	if err := durable.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	lock, err := lockDir(ctx, dir, wait)
	if err != nil {
		return nil, err
	}
	s := &Store{
		dir: dir, log: log.With("store", dir), lock: lock, work: make(chan struct{}, 1),
		images: map[holt.ImageID]Image{}, names: map[string]holt.ImageID{},
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open image store %s: %w", dir, err), s.Close())
	}
	return s, nil
}

// Close lets other processes open the store. Images stay usable by path.
func (s *Store) Close() error {
	if err := s.lock.Close(); err != nil {
		return fmt.Errorf("close image store: %w", err)
	}
	return nil
}

// load reads the records and names, and cleans up after a crash.
func (s *Store) load() error {
	if err := s.clean(); err != nil {
		return err
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), recordExt)
		if !ok || !ValidID(holt.ImageID(id)) {
			continue
		}
		var r record
		if err := readJSON(filepath.Join(s.dir, e.Name()), &r, &r.Version); err != nil {
			return err
		}
		if r.ID != id {
			return holt.Errorf(holt.KindCorrupt, "%s describes another image: %q", e.Name(), r.ID)
		}
		s.images[holt.ImageID(id)] = r.image(s.dir)
	}
	var t nameTable
	err = readJSON(filepath.Join(s.dir, namesFile), &t, &t.Version)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for name, id := range t.Names {
		if _, ok := s.images[holt.ImageID(id)]; ok {
			s.names[name] = holt.ImageID(id)
		} // else: removed, and the crash came before the name table was written
	}
	return nil
}

// clean removes temporary files, half-built trees, and images whose record was
// never written.
func (s *Store) clean() error {
	gone, err := durable.Clean(s.dir)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		path := filepath.Join(s.dir, name)
		switch id, isImage := strings.CutSuffix(name, imageExt); {
		case e.IsDir() && strings.HasPrefix(name, treePrefix):
			err = os.RemoveAll(path)
		case isImage && ValidID(holt.ImageID(id)) && !exists(filepath.Join(s.dir, id+recordExt)):
			err = durable.Remove(path)
		default:
			continue
		}
		if err != nil {
			return fmt.Errorf("clean up: %w", err)
		}
		gone = append(gone, name)
	}
	if len(gone) > 0 {
		s.log.Info("removed half-written images", "files", gone)
	}
	return nil
}

// List returns all images, newest first.
func (s *Store) List() []Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Image, 0, len(s.images))
	for _, im := range s.images {
		out = append(out, s.named(im))
	}
	slices.SortFunc(out, func(a, b Image) int {
		if c := b.Created.Compare(a.Created); c != 0 {
			return c
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	return out
}

// named returns im with its names. s.mu is held.
func (s *Store) named(im Image) Image {
	for name, id := range s.names {
		if id == im.ID {
			im.Names = append(im.Names, name)
		}
	}
	slices.Sort(im.Names)
	return im
}

// Resolve returns the image that ref means: a name such as "default", the
// reference of a pulled container image, or an ID. It fails with
// [holt.KindNotFound] for an unknown image, and with [holt.KindCorrupt] when the
// stored file does not have the recorded size (a full check is [Store.Verify]).
func (s *Store) Resolve(ctx context.Context, ref string) (Image, error) {
	im, err := s.find(ref)
	if err != nil {
		return Image{}, err
	}
	fi, err := os.Stat(im.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Image{}, fmt.Errorf("image %s: %w", ref, err)
	}
	if err != nil || fi.Size() != im.Size {
		return Image{}, holt.Errorf(holt.KindCorrupt, "the file of image %q is damaged: build or pull it again", ref)
	}
	return im, ctx.Err()
}

func (s *Store) find(ref string) (Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, ok := s.names[ref]
	if !ok {
		id = holt.ImageID(ref)
	}
	im, ok := s.images[id]
	if !ok {
		return Image{}, &holt.Error{Kind: holt.KindNotFound, Field: "image",
			Text: fmt.Sprintf("no image %.100q here: `holt image ls` shows what there is, `holt image pull REF` and `holt image load FILE` bring a container image in", ref)}
	}
	return s.named(im), nil
}

// Tag gives the image id the name, taking it from the image that had it.
func (s *Store) Tag(id holt.ImageID, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.images[id]; !ok {
		return holt.Errorf(holt.KindNotFound, "no image %s here", id)
	}
	if s.names[name] == id {
		return nil
	}
	names := maps.Clone(s.names)
	names[name] = id
	return s.writeNames(names)
}

// writeNames makes names the name table, on disk first. s.mu is held.
func (s *Store) writeNames(names map[string]holt.ImageID) error {
	t := nameTable{Version: formatVersion, Names: map[string]string{}}
	for n, id := range names {
		t.Names[n] = string(id)
	}
	if err := writeJSON(filepath.Join(s.dir, namesFile), t, 0o644); err != nil {
		return err
	}
	s.names = names
	return nil
}

// Remove removes the name ref, and its image unless it has another name. An ID
// as ref removes the image with all its names. The caller has made sure that no
// workspace or snapshot needs it.
func (s *Store) Remove(ctx context.Context, ref string) error {
	im, err := s.find(ref)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	names := maps.Clone(s.names)
	byName := names[ref] == im.ID
	delete(names, ref)
	if byName && slices.Contains(slices.Collect(maps.Values(names)), im.ID) {
		return s.writeNames(names)
	}
	maps.DeleteFunc(names, func(_ string, id holt.ImageID) bool { return id == im.ID })
	if err := s.writeNames(names); err != nil {
		return err
	}
	// The record first: an image without a record is removed by the next Open.
	if err := durable.Remove(filepath.Join(s.dir, string(im.ID)+recordExt)); err != nil {
		return fmt.Errorf("image %s: %w", ref, err)
	}
	delete(s.images, im.ID)
	if err := durable.Remove(im.Path); err != nil {
		return fmt.Errorf("image %s: %w", ref, err)
	}
	return ctx.Err()
}

// Verify reads the whole image and fails with [holt.KindCorrupt] when its bytes
// no longer have the hash that is its ID.
func (s *Store) Verify(ctx context.Context, id holt.ImageID, progress Progress) error {
	im, err := s.find(string(id))
	if err != nil {
		return err
	}
	f, err := os.Open(im.Path)
	if err != nil {
		return holt.Wrap(holt.KindCorrupt, err, fmt.Sprintf("the file of image %s cannot be read", id))
	}
	defer f.Close()
	got, err := hashFile(ctx, f, im.Size, progress.Phase("verify"))
	if err != nil {
		return fmt.Errorf("verify image %s: %w", id, err)
	}
	if got != im.ID {
		return holt.Errorf(holt.KindCorrupt, "the file of image %s is damaged: its bytes have the hash %s. Remove it, then build or pull it again", id, got)
	}
	return nil
}

// hashFile returns the image ID of the bytes from r's beginning to its end.
func hashFile(ctx context.Context, r io.ReadSeeker, size int64, ph *Phase) (holt.ImageID, error) {
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	h := sha256.New()
	buf := make([]byte, 1<<20)
	for done := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n, err := r.Read(buf)
		h.Write(buf[:n])
		done += int64(n)
		ph.Step(done, size, true, "")
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
	}
	ph.End()
	return holt.ImageID("sha256-" + hex.EncodeToString(h.Sum(nil))), nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
