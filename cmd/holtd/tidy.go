package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/persist"
)

const (
	// tidyEvery is the pause between removals of revisions that are kept no longer.
	tidyEvery = time.Hour
	// readEvery is the pause between readings of all that is kept of files.
	readEvery = 7 * 24 * time.Hour
	// tidyFirst is how long a server runs before the first of them.
	tidyFirst = 10 * time.Minute
)

// filesTidier thins revisions out, gives their space back, and reads all of them now and then.
type filesTidier struct {
	rows  meta.Workspaces
	files *persist.Store
	tell  func(ctx context.Context, id holt.WorkspaceID, name, text string) error
	log   *slog.Logger
}

// run works until ctx ends. What fails is tried again the next time.
func (f filesTidier) run(ctx context.Context) {
	read := time.Now()
	for wait := tidyFirst; ; wait = tidyEvery {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		err := f.tidy(ctx)
		if err == nil && time.Since(read) > readEvery {
			read = time.Now()
			err = f.read(ctx)
		}
		if err != nil && ctx.Err() == nil {
			f.log.Warn("tidy the revisions of files", "err", err)
		}
	}
}

func (f filesTidier) tidy(ctx context.Context) error {
	for p := (meta.Page{Limit: meta.MaxPage}); ; {
		rows, next, err := f.rows.List(ctx, p)
		if err != nil {
			return fmt.Errorf("read workspaces: %w", err)
		}
		for _, w := range rows {
			n, err := f.files.Thin(ctx, w.ID)
			if err != nil {
				return fmt.Errorf("thin revisions of %s: %w", w.Name, err)
			}
			if n > 0 {
				f.log.Info("revisions thinned out", "workspace", w.ID, "removed", n)
			}
		}
		if p.Cursor = next; next == "" {
			break
		}
	}
	tenants, err := f.files.Tenants(ctx)
	if err != nil {
		return fmt.Errorf("list tenants: %w", err)
	}
	for _, t := range tenants {
		done, err := f.files.Collect(ctx, t, persist.Collection{})
		if err != nil {
			return fmt.Errorf("collect files of %s: %w", t, err)
		}
		if done.Packs > 0 {
			f.log.Info("space of files given back", "tenant", t, "packs", done.Packs, "bytes", done.Bytes)
		}
	}
	return nil
}

// read reads everything that is kept, and tells the users of what is damaged.
func (f filesTidier) read(ctx context.Context) error {
	tenants, err := f.files.Tenants(ctx)
	if err != nil {
		return fmt.Errorf("list tenants: %w", err)
	}
	for _, t := range tenants {
		r, err := f.files.Check(ctx, t)
		if err != nil {
			return fmt.Errorf("read files of %s: %w", t, err)
		}
		for _, d := range r.Damaged {
			text := fmt.Sprintf("revision %d is damaged in the store: %d paths cannot be read, such as %.200q; the next revision stores them anew", d.Number, d.Lost, d.Paths[0])
			f.log.Error("a revision is damaged", "workspace", d.Workspace, "revision", d.Number, "lost", d.Lost)
			if err := f.tell(ctx, d.Workspace, "files-damaged", text); err != nil && !holt.IsKind(err, holt.KindNotFound) {
				return fmt.Errorf("tell of damage: %w", err)
			}
		}
	}
	return nil
}
