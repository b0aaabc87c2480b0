package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/holt-ide/holt"
	guestwire "github.com/holt-ide/holt/wire/guest"
	"github.com/holt-ide/holt/ydoc/difftest"
)

// TestBenchCollab prints how fast edits reach other editors through the agent and
// through other servers, and what those need: the agent as it runs in a machine,
// but outside of one.
func TestBenchCollab(t *testing.T) {
	if os.Getenv("HOLT_BENCH") == "" {
		t.Skip("measures for minutes; run `make bench-ydoc`")
	}
	modules, err := difftest.Install(t.Context(), "peers")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("load before: %s\n", load())
	fmt.Println("server                     editors  lag p50 ms  p99 ms  CPU us/edit  RSS idle MiB  RSS then MiB")
	for _, kind := range []string{"relay", "@y/websocket-server", "hocuspocus", "holt-guest"} {
		for _, editors := range []int{2, 10} {
			benchServer(t, modules, kind, editors)
		}
	}
	fmt.Printf("load after: %s\n", load())
}

const edits = 500

func benchServer(t *testing.T, modules, kind string, editors int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pid, url := startServer(ctx, t, modules, kind)
	idle := rss(t, pid)
	before := processCPU(t, pid)
	cmd := exec.CommandContext(ctx, "node", "editors.mjs", modules, kind, url, benchSecret, strconv.Itoa(editors), strconv.Itoa(edits))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := series{name: kind, unit: "ms"}
	if err := json.NewDecoder(out).Decode(&s.values); err != nil {
		t.Fatalf("%s: %v", kind, err)
	}
	used, after := processCPU(t, pid)-before, rss(t, pid)
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%s: %v", kind, err)
	}
	fmt.Printf("%-26s %7d  %10.2f  %6.2f  %11.0f  %12.1f  %12.1f\n", kind, editors, s.quantile(.5), s.quantile(.99), used*1e6/edits, idle, after)
}

const benchSecret = "0123456789abcdef-secret"

// startServer starts a server that ends with ctx.
func startServer(ctx context.Context, t *testing.T, modules, kind string) (pid int, url string) {
	t.Helper()
	if kind != "holt-guest" {
		cmd := exec.CommandContext(ctx, "node", "servers.mjs", modules, kind)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		port := awaitLine(t, cmd, out, `^(\d+)$`)
		return cmd.Process.Pid, "ws://127.0.0.1:" + port + "/doc"
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "doc"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := json.Marshal(guestwire.Config{Listen: "127.0.0.1:0", Secret: benchSecret, WorkspaceID: holt.NewWorkspaceID(), Name: "bench",
		User: "root", UID: os.Geteuid(), GID: os.Getegid(), Home: dir, Dir: dir, Processes: 1024})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "config")
	if err := os.WriteFile(file, cfg, 0o600); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "holt-guest")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "github.com/holt-ide/holt/cmd/holt-guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.CommandContext(ctx, binary)
	cmd.Env = []string{"PATH=/usr/bin:/bin", guestwire.ConfigEnv + "=@" + file}
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, "ws://" + awaitLine(t, cmd, out, `address=(\S+)`) + "/v1/document?path=doc"
}

// awaitLine starts a command and returns what the group in want matches in the first
// line that has it; the rest is dropped. The command is reaped when it ends.
func awaitLine(t *testing.T, cmd *exec.Cmd, out io.Reader, want string) string {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	re := regexp.MustCompile(want)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if m := re.FindStringSubmatch(lines.Text()); m != nil {
			go func() {
				_, _ = io.Copy(io.Discard, out) // ends with the process
				_ = cmd.Wait()                  // it was killed
			}()
			return m[1]
		}
	}
	t.Fatalf("%s ended without a line that matches %s", cmd.Path, want)
	return ""
}

// rss is the resident memory of a process in MiB.
func rss(t *testing.T, pid int) float64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		t.Fatal("no VmRSS")
	}
	kib, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib / 1024
}

// processCPU is the CPU time a process has used, in seconds.
func processCPU(t *testing.T, pid int) float64 {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	ticks := 0.0
	for _, f := range fields[11:13] { // utime and stime, in hundredths
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return ticks / 100
}
