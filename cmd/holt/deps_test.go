package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The command line knows the server through api/client alone, and stays small.
func TestDependencies(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	if !slices.Contains(deps, "github.com/holt-ide/holt/api/client") {
		t.Fatal("the list of dependencies is not one")
	}
	const own = "github.com/holt-ide/holt/"
	allowed := []string{"api", "api/client", "cmd/holt", "durable", "wire/guest", "wire/status"}
	for _, d := range deps {
		if room, ok := strings.CutPrefix(d, own); ok && !slices.Contains(allowed, room) {
			t.Errorf("holt links %s", d)
		}
		for _, heavy := range []string{"gvisor.dev/", "modernc.org/", "github.com/danielgtaylor/", "github.com/jackc/", "github.com/vishvananda/"} {
			if strings.HasPrefix(d, heavy) {
				t.Errorf("holt links %s", d)
			}
		}
	}
}
