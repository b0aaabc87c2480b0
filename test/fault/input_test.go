package fault

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holt-ide/holt/test/server"
)

// The exit codes of `holt help`.
const (
	codeUsage     = 2
	codeNotFound  = 3
	codeConflict  = 4
	codeForbidden = 5
)

// TestWrongInput: what cannot work is refused with the documented exit code and
// a sentence that names what is wrong, and nothing comes of it.
func TestWrongInput(t *testing.T) {
	t.Parallel()
	s := server.Start(t, "--pool-size", "3g", "--max-memory", "1g", "--max-cpus", "2", "--max-disk", "2g")
	s.TinyImage(t)
	w := newWitness(s)
	small(t, s, "main")
	notTar := filepath.Join(t.TempDir(), "not.tar")
	if err := os.WriteFile(notTar, []byte(strings.Repeat("not a tar\n", 200)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"unknown image", []string{"create", "x", "--image", "nosuch"}, codeNotFound, []string{"nosuch"}},
		{"bad name", []string{"create", "Not_A_Name"}, codeUsage, []string{"Not_A_Name", "a-z"}},
		{"long name", []string{"create", strings.Repeat("x", 41)}, codeUsage, []string{"40 characters"}},
		{"name with --", []string{"create", "a--b"}, codeUsage, []string{"--"}},
		{"too much memory", []string{"create", "x", "--image", "tiny", "--memory", "2g"}, codeUsage, []string{"memory", "at most 1 GiB"}},
		{"too little memory", []string{"create", "x", "--image", "tiny", "--memory", "1m"}, codeUsage, []string{"memory", "at least"}},
		{"not a size", []string{"create", "x", "--image", "tiny", "--memory", "lots"}, codeUsage, []string{"lots", "512m"}},
		{"too many cores", []string{"create", "x", "--image", "tiny", "--cpus", "64"}, codeUsage, []string{"cpus", "at most 2"}},
		{"too much disk", []string{"create", "x", "--image", "tiny", "--disk", "1t"}, codeUsage, []string{"disk", "at most 2 GiB"}},
		{"bad address", []string{"create", "x", "--image", "tiny", "--git", "file:///etc"}, codeUsage, []string{"cannot be cloned"}},
		{"two of one name", []string{"create", "main", "--image", "tiny"}, codeConflict, []string{"exists already"}},
		{"rm of a running one", []string{"rm", "main"}, codeConflict, []string{"RUNNING", "--force"}},
		{"unknown workspace", []string{"suspend", "nosuch"}, codeNotFound, []string{"nosuch"}},
		{"fork to a taken name", []string{"fork", "main", "main"}, codeConflict, []string{"exists already"}},
		{"not a tar", []string{"image", "pull", notTar}, codeUsage, []string{"not.tar"}},
		{"unknown recipe", []string{"image", "build", "nosuch"}, codeNotFound, []string{"nosuch"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := s.Holt(t, c.args...)
			if r.Code != c.code {
				t.Errorf("code %d, want %d: %s", r.Code, c.code, r.Stderr)
			}
			for _, want := range c.want {
				if !strings.Contains(r.Stderr, want) {
					t.Errorf("the message does not say %q: %s", want, r.Stderr)
				}
			}
		})
	}
	if all := w.settle(t); len(all) != 1 {
		t.Errorf("there are %d workspaces, want only main", len(all))
	}
	s.Sh(t, "main", "true")
}

// TestTokens: one that expired, was revoked, or never was, is refused.
func TestTokens(t *testing.T) {
	t.Parallel()
	s := server.Start(t, "--pool-size", "1g")
	good := s.Token
	secret := s.Must(t, "token", "create", "brief", "--expires", "2s")
	as := func(token string, args ...string) server.Result {
		s.Token = token
		defer func() { s.Token = good }()
		return s.Holt(t, args...)
	}
	fields := strings.Fields(secret)
	brief := fields[len(fields)-1]
	eventually(t, 30*time.Second, func() error {
		return refused(as(brief, "ls"), "expired")
	})
	if err := refused(as("holt_nonsense", "ls"), "token"); err != nil {
		t.Error(err)
	}
	if err := refused(as("", "ls"), "token"); err != nil {
		t.Error(err)
	}
	s.Must(t, "ls")
}

func refused(r server.Result, want string) error {
	if r.Code != codeForbidden || !strings.Contains(r.Stderr, want) {
		return fmt.Errorf("code %d, want %d and a message with %q: %s", r.Code, codeForbidden, want, r.Stderr)
	}
	return nil
}
