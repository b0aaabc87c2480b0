package main

import (
	"context"
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/holt-ide/holt/api/client"
)

func newOpen(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "open NAME",
		Short: "Print the link that opens a workspace in a browser",
		Args:  cobra.ExactArgs(1),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			w, err := c.Get(ctx, args[0])
			if err != nil {
				return err
			}
			link := c.URL("/", nil) + "#" + url.PathEscape(w.Name)
			if a.json {
				return a.printJSON(map[string]string{"name": w.Name, "url": link})
			}
			fmt.Fprintln(a.out, link)
			return nil
		}),
	}
}
