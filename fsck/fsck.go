// Package fsck looks whether everything that a one-machine server refers to is
// there and whole: its database, volumes, snapshots here and in the store, images,
// runtimes. It changes nothing, and the server may run meanwhile.
//
// What it names is one of three things. Damage is content that is not what was
// written. Lost is what a row refers to and nothing has. Stray is what is there and
// nothing refers to: it costs room, and the server removes most of it by itself.
package fsck

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/snapshot"
	"github.com/holt-ide/holt/snapshot/chunk"
)

// Level says what kind of finding it is.
type Level string

// The levels, the worst first.
const (
	Damage Level = "damage"
	Lost   Level = "lost"
	Stray  Level = "stray"
)

// Finding is one thing that is not as it should be.
type Finding struct {
	Level  Level  `json:"level"`
	What   string `json:"what"`             // "volume of workspace demo"
	Text   string `json:"text"`             // what is the matter with it
	Advice string `json:"advice,omitempty"` // what to do, if there is something
}

// Report is what a check found.
type Report struct {
	Findings []Finding      `json:"findings"` // the worst first
	Checked  map[string]int `json:"checked"`  // how many of each kind
}

// Bad reports whether something is damaged or lost.
func (r *Report) Bad() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Level != Stray })
}

// Config says what to look at.
type Config struct {
	DataDir string // its pool is mounted

	// Rows opens a copy of the database as it is now. KindCorrupt says that it is
	// damaged.
	Rows func(ctx context.Context) (meta.Store, error)

	// Chunks opens the part of the store that has an owner's snapshots; nil
	// without a store. Files checks the files that are kept of all workspaces.
	Chunks func(ctx context.Context, owner holt.UserID) (*chunk.Store, error)
	Files  func(ctx context.Context) (checked int, found []Finding, err error)

	Quick    bool // do not read contents: only look what is there
	Running  bool // the server runs: what comes and goes is looked at twice
	Progress func(step string)
}

// Settle is how long something may be on its way while the server runs.
const Settle = 3 * time.Second

// Check looks at everything. An error means that it could not look.
func Check(ctx context.Context, cfg Config) (*Report, error) {
	c := &checker{cfg: cfg, report: &Report{Checked: map[string]int{}, Findings: []Finding{}}}
	rows, err := c.rows(ctx)
	if holt.IsKind(err, holt.KindCorrupt) {
		c.add(Damage, "database", err.Error(), "restore a backup, or the file from one")
		return c.report, nil
	} else if err != nil {
		return nil, fmt.Errorf("read database: %w", err)
	}
	found, err := c.references(rows)
	if err != nil {
		return nil, err
	}
	if len(found) > 0 && cfg.Running {
		if found, err = c.again(ctx, found); err != nil {
			return nil, err
		}
	}
	c.report.Findings = append(c.report.Findings, found...)
	if !cfg.Quick {
		for _, step := range []func(context.Context, *rowSet) error{c.volumes, c.snapshots, c.images, c.tools} {
			if err := step(ctx, rows); err != nil {
				return nil, err
			}
		}
	}
	if err := c.stored(ctx, rows); err != nil {
		return nil, err
	}
	if cfg.Files != nil && !cfg.Quick {
		c.say("check files")
		n, found, err := cfg.Files(ctx)
		if err != nil {
			return nil, fmt.Errorf("check files: %w", err)
		}
		c.report.Checked["revisions"] = n
		c.report.Findings = append(c.report.Findings, found...)
	}
	order := []Level{Damage, Lost, Stray}
	slices.SortStableFunc(c.report.Findings, func(a, b Finding) int {
		return slices.Index(order, a.Level) - slices.Index(order, b.Level)
	})
	return c.report, nil
}

type checker struct {
	cfg    Config
	report *Report
}

func (c *checker) say(step string) {
	if c.cfg.Progress != nil {
		c.cfg.Progress(step)
	}
}

func (c *checker) add(l Level, what, text, advice string) {
	c.report.Findings = append(c.report.Findings, Finding{l, what, text, advice})
}

func (c *checker) path(parts ...string) string {
	return filepath.Join(append([]string{c.cfg.DataDir, "node", "pool"}, parts...)...)
}

// rowSet is the database at one moment.
type rowSet struct {
	workspaces  []meta.Workspace // not deleted
	checkpoints []meta.Checkpoint
	line        []meta.Snapshot
}

