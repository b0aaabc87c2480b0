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

// driver runs a script of web/test in node, with a browser. The script says in one
// line what is to happen outside of its pages, and waits for a line with the outcome.
type driver struct {
	web, chromium string
	verbs         map[string]func(arg string) string
}

// newDriver skips the test where there is no browser.
func newDriver(t *testing.T) *driver {
	t.Helper()
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
	return &driver{web: web, chromium: chromium, verbs: map[string]func(string) string{}}
}

// needPages skips the test where holtd has no pages.
func (d *driver) needPages(t *testing.T, s *server.Server) {
	t.Helper()
	if resp, err := http.Get(s.URL + "/workspace/demo"); err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusOK {
		t.Skipf("holtd was built without its pages: make build does it (%v)", err)
	}
}

// run runs a script with the workspace demo of a server. The script's arguments
// are args, the path of the browser, and a folder for pictures or "".
func (d *driver) run(t *testing.T, s *server.Server, limit time.Duration, script string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", append([]string{"test/" + script}, append(args, d.chromium, os.Getenv("HOLT_PICTURES"))...)...)
	cmd.Dir = d.web
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
			f, ok := d.verbs[verb]
			if !ok {
				t.Log(lines.Text())
				continue
			}
			answer = f(arg)
		}
		if _, err := fmt.Fprintln(in, answer); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the browser's part: %v", err)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
