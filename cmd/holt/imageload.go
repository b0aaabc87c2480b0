package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/api/client"
)

func newImageLoad(a *app) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "load FILE|- --name NAME",
		Short: "Make an image from an archive",
		Long: `Make an image from a tar archive, plain or compressed with gzip or zstd: what
"docker save" writes, or an OCI layout, with one image. - is standard input:

  docker save app:1 | holt image load - --name app`,
		Args:                  cobra.ExactArgs(1),
		DisableFlagsInUseLine: true,
	}
	send := a.verb(func(ctx context.Context, c *client.Client, args []string) error {
		archive, size, err := a.openArchive(args[0])
		if err != nil {
			return err
		}
		defer archive.Close()
		return a.makeImage(func(progress func(api.Progress)) (api.Image, error) {
			return c.LoadImage(ctx, name, archive, size, progress)
		})
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if name == "" {
			return usage(cmd, errors.New("the image needs a name: give it with --name"))
		}
		return send(cmd, args)
	}
	cmd.Flags().StringVar(&name, "name", "", "name of the image; taken from the image that has it")
	return cmd
}

// openArchive opens a file, or standard input for "-", and returns its size, 0
// if that is not known.
func (a *app) openArchive(name string) (io.ReadCloser, int64, error) {
	if name == "-" {
		if isTerminal(a.in) {
			return nil, 0, holt.Invalid("", "standard input is a terminal: send an archive into it, or name a file")
		}
		return io.NopCloser(a.in), 0, nil
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, holt.Wrap(holt.KindNotFound, err, "there is no such archive")
	} else if err != nil {
		return nil, 0, fmt.Errorf("open archive: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = holt.Invalidf("", "%s is a directory: give a tar archive, for instance tar -C %s -c . | holt image load -", name, name)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return f, 0, nil
	}
	return f, info.Size(), nil
}

func newImageRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "rm REF",
		Short: "Remove an image, or one of its names",
		Long: `Remove the name REF of an image, and the image itself with its last name. An ID
removes the image with all its names. An image that a workspace was made from
stays until that workspace is removed.`,
		Args: cobra.ExactArgs(1),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			return c.RemoveImage(ctx, args[0])
		}),
	}
}
