package main

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/api/client"
)

func newAudit(a *app) *cobra.Command {
	var user, action, workspace string
	var limit int
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "List who did what, newest first; for admins",
		Long: `List what was done or tried that concerns security: logins, tokens, sharing,
changes of users and of workspaces, newest first. Entries are kept for 400 days.`,
		Args: cobra.NoArgs,
		RunE: a.verb(func(ctx context.Context, c *client.Client, _ []string) error {
			all := []api.AuditEntry{}
			q := url.Values{}
			for name, v := range map[string]string{"user": user, "action": action, "workspace": workspace} {
				if v != "" {
					q.Set(name, v)
				}
			}
			for len(all) < limit {
				q.Set("limit", strconv.Itoa(min(limit-len(all), 1000)))
				page, err := c.Audit(ctx, q)
				if err != nil {
					return err
				}
				all = append(all, page.Items...)
				if page.Next == "" {
					break
				}
				q.Set("cursor", page.Next)
			}
			if a.json {
				return a.printJSON(all)
			}
			return a.table("TIME\tUSER\tACTION\tTARGET\tOUTCOME\tFROM\tDETAIL", func(row func(...string)) {
				for _, e := range all {
					target := e.Target
					if target == "" {
						target = e.TargetID
					}
					row(e.At.Local().Format(time.DateTime), e.Actor, e.Action, target, e.Outcome, e.Address, e.Detail)
				}
			})
		}),
	}
	cmd.Flags().StringVar(&user, "user", "", "only what this user did")
	cmd.Flags().StringVar(&action, "action", "", "only this action, such as login or delete-workspace")
	cmd.Flags().StringVar(&workspace, "workspace", "", "only what was done to this workspace")
	cmd.Flags().IntVar(&limit, "limit", 100, "most entries")
	return cmd
}
