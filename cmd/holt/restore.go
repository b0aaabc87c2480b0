package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/api/client"
)

func newRestore(a *app) *cobra.Command {
	var into string
	var exact, noWait bool
	cmd := &cobra.Command{
		Use:   "restore NAME [PATH]@REVISION...",
		Short: "Bring files back as they were in a revision",
		Long: `Bring files and folders back as they were in a revision, into the workspace, which
is woken for it: holt restore demo src/main.go@12. A PATH is relative to /workspace,
or begins with /workspace or /home/dev; @12 alone means all files. What the revision
does not have stays, unless --exact is given. The files as they were before are a
revision of their own, whose number is printed: restoring that undoes it.

With --into, @REVISION becomes a new workspace with the image and limits of NAME, and
NAME stays as it is. List revisions with holt history.`,
		Args: cobra.MinimumNArgs(2),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			r := api.RestoreRevision{Exact: exact}
			for _, arg := range args[1:] {
				path, number, err := atRevision(arg)
				if err != nil {
					return err
				}
				if r.Revision != 0 && r.Revision != number {
					return holt.Invalid("revision", "one restore is of one revision")
				}
				r.Revision = number
				if path != "" {
					r.Paths = append(r.Paths, path)
				} else if len(args) > 2 {
					return holt.Invalidf("revision", "%s means all files: give it alone", arg)
				}
			}
			if into != "" {
				if len(r.Paths) > 0 {
					return holt.Invalid("into", "--into makes a workspace of a whole revision: give @REVISION without a path")
				}
				w, err := c.Fork(ctx, args[0], api.ForkWorkspace{Name: into, Revision: r.Revision})
				if err != nil {
					return err
				}
				return a.await(ctx, c, w, holt.Running, noWait)
			}
			done, err := c.RestoreRevision(ctx, args[0], r)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(done)
			}
			fmt.Fprintf(a.out, "%d written, %d were the same, %d removed\n", done.Files, done.Same, done.Removed)
			a.notef("undo: holt restore --exact %s %s", args[0], undo(r.Paths, done.Before))
			return nil
		}),
	}
	cmd.Flags().StringVar(&into, "into", "", "make a new workspace of this `name` instead")
	cmd.Flags().BoolVar(&exact, "exact", false, "also remove what the revision does not have")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "with --into: return at once")
	return cmd
}

// atRevision takes PATH@REVISION apart.
func atRevision(arg string) (path string, number int64, err error) {
	at := strings.LastIndexByte(arg, '@')
	if at >= 0 {
		number, err = strconv.ParseInt(arg[at+1:], 10, 64)
	}
	if at < 0 || err != nil || number < 1 {
		return "", 0, holt.Invalidf("revision", "%q: use PATH@REVISION with a number of holt history, such as src/main.go@12, or @12 for all files", arg)
	}
	return arg[:at], number, nil
}

func undo(paths []string, number int64) string {
	if len(paths) == 0 {
		return fmt.Sprintf("@%d", number)
	}
	var list []string
	for _, p := range paths {
		list = append(list, fmt.Sprintf("%s@%d", p, number))
	}
	return strings.Join(list, " ")
}
