package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/api/client"
)

func newCheckpoint(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "checkpoint NAME [LABEL]",
		Short: "Keep a workspace as it is now, to come back to",
		Long: `Keep memory, processes and files of a workspace as they are now under a label. A
running workspace stands still for a moment and runs on. Without a LABEL it is
the time. Go back with holt rollback, or look at it in a copy with
holt fork --from.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			label := ""
			if len(args) == 2 {
				label = args[1]
			}
			got, err := c.Checkpoint(ctx, args[0], label)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(got)
			}
			if got.PauseMS > 0 {
				a.notef("the workspace stood still for %v", time.Duration(got.PauseMS)*time.Millisecond)
			}
			fmt.Fprintf(a.out, "%s\t%s\n", got.Label, holt.FormatSize(got.Bytes))
			return nil
		}),
	}
}

func newRollback(a *app) *cobra.Command {
	var noWait bool
	cmd := &cobra.Command{
		Use:   "rollback NAME LABEL",
		Short: "Bring a workspace back to a checkpoint",
		Long: `Bring a workspace back to where a checkpoint was made: memory, processes and
files. What it is now becomes the checkpoint before-rollback, so that
holt rollback NAME before-rollback undoes it. In the place of a label can be the ID
of a snapshot that is durable (see holt show), or last-stored for the latest that
is not what the workspace is now.`,
		Args: cobra.ExactArgs(2),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			w, err := c.Rollback(ctx, args[0], args[1])
			if err != nil {
				return err
			}
			if noWait {
				return a.await(ctx, c, w, holt.Running, true)
			}
			since, err := c.Log(ctx, w.ID, 0)
			if err != nil {
				return err
			}
			if err := a.await(ctx, c, w, holt.Running, false); err != nil {
				return err
			}
			return refusal(ctx, c, w.ID, since)
		}),
	}
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return at once")
	return cmd
}

// refusal returns why a rollback did not happen, from the log after what was seen.
func refusal(ctx context.Context, c *client.Client, id string, seen []api.Event) error {
	var last int64
	if len(seen) > 0 {
		last = seen[len(seen)-1].Seq
	}
	events, err := c.Log(ctx, id, last)
	if err != nil {
		return err
	}
	for _, e := range events {
		if e.Name == "rollback-failed" || e.Name == "suspend-failed" {
			return holt.Errorf(holt.KindConflict, "it was not rolled back: %s", e.Text)
		}
	}
	return nil
}

func newSnapshot(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "snapshot",
		Short: "List, verify and remove checkpoints, and list what the store has",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSnapshotList(a), newSnapshotVerify(a), newSnapshotRemove(a), newSnapshotStored(a))
	return cmd
}

func newSnapshotStored(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "stored",
		Short: "List what the store has, of other servers too",
		Long: `List your snapshots in the store: of this server and of others that use the same
store. Go on from one with holt create NAME --snapshot ID.`,
		Args: cobra.NoArgs,
		RunE: a.verb(func(ctx context.Context, c *client.Client, _ []string) error {
			all, err := c.Stored(ctx)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(append([]api.StoredSnapshot{}, all...))
			}
			if len(all) == 0 {
				a.notef("the store has no snapshot of yours yet")
				return nil
			}
			return a.table("WORKSPACE\tLABEL\tSIZE\tADDED\tCREATED\tID\tDAMAGE", func(row func(...string)) {
				for _, s := range all {
					row(s.Workspace, s.Label, holt.FormatSize(s.Bytes), holt.FormatSize(s.StoredBytes), ago(s.CreatedAt), s.ID, s.Damage)
				}
			})
		}),
	}
}

func newSnapshotList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "ls NAME",
		Short: "List the checkpoints of a workspace",
		Args:  cobra.ExactArgs(1),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			all, err := c.Checkpoints(ctx, args[0])
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(append([]api.Checkpoint{}, all...))
			}
			if len(all) == 0 {
				a.notef("%s has no checkpoints: make one with holt checkpoint %s", args[0], args[0])
				return nil
			}
			kept, err := c.Snapshots(ctx, args[0])
			if err != nil {
				return err
			}
			where := map[string]string{}
			for _, s := range kept.Items {
				where[s.ID] = strings.Join(s.On, ", ")
			}
			return a.table("LABEL\tSIZE\tCREATED\tPAUSE\tWHERE\tID", func(row func(...string)) {
				for _, s := range all {
					pause := ""
					if s.PauseMS > 0 {
						pause = strconv.FormatInt(s.PauseMS, 10) + "ms"
					}
					row(s.Label, holt.FormatSize(s.Bytes), ago(s.CreatedAt), pause, where[s.ID], s.ID)
				}
			})
		}),
	}
}

func newSnapshotVerify(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "verify NAME [LABEL...]",
		Short: "Read every byte of checkpoints and compare it with its checksum",
		Long: `Read every byte of the checkpoints of a workspace, or of those named, and compare
it with its checksum. Exits with 1 when one is damaged, and says where.`,
		Args: cobra.MinimumNArgs(1),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			labels := args[1:]
			if len(labels) == 0 {
				all, err := c.Checkpoints(ctx, args[0])
				if err != nil {
					return err
				}
				for _, s := range all {
					labels = append(labels, s.Label)
				}
			}
			return a.verify(ctx, c, args[0], labels)
		}),
	}
}

// verify looks at all of them before it returns the first damage.
func (a *app) verify(ctx context.Context, c *client.Client, name string, labels []string) error {
	type verdict struct {
		Label string `json:"label"`
		OK    bool   `json:"ok"`
		Error string `json:"error,omitempty"`
	}
	out := []verdict{}
	var damaged error
	for _, label := range labels {
		v := verdict{Label: label, OK: true}
		if _, err := c.VerifyCheckpoint(ctx, name, label); err != nil {
			if !holt.IsKind(err, holt.KindCorrupt) {
				return err
			}
			v.OK, v.Error = false, err.Error()
			if damaged == nil {
				damaged = err
			}
		}
		out = append(out, v)
		if !a.json {
			fmt.Fprintf(a.out, "%s\t%s\n", label, map[bool]string{true: "ok", false: "DAMAGED"}[v.OK])
		}
	}
	if a.json {
		if err := a.printJSON(out); err != nil {
			return err
		}
	}
	return damaged
}

func newSnapshotRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "rm NAME LABEL...",
		Short: "Remove checkpoints",
		Args:  cobra.MinimumNArgs(2),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			for _, label := range args[1:] {
				if err := c.DeleteCheckpoint(ctx, args[0], label); err != nil {
					return err
				}
				if !a.json {
					fmt.Fprintln(a.out, label)
				}
			}
			if a.json {
				return a.printJSON(args[1:])
			}
			return nil
		}),
	}
}
