// Package pg starts a throw-away PostgreSQL server for tests.
//
// The server runs as an unprivileged user when the tests run as root, keeps its
// data in a temporary directory, listens on the loopback address only and ends
// with the test binary. Only tests import this package.
package pg

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver "pgx"
)

// Server is a running PostgreSQL server.
type Server struct {
	dir  string
	port int
	cmd  *exec.Cmd
	done chan error // receives once, when the process ends
	made int        // databases made so far
}

// Binaries returns the folder that holds initdb and postgres, "" when PostgreSQL
// is not installed.
func Binaries() string {
	if p, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(p)
	}
	found, err := fs.Glob(os.DirFS("/usr/lib/postgresql"), "*/bin/initdb")
	if err != nil || len(found) == 0 {
		return ""
	}
	return filepath.Dir(filepath.Join("/usr/lib/postgresql", found[len(found)-1]))
}

// Start makes a cluster and starts it. The caller calls Stop.
func Start(ctx context.Context) (*Server, error) {
	bin := Binaries()
	if bin == "" {
		return nil, fmt.Errorf("find postgresql: not installed")
	}
	who, err := nobody()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "holt-pg-")
	if err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	if who != nil {
		if err := os.Chown(dir, int(who.Uid), int(who.Gid)); err != nil {
			return nil, fmt.Errorf("give data directory away: %w", err)
		}
	}
	s := &Server{dir: dir, done: make(chan error, 1)}
	init := s.command(bin, who, "initdb", "-D", filepath.Join(dir, "data"), "-U", "test", "--auth=trust", "-E", "UTF8", "--no-locale", "--no-sync")
	if out, err := init.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("make cluster: %w\n%s", err, out)
	}
	if err := s.run(ctx, bin, who); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// nobody returns the user to run as, nil when the tests are not root.
func nobody() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		return nil, fmt.Errorf("find unprivileged user: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("read uid: %w", err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("read gid: %w", err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

func (s *Server) command(bin string, who *syscall.Credential, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(bin, name), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + bin + ":/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	// The server must not outlive tests that are killed, nor get their Ctrl-C.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who, Pdeathsig: syscall.SIGQUIT, Setpgid: true}
	return cmd
}

// run starts the server and waits until it answers.
func (s *Server) run(ctx context.Context, bin string, who *syscall.Credential) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	if s.port == 0 {
		port, err := freePort()
		if err != nil {
			return err
		}
		s.port = port
	}
	port := s.port
	s.cmd = s.command(bin, who, "postgres", "-D", filepath.Join(s.dir, "data"), "-c", "listen_addresses=127.0.0.1",
		"-c", "port="+strconv.Itoa(port), "-c", "unix_socket_directories="+s.dir, "-c", "fsync=off", "-c", "max_connections=100")
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return fmt.Errorf("make log: %w", err)
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	go func() { s.done <- s.cmd.Wait() }()

	db, err := sql.Open("pgx", s.url("postgres"))
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer db.Close()
	for {
		if err = db.PingContext(ctx); err == nil {
			return nil
		}
		select {
		case end := <-s.done:
			s.done <- end
			text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return fmt.Errorf("postgres ended: %w\n%s", end, text)
		case <-ctx.Done():
			return fmt.Errorf("wait for postgres: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Crash ends the server at once, as a crash of its process would, and Restart
// starts it again under its address.
func (s *Server) Crash(t testing.TB) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGQUIT); err != nil { // "immediate shutdown": it recovers at the next start
		t.Fatal(err)
	}
	select {
	case end := <-s.done:
		s.done <- end
	case <-time.After(30 * time.Second):
		t.Fatal("postgres does not end")
	}
}

// Restart starts the server after [Server.Crash].
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.done = make(chan error, 1)
	who, err := nobody()
	if err == nil {
		err = s.run(t.Context(), Binaries(), who)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Address returns where the server listens.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (s *Server) url(name string) string {
	return fmt.Sprintf("postgres://test@127.0.0.1:%d/%s?sslmode=disable", s.port, name)
}

// Database makes an empty database and returns its address.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	db, err := sql.Open("pgx", s.url("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s.made++
	name := fmt.Sprintf("test%d", s.made)
	if _, err := db.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatalf("make database: %v", err)
	}
	return s.url(name)
}

// Stop ends the server and removes its data.
func (s *Server) Stop() {
	if s.cmd != nil && s.cmd.Process != nil {
		_ = s.cmd.Process.Signal(syscall.SIGQUIT) // immediate: nothing here is worth keeping
		<-s.done                                  //nolint:errcheck // how it ended does not matter
	}
	os.RemoveAll(s.dir)
}
