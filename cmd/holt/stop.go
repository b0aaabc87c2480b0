package main

import (
	"github.com/spf13/cobra"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api/client"
)

func newStop(a *app) *cobra.Command {
	return newGoal(a, holt.Stopped, (*client.Client).Stop, &cobra.Command{
		Use:   "stop NAME",
		Short: "End the processes of a workspace; files stay",
		Long: `End all processes of a workspace politely and wait until it is stopped. Files in
/home/dev and /workspace stay; memory and running processes do not. To keep
those too, suspend it.`,
	})
}
