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

// The dashboard in a real browser: the first account, an invitation, sharing,
// tokens, the audit log, by keyboard, on a phone, dark and light; and what axe-core
// finds on each page. HOLT_PICTURES names a folder for screenshots.
func TestDashboard(t *testing.T) {
	if testing.Short() {
		t.Skip("a browser takes long")
	}
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium: make deps installs it")
	}
	if _, err := os.Stat("node_modules/axe-core"); err != nil {
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
	code, err := s.Auth.Setup(t.Context(), stand.Owner)
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(s.Addr)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "test/dashboard.mjs", "http://localhost:"+port+"/welcome?code="+code, chromium, os.Getenv("HOLT_PICTURES"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
