package fault

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holt-ide/holt/test/server"
)

// A backup that is killed half way is none, disturbs nobody and does not stand in
// the way of the next; a restore that is killed leaves what no server starts with.
func TestBackupKilled(t *testing.T) {
	t.Parallel()
	s := server.Start(t, "--pool-size", "3g")
	s.TinyImage(t)
	small(t, s, "main")
	s.Sh(t, "main", "echo kept >/workspace/file")
	target := filepath.Join(filepath.Dir(s.Dir), "backup")
	killed := func(s *server.Server, point, verb string, args ...string) {
		t.Helper()
		usual := s.Env
		s.Holtd, s.Env = faulty(t), []string{"HOLT_FAULT=" + point}
		if did := s.Verb(t, verb, args...); did.Code == 0 || !strings.Contains(did.Stderr, point) && did.Code != -1 {
			t.Fatalf("holtd %s survived %s: code %d: %s", verb, point, did.Code, did.Stderr)
		}
		s.Holtd, s.Env = "", usual
	}
	for _, point := range []string{"backup.first-pass", "backup.database-copied", "backup.volumes-staged", "backup.copied"} {
		killed(s, point, "backup", target)
		if _, err := os.Stat(target); err == nil {
			t.Fatalf("a backup killed at %s has its name", point)
		}
		if got := s.Sh(t, "main", "cat /workspace/file"); strings.TrimSpace(got) != "kept" {
			t.Fatalf("after %s the workspace has %q", point, got)
		}
	}
	if did := s.Verb(t, "backup", target); did.Code != 0 {
		t.Fatalf("backup: code %d: %s", did.Code, did.Stderr)
	}
	for _, left := range []string{target + ".partial", filepath.Join(s.Dir, "node", "pool", ".backup")} {
		if _, err := os.Stat(left); err == nil {
			t.Errorf("%s is left", left)
		}
	}
	s.Must(t, "rm", "--force", "main")

	half := server.New(t, "--pool-size", "3g")
	killed(half, "restore.copied", "restore", target)
	if err := half.Launch(t); err == nil {
		t.Error("a server started in half a data directory")
	}
	if did := half.Verb(t, "restore", target); did.Code != 0 {
		t.Fatalf("restore again: code %d: %s", did.Code, did.Stderr)
	}
	half.Start(t)
	if got := half.Sh(t, "main", "cat /workspace/file"); strings.TrimSpace(got) != "kept" {
		t.Errorf("the restored workspace has %q", got)
	}
	if did := half.Verb(t, "restore", target); did.Code != 1 || !strings.Contains(did.Stderr, "is not empty") {
		t.Errorf("restore over a server: code %d: %s", did.Code, did.Stderr)
	}
}
