package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/api/client"
)

func newShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "Show everything known of a workspace",
		Args:  cobra.ExactArgs(1),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			w, err := c.Get(ctx, args[0])
			if err != nil {
				return err
			}
			snapshots, err := c.Snapshots(ctx, w.ID)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(struct {
					api.WorkspaceDetail
					Snapshots []api.KeptSnapshot `json:"snapshots"`
					Trouble   string             `json:"store_trouble,omitempty"`
				}{w, snapshots.Items, snapshots.Trouble})
			}
			return a.printDetail(w, snapshots)
		}),
	}
}

// standing says in a few words what a snapshot is good for.
func standing(s api.KeptSnapshot) string {
	var words []string
	if s.Current {
		words = append(words, "current")
	}
	if s.Label != "" {
		words = append(words, "checkpoint "+s.Label)
	}
	switch {
	case s.Damage != "":
		words = append(words, "DAMAGED: "+s.Damage)
	case !s.DurableAt.IsZero():
		words = append(words, "durable")
	default:
		words = append(words, "not in the store yet")
	}
	if len(s.On) > 0 {
		words = append(words, "on "+strings.Join(s.On, " and "))
	}
	return strings.Join(words, ", ")
}

func (a *app) printDetail(w api.WorkspaceDetail, snapshots api.KeptSnapshotList) error {
	tw := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(tw, "%s\t%s\n", name, printable(value))
		}
	}
	line("name", w.Name)
	line("id", w.ID)
	line("state", w.State)
	if w.Goal != w.State {
		line("goal", w.Goal)
	}
	line("message", w.Message)
	line("image", w.Image+"  "+w.ImageID)
	line("limits", fmt.Sprintf("%s cpus, %s memory, %s disk, %s root, %d processes", strconv.FormatFloat(w.Limits.CPUs, 'g', -1, 64),
		holt.FormatSize(w.Limits.MemoryBytes), holt.FormatSize(w.Limits.DiskBytes), holt.FormatSize(w.Limits.RootBytes), w.Limits.Processes))
	line("egress", w.Egress)
	line("git", w.Git)
	line("forked from", w.ForkedFrom)
	if w.IdleAfterSeconds > 0 {
		line("suspends after", (time.Duration(w.IdleAfterSeconds) * time.Second).String())
	}
	if d := w.Durability; d != nil {
		line("files", durability(*d))
	}
	line("node", w.Node)
	line("sandbox", w.SandboxID)
	for i, s := range snapshots.Items {
		name := ""
		if i == 0 {
			name = "snapshots"
		}
		line(cmp.Or(name, " "), fmt.Sprintf("%s  %s  %s  %s", s.CreatedAt.Format(time.RFC3339), s.ID, holt.FormatSize(s.Bytes), standing(s)))
	}
	line("store", snapshots.Trouble)
	line("boots", strconv.Itoa(w.Boots))
	line("created", w.CreatedAt.Format(time.RFC3339))
	line("active", ago(w.LastActiveAt))
	for i, s := range w.StateHistory {
		name := ""
		if i == 0 {
			name = "history"
		}
		fmt.Fprintf(tw, "%s\t%s  %s  %s\n", name, s.At.Format(time.RFC3339), s.State, printable(s.Reason))
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
