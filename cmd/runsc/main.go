// Command runsc is gVisor's runtime, built from the version that go.mod pins.
//
// It is ours only in where it is built, in how it starts (see [install] and
// [deferCollection]) and in one verb more ([attend]): holtd installs it beside every snapshot it writes, because a
// checkpoint can be restored only by the build that made it.
package main

import (
	"github.com/google/subcommands"

	"gvisor.dev/gvisor/runsc/cli/maincli"
)

func main() {
	install(precompiled)
	deferCollection()
	subcommands.Register(new(attend), "")
	maincli.Main()
}
