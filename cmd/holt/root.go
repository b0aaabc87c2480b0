package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/holt-ide/holt/api/client"
)

// app is what all verbs share: streams, environment and global flags.
type app struct {
	streams
	getenv func(string) string

	json bool
}

const rootLong = `holt drives a Holt server: real development machines that hibernate.

The server is found through HOLT_URL and HOLT_TOKEN, or through what
"holt login" stored.

Exit codes:
  0  done
  1  something went wrong
  2  the command line or the request is wrong
  3  there is no such thing
  4  conflict: it exists already, or its state forbids this
  5  not allowed: no, wrong or expired token
  6  the server cannot be reached, or it took too long
  7  a limit is reached or a disk is full
"holt exec" exits with the code of the command that it ran; see its help.`

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "holt",
		Short:         "Development machines that hibernate",
		Long:          rootLong,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print JSON, with stable fields")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, err) })
	root.AddGroup(
		&cobra.Group{ID: "life", Title: "Workspaces:"},
		&cobra.Group{ID: "work", Title: "Work in one:"},
		&cobra.Group{ID: "admin", Title: "The server:"},
	)
	for group, makers := range map[string][]func(*app) *cobra.Command{
		"life":  {newCreate, newList, newShow, newSuspend, newResume, newStop, newFork, newCheckpoint, newRollback, newSnapshot, newRemove, newOpen, newShare, newUnshare, newMembers, newLinks, newSync, newHistory, newRestore, newDiff},
		"work":  {newExec, newTerminal, newCopy, newPort, newLogs},
		"admin": {newImage, newToken, newUser, newAudit, newLogin, newVersion},
	} {
		for _, mk := range makers {
			cmd := mk(a)
			cmd.GroupID = group
			root.AddCommand(cmd)
		}
	}
	wrapArgs(root)
	return root
}

// wrapArgs makes wrong numbers of arguments usage errors, in every command.
func wrapArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usage(cmd, err)
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		wrapArgs(sub)
	}
}

// verb is the body of a command that ends when the user interrupts it.
func (a *app) verb(body func(ctx context.Context, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		c, err := a.client()
		if err != nil {
			return err
		}
		err = body(ctx, c, args)
		if err != nil && ctx.Err() != nil && cmd.Context().Err() == nil {
			return errInterrupted
		}
		return err
	}
}

// client returns a client for the server that the environment or the stored
// login names.
func (a *app) client() (*client.Client, error) {
	login, err := a.login()
	if err != nil {
		return nil, err
	}
	return client.New(client.Config{URL: login.URL, Token: login.Token})
}

// printJSON prints v for programs.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// isTerminal reports whether a stream is a terminal, where people see progress.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// notef prints a remark for people: not in a pipe and not with --json.
func (a *app) notef(format string, args ...any) {
	if isTerminal(a.err) && !a.json {
		fmt.Fprintf(a.err, format+"\n", args...)
	}
}
