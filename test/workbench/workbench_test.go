// Package workbench drives the workbench page in a real browser against the real
// holtd and real machines, and takes both away from under it.
package workbench

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holt-ide/holt/test/bins"
	"github.com/holt-ide/holt/test/server"
)

// TestInBrowser opens, edits, saves, searches and runs; reloads; kills the server
// and suspends the machine under unsaved text; and changes a file behind an editor's
// back. Every character is compared with the disk. HOLT_PICTURES names a folder for
// screenshots.
func TestInBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("a browser takes long")
	}
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium: make deps-test installs it")
	}
	web := filepath.Join(bins.Root(t), "web")
	if _, err := os.Stat(filepath.Join(web, "node_modules/playwright-core")); err != nil {
		t.Skip("no node_modules: make build installs them")
	}
	// The page comes back to the address it was loaded from.
	s := server.Start(t, "--listen", freeAddress(t))
	if resp, err := http.Get(s.URL + "/workspace/demo"); err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusOK {
		t.Skipf("holtd was built without its pages: make build does it (%v)", err)
	}
	s.Must(t, "create", "demo")
	s.Sh(t, "demo", project)
	link := s.Must(t, "open", "demo")

	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	pictures := os.Getenv("HOLT_PICTURES")
	cmd := exec.CommandContext(ctx, "node", "test/workbench.mjs", link, chromium, pictures)
	cmd.Dir = web
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The script says in one line what is to happen here, and waits for one with the outcome.
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		verb, arg, _ := strings.Cut(lines.Text(), " ")
		answer := "ok"
		switch verb {
		case "kill":
			s.Kill(t)
		case "start":
			s.Start(t)
		case "suspend":
			s.Must(t, "suspend", "demo")
		case "state":
			answer = s.Show(t, "demo").State
		case "sh":
			answer = fmt.Sprintf("%q", s.Sh(t, "demo", arg))
		default:
			t.Log(lines.Text())
			continue
		}
		if _, err := fmt.Fprintln(in, answer); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the browser's part: %v", err)
	}
}

// project makes what the test works on: a program, many files, and some odd ones.
const project = `cd /workspace && git init -q . && mkdir -p src many .vscode
printf '{ "files.autoSave": "off", "terminal.integrated.gpuAcceleration": "off" }\n' > .vscode/settings.json
printf 'import sys\n\n\ndef greet(name: str) -> str:\n    """Say hello."""\n    return f"Hello, {name}!"\n\n\nif __name__ == "__main__":\n    print(greet(sys.argv[1] if len(sys.argv) > 1 else "world"))\n' > src/main.py
printf '# Demo\n\nA small project.\n' > README.md
printf 'run:\n\tpython3 src/main.py\n' > Makefile
printf '{\n  "name": "demo",\n  "scripts": { "greet": "python3 src/main.py npm" }\n}\n' > package.json
for i in $(seq 100); do mkdir many/$i; for j in $(seq 100); do echo "$i $j" > many/$i/file-$i-$j.txt; done; done
echo 'the needle of 4711' > many/47/file-47-11.txt
head -c 3000 /dev/urandom > many/binary.bin
echo fox > 'many/a 🦊.txt'
echo lines > "$(printf 'many/two\nlines.txt')"`

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
