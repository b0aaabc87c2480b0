package fault_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/holt-ide/holt/fault"
)

// The test runs itself as another process, built with the tag, because that
// process is meant to die.
func TestMain(m *testing.M) {
	if os.Getenv("FAULT_TEST_CHILD") == "" {
		os.Exit(m.Run())
	}
	for range 2 {
		fault.Point("a.first")
		fault.Point("a.second")
	}
}

func TestPoint(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "faults.test")
	if out, err := exec.Command("go", "test", "-c", "-tags", "faults", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, c := range []struct {
		spec, list string
		killed     bool
	}{
		{"", "a.first\na.second\na.first\na.second\n", false},
		{"a.first", "a.first\n", true},
		{"a.second:2", "a.first\na.second\na.first\na.second\n", true},
		{"a.second:3", "a.first\na.second\na.first\na.second\n", false},
		{"a.third", "a.first\na.second\na.first\na.second\n", false},
	} {
		t.Run(c.spec, func(t *testing.T) {
			list := filepath.Join(t.TempDir(), "list")
			cmd := exec.Command(bin)
			cmd.Env = append(os.Environ(), "FAULT_TEST_CHILD=1", "HOLT_FAULT="+c.spec, "HOLT_FAULT_LIST="+list)
			err := cmd.Run()
			killed := false
			if e, ok := errors.AsType[*exec.ExitError](err); ok {
				killed = e.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
			} else if err != nil {
				t.Fatal(err)
			}
			if killed != c.killed {
				t.Errorf("killed: %v (%v), want %v", killed, err, c.killed)
			}
			if got, _ := os.ReadFile(list); string(got) != c.list {
				t.Errorf("passed %q, want %q", got, c.list)
			}
		})
	}
	cmd := exec.Command(bin)
	cmd.Env = append(os.Environ(), "FAULT_TEST_CHILD=1", "HOLT_FAULT=a.first:x")
	if err := cmd.Run(); err == nil {
		t.Error("a nonsensical HOLT_FAULT was accepted")
	}
}

func TestOrdinaryBuildIgnoresPoints(t *testing.T) {
	if fault.Enabled {
		t.Skip("built with the tag faults")
	}
	t.Setenv("HOLT_FAULT", "here")
	fault.Point("here") // still alive
	if n := testing.AllocsPerRun(10, func() { fault.Point("here") }); n != 0 {
		t.Errorf("a point allocates %v times", n)
	}
}
