package fault

import (
	"fmt"
	"os"
	"testing"
)

// faultyDir holds the holtd with fault points.
var faultyDir string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "holt-faulty-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	faultyDir = dir
	return m.Run()
}
