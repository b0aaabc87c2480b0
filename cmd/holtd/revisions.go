package main

import (
	"context"
	"io"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/gateway"
	"github.com/holt-ide/holt/persist"
)

// revisionRoom shows the store of files to the gateway in its words.
type revisionRoom struct{ *persist.Store }

// revisions returns nil for no store.
func revisions(s *persist.Store) gateway.Revisions {
	if s == nil {
		return nil
	}
	return revisionRoom{s}
}

var entryTypes = map[persist.Type]string{persist.File: "file", persist.Folder: "folder", persist.Link: "link"}

func shownEntry(e persist.Entry) gateway.RevisionEntry {
	return gateway.RevisionEntry{
		Path: e.Path, Type: entryTypes[e.Type], Mode: e.Mode, Size: e.Size, Modified: e.ModTime, Target: e.Target, Torn: e.Torn,
	}
}

func (r revisionRoom) Stat(ctx context.Context, ws holt.WorkspaceID, number int64, path string) (gateway.RevisionEntry, error) {
	t, err := r.Open(ctx, ws, number)
	if err != nil {
		return gateway.RevisionEntry{}, err
	}
	e, err := t.Stat(ctx, path)
	return shownEntry(e), err
}

func (r revisionRoom) Files(ctx context.Context, ws holt.WorkspaceID, number int64, path string) ([]gateway.RevisionEntry, error) {
	t, err := r.Open(ctx, ws, number)
	if err != nil {
		return nil, err
	}
	list, err := t.List(ctx, path)
	out := make([]gateway.RevisionEntry, len(list))
	for i, e := range list {
		out[i] = shownEntry(e)
	}
	return out, err
}

func (r revisionRoom) Read(ctx context.Context, ws holt.WorkspaceID, number int64, path string) (io.ReadCloser, gateway.RevisionEntry, error) {
	t, err := r.Open(ctx, ws, number)
	if err != nil {
		return nil, gateway.RevisionEntry{}, err
	}
	e, err := t.Stat(ctx, path)
	if err != nil {
		return nil, gateway.RevisionEntry{}, err
	}
	f, err := t.OpenFile(ctx, path)
	return f, shownEntry(e), err
}

func (r revisionRoom) Diff(ctx context.Context, ws holt.WorkspaceID, from, to int64, path string, f func(gateway.RevisionChange) error) error {
	return r.Store.Diff(ctx, ws, from, to, path, func(c persist.Change) error {
		out := gateway.RevisionChange{Path: c.Path, Kind: string(c.Kind)}
		if c.Kind != persist.Added {
			out.Before = shownEntry(c.Before)
		}
		if c.Kind != persist.Removed {
			out.After = shownEntry(c.After)
		}
		return f(out)
	})
}
