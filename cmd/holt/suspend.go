package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/api/client"
)

func newSuspend(a *app) *cobra.Command {
	return newGoal(a, holt.Suspended, (*client.Client).Suspend, &cobra.Command{
		Use:   "suspend NAME",
		Short: "Freeze a workspace: processes, memory and files",
		Long: `Freeze a workspace to a snapshot and wait until it is safely stored. Everything
that runs in it continues when it is resumed.`,
	})
}

// newGoal completes a command that asks for a state and waits for it.
func newGoal(a *app, want holt.State, ask func(*client.Client, context.Context, string) (api.Workspace, error), cmd *cobra.Command) *cobra.Command {
	var noWait bool
	cmd.Args = cobra.ExactArgs(1)
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return at once")
	cmd.RunE = a.verb(func(ctx context.Context, c *client.Client, args []string) error {
		w, err := ask(c, ctx, args[0])
		if err != nil {
			return err
		}
		return a.await(ctx, c, w, want, noWait)
	})
	return cmd
}