func (c *checker) rows(ctx context.Context) (_ *rowSet, err error) {
	c.say("read database")
	store, err := c.cfg.Rows(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	r := new(rowSet)
	for page := (meta.Page{}); ; {
		list, next, err := store.Workspaces().List(ctx, page)
		if err != nil {
			return nil, err
		}
		for _, w := range list {
			if w.State != holt.Deleted {
				r.workspaces = append(r.workspaces, w)
			}
		}
		if page.Cursor = next; next == "" {
			break
		}
	}
	if r.checkpoints, err = store.Checkpoints().All(ctx); err != nil {
		return nil, err
	}
	if r.line, err = store.Snapshots().All(ctx); err != nil {
		return nil, err
	}
	c.report.Checked["workspaces"] = len(r.workspaces)
	return r, nil
}

// references compares rows with what is here.
func (c *checker) references(r *rowSet) (found []Finding, err error) {
	c.say("compare rows with files")
	volumes, err := names(c.path("volumes"))
	if err != nil {
		return nil, err
	}
	raw, err := names(c.path("snapshots"))
	if err != nil {
		return nil, err
	}
	durable := map[holt.SnapshotID]bool{}
	known := map[string]bool{}
	for _, s := range r.line {
		durable[s.ID] = s.Durable()
		known[string(s.ID)] = true
	}
	for _, p := range r.checkpoints {
		known[string(p.Snapshot)] = true
		if p.Ready && !raw[string(p.Snapshot)] && !durable[p.Snapshot] {
			found = append(found, Finding{Lost, "checkpoint " + p.Label, "its snapshot " + string(p.Snapshot) + " is neither here nor in the store", "remove it with holt snapshot rm"})
		}
	}
	owned := map[string]bool{}
	for _, w := range r.workspaces {
		owned[string(w.ID)+".img"] = true
		for _, id := range []holt.SnapshotID{w.Snapshot, w.PendingSnapshot, w.FromSnapshot} {
			known[string(id)] = true
		}
		if w.Snapshot != "" && !raw[string(w.Snapshot)] && !durable[w.Snapshot] {
			found = append(found, Finding{Lost, "memory of workspace " + w.Name, "its snapshot " + string(w.Snapshot) + " is neither here nor in the store", "it starts again with its files"})
		}
		if w.Boots > 0 && w.Snapshot == "" && !volumes[string(w.ID)+".img"] {
			found = append(found, Finding{Lost, "volume of workspace " + w.Name, "there is no " + c.path("volumes", string(w.ID)+".img"), "its files come back from their last revision when it starts"})
		}
	}
	for name := range volumes {
		if !owned[name] {
			found = append(found, Finding{Stray, "volume " + name, "no workspace has it", ""})
		}
	}
	for name := range raw {
		if !known[name] {
			found = append(found, Finding{Stray, "snapshot " + name, "no workspace and no checkpoint has it", ""})
		}
	}
	slices.SortFunc(found, func(a, b Finding) int { return strings.Compare(a.What, b.What) })
	return found, nil
}

// again looks a second time: what was on its way has arrived.
func (c *checker) again(ctx context.Context, first []Finding) ([]Finding, error) {
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-time.After(Settle):
	}
	rows, err := c.rows(ctx)
	if err != nil {
		return nil, fmt.Errorf("read database: %w", err)
	}
	second, err := c.references(rows)
	return slices.DeleteFunc(second, func(f Finding) bool { return !slices.Contains(first, f) }), err
}

// volumes checks the file system of each volume, in a copy whose journal is
// replayed as a mount would.
func (c *checker) volumes(ctx context.Context, r *rowSet) (err error) {
	e2fsck, err := exec.LookPath("e2fsck")
	if err != nil {
		return holt.Errorf(holt.KindUnsupported, "e2fsck is missing: install e2fsprogs, or use --quick")
	}
	stage := c.path(".fsck")
	if err := os.RemoveAll(stage); err != nil {
		return fmt.Errorf("clear copies of volumes: %w", err)
	}
	if err := os.Mkdir(stage, 0o700); err != nil {
		return fmt.Errorf("copy volumes: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(stage)) }()
	for _, w := range r.workspaces {
		c.say("check volume of " + w.Name)
		img := filepath.Join(stage, "img")
		if err := snapshot.CloneFile(c.path("volumes", string(w.ID)+".img"), img); errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			return fmt.Errorf("copy volume of %s: %w", w.Name, err)
		}
		c.report.Checked["volumes"]++
		if out, err := e2check(ctx, e2fsck, img); err != nil {
			c.add(Damage, "volume of workspace "+w.Name, out, "suspend it and run e2fsck -f on a copy of its file, or roll back")
		}
		if err := os.Remove(img); err != nil {
			return fmt.Errorf("remove copy of a volume: %w", err)
		}
	}
	return nil
}

// e2check repairs what every mount after a crash repairs, and returns what is left.
func e2check(ctx context.Context, e2fsck, img string) (string, error) {
	out, err := exec.CommandContext(ctx, e2fsck, "-f", "-p", img).CombinedOutput()
	var exit *exec.ExitError
	if err == nil || errors.As(err, &exit) && exit.ExitCode() == 1 {
		return "", nil
	}
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(out), img, "the volume")), "\n")
	return strings.Join(lines[:min(len(lines), 6)], "; "), err
}

