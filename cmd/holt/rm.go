package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/api/client"
)

func newRemove(a *app) *cobra.Command {
	var force, noWait bool
	cmd := &cobra.Command{
		Use:     "rm NAME...",
		Aliases: []string{"delete"},
		Short:   "Remove workspaces and all their files",
		Long: `Remove workspaces with all their files and snapshots, for good. A running
workspace is only removed with --force.`,
		Args: cobra.MinimumNArgs(1),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			removed := []api.Workspace{}
			for _, name := range args {
				w, err := a.remove(ctx, c, name, force, noWait)
				if err != nil {
					return err
				}
				removed = append(removed, w)
			}
			if a.json {
				return a.printJSON(removed)
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&force, "force", false, "remove it even if it runs")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return at once")
	return cmd
}

func (a *app) remove(ctx context.Context, c *client.Client, name string, force, noWait bool) (api.Workspace, error) {
	d, err := c.Get(ctx, name)
	if err != nil {
		return api.Workspace{}, err
	}
	w := d.Workspace
	if err := c.Delete(ctx, w.ID, force); err != nil {
		return w, err
	}
	if !noWait {
		// By now it may be gone altogether, which is what was asked for.
		if d, err = c.Get(ctx, w.ID); err == nil {
			w, err = c.Await(ctx, d.Workspace, holt.Deleted, nil)
		}
		if err != nil && !holt.IsKind(err, holt.KindNotFound) {
			return w, err
		}
		w.State, w.Goal = string(holt.Deleted), string(holt.WantDeleted)
	}
	if !a.json {
		fmt.Fprintf(a.out, "%s\t%s\n", w.Name, w.State)
	}
	return w, nil
}
