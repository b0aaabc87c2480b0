package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/api/client"
)

func newToken(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make, list and revoke API tokens",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newTokenCreate(a), newTokenList(a), newTokenRemove(a))
	return cmd
}

func newTokenCreate(a *app) *cobra.Command {
	var expires time.Duration
	var readOnly bool
	var scope, workspace string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a token and print it, once",
		Long: `Make a token of yours and print it, once. Its scope is

  read   look at workspaces, change and enter none
  write  use, make and change workspaces
  admin  everything that you may, people and rights included`,
		Args: cobra.ExactArgs(1),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			req := api.CreateToken{Name: args[0], ExpiresInSeconds: int64(expires / time.Second), Scope: scope, Workspace: workspace}
			if readOnly {
				req.Scope = "read"
			}
			t, err := c.CreateToken(ctx, req)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(t)
			}
			a.notef("this is shown only now; use it as HOLT_TOKEN")
			fmt.Fprintln(a.out, t.Secret)
			return nil
		}),
	}
	cmd.Flags().DurationVar(&expires, "expires", 0, "how long it works, such as 720h (default: for ever)")
	cmd.Flags().StringVar(&scope, "scope", "", "read, write or admin (default: admin; with --workspace: write)")
	cmd.Flags().StringVar(&workspace, "workspace", "", "the only workspace that it opens")
	cmd.Flags().BoolVar(&readOnly, "read-only", false, "short for --scope read")
	cmd.MarkFlagsMutuallyExclusive("scope", "read-only")
	return cmd
}

func newTokenList(a *app) *cobra.Command {
	var everybody bool
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List your tokens",
		Args:  cobra.NoArgs,
		RunE: a.verb(func(ctx context.Context, c *client.Client, _ []string) error {
			all, err := c.Tokens(ctx, everybody)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(append([]api.Token{}, all...))
			}
			return a.table("ID\tNAME\tUSER\tSCOPE\tCREATED\tUSED\tSTATE", func(row func(...string)) {
				for _, t := range all {
					row(t.ID, t.Name, t.User, t.Scope, ago(t.CreatedAt), ago(t.LastUsedAt), tokenState(t))
				}
			})
		}),
	}
	cmd.Flags().BoolVar(&everybody, "all", false, "those of all users; for admins")
	return cmd
}

func tokenState(t api.Token) string {
	switch {
	case !t.RevokedAt.IsZero():
		return "revoked"
	case t.ExpiresAt.IsZero():
		return "valid"
	case t.ExpiresAt.Before(time.Now()):
		return "expired"
	}
	return "valid until " + t.ExpiresAt.Local().Format(time.DateTime)
}

func newTokenRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "revoke ID",
		Aliases: []string{"rm"},
		Short:   "End a token at once",
		Args:    cobra.ExactArgs(1),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			return c.RevokeToken(ctx, args[0])
		}),
	}
}
