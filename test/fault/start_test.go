package fault

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // to damage a database with care

	"github.com/holt-ide/holt/test/bins"
	"github.com/holt-ide/holt/test/server"
)

// refuses starts a holtd that cannot start and returns nothing: the error must
// hold every one of want, and the exit code must be 1.
func refuses(t *testing.T, s *server.Server, want ...string) {
	t.Helper()
	before := len(s.Log())
	err := s.Launch(t)
	if err == nil {
		t.Errorf("holtd started, it should say %q", want)
		s.Stop(t)
		return
	}
	if !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("%v, want exit status 1", err)
	}
	said := s.Log()[before:]
	last := said[max(0, strings.LastIndex(said, "holtd: ")):]
	for _, w := range want {
		if !strings.Contains(last, w) {
			t.Errorf("holtd does not say %q: %s", w, last)
		}
	}
}

// works starts holtd in a directory that it refused before.
func works(t *testing.T, s *server.Server) {
	t.Helper()
	s.Start(t)
	s.Must(t, "ls")
	s.Stop(t)
}

// TestWrongDataDirectory: whatever is wrong with it is told, and left as it is.
func TestWrongDataDirectory(t *testing.T) {
	t.Parallel()
	write := func(t *testing.T, path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("foreign", func(t *testing.T) {
		s := server.New(t)
		write(t, filepath.Join(s.Dir, "thesis.txt"), "mine")
		refuses(t, s, "thesis.txt", "not a Holt data directory", "--data-dir")
		if got := names(t, s.Dir); !slices.Equal(got, []string{"lock", "thesis.txt"}) {
			t.Errorf("the directory holds %v afterwards", got)
		}
		if err := os.Remove(filepath.Join(s.Dir, "thesis.txt")); err != nil {
			t.Fatal(err)
		}
	})
	s := server.Start(t)
	s.Stop(t)
	version := filepath.Join(s.Dir, "version")
	t.Run("newer", func(t *testing.T) {
		write(t, version, "99\n")
		refuses(t, s, "newer holtd", "99", "--data-dir")
		write(t, version, "1\n")
		works(t, s)
	})
	t.Run("damaged version", func(t *testing.T) {
		write(t, version, "\x00\x00")
		refuses(t, s, version, "is damaged", "write 1 into it")
		write(t, version, "1\n")
		works(t, s)
	})
	t.Run("in use", func(t *testing.T) {
		s.Start(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		second := exec.CommandContext(ctx, bins.Path(t, "holtd"), "--data-dir", s.Dir, "--listen", "127.0.0.1:0")
		out, err := second.CombinedOutput()
		if second.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "in use by another holtd") || !strings.Contains(string(out), "--data-dir") {
			t.Errorf("a second holtd: %v: %s", err, out)
		}
		s.Must(t, "ls")
		s.Stop(t)
	})
	t.Run("newer database", func(t *testing.T) {
		change(t, s.Dir, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, TRUE)")
		refuses(t, s, "database", "version 999", "newer version")
		change(t, s.Dir, "DELETE FROM goose_db_version WHERE version_id = 999")
		works(t, s)
	})
	for name, damage := range map[string]func(good []byte) []byte{
		"damaged database": func(good []byte) []byte { return append([]byte("not a database, surely"), good[22:]...) },
		"half a database":  func(good []byte) []byte { return good[:len(good)/2] },
		"damaged page": func(good []byte) []byte {
			bad := slices.Clone(good)
			for i := 4096; i < min(len(bad), 3*4096); i++ {
				bad[i] ^= 0x5a
			}
			return bad
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(s.Dir, "holt.db")
			good, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			bad := damage(good)
			write(t, path, string(bad))
			refuses(t, s, "database", "damaged", "backup")
			if got, err := os.ReadFile(path); err != nil || string(got) != string(bad) {
				t.Errorf("the damaged database was changed: %d bytes, were %d (%v)", len(got), len(bad), err)
			}
			write(t, path, string(good))
			works(t, s)
		})
	}
}

