package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/api/client"
)

func newLogs(a *app) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:     "logs NAME",
		Aliases: []string{"log"},
		Short:   "Show what happened to a workspace",
		Long: `Show the changes of state of a workspace and what it met, such as a process
killed for want of memory. With --json each event is one line.`,
		Args: cobra.ExactArgs(1),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			if follow {
				for e, err := range c.FollowLog(ctx, args[0], 0) {
					if err != nil {
						return err
					}
					if err := a.printEvent(e); err != nil {
						return err
					}
				}
				return ctx.Err()
			}
			for since := int64(0); ; {
				page, err := c.Log(ctx, args[0], since)
				if err != nil {
					return err
				}
				for _, e := range page {
					if err := a.printEvent(e); err != nil {
						return err
					}
					since = e.Seq
				}
				if len(page) == 0 {
					return nil
				}
			}
		}),
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on showing what happens")
	return cmd
}

func (a *app) printEvent(e api.Event) error {
	var err error
	if a.json {
		err = json.NewEncoder(a.out).Encode(e)
	} else {
		what := e.Name
		if e.Type == api.EventState {
			what = e.State
			if e.Goal != e.State {
				what += " (wanted: " + e.Goal + ")"
			}
		}
		text := e.Text
		if text == "" && e.Type == api.EventState {
			text = e.Name
		}
		_, err = fmt.Fprintf(a.out, "%s  %-24s %s\n", e.At.Local().Format(time.DateTime), printable(what), printable(text))
	}
	if err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
