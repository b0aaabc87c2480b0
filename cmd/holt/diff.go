package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/pmezard/go-difflib/difflib"
	"github.com/spf13/cobra"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/api/client"
)

// diffMost is the largest file that is compared line by line.
const diffMost = 4 << 20

func newDiff(a *app) *cobra.Command {
	var names bool
	cmd := &cobra.Command{
		Use:   "diff NAME REVISION [REVISION2] [PATH]",
		Short: "Compare two revisions of a workspace's files",
		Long: `Print what changed from REVISION to REVISION2, the latest if that is left out; with
a PATH only there. Text is compared line by line, in the form that patch reads. With
--names only the paths are printed, with A for added, D for removed, M for
modified, and T where only mode or time differ. Holt sync makes a revision of now.`,
		Args: cobra.RangeArgs(2, 4),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			from, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil || from < 1 {
				return holt.Invalidf("revision", "%q is not the number of a revision: see holt history %s", args[1], args[0])
			}
			var to int64
			rest := args[2:]
			if len(rest) > 0 {
				if n, err := strconv.ParseInt(rest[0], 10, 64); err == nil && n > 0 {
					to, rest = n, rest[1:]
				}
			}
			if len(rest) > 1 {
				return holt.Invalidf("revision", "%q is not the number of a revision: see holt history %s", rest[0], args[0])
			}
			path := ""
			if len(rest) == 1 {
				path = rest[0]
			}
			d, err := c.DiffRevisions(ctx, args[0], from, to, path)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(d)
			}
			if d.More {
				a.notef("there is more: give a PATH")
			}
			for _, ch := range d.Items {
				if names {
					fmt.Fprintf(a.out, "%s\t%s\n", map[string]string{"added": "A", "removed": "D", "modified": "M"}[ch.Kind]+map[bool]string{true: "T"}[ch.Kind == "touched"], printable(ch.Path))
					continue
				}
				if err := a.diffOne(ctx, c, args[0], d, ch); err != nil {
					return err
				}
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&names, "names", false, "print paths only")
	return cmd
}

// diffOne prints what changed of one path.
func (a *app) diffOne(ctx context.Context, c *client.Client, name string, d api.RevisionDiff, ch api.RevisionChange) error {
	old := fmt.Sprintf("revision-%d%s", d.From, ch.Path)
	now := fmt.Sprintf("revision-%d%s", d.To, ch.Path)
	before, was, err := a.side(ctx, c, name, d.From, ch.Before)
	if err != nil {
		return err
	}
	after, is, err := a.side(ctx, c, name, d.To, ch.After)
	if err != nil {
		return err
	}
	if ch.Before != nil && ch.After != nil && ch.Before.Mode != ch.After.Mode {
		fmt.Fprintf(a.out, "mode of %s: %s, was %s\n", printable(ch.Path), ch.After.Mode, ch.Before.Mode)
	}
	if !was || !is {
		fmt.Fprintf(a.out, "%s %s: not compared line by line\n", ch.Kind, printable(ch.Path))
		return nil
	}
	if ch.Before == nil {
		old = "/dev/null"
	}
	if ch.After == nil {
		now = "/dev/null"
	}
	text, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
		A: lines(before), B: lines(after), FromFile: printable(old), ToFile: printable(now), Context: 3,
	})
	if err != nil {
		return fmt.Errorf("compare %s: %w", ch.Path, err)
	}
	if isTerminal(a.out) {
		text = strings.Map(harmless, text)
	}
	fmt.Fprint(a.out, text)
	return nil
}

// harmless replaces what a terminal would obey: the text is a guest's.
func harmless(r rune) rune {
	if r != '\n' && r != '\t' && unicode.IsControl(r) {
		return unicode.ReplacementChar
	}
	return r
}

// side returns the text of a path in a revision; text is false for what has no lines.
func (a *app) side(ctx context.Context, c *client.Client, name string, number int64, e *api.RevisionEntry) (b []byte, text bool, err error) {
	switch {
	case e == nil:
		return nil, true, nil
	case e.Type == "link":
		return []byte("-> " + e.Target + "\n"), true, nil
	case e.Type == "folder" || e.Size > diffMost:
		return nil, false, nil
	}
	r, err := c.ReadRevision(ctx, name, number, e.Path)
	if err != nil {
		return nil, false, err
	}
	defer r.Close()
	if b, err = io.ReadAll(io.LimitReader(r, diffMost+1)); err != nil {
		return nil, false, fmt.Errorf("read %s of revision %d: %w", e.Path, number, err)
	}
	return b, !bytes.ContainsRune(b, 0), nil
}

// lines splits text and keeps the ends of lines.
func lines(b []byte) (out []string) {
	for l := range bytes.Lines(b) {
		out = append(out, string(l))
	}
	if n := len(out); n > 0 && out[n-1][len(out[n-1])-1] != '\n' {
		out[n-1] += "\n\\ No newline at end of file\n"
	}
	return out
}
