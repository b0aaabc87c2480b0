package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/api/client"
)

func newImage(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "List, make and remove images",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newImageList(a), newImageBuild(a), newImagePull(a), newImageLoad(a), newImageRemove(a))
	return cmd
}

func newImageList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List images",
		Args:  cobra.NoArgs,
		RunE: a.verb(func(ctx context.Context, c *client.Client, _ []string) error {
			all, err := c.Images(ctx)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(append([]api.Image{}, all...))
			}
			return a.table("NAMES\tSIZE\tCREATED\tID\tSOURCE", func(row func(...string)) {
				for _, i := range all {
					row(strings.Join(i.Names, ","), holt.FormatSize(i.Bytes), ago(i.CreatedAt), i.ID, i.Source)
				}
			})
		}),
	}
}

func newImageBuild(a *app) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "build [RECIPE]",
		Short: "Build an image from a recipe of the server",
		Args:  cobra.MaximumNArgs(1),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			req := api.BuildImage{Name: name}
			if len(args) == 1 {
				req.Recipe = args[0]
			}
			return a.makeImage(func(progress func(api.Progress)) (api.Image, error) {
				return c.BuildImage(ctx, req, progress)
			})
		}),
	}
	cmd.Flags().StringVar(&name, "name", "", "name of the image (default: that of the recipe)")
	return cmd
}

func newImagePull(a *app) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "pull REF",
		Short: "Fetch an image from a registry",
		Args:  cobra.ExactArgs(1),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			return a.makeImage(func(progress func(api.Progress)) (api.Image, error) {
				return c.PullImage(ctx, api.PullImage{Reference: args[0], Name: name}, progress)
			})
		}),
	}
	cmd.Flags().StringVar(&name, "name", "", "a further name for the image")
	return cmd
}

func (a *app) makeImage(work func(progress func(api.Progress)) (api.Image, error)) error {
	m := &meter{a: a}
	img, err := work(func(p api.Progress) {
		text := p.Phase
		if p.Text != "" {
			text += ": " + printable(p.Text)
		}
		unit := func(n int64) string { return strconv.FormatInt(n, 10) }
		if p.Bytes {
			unit = holt.FormatSize
		}
		m.show(text, p.Done, p.Total, unit)
	})
	m.end()
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(img)
	}
	fmt.Fprintf(a.out, "%s\t%s\n", strings.Join(img.Names, ","), img.ID)
	return nil
}
