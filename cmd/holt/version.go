package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// versions is what holt version prints with --json.
type versions struct {
	Client string `json:"client"`
	Server string `json:"server,omitempty"`
	API    string `json:"api,omitempty"`
}

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions of this program and of the server",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			v := versions{Client: buildVersion()}
			serverErr := a.serverVersion(ctx, &v)
			if a.json {
				return a.printJSON(v)
			}
			fmt.Fprintf(a.out, "holt   %s\n", v.Client)
			if serverErr != nil {
				a.notef("holtd  %v", serverErr)
				return nil
			}
			fmt.Fprintf(a.out, "holtd  %s (api %s)\n", v.Server, v.API)
			return nil
		},
	}
}

func (a *app) serverVersion(ctx context.Context, v *versions) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	s, err := c.Version(ctx)
	if err != nil {
		return err
	}
	v.Server, v.API = s.Version, s.API
	return nil
}

// buildVersion is the module version or the commit this program was built from.
func buildVersion() string {
	bi, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range bi.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 && bi.Main.Version == "(devel)" {
			return "devel-" + s.Value[:12]
		}
	}
	return bi.Main.Version
}
