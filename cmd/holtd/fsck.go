package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/fsck"
	"github.com/holt-ide/holt/meta"
	metasql "github.com/holt-ide/holt/meta/sql"
	"github.com/holt-ide/holt/snapshot/chunk"
	"github.com/holt-ide/holt/workspace"
)

func check(ctx context.Context, cfg *config, stdout, stderr io.Writer) (err error) {
	if len(cfg.rest) > 0 {
		return holt.Invalidf("", "unexpected argument %q: see holtd -help", cfg.rest[0])
	}
	dir, err := serverDir(cfg)
	if err != nil {
		return err
	}
	free, running, err := standAside(ctx, cfg, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, free()) }()
	scratch, err := os.MkdirTemp("", "holt-fsck-")
	if err != nil {
		return fmt.Errorf("make scratch directory: %w", err)
	}
	defer os.RemoveAll(scratch)
	copies := 0
	say := progress(stderr)
	c := fsck.Config{
		DataDir: dir, Quick: cfg.quick, Running: running,
		Rows: func(ctx context.Context) (meta.Store, error) {
			copies++
			to := filepath.Join(scratch, fmt.Sprintf("%d.db", copies)) // opening one may change it
			if err := metasql.Copy(ctx, "sqlite:"+filepath.Join(dir, "holt.db"), to); err != nil {
				return nil, err
			}
			return metasql.Open(ctx, "sqlite:"+to)
		},
		Progress: func(step string) { say(step, 0) },
	}
	if connect := cfg.store.connector(dir); connect != nil {
		objects, err := connect(ctx)
		if err != nil {
			return fmt.Errorf("reach store: %w", err)
		}
		owner, err := storeOwner(dir)
		if err != nil {
			return err
		}
		c.Chunks = func(ctx context.Context, user holt.UserID) (*chunk.Store, error) {
			return chunk.Open(ctx, chunk.Config{Objects: objects.Store, Origin: objects.Origin, Tenant: workspace.Tenant(user), Owner: owner})
		}
	}
	report, err := fsck.Check(ctx, c)
	if err != nil {
		return err
	}
	say("", -1)
	if err := tell(cfg, stdout, report); err != nil {
		return err
	}
	if report.Bad() {
		return holt.Errorf(holt.KindCorrupt, "something is damaged or lost")
	}
	return nil
}

func tell(cfg *config, w io.Writer, r *fsck.Report) error {
	if cfg.json {
		return json.NewEncoder(w).Encode(r)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(w, "%-6s  %s: %s\n", f.Level, f.What, f.Text)
		if f.Advice != "" {
			fmt.Fprintf(w, "        %s\n", f.Advice)
		}
	}
	if len(r.Findings) == 0 {
		fmt.Fprintln(w, "everything is there and whole")
	}
	sep := "checked: "
	for _, kind := range []string{"workspaces", "volumes", "snapshots", "stored snapshots", "revisions", "images", "tools"} {
		if n := r.Checked[kind]; n > 0 {
			fmt.Fprintf(w, "%s%d %s", sep, n, kind)
			sep = ", "
		}
	}
	_, err := fmt.Fprintln(w)
	return err
}
