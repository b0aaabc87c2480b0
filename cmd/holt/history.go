package main

import (
	"cmp"
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/api/client"
)

func newHistory(a *app) *cobra.Command {
	var most int
	cmd := &cobra.Command{
		Use:   "history NAME [PATH]",
		Short: "List the revisions of a workspace's files",
		Long: `List the revisions of a workspace's files, the latest first; with a PATH those in
which it changed. They thin out with age: all of the last hour, one an hour for a
day, one a day for a month, the latest and those with a name for ever. Look at one
with holt diff, bring files back with holt restore.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			path := ""
			if len(args) == 2 {
				path = args[1]
			}
			all := []api.Revision{}
			for before := int64(0); len(all) < most; {
				page, err := c.Revisions(ctx, args[0], path, before)
				if err != nil {
					return err
				}
				all = append(all, page.Items...)
				if before = page.Next; before == 0 {
					break
				}
			}
			all = all[:min(len(all), most)]
			if a.json {
				return a.printJSON(all)
			}
			if len(all) == 0 {
				a.notef("%s has no revision of %s yet: holt sync %s makes one", args[0], cmp.Or(path, "its files"), args[0])
				return nil
			}
			if path != "" {
				return a.table("REVISION\tTIME\tSIZE\tMODE\tWHY\tNAME", func(row func(...string)) {
					for _, r := range all {
						size, mode := "removed", ""
						if r.Entry != nil {
							size, mode = holt.FormatSize(r.Entry.Size), r.Entry.Mode
						}
						row(strconv.FormatInt(r.Number, 10), r.At.Local().Format(time.DateTime), size, mode, r.Reason, r.Name)
					}
				})
			}
			return a.table("REVISION\tTIME\tFILES\tSIZE\tADDED\tWHY\tNAME\tDAMAGE", func(row func(...string)) {
				for _, r := range all {
					row(strconv.FormatInt(r.Number, 10), r.At.Local().Format(time.DateTime), strconv.FormatInt(r.Files, 10),
						holt.FormatSize(r.Bytes), holt.FormatSize(r.StoredBytes), r.Reason, r.Name, r.Damage)
				}
			})
		}),
	}
	cmd.Flags().IntVarP(&most, "most", "n", 1000, "`number` of revisions to list at most")
	return cmd
}
