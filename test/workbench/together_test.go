package workbench

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt/test/server"
)

// TestTogether has two people type in one file, which has CRLF, a byte order mark
// and an emoji, while others rewrite it, one of them is offline, the sandbox and the server
// are killed, and the machine is suspended, while a third may only look. All have the same text in the end, with
// everything that a page said to be in the journal.
func TestTogether(t *testing.T) {
	d := newDriver(t)
	s := server.Start(t, "--listen", freeAddress(t))
	d.needPages(t, s)
	s.Must(t, "create", "demo")
	s.Sh(t, "demo", shared)
	d.verbs["killsandbox"] = func(string) string {
		was := s.Show(t, "demo").SandboxID
		killSandbox(t, s, was)
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			if w := s.Show(t, "demo"); w.SandboxID != was && w.State == "RUNNING" {
				return "ok"
			}
			if time.Now().After(deadline) {
				t.Error("the workspace did not come back")
				return "gone"
			}
		}
	}
	away := 8 * time.Second
	if os.Getenv("HOLT_SLOW") != "" {
		away = time.Minute
	}
	var looks struct{ URL string }
	if err := json.Unmarshal([]byte(s.Must(t, "share", "demo", "--link", "--role", "viewer", "--json")), &looks); err != nil {
		t.Fatal(err)
	}
	d.run(t, s, 6*time.Minute, "together.mjs", s.Must(t, "open", "demo"), s.Must(t, "open", "demo"), looks.URL, fmt.Sprint(away.Milliseconds()))
}

// killSandbox kills the process that a machine is.
func killSandbox(t *testing.T, s *server.Server, sandbox string) {
	t.Helper()
	unit := s.Unit(t, sandbox)
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || !strings.HasPrefix(string(line), "runsc-sandbox\x00") || !strings.Contains(string(line), "/"+unit+"/") {
			continue
		}
		var pid int
		if _, err := fmt.Sscan(e.Name(), &pid); err != nil {
			t.Fatal(err)
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("machine %s has no process", sandbox)
}

// shared makes a small project whose file has what editors get wrong.
const shared = `cd /workspace && git init -q . && git config user.email a@example.org && git config user.name A && mkdir -p .vscode
printf '{ "editor.autoClosingBrackets": "never", "editor.wordBasedSuggestions": "off", "editor.quickSuggestions": { "other": "off" }, "terminal.integrated.gpuAcceleration": "off" }\n' > .vscode/settings.json
printf '\357\273\277one\r\ntwo 🦊 fox\r\n.\r\n.\r\n.\r\n.\r\nthree\r\n.\r\n.\r\n.\r\n.\r\nfour\r\nfive\r\n' > both.txt
echo notes > notes.txt && git add -A && git commit -qm one
sed -i 's/three/THREE/' both.txt && git commit -qam two && git tag two && git checkout -q HEAD~1 && git tag one`
