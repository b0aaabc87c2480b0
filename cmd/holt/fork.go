package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/api/client"
)

func newFork(a *app) *cobra.Command {
	var noWait bool
	var from string
	cmd := &cobra.Command{
		Use:   "fork NAME NEW",
		Short: "Copy a workspace, running processes included",
		Long: `Copy a workspace under a new name and wait until the copy runs. The copy has its
own memory, files, host name and secrets; the source stays as it is. With --from it
begins where a checkpoint of the source was made.`,
		Args: cobra.ExactArgs(2),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			w, err := c.Fork(ctx, args[0], api.ForkWorkspace{Name: args[1], From: from})
			if err != nil {
				return err
			}
			return a.await(ctx, c, w, holt.Running, noWait)
		}),
	}
	cmd.Flags().StringVar(&from, "from", "", "`label` of a checkpoint of the source")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return at once")
	return cmd
}
