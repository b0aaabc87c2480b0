package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holt-ide/holt/api/client"
)

func newOpen(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "open [NAME]",
		Short: "Print a link that signs a browser in and shows a workspace",
		Long: `Print a link that signs one browser in, once, within 15 minutes, with the rights
of your token, and shows the workspace.`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			name := ""
			if len(args) == 1 {
				name = args[0]
			}
			l, err := c.Login(ctx, name)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(l)
			}
			fmt.Fprintln(a.out, l.URL)
			return nil
		}),
	}
}
