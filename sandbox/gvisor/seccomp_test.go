package gvisor

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/holt-ide/holt/test/bins"
)

// The filter that the runtime is built with is the one that its version compiles.
// The compiler runs as a process of its own: a build for tests has other rules.
func TestFilterIsCurrent(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "run", "-trimpath", "./cmd/runsc/internal/precompile")
	cmd.Dir = bins.Root(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
	var words bytes.Buffer
	cmd.Stderr = &words
	got, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, words.String())
	}
	want, err := os.ReadFile(filepath.Join(cmd.Dir, "cmd/runsc/filter_amd64.go"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("cmd/runsc/filter_amd64.go is not what this version of gVisor compiles: run go generate ./cmd/runsc")
	}
}

// A sandbox as the driver asks for it uses the filter.
func TestFilterIsUsed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("sandboxes need root")
	}
	dir := t.TempDir()
	r := runsc{bin: bins.Path(t, "runsc"), root: filepath.Join(dir, "root")}
	cmd := r.command(t.Context(), "--network=none", "--debug", "--debug-log="+dir+"/", "do", "true")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	logs, err := filepath.Glob(dir + "/*.boot.*")
	if err != nil || len(logs) != 1 {
		t.Fatalf("logs of sandboxes: %v, %v", logs, err)
	}
	text, err := os.ReadFile(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte("Loaded precompiled seccomp")) {
		t.Error("the sandbox compiled its filter anew")
	}
}
