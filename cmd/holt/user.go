package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/api/client"
)

func newUser(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "List, invite and manage users; for admins",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	disabled, enabled := true, false
	cmd.AddCommand(newUserList(a), newUserInvite(a), newUserInvitations(a), newUserUninvite(a), newUserReset(a), newUserRole(a),
		newUserSwitch(a, "disable", "Keep a user out: sessions end, tokens do not work, workspaces stay", &disabled),
		newUserSwitch(a, "enable", "Let a disabled user in again", &enabled), newUserRemove(a))
	return cmd
}

func newUserList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List users",
		Args:  cobra.NoArgs,
		RunE: a.verb(func(ctx context.Context, c *client.Client, _ []string) error {
			all, err := c.Users(ctx)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(append([]api.User{}, all...))
			}
			return a.table("NAME\tROLE\tWORKSPACES\tSIGN IN\tSEEN\tSTATE", func(row func(...string)) {
				for _, u := range all {
					row(u.Name, u.Role, strconv.Itoa(u.Workspaces), strings.Join(u.SignIn, ", "), ago(u.LastSeenAt), map[bool]string{true: "disabled", false: "enabled"}[u.Disabled])
				}
			})
		}),
	}
}

func newUserInvite(a *app) *cobra.Command {
	var role string
	var expires time.Duration
	cmd := &cobra.Command{
		Use:   "invite [NOTE]",
		Short: "Print a link with which one person makes an account",
		Long: `Print a link with which one person makes an account, once. The NOTE tells you
later whom it was for. Send the link to nobody else.`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			i, err := c.Invite(ctx, api.CreateInvitation{Note: strings.Join(args, ""), Role: role, ExpiresInSeconds: int64(expires / time.Second)})
			if err != nil {
				return err
			}
			return a.printLink(i, i.URL, i.ExpiresAt)
		}),
	}
	cmd.Flags().StringVar(&role, "role", "member", "member, or admin who may do everything")
	cmd.Flags().DurationVar(&expires, "expires", 0, "how long the link works, such as 24h (default: a week)")
	return cmd
}

func newUserInvitations(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "invitations",
		Short: "List invitations",
		Args:  cobra.NoArgs,
		RunE: a.verb(func(ctx context.Context, c *client.Client, _ []string) error {
			all, err := c.Invitations(ctx)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(append([]api.Invitation{}, all...))
			}
			return a.table("ID\tNOTE\tROLE\tSTATE\tMADE BY\tMADE\tUSED BY", func(row func(...string)) {
				for _, i := range all {
					row(i.ID, i.Note, i.Role, i.State, i.CreatedBy, ago(i.CreatedAt), i.UsedBy)
				}
			})
		}),
	}
}

func newUserUninvite(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "uninvite ID",
		Short: "Take an invitation back that nobody has used",
		Args:  cobra.ExactArgs(1),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			return c.RevokeInvitation(ctx, args[0])
		}),
	}
}

func newUserReset(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "reset NAME",
		Short: "Print a link with which a user chooses a new password",
		Args:  cobra.ExactArgs(1),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			l, err := c.ResetPassword(ctx, args[0])
			if err != nil {
				return err
			}
			return a.printLink(l, l.URL, l.ExpiresAt)
		}),
	}
}

func newUserRole(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "role NAME admin|member",
		Short: "Make a user an admin, or a member again",
		Args:  cobra.ExactArgs(2),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			return a.changeUser(ctx, c, args[0], api.UpdateUser{Role: &args[1]})
		}),
	}
}

func newUserSwitch(a *app, verb, short string, disabled *bool) *cobra.Command {
	return &cobra.Command{
		Use:   verb + " NAME",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			return a.changeUser(ctx, c, args[0], api.UpdateUser{Disabled: disabled})
		}),
	}
}

func (a *app) changeUser(ctx context.Context, c *client.Client, name string, change api.UpdateUser) error {
	u, err := c.UpdateUser(ctx, name, change)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(u)
	}
	fmt.Fprintf(a.out, "%s\t%s\t%s\n", u.Name, u.Role, map[bool]string{true: "disabled", false: "enabled"}[u.Disabled])
	return nil
}

func newUserRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "rm NAME",
		Short: "Remove a user who owns no workspaces",
		Args:  cobra.ExactArgs(1),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			return c.RemoveUser(ctx, args[0])
		}),
	}
}
