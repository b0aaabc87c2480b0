package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/google/subcommands"

	"gvisor.dev/gvisor/pkg/state/statefile"
	"gvisor.dev/gvisor/runsc/config"
	"gvisor.dev/gvisor/runsc/container"
	"gvisor.dev/gvisor/runsc/flag"
	"gvisor.dev/gvisor/runsc/sandbox"
)

// attend is a verb of our own: `runsc attend ID` does with one container what it
// is told on its standard input, until that ends. So nobody waits for the start of
// a process while a machine stands still, or while somebody waits for a machine.
//
// Both streams are JSON values, one per line. It says {} as soon as it is ready,
// then answers each {"verb": V, "image": DIR} with {} or {"error": TEXT}. V is
// pause, resume, checkpoint (into DIR, and leave the container running), start or
// restore (from DIR, going on to read memory after the answer).
//
// Each verb is the runtime's own, with its lock and its record of the container,
// so what a crash between two of them leaves is what separate calls would leave.
type attend struct{}

type (
	order struct {
		Verb  string `json:"verb"`
		Image string `json:"image,omitempty"`
	}
	report struct {
		Error string `json:"error,omitempty"`
	}
)

func (*attend) Name() string { return "attend" }

func (*attend) Synopsis() string { return "do with a container what is told on standard input" }

func (*attend) Usage() string {
	return "attend <container id> - one JSON object per order, see holtd\n"
}

func (*attend) SetFlags(*flag.FlagSet) {}

func (*attend) Execute(_ context.Context, f *flag.FlagSet, args ...any) subcommands.ExitStatus {
	if f.NArg() != 1 {
		f.Usage()
		return subcommands.ExitUsageError
	}
	conf := args[0].(*config.Config)
	orders, reports := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	if err := reports.Encode(report{}); err != nil {
		return subcommands.ExitFailure
	}
	for {
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return subcommands.ExitSuccess
		} else if err != nil {
			return subcommands.ExitFailure
		}
		var r report
		if err := o.carryOut(conf, f.Arg(0)); err != nil {
			r.Error = err.Error()
		}
		if err := reports.Encode(r); err != nil {
			return subcommands.ExitFailure
		}
	}
}

// carryOut loads the container anew each time: its record may have changed.
func (o order) carryOut(conf *config.Config, id string) error {
	c, err := container.Load(conf.RootDir, container.FullID{ContainerID: id}, container.LoadOpts{})
	if err != nil {
		return fmt.Errorf("loading container: %w", err)
	}
	switch o.Verb {
	case "pause":
		return c.Pause()
	case "resume":
		return c.Resume()
	case "checkpoint":
		if err := os.MkdirAll(o.Image, 0o755); err != nil {
			return err
		}
		return c.Checkpoint(conf, o.Image, sandbox.CheckpointOpts{
			Compression: statefile.CompressionLevelNone, Resume: true, ExcludeCommittedZeroPages: true,
		})
	case "start":
		return c.Start(conf)
	case "restore":
		return c.Restore(conf, o.Image, false, true, nil)
	}
	return fmt.Errorf("unknown verb %q", o.Verb)
}
