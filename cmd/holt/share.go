package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/api/client"
)

func newShare(a *app) *cobra.Command {
	var role string
	var link bool
	var expires time.Duration
	cmd := &cobra.Command{
		Use:   "share NAME [USER]",
		Short: "Let another user look at a workspace, or work in it",
		Long: `Share a workspace with a user. A viewer looks at files and terminals and changes
nothing; an editor works in it. Sharing again changes the role.

With --link it prints a link in place of naming a user: whoever opens it first
has the workspace. Links of admins make an account if it needs one.`,
		Args: cobra.RangeArgs(1, 2),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if link == (len(args) == 2) {
			return usage(cmd, fmt.Errorf("give a USER, or --link"))
		}
		return a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			if link {
				l, err := c.ShareLink(ctx, args[0], api.CreateShareLink{Role: role, ExpiresInSeconds: int64(expires / time.Second)})
				if err != nil {
					return err
				}
				return a.printLink(l, l.URL, l.ExpiresAt)
			}
			members, err := c.Share(ctx, args[0], args[1], role)
			if err != nil {
				return err
			}
			return a.printMembers(members)
		})(cmd, args)
	}
	cmd.Flags().StringVar(&role, "role", "viewer", "viewer or editor")
	cmd.Flags().BoolVar(&link, "link", false, "print a link for one person")
	cmd.Flags().DurationVar(&expires, "expires", 0, "how long the link works, such as 24h (default: a week)")
	return cmd
}

func newUnshare(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "unshare NAME USER",
		Short: "End the sharing of a workspace with a user",
		Long: `End the sharing of a workspace with a user, whose open terminals and editors end
at once. Give your own name to leave a workspace that is shared with you.`,
		Args: cobra.ExactArgs(2),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			return c.Unshare(ctx, args[0], args[1])
		}),
	}
}

func newMembers(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "members NAME",
		Short: "List who may use a workspace",
		Args:  cobra.ExactArgs(1),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			members, err := c.Members(ctx, args[0])
			if err != nil {
				return err
			}
			return a.printMembers(members)
		}),
	}
}

func newLinks(a *app) *cobra.Command {
	var revoke string
	cmd := &cobra.Command{
		Use:   "links NAME",
		Short: "List the links that share a workspace, or take one back",
		Long: `List the links that were made with "holt share --link", with what became of them.
A link that nobody has used is taken back with --revoke; who came by a link leaves
with "holt unshare".`,
		Args: cobra.ExactArgs(1),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			if revoke != "" {
				return c.RevokeShareLink(ctx, args[0], revoke)
			}
			links, err := c.ShareLinks(ctx, args[0])
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(append([]api.Invitation{}, links...))
			}
			return a.table("ID\tROLE\tSTATE\tUSED BY\tMADE\tENDS", func(row func(...string)) {
				for _, l := range links {
					row(l.ID, l.WorkspaceRole, l.State, l.UsedBy, ago(l.CreatedAt), l.ExpiresAt.Local().Format(time.DateTime))
				}
			})
		}),
	}
	cmd.Flags().StringVar(&revoke, "revoke", "", "take the link with this ID back")
	return cmd
}

func (a *app) printMembers(members []api.Member) error {
	if a.json {
		return a.printJSON(append([]api.Member{}, members...))
	}
	return a.table("USER\tROLE\tSHARED BY\tSINCE\tHERE SINCE", func(row func(...string)) {
		for _, m := range members {
			since := ""
			if !m.AddedAt.IsZero() {
				since = ago(m.AddedAt)
			}
			here := ""
			if !m.HereSince.IsZero() {
				here = ago(m.HereSince)
			}
			row(m.User, m.Role, m.AddedBy, since, here)
		}
	})
}

// printLink prints an address that is shown only once.
func (a *app) printLink(v any, url string, expires time.Time) error {
	if a.json {
		return a.printJSON(v)
	}
	a.notef("it works once, until %s; it is shown only now", expires.Local().Format(time.DateTime))
	fmt.Fprintln(a.out, url)
	return nil
}
