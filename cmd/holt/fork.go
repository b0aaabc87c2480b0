package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api/client"
)

func newFork(a *app) *cobra.Command {
	var noWait bool
	cmd := &cobra.Command{
		Use:   "fork NAME NEW",
		Short: "Copy a workspace, running processes included",
		Long: `Copy a workspace under a new name and wait until the copy runs. The copy has its
own memory, files, host name and secrets; the source stays as it is.`,
		Args: cobra.ExactArgs(2),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			w, err := c.Fork(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			return a.await(ctx, c, w, holt.Running, noWait)
		}),
	}
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return at once")
	return cmd
}
