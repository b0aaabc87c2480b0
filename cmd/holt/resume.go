package main

import (
	"github.com/spf13/cobra"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api/client"
)

func newResume(a *app) *cobra.Command {
	return newGoal(a, holt.Running, (*client.Client).Resume, &cobra.Command{
		Use:     "resume NAME",
		Aliases: []string{"start"},
		Short:   "Continue a suspended workspace, or start a stopped one",
		Long: `Continue a suspended workspace exactly where it was frozen, or start a stopped
or failed one from its files, and wait until it runs.`,
	})
}
