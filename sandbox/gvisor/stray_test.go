package gvisor

import (
	"os/exec"
	"testing"
	"time"
)

// pretend starts a process that looks like one of the runtime's. Its end is told
// on the channel.
func pretend(t *testing.T, name, dir string) <-chan error {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "sleep 60; :", dir+"/bundle")
	cmd.Args[0] = name
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
	})
	return ended
}

func TestKillStray(t *testing.T) {
	mine, other := t.TempDir()+"/sb-1", t.TempDir()+"/sb-1"
	stray := []<-chan error{pretend(t, "/tools/runsc", mine), pretend(t, "runsc-gofer", mine)}
	left := []<-chan error{pretend(t, "runsc", other), pretend(t, "editor", mine), pretend(t, "runsc", mine+"2")}
	killStray(mine)
	for i, ended := range stray {
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Errorf("stray process %d lives", i)
		}
	}
	for i, ended := range left {
		select {
		case err := <-ended:
			t.Errorf("process %d of somebody else was ended: %v", i, err)
		default:
		}
	}
}
