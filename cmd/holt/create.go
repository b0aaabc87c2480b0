package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/api/client"
)

func newCreate(a *app) *cobra.Command {
	var f createFlags
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a workspace and start it",
		Long: `Make a workspace and wait until it runs.

Sizes are numbers with k, m, g or t, such as 512m. What is not given is the
server's default. With --git the repository is cloned into /workspace. With
--snapshot it goes on from a snapshot of the store, perhaps another server's,
with the image, limits and network that it had (see: holt snapshot stored).`,
		Example: `  holt create demo --git https://example.org/project.git
  holt create big --cpus 4 --memory 8g --disk 20g --idle 2h`,
		Args: cobra.ExactArgs(1),
		RunE: a.verb(func(ctx context.Context, c *client.Client, args []string) error {
			req, err := f.request(args[0])
			if err != nil {
				return err
			}
			w, err := c.Create(ctx, req)
			if err != nil {
				return err
			}
			return a.await(ctx, c, w, holt.Running, f.noWait)
		}),
	}
	fl := cmd.Flags()
	fl.StringVar(&f.git, "git", "", "repository to clone into /workspace")
	fl.StringVar(&f.image, "image", "", "image: a name, reference or ID (see: holt image ls)")
	fl.Float64Var(&f.cpus, "cpus", 0, "cores")
	fl.StringVar(&f.memory, "memory", "", "memory of all processes and tmpfs")
	fl.StringVar(&f.disk, "disk", "", "size of the volume with /home/dev and /workspace")
	fl.StringVar(&f.root, "root-disk", "", "bytes that may be written over the image")
	fl.Int64Var(&f.processes, "processes", 0, "processes and threads of the user")
	fl.StringVar(&f.egress, "egress", "", "network it reaches: internet or none")
	fl.StringVar(&f.idle, "idle", "", "suspend after this long without activity, such as 30m; 0: never")
	fl.StringVar(&f.snapshot, "snapshot", "", "ID of a stored snapshot to go on from")
	fl.BoolVar(&f.noWait, "no-wait", false, "return at once")
	return cmd
}

// createFlags is the command line of create.
type createFlags struct {
	git, image, memory, disk, root, egress, idle, snapshot string
	cpus                                                   float64
	processes                                              int64
	noWait                                                 bool
}

// request checks what only the command line knows; the rest is the server's.
func (f createFlags) request(name string) (api.CreateWorkspace, error) {
	req := api.CreateWorkspace{Name: name, Image: f.image, Git: f.git, Egress: f.egress, Snapshot: f.snapshot}
	lim := api.Limits{CPUs: f.cpus, Processes: f.processes}
	for _, s := range []struct {
		field, text string
		to          *int64
	}{{"memory", f.memory, &lim.MemoryBytes}, {"disk", f.disk, &lim.DiskBytes}, {"root-disk", f.root, &lim.RootBytes}} {
		if s.text == "" {
			continue
		}
		var err error
		if *s.to, err = holt.ParseSize(s.field, s.text); err != nil {
			return req, err
		}
	}
	if lim != (api.Limits{}) {
		req.Limits = &lim
	}
	if f.idle != "" {
		d, err := time.ParseDuration(f.idle)
		if err != nil || d < 0 {
			return req, holt.Invalidf("idle", "%q is not a duration: use a number and s, m or h, such as 30m, or 0 for never", f.idle)
		}
		sec := int64(d / time.Second)
		req.IdleAfterSeconds = &sec
	}
	return req, nil
}