// change edits the database of a server that does not run.
func change(t *testing.T, dir, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "holt.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// TestWrongMachine: what the host lacks is named, with what to do about it.
func TestWrongMachine(t *testing.T) {
	t.Parallel()
	t.Run("busy port", func(t *testing.T) {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		s := server.New(t, "--listen", l.Addr().String())
		refuses(t, s, l.Addr().String(), "in use", "--listen")
		if _, err := os.Stat(s.Dir); err == nil {
			t.Error("the data directory was made")
		}
	})
	t.Run("no mkfs.xfs", func(t *testing.T) {
		s := server.New(t)
		s.Env = []string{"PATH=" + without(t, "mkfs.xfs")}
		if err := s.Launch(t); err == nil {
			s.Stop(t)
			s.Env = nil
			t.Skip("the file system of the data directory shares blocks by itself")
		}
		refuses(t, s, "mkfs.xfs", "apt-get install xfsprogs")
		s.Env = nil
		works(t, s)
	})
	t.Run("not root", func(t *testing.T) {
		dir := t.TempDir()
		bin := filepath.Join("/tmp", fmt.Sprintf("holtd-%d", os.Getpid())) // where nobody may go
		if out, err := exec.CommandContext(t.Context(), "install", "-m", "0755", bins.Path(t, "holtd"), bin).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		defer os.Remove(bin)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", bin, "--data-dir", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0")
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "needs root") {
			t.Errorf("holtd as nobody: %v: %s", err, out)
		}
		if got := names(t, dir); len(got) > 0 {
			t.Errorf("it left %v", got)
		}
	})
	t.Run("no runtime", func(t *testing.T) {
		s := server.New(t, "--runsc", "/nonexistent/runsc")
		refuses(t, s, "/nonexistent/runsc", "make build")
		s.Flags = s.Flags[:len(s.Flags)-2]
		works(t, s)
	})
	t.Run("pool too small", func(t *testing.T) {
		s := server.New(t, "--pool-size", "100m")
		refuses(t, s, "at least 512 MiB")
	})
}

// without returns a directory with links to every program on the search path
// but one.
func without(t *testing.T, missing string) string {
	t.Helper()
	dir := t.TempDir()
	for _, from := range filepath.SplitList(os.Getenv("PATH")) {
		entries, err := os.ReadDir(from)
		if err != nil {
			continue // the path may name what does not exist
		}
		for _, e := range entries {
			if e.Name() != missing {
				_ = os.Symlink(filepath.Join(from, e.Name()), filepath.Join(dir, e.Name())) // the first one counts
			}
		}
	}
	return dir
}

// TestKilledWhileStarting kills the first start in a fresh directory at growing
// delays, and at the points that only a first start passes: what it leaves is
// finished by the next.
func TestKilledWhileStarting(t *testing.T) {
	t.Parallel()
	s := server.New(t, "--pool-size", "1g")
	w := newWitness(s)
	s.Holtd, s.Env = faulty(t), []string{"HOLT_FAULT=pool.formatted"}
	if err := s.Launch(t); err == nil {
		t.Log("no pool is made on this file system")
		s.Kill(t)
	}
	for delay := 5 * time.Millisecond; delay < 400*time.Millisecond; delay = delay * 5 / 4 {
		killAfter(t, s, delay)
	}
	s.Holtd, s.Env = "", nil
	s.Start(t)
	w.settle(t)
	s.TinyImage(t)
	small(t, s, "main")
	s.Sh(t, "main", "true")
	// The same with a machine to adopt.
	alive := live(t, s, "main", "start")
	s.Kill(t)
	for delay := 5 * time.Millisecond; delay < 400*time.Millisecond; delay = delay * 5 / 4 {
		killAfter(t, s, delay)
	}
	s.Start(t)
	w.settle(t)
	alive.check(t, s)
}

// killAfter starts holtd and kills it after a while, ready or not.
func killAfter(t *testing.T, s *server.Server, delay time.Duration) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), bins.Path(t, "holtd"), append([]string{"--data-dir", s.Dir, "--listen", "127.0.0.1:0",
		"--runsc", bins.Path(t, "runsc"), "--guest", bins.Path(t, "holt-guest")}, s.Flags...)...)
	var words strings.Builder
	cmd.Stdout, cmd.Stderr = &words, &words
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-time.After(delay)
	_ = cmd.Process.Kill() // it may have ended
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != -1 {
		t.Errorf("holtd ended by itself with code %d within %v: %s", code, delay, words.String())
	}
}
