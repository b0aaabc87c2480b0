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

func newList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List workspaces",
		Args:    cobra.NoArgs,
		RunE: a.verb(func(ctx context.Context, c *client.Client, _ []string) error {
			all, err := c.List(ctx)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(append([]api.Workspace{}, all...))
			}
			if len(all) == 0 {
				a.notef("no workspaces yet: make one with holt create NAME")
				return nil
			}
			return a.table("NAME\tSTATE\tIMAGE\tCPUS\tMEMORY\tDISK\tACTIVE\tMESSAGE", func(row func(...string)) {
				for _, w := range all {
					row(w.Name, w.State, w.Image, strconv.FormatFloat(w.Limits.CPUs, 'g', -1, 64),
						holt.FormatSize(w.Limits.MemoryBytes), holt.FormatSize(w.Limits.DiskBytes), ago(w.LastActiveAt), w.Message)
				}
			})
		}),
	}
}

// table prints rows in columns under a header whose titles are separated by tabs.
func (a *app) table(header string, fill func(row func(...string))) error {
	tw := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, header)
	fill(func(cells ...string) {
		for i, c := range cells {
			if i > 0 {
				fmt.Fprint(tw, "\t")
			}
			fmt.Fprint(tw, printable(c))
		}
		fmt.Fprintln(tw)
	})
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// printable returns s without what would move a terminal's cursor or break a
// table: text from a workspace is not to be trusted.
func printable(s string) string {
	if s == "" {
		return "-"
	}
	out := make([]rune, 0, len(s))
	for _, r := range s {
		if !strconv.IsPrint(r) {
			r = ' '
		}
		out = append(out, r)
	}
	return string(out)
}

// ago returns how long ago t was, in one unit.
func ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := time.Since(t)
	switch {
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", d/time.Hour)
	}
	return fmt.Sprintf("%dd ago", d/(24*time.Hour))
}