// snapshots reads the raw files of each snapshot.
func (c *checker) snapshots(ctx context.Context, _ *rowSet) error {
	raw, err := names(c.path("snapshots"))
	if err != nil {
		return err
	}
	store := snapshot.At(c.path("snapshots"))
	for name := range raw {
		id := holt.SnapshotID(name)
		if store.Evicted(id) {
			continue
		}
		c.say("read snapshot " + name)
		man, err := store.Get(id)
		if err == nil {
			err = store.Verify(ctx, man)
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case holt.IsKind(err, holt.KindNotFound), err != nil && gone(c.path("snapshots", name)), err != nil && store.Evicted(id):
			continue // it went meanwhile
		case err != nil:
			c.add(Damage, "snapshot "+name, err.Error(), "holt snapshot verify mends it from the store, if that has it")
		}
		c.report.Checked["snapshots"]++
	}
	return nil
}

// images compares base images with their names, which are their hashes.
func (c *checker) images(ctx context.Context, _ *rowSet) error {
	files, err := filepath.Glob(filepath.Join(c.cfg.DataDir, "images", "sha256-*.erofs"))
	if err != nil {
		return err
	}
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".erofs")
		c.say("read image " + name[:19])
		if err := c.hashed(ctx, path, strings.TrimPrefix(name, "sha256-"), "image "+name, "load it again with holt image"); err != nil {
			return err
		}
		c.report.Checked["images"]++
	}
	return nil
}

// tools compares runtimes and agents with the names of their folders.
func (c *checker) tools(ctx context.Context, _ *rowSet) error {
	for _, pattern := range []string{"node/gvisor/tools/*/runsc", "node/tools/*/holt-guest"} {
		files, err := filepath.Glob(filepath.Join(c.cfg.DataDir, pattern))
		if err != nil {
			return err
		}
		for _, path := range files {
			hash := filepath.Base(filepath.Dir(path))
			if err := c.hashed(ctx, path, hash, filepath.Base(path)+" "+hash[:min(12, len(hash))], "snapshots that name it cannot be resumed; restore it from a backup"); err != nil {
				return err
			}
			c.report.Checked["tools"]++
		}
	}
	return nil
}

func (c *checker) hashed(ctx context.Context, path, want, what, advice string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("open %s: %w", what, err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, contextReader{ctx, f}); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		c.add(Damage, what, "it cannot be read: "+err.Error(), advice)
		return nil
	}
	if hex.EncodeToString(h.Sum(nil)) != want {
		c.add(Damage, what, "its content is not that of its name", advice)
	}
	return nil
}

// stored looks at the store's snapshots: all are read, unless the check is quick.
func (c *checker) stored(ctx context.Context, r *rowSet) error {
	if c.cfg.Chunks == nil {
		return nil
	}
	owners := map[holt.UserID]bool{}
	of := map[holt.WorkspaceID]holt.UserID{}
	for _, w := range r.workspaces {
		owners[w.Owner], of[w.ID] = true, w.Owner
	}
	have := map[holt.SnapshotID]bool{}
	for owner := range owners {
		c.say("check store of " + string(owner))
		s, err := c.cfg.Chunks(ctx, owner)
		if holt.IsKind(err, holt.KindCorrupt) {
			c.add(Damage, "store of "+string(owner), err.Error(), "the server makes its catalog anew when it starts")
			continue
		} else if err != nil {
			return fmt.Errorf("open store: %w", err)
		}
		entries, err := s.Entries(ctx)
		if err != nil {
			return fmt.Errorf("list store: %w", err)
		}
		for _, e := range entries {
			have[e.ID] = true
			c.report.Checked["stored snapshots"]++
			if c.cfg.Quick {
				continue
			}
			c.say("read stored snapshot " + string(e.ID))
			report, err := s.Verify(ctx, e.ID)
			if err == nil {
				err = report.Err()
			}
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case holt.IsKind(err, holt.KindNotFound): // it went meanwhile
			case err != nil:
				c.add(Damage, "stored snapshot "+string(e.ID), err.Error(), "")
			}
		}
	}
	for _, s := range r.line {
		if owner, ok := of[s.Workspace]; ok && s.Durable() && !have[s.ID] && owners[owner] {
			c.add(Lost, "stored snapshot "+string(s.ID), "its row says that it is durable, and the store does not have it", "")
		}
	}
	return nil
}

// names returns what is in a folder, but for what is being made.
func names(dir string) (map[string]bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	all := map[string]bool{}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			all[e.Name()] = true
		}
	}
	return all, nil
}

func gone(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, os.ErrNotExist)
}

// contextReader reads until the context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
