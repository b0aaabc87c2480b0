package persist

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// Copy makes what a revision has, the latest for number 0, the latest revision of another workspace of the same
// tenant. Nothing is copied but a description. It is as Flush in its errors.
func (s *Store) Copy(ctx context.Context, from holt.WorkspaceID, number int64, to holt.WorkspaceID) (Revision, error) {
	l := s.line(to)
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := 0; ; n++ {
		r, err := s.copy(ctx, l, from, number, to)
		if n < 3 && errors.Is(err, meta.ErrRevisionStale) {
			continue
		}
		return r, err
	}
}

func (s *Store) copy(ctx context.Context, l *line, from holt.WorkspaceID, number int64, to holt.WorkspaceID) (Revision, error) {
	src, err := s.Get(ctx, from, number)
	if err != nil {
		return Revision{}, err
	}
	l.loaded = false
	if err := s.load(ctx, l, to); err != nil {
		return Revision{}, err
	}
	w := s.newWriter(src.Tenant)
	at := s.cfg.Now().UTC().Truncate(time.Microsecond)
	rec := record{
		Workspace: to, Number: l.last.Number + 1, At: at, Reason: "copy", Root: src.Root, Torn: src.Torn, Skipped: src.Skipped,
	}
	text, err := json.Marshal(rec)
	if err != nil {
		return Revision{}, fmt.Errorf("describe revision: %w", err)
	}
	id, err := w.add(ctx, kindRecord, text)
	if err == nil {
		err = w.resolve(ctx)
	}
	if err == nil {
		err = w.send(ctx)
	}
	if err != nil {
		w.abandon()
		return Revision{}, err
	}
	r, err := w.publish(ctx, meta.Publication{
		Revision: Revision{
			Workspace: to, Number: rec.Number, Tenant: src.Tenant, Txn: w.txn, At: at, Reason: rec.Reason,
			Root: src.Root, Record: id, Files: src.Files, Bytes: src.Bytes, Stored: w.stored, Torn: src.Torn, Skipped: src.Skipped,
		},
		Packs: w.packs, Blobs: w.blobs, Reused: w.reused, From: meta.RevisionID{Workspace: from, Number: src.Number},
	})
	if err != nil && !errors.Is(err, ErrQueued) {
		w.abandon()
	}
	return r, err
}
