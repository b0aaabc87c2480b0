// Package s3test starts a real S3 server for tests, and a proxy before it that
// fails as a test scripts it.
//
// The server is versitygw over a directory, built by `make bin/versitygw` from its
// own module in test/versitygw.
package s3test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object/s3"
	"github.com/holt-ide/holt/test/bins"
)

const (
	accessKey = "holt-test"
	secretKey = "holt-test-secret"
)

// Server is a running S3 server with an empty directory.
type Server struct {
	URL string
	Dir string // a bucket is a directory below, an object a file: for damaging it

	mu      sync.Mutex
	buckets int
}

// Start starts a server that ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{Dir: t.TempDir()}
	program := bins.Path(t, "versitygw")
	// The port that is free now may be taken in a moment: then another one is tried.
	for range 5 {
		if s.start(t, program) {
			return s
		}
	}
	t.Fatal("the S3 server does not start")
	return nil
}

func (s *Server) start(t testing.TB, program string) bool {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	log := new(bytes.Buffer)
	cmd := exec.Command(program, "--quiet", "--port", addr, "posix", s.Dir)
	cmd.Env = []string{"ROOT_ACCESS_KEY=" + accessKey, "ROOT_SECRET_KEY=" + secretKey, "HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // killed, or it could not have the port
		close(ended)
	}()
	stop := func() {
		cmd.Process.Kill()
		<-ended
	}
	s.URL = "http://" + addr
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		select {
		case <-ended:
			t.Logf("the S3 server ended: %s", log)
			return false
		case <-time.After(20 * time.Millisecond):
		}
		if answers(s.URL) {
			t.Cleanup(stop)
			return true
		}
	}
	stop()
	t.Logf("the S3 server does not answer: %s", log)
	return false
}

func answers(url string) bool {
	res, err := http.Get(url)
	if err != nil {
		return false
	}
	res.Body.Close()
	return true
}

// Config returns the configuration of a store in a new, empty bucket, reached at
// url: that of the server or of a proxy.
func (s *Server) Config(t testing.TB, url string) s3.Config {
	t.Helper()
	s.mu.Lock()
	s.buckets++
	bucket := fmt.Sprintf("bucket-%d", s.buckets)
	s.mu.Unlock()
	if err := os.Mkdir(filepath.Join(s.Dir, bucket), 0o755); err != nil {
		t.Fatal(err)
	}
	return s3.Config{Endpoint: url, Bucket: bucket, Prefix: "some/prefix/", AccessKey: accessKey, SecretKey: secretKey, PathStyle: true}
}

// Open opens the store of a configuration, or fails the test.
func Open(t testing.TB, cfg s3.Config) *s3.Store {
	t.Helper()
	var err error
	for range 3 { // a proxy may be failing already
		var store *s3.Store
		if store, err = s3.Open(context.Background(), cfg); err == nil {
			return store
		} else if !holt.KindOf(err).Retryable() {
			break
		}
	}
	t.Fatal(err)
	return nil
}
