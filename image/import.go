package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	holt "github.com/holt-ide/holt"
	"github.com/holt-ide/holt/durable"
)

// filesystemUUID is the same in every image, so that equal trees give equal
// bytes. Nothing mounts two images by UUID.
const filesystemUUID = "6f6c7468-0000-4000-8000-000000000001"

// ImportOptions describe a tree that becomes an image.
type ImportOptions struct {
	Names    []string // at least one; each is taken from the image that had it
	Source   Source   // zero means [FromTree]
	Config   Config
	Progress Progress
}

// TempTree returns a new empty directory, mode 0755, on the store's file system
// in which to assemble a tree, and a function that removes it. A crash leaves
// nothing: the next [Open] removes it too.
func (s *Store) TempTree() (dir string, remove func(), err error) {
	dir, err = os.MkdirTemp(s.dir, treePrefix)
	if err != nil {
		return "", nil, fmt.Errorf("make directory for the tree: %w", noSpace(err))
	}
	remove = func() {
		if err := os.RemoveAll(dir); err != nil {
			s.log.Warn("remove image tree", "dir", dir, "err", err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		remove()
		return "", nil, fmt.Errorf("make directory for the tree: %w", err)
	}
	return dir, remove, nil
}

// Import packs the directory tree as it is, with owners, modes, times and hard
// links, into an image and names it. The tree is left alone. An image with the
// same bytes that is stored already only gets the names.
func (s *Store) Import(ctx context.Context, tree string, opt ImportOptions) (Image, error) {
	done, err := s.begin(ctx)
	if err != nil {
		return Image{}, err
	}
	defer done()
	return s.importTree(ctx, tree, opt)
}

// importTree is Import for callers that hold the right to work.
func (s *Store) importTree(ctx context.Context, tree string, opt ImportOptions) (Image, error) {
	if len(opt.Names) == 0 {
		return Image{}, CheckName("")
	}
	for _, n := range opt.Names {
		if err := CheckName(n); err != nil {
			return Image{}, err
		}
	}
	if opt.Source.Kind == "" {
		opt.Source.Kind = FromTree
	}
	f, err := durable.Create(filepath.Join(s.dir, "image"+imageExt), 0o444)
	if err != nil {
		return Image{}, fmt.Errorf("import image: %w", noSpace(err))
	}
	defer f.Abort()
	if err := pack(ctx, tree, f.File, opt.Progress); err != nil {
		return Image{}, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return Image{}, fmt.Errorf("import image: %w", err)
	}
	id, err := hashFile(ctx, f, size, opt.Progress.Phase("hash"))
	if err != nil {
		return Image{}, fmt.Errorf("hash image: %w", err)
	}
	im := Image{ID: id, Path: filepath.Join(s.dir, string(id)+imageExt), Size: size,
		Created: time.Now().UTC().Truncate(time.Millisecond), Source: opt.Source, Config: opt.Config}
	if err := s.add(im, opt.Names, f.CommitAs); err != nil {
		return Image{}, err
	}
	return s.Resolve(ctx, string(id))
}

// add records im under names after commit has put its file at im.Path. An image
// that is there already keeps its record and its file, unless the file is not
// whole.
func (s *Store) add(im Image, names []string, commit func(path string) error) error {
	if _, err := s.Resolve(context.Background(), string(im.ID)); err != nil {
		if err := commit(im.Path); err != nil {
			return fmt.Errorf("store image: %w", noSpace(err))
		}
		if err := writeJSON(filepath.Join(s.dir, string(im.ID)+recordExt), toRecord(im), 0o644); err != nil {
			return err
		}
		s.mu.Lock()
		s.images[im.ID] = im
		s.mu.Unlock()
		s.log.Info("image stored", "image", im.ID, "size", im.Size, "source", im.Source.Kind, "ref", im.Source.Ref)
	}
	for _, n := range names {
		if err := s.Tag(im.ID, n); err != nil {
			return err
		}
	}
	return nil
}

// pack runs mkfs.erofs over the tree into out.
//
// SOURCE_DATE_EPOCH stamps the superblock; mkfs.erofs also lowers later
// modification times to it, so it is the newest one of the tree and every file
// keeps its own (Python compares them with those in its .pyc files). -x-1 and
// noinline_data are what gVisor can read.
func pack(ctx context.Context, tree string, out *os.File, progress Progress) error {
	mkfs, err := lookTool("mkfs.erofs")
	if err != nil {
		return err
	}
	bytes, newest, err := measure(ctx, tree)
	if err != nil {
		return fmt.Errorf("read image tree: %w", err)
	}
	cmd := exec.CommandContext(ctx, mkfs, "--quiet", "-x-1", "-Enoinline_data", "-U"+filesystemUUID, out.Name(), tree)
	cmd.Env = []string{"PATH=" + toolPath, "LC_ALL=C", "SOURCE_DATE_EPOCH=" + strconv.FormatInt(newest, 10)}
	ph := progress.Phase("pack")
	tail, err := run(cmd, func() {
		if fi, err := out.Stat(); err == nil {
			ph.Step(min(fi.Size(), bytes), bytes, true, "")
		}
	}, nil)
	if err != nil {
		if strings.Contains(tail, "No space left") {
			err = noSpace(fmt.Errorf("%w: %w", unix.ENOSPC, err))
		}
		return fmt.Errorf("pack image with mkfs.erofs: %w", err)
	}
	ph.End()
	return nil
}

// measure returns the bytes in the tree's files and its newest modification
// time in whole seconds since the Unix epoch, rounded up.
func measure(ctx context.Context, tree string) (bytes, newest int64, err error) {
	err = filepath.WalkDir(tree, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		if fi.Mode().IsRegular() {
			bytes += fi.Size()
		}
		newest = max(newest, fi.ModTime().Add(time.Second-1).Unix())
		return ctx.Err()
	})
	return bytes, newest, err
}

// Adopt copies the image id of another store on this host into s under name:
// as a hard link where both are on one file system, else byte by byte with the
// hash checked.
func (s *Store) Adopt(ctx context.Context, from *Store, id holt.ImageID, name string, progress Progress) (Image, error) {
	src, err := from.Resolve(ctx, string(id))
	if err != nil {
		return Image{}, err
	}
	done, err := s.begin(ctx)
	if err != nil {
		return Image{}, err
	}
	defer done()
	im := src
	im.Names, im.Path = nil, filepath.Join(s.dir, string(id)+imageExt)
	err = s.add(im, []string{name}, func(path string) error {
		tmp := filepath.Join(s.dir, "."+filepath.Base(path)+".tmp-link")
		if err := durable.Remove(tmp); err != nil {
			return err
		}
		err := os.Link(src.Path, tmp)
		if err == nil {
			return durable.Rename(tmp, path)
		}
		if !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EMLINK) {
			return err
		}
		return copyImage(ctx, src, path, progress)
	})
	if err != nil {
		return Image{}, fmt.Errorf("adopt image %s: %w", id, err)
	}
	return s.Resolve(ctx, string(id))
}

func copyImage(ctx context.Context, src Image, path string, progress Progress) error {
	in, err := os.Open(src.Path)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := durable.Create(path, 0o444)
	if err != nil {
		return err
	}
	defer out.Abort()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	got, err := hashFile(ctx, out, src.Size, progress.Phase("copy"))
	if err != nil {
		return err
	}
	if got != src.ID {
		return holt.Errorf(holt.KindCorrupt, "the file %s is damaged: remove it and build the image again", src.Path)
	}
	return out.Commit()
}
