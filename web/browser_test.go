package web_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/holt-ide/holt/gateway"
	"github.com/holt-ide/holt/test/stand"
	"github.com/holt-ide/holt/web"
)

// The built page in a real browser against a whole server: login, create,
// terminals, suspend and wake, ports, fork, delete. HOLT_PICTURES names a folder
// for screenshots.
func TestInBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("a browser takes long")
	}
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium: make deps installs it")
	}
	if _, err := os.Stat("node_modules/playwright-core"); err != nil {
		t.Skip("no node_modules: make build installs them")
	}
	if _, err := os.Stat("dist/index.html"); err != nil {
		t.Skip("the page is not built: make build does it")
	}
	s := stand.New(t, func(c *gateway.Config) {
		_, port, err := net.SplitHostPort(strings.TrimPrefix(c.PublicURL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		c.PublicURL = "http://localhost:" + port
		c.Web = web.Handler()
	})
	link, err := s.Client(t).Login(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "test/browser.mjs", link.URL, chromium, os.Getenv("HOLT_PICTURES"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
