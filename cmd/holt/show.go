package main

import (
	"context"
	"fmt"
	"strconv"
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
			if a.json {
				return a.printJSON(w)
			}
			return a.printDetail(w)
		}),
	}
}

func (a *app) printDetail(w api.WorkspaceDetail) error {
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
	line("node", w.Node)
	line("sandbox", w.SandboxID)
	if s := w.Snapshot; s != nil {
		line("snapshot", fmt.Sprintf("%s  %s  %s", s.ID, holt.FormatSize(s.Bytes), s.CreatedAt.Format(time.RFC3339)))
	}
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
