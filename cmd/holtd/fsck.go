package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/fsck"
	"github.com/holt-ide/holt/meta"
	metasql "github.com/holt-ide/holt/meta/sql"
	"github.com/holt-ide/holt/object"
	"github.com/holt-ide/holt/persist"
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
			if !strings.HasPrefix(cfg.databaseOf(dir), "sqlite:") {
				return metasql.Open(ctx, cfg.databaseOf(dir))
			}
			copies++
			to := filepath.Join(scratch, fmt.Sprintf("%d.db", copies)) // opening one may change it
			if err := metasql.Copy(ctx, cfg.databaseOf(dir), to); err != nil {
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
		c.Files = func(ctx context.Context) (n int, found []fsck.Finding, err error) {
			rows, err := c.Rows(ctx)
			if err != nil {
				return 0, nil, err
			}
			defer func() { err = errors.Join(err, rows.Close()) }()
			return checkFiles(ctx, objects.Origin, rows, running)
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

// checkFiles reads every pack and every revision of all tenants.
func checkFiles(ctx context.Context, objects object.Store, rows meta.Store, running bool) (n int, found []fsck.Finding, err error) {
	files, err := persist.New(persist.Config{Objects: objects, Revisions: rows.Revisions()})
	if err != nil {
		return 0, nil, err
	}
	tenants, err := files.Tenants(ctx)
	if err != nil {
		return 0, nil, err
	}
	for _, tenant := range tenants {
		r, err := files.Check(ctx, tenant)
		if err != nil {
			return 0, nil, err
		}
		n += r.Revisions
		for _, d := range r.Damaged {
			found = append(found, fsck.Finding{
				Level: fsck.Damage, What: fmt.Sprintf("revision %d of workspace %s", d.Number, d.Workspace),
				Text:   fmt.Sprintf("%d of its files cannot be read: %s", d.Lost, strings.Join(d.Paths, ", ")),
				Advice: "the next revision has them again, if they are in the workspace still",
			})
		}
		for level, keys := range map[fsck.Level][]string{fsck.Lost: r.Missing, fsck.Damage: r.Broken, fsck.Stray: r.Unknown} {
			for _, key := range keys {
				if level == fsck.Stray && running { // it may be on its way
					continue
				}
				text := map[fsck.Level]string{fsck.Lost: "the store does not have it", fsck.Damage: "something in it is damaged", fsck.Stray: "no revision has it"}[level]
				found = append(found, fsck.Finding{Level: level, What: "pack " + key, Text: text})
			}
		}
	}
	return n, found, nil
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
