package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api/client"
	guestwire "github.com/holt-ide/holt/wire/guest"
)

func newCopy(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "cp SRC NAME:DST | NAME:SRC DST",
		Short: "Copy files and directories into or out of a workspace",
		Long: `Copy a file or a whole directory between this machine and a workspace. Modes,
times and links are kept; files belong to whoever receives them. Paths in the
workspace are absolute or below /workspace.

When DST is a directory, SRC is copied into it under its own name; a SRC that
ends in /. stands for what is in it. Otherwise DST is the name of the copy.`,
		Example: `  holt cp ./project demo:/workspace
  holt cp demo:build/app.tar.gz .`,
		Args: cobra.ExactArgs(2),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			from, fromPath, fromRemote := splitPlace(args[0])
			to, toPath, toRemote := splitPlace(args[1])
			m := &meter{a: a}
			defer m.end()
			switch {
			case fromRemote && !toRemote:
				return c.Explain(ctx, download(ctx, c.Guest(from, true), fromPath, toPath, m))
			case toRemote && !fromRemote:
				return c.Explain(ctx, upload(ctx, c.Guest(to, true), fromPath, toPath, m))
			}
			return &exitError{code: exitUsage, err: fmt.Errorf("one of SRC and DST is in a workspace, as NAME:PATH, and the other is here")}
		}),
	}
}

// splitPlace splits NAME:PATH. A path with a slash before the colon is local.
func splitPlace(s string) (name, p string, remote bool) {
	name, p, remote = strings.Cut(s, ":")
	if !remote || strings.ContainsAny(name, `/\`) || name == "" || name == "." {
		return "", s, false
	}
	if p == "" {
		p = "."
	}
	return name, p, true
}

// contents reports whether a source path stands for what is in the directory.
func contents(p string) bool {
	return p == "." || p == ".." || strings.HasSuffix(p, "/.") || strings.HasSuffix(p, "/..")
}

// upload copies the local src to dst in the workspace.
func upload(ctx context.Context, g *guestwire.Client, src, dst string, m *meter) error {
	info, err := os.Stat(src)
	if err != nil {
		return holt.Wrap(holt.KindNotFound, err, "cannot read the source")
	}
	dir, name, err := uploadTarget(ctx, g, src, dst, info.IsDir())
	if err != nil {
		return err
	}
	pr, pw := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := packTree(ctx, src, name, pw, m)
		pw.CloseWithError(err)
		packed <- err
	}()
	err = g.Extract(ctx, dir, pr)
	pr.CloseWithError(io.ErrClosedPipe)
	if perr := <-packed; perr != nil && !errors.Is(perr, io.ErrClosedPipe) {
		return perr // a file here that cannot be read is the cause of what the other side says
	}
	return err
}

// uploadTarget decides in which directory of the workspace a copy is unpacked,
// and under which name; "" unpacks the content of a directory.
func uploadTarget(ctx context.Context, g *guestwire.Client, src, dst string, srcIsDir bool) (dir, name string, err error) {
	full := path.Clean(dst)
	info, err := g.Stat(ctx, full)
	isDir := err == nil && (info.Type == guestwire.TypeDir || info.Points == guestwire.TypeDir)
	switch {
	case err != nil && !holt.IsKind(err, holt.KindNotFound):
		return "", "", err
	case isDir && srcIsDir && contents(src):
		return full, "", nil
	case isDir:
		abs, err := filepath.Abs(src)
		if err != nil {
			return "", "", fmt.Errorf("resolve source: %w", err)
		}
		return full, filepath.Base(abs), nil
	case err == nil && srcIsDir:
		return "", "", holt.Errorf(holt.KindConflict, "%s is a file in the workspace: a directory cannot be copied over it", dst)
	case err != nil && strings.HasSuffix(dst, "/") && !srcIsDir:
		return "", "", holt.Errorf(holt.KindNotFound, "there is no directory %s in the workspace", dst)
	}
	return path.Dir(full), path.Base(full), nil
}

// download copies src in the workspace to the local dst.
func download(ctx context.Context, g *guestwire.Client, src, dst string, m *meter) error {
	full := path.Clean(src)
	info, err := g.Stat(ctx, full)
	if err != nil {
		return err
	}
	srcIsDir := info.Type == guestwire.TypeDir
	dir, name, err := downloadTarget(src, full, dst, srcIsDir)
	if err != nil {
		return err
	}
	body, err := g.Archive(ctx, full)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make destination: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open destination: %w", err)
	}
	defer root.Close()
	return unpackTree(root, name, body, m)
}

func downloadTarget(src, full, dst string, srcIsDir bool) (dir, name string, err error) {
	info, err := os.Stat(dst)
	switch {
	case err == nil && info.IsDir() && srcIsDir && contents(src):
		return dst, "", nil
	case err == nil && info.IsDir():
		return dst, path.Base(full), nil
	case err == nil && srcIsDir:
		return "", "", holt.Errorf(holt.KindConflict, "%s is a file here: a directory cannot be copied over it", dst)
	case err != nil && strings.HasSuffix(dst, "/") && !srcIsDir:
		return "", "", holt.Errorf(holt.KindNotFound, "there is no directory %s here", dst)
	}
	return filepath.Dir(dst), filepath.Base(dst), nil
}
