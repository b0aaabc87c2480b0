package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/api/client"
)

func newSync(a *app) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "sync NAME",
		Short: "Wait until all that the files are now is durable",
		Long: `Wait until everything that the files of a workspace are now is in the store, and
print the revision that has it. Without this it happens every half minute, and
whenever a file is saved in the editor. What is kept: /workspace and /home/dev,
without what .holtignore in /workspace leaves out (the rules of .gitignore, after
usual ones such as node_modules). With --name the revision is kept for ever.`,
		Args: cobra.ExactArgs(1),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			r, err := c.Sync(ctx, args[0])
			if err != nil {
				return err
			}
			if name != "" {
				if r, err = c.NameRevision(ctx, args[0], r.Number, name); err != nil {
					return err
				}
			}
			if a.json {
				return a.printJSON(r)
			}
			if r.Skipped > 0 {
				a.notef("%d things cannot be kept, such as sockets", r.Skipped)
			}
			if r.Torn > 0 {
				a.notef("%d files changed while they were read", r.Torn)
			}
			fmt.Fprintf(a.out, "%d\t%s\n", r.Number, r.At.Local().Format(time.RFC3339))
			return nil
		}),
	}
	cmd.Flags().StringVar(&name, "name", "", "give the revision a `name`, which keeps it")
	return cmd
}

// durability says in a line how far the files are.
func durability(d api.Durability) string {
	latest := "no revision yet"
	if d.Revision > 0 {
		latest = fmt.Sprintf("revision %d of %s", d.Revision, d.At.Local().Format(time.RFC3339))
	}
	switch {
	case d.State == "durable":
		return "durable, " + latest
	case d.Trouble != "":
		return fmt.Sprintf("NOT DURABLE since %s: %s; %s", d.Since.Local().Format(time.RFC3339), d.Trouble, latest)
	case d.Flushing:
		return "on the way to the store; " + latest
	}
	return "changed " + ago(d.Since) + ", not durable yet; " + latest
}
