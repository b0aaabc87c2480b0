package persist

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/holt-ide/holt"
)

// search finds a name in a folder's entries.
func search(list []entry, name string) (int, bool) {
	return slices.BinarySearchFunc(list, name, func(e entry, name string) int { return strings.Compare(e.name, name) })
}

// ChangeKind says what happened to a path between two revisions.
type ChangeKind string

// The kinds of changes.
const (
	Added    ChangeKind = "added"
	Removed  ChangeKind = "removed"
	Modified ChangeKind = "modified" // content, target or type
	Touched  ChangeKind = "touched"  // mode, owner or time only
)

// Change is one path that differs. Of a folder that was added or removed everything in it is
// a change too; a folder whose content alone differs is none.
type Change struct {
	Path   string
	Kind   ChangeKind
	Before Entry // zero if Added
	After  Entry // zero if Removed
}

// Diff calls f for what differs below a path from revision a to revision b of a
// workspace, in the order of paths. Number 0 of a means nothing at all, of b the
// latest. It ends with the first error of f.
func (s *Store) Diff(ctx context.Context, ws holt.WorkspaceID, a, b int64, path string, f func(Change) error) error {
	var was *Tree
	var err error
	if a > 0 {
		if was, err = s.Open(ctx, ws, a); err != nil {
			return err
		}
	}
	now, err := s.Open(ctx, ws, b)
	if err != nil {
		return err
	}
	return Diff(ctx, was, now, path, f)
}

// Diff is [Store.Diff] for open revisions, of any workspaces; nil is an empty one.
func Diff(ctx context.Context, a, b *Tree, path string, f func(Change) error) error {
	path = clean(path)
	d := differ{a: a, b: b, f: f}
	var was, now *entry
	for _, side := range []struct {
		t *Tree
		e **entry
	}{{a, &was}, {b, &now}} {
		if side.t == nil {
			continue
		}
		e, err := side.t.find(ctx, path)
		if err == nil {
			*side.e = &e
		} else if !holt.IsKind(err, holt.KindNotFound) {
			return err
		}
	}
	if was == nil && now == nil {
		return holt.Errorf(holt.KindNotFound, "%.500q is in neither of the revisions", path)
	}
	return d.compare(ctx, path, was, now)
}

type differ struct {
	a, b *Tree
	f    func(Change) error
}

func (d *differ) compare(ctx context.Context, path string, was, now *entry) error {
	if was != nil && now != nil && was.kind == now.kind && was.content == now.content && same(was, now) {
		return nil
	}
	c := Change{Path: path}
	switch {
	case was == nil:
		c.Kind, c.After = Added, now.public(path)
	case now == nil:
		c.Kind, c.Before = Removed, was.public(path)
	default:
		c.Kind, c.Before, c.After = Touched, was.public(path), now.public(path)
		if was.kind != now.kind || was.target != now.target || was.kind == File && (was.content != now.content || was.size != now.size) {
			c.Kind = Modified
		}
	}
	folderOnly := was != nil && now != nil && was.kind == Folder && now.kind == Folder && was.mode == now.mode && was.uid == now.uid && was.gid == now.gid
	if !folderOnly && path != "" {
		if err := d.f(c); err != nil {
			return err
		}
	}
	return d.below(ctx, path, was, now)
}

// below compares what is in two folders, either of which may be none.
func (d *differ) below(ctx context.Context, path string, was, now *entry) error {
	old, err := d.entries(ctx, d.a, path, was)
	if err != nil {
		return err
	}
	list, err := d.entries(ctx, d.b, path, now)
	if err != nil {
		return err
	}
	for len(old) > 0 || len(list) > 0 {
		var a, b *entry
		switch {
		case len(list) == 0 || len(old) > 0 && old[0].name < list[0].name:
			a, old = &old[0], old[1:]
		case len(old) == 0 || list[0].name < old[0].name:
			b, list = &list[0], list[1:]
		default:
			a, b, old, list = &old[0], &list[0], old[1:], list[1:]
		}
		var name string
		if a != nil {
			name = a.name
		} else {
			name = b.name
		}
		if err := d.compare(ctx, join(path, name), a, b); err != nil {
			return err
		}
	}
	return nil
}

func (d *differ) entries(ctx context.Context, t *Tree, path string, e *entry) ([]entry, error) {
	if e == nil || e.kind != Folder {
		return nil, nil
	}
	list, err := t.s.entries(ctx, t.rev.Tenant, e.content)
	if err != nil {
		return nil, fmt.Errorf("folder %.500q: %w", path, err)
	}
	return list, nil
}
