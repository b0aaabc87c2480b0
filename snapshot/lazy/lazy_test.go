package lazy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
	"github.com/holt-ide/holt/object/local"
	"github.com/holt-ide/holt/object/objecttest"
	"github.com/holt-ide/holt/snapshot/chunk"
	"github.com/holt-ide/holt/snapshot/lazy"
)

// fixture is a snapshot in a store whose reads of segments are counted.
type fixture struct {
	*chunk.Store
	script *objecttest.Script
	mu     sync.Mutex
	gets   []object.Key
	away   bool // segments cannot be read
	flip   bool // one bit of what is read of a segment is wrong
	want   map[string][]byte
}

func setup(t *testing.T) *fixture {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	f := &fixture{script: &objecttest.Script{Next: new(objecttest.Memory)}}
	f.script.Before = func(verb objecttest.Verb, key object.Key) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if verb == objecttest.Get && strings.Contains(string(key), "/segment/") {
			f.gets = append(f.gets, key)
			if f.away {
				return holt.Errorf(holt.KindUnavailable, "away")
			}
		}
		return nil
	}
	f.script.Body = func(key object.Key, body []byte) []byte {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.flip && strings.Contains(string(key), "/segment/") && len(body) > 0 {
			body[len(body)/2] ^= 1
		}
		return body
	}
	f.Store, f.want = fill(t, f.script)
	return f
}

func fill(t testing.TB, objects object.Store) (*chunk.Store, map[string][]byte) {
	t.Helper()
	ctx := context.Background()
	s, err := chunk.Open(ctx, chunk.Config{Objects: objects, Tenant: "t", Owner: "test", SegmentSize: 256 << 10, Codec: chunk.LZ4})
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 4<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise) // never fails
	want := map[string][]byte{
		"pages.img": append(append(append([]byte(nil), noise...), make([]byte, 2<<20)...), bytes.Repeat([]byte("text"), 100_001)...), "kernel.img": noise[:12_345], "empty": {},
	}
	w, err := s.Begin(ctx, chunk.New{ID: "sn", Workspace: "ws", CreatedAt: time.Unix(1_700_000_000, 0)})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pages.img", "kernel.img", "empty"} {
		if err := w.Add(ctx, name, bytes.NewReader(want[name]), int64(len(want[name]))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	return s, want
}

func (f *fixture) mount(t *testing.T, cfg lazy.Config) *lazy.Mount {
	t.Helper()
	v, err := f.View(t.Context(), "sn")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	m, err := lazy.New(v, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(cfg.Dir, unix.MNT_DETACH); err == nil {
			t.Error("the test left it mounted")
		}
	})
	f.mu.Lock()
	f.gets = nil
	f.mu.Unlock()
	return m
}

func (f *fixture) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.gets)
}

func readAt(t *testing.T, dir, name string, off, length int) ([]byte, error) {
	t.Helper()
	file, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	buf := make([]byte, length)
	n, err := file.ReadAt(buf, int64(off))
	return buf[:n], err
}

func TestFilesAreWhatWasWritten(t *testing.T) {
	f := setup(t)
	m := f.mount(t, lazy.Config{})
	if n := f.count(); n != 0 {
		t.Errorf("%d reads before anybody touched anything", n)
	}
	part, err := readAt(t, m.Dir(), "kernel.img", 5000, 100)
	if err != nil || !bytes.Equal(part, f.want["kernel.img"][5000:5100]) {
		t.Errorf("a part: %v", err)
	}
	if n := f.count(); n == 0 || n > 4 {
		t.Errorf("%d reads of segments for 100 bytes", n)
	}
	entries, err := os.ReadDir(m.Dir())
	if err != nil || len(entries) != len(f.want) {
		t.Errorf("%v, %v", entries, err)
	}
	for name, want := range f.want {
		for range 2 {
			got, err := os.ReadFile(filepath.Join(m.Dir(), name))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %d bytes, %v", name, len(got), err)
			}
		}
		// Around the page cache, as some runtimes read.
		direct, err := os.OpenFile(filepath.Join(m.Dir(), name), os.O_RDONLY|unix.O_DIRECT, 0)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 8192)
		if n, err := direct.ReadAt(buf, 0); !bytes.Equal(buf[:n], want[:min(len(want), 8192)]) {
			t.Errorf("direct read of %s: %d, %v", name, n, err)
		}
		direct.Close()
	}
	for _, flag := range []int{os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_TRUNC} {
		if _, err := os.OpenFile(filepath.Join(m.Dir(), "pages.img"), flag, 0); !errors.Is(err, unix.EROFS) {
			t.Errorf("open for writing: %v", err)
		}
	}
	if _, err := os.Create(filepath.Join(m.Dir(), "new")); !errors.Is(err, unix.EROFS) {
		t.Errorf("create: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// What a mount recorded is in the page cache of the next one before anybody asks,
// in the order in which it was read, and nothing else is.
func TestReadAhead(t *testing.T) {
	f := setup(t)
	m := f.mount(t, lazy.Config{})
	reads := []struct{ off, length int }{{3 << 20, 200_000}, {1 << 20, 4096}, {0, 4096}}
	for _, r := range reads {
		if _, err := readAt(t, m.Dir(), "pages.img", r.off, r.length); err != nil {
			t.Fatal(err)
		}
	}
	trace := m.Trace()
	if err := f.PutTrace(t.Context(), "sn", trace); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if len(trace.Touches) < 3 || trace.Touches[0].Offset != 3<<20 || trace.Touches[len(trace.Touches)-1].Offset != 0 {
		t.Errorf("trace %+v", trace)
	}
	var total int64
	for _, touch := range trace.Touches {
		total += touch.Length
	}
	if total > 1<<20 {
		t.Errorf("%d bytes recorded of 208 KB that were read", total)
	}
	if trace, err := f.Trace(t.Context(), "sn"); err != nil || len(trace.Touches) != len(m.Trace().Touches) {
		t.Fatal(trace, err)
	}

	m = f.mount(t, lazy.Config{Trace: trace})
	m.Wait()
	ahead := f.count()
	if ahead == 0 {
		t.Error("nothing was read ahead")
	}
	f.mu.Lock()
	f.away = true // what is needed now comes from the page cache or fails
	f.mu.Unlock()
	for _, r := range reads {
		got, err := readAt(t, m.Dir(), "pages.img", r.off, r.length)
		if err != nil || !bytes.Equal(got, f.want["pages.img"][r.off:r.off+r.length]) {
			t.Errorf("read ahead of %d: %v", r.off, err)
		}
	}
	if _, err := readAt(t, m.Dir(), "pages.img", 2<<20, 4096); !errors.Is(err, unix.EIO) {
		t.Errorf("what was not read ahead: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	// A trace that fits nothing does no harm.
	f.mu.Lock()
	f.away = false
	f.mu.Unlock()
	m = f.mount(t, lazy.Config{Trace: chunk.Trace{Touches: []chunk.Touch{{File: "nothing", Length: 5}, {File: "kernel.img", Offset: 1 << 40, Length: 1 << 40}, {File: "empty", Length: 9}}}})
	m.Wait()
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// A store that is away, and a damaged chunk, are I/O errors that somebody hears of.
func TestErrorsAreIOErrors(t *testing.T) {
	f := setup(t)
	var mu sync.Mutex
	var heard []string
	m := f.mount(t, lazy.Config{OnError: func(file string, err error) {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, fmt.Sprintf("%s %s", file, holt.KindOf(err)))
	}})
	f.mu.Lock()
	f.away = true
	f.mu.Unlock()
	if got, err := readAt(t, m.Dir(), "pages.img", 1<<20, 4096); !errors.Is(err, unix.EIO) || len(got) > 0 {
		t.Errorf("while the store is away: %d bytes, %v", len(got), err)
	}
	// Zeros are stored nowhere, so they need nobody.
	if got, err := readAt(t, m.Dir(), "pages.img", 5<<20, 4096); err != nil || !bytes.Equal(got, make([]byte, 4096)) {
		t.Errorf("zeros: %v", err)
	}
	f.mu.Lock()
	f.away = false
	f.mu.Unlock()
	if got, err := readAt(t, m.Dir(), "pages.img", 1<<20, 4096); err != nil || !bytes.Equal(got, f.want["pages.img"][1<<20:1<<20+4096]) {
		t.Errorf("when it is back: %v", err)
	}
	f.mu.Lock()
	f.flip = true
	f.mu.Unlock()
	if _, err := readAt(t, m.Dir(), "pages.img", 3<<20, 4096); !errors.Is(err, unix.EIO) {
		t.Errorf("damaged: %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if all := strings.Join(heard, ","); !strings.Contains(all, "pages.img unavailable") || !strings.Contains(all, "pages.img corrupt") {
		t.Errorf("heard %q", all)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// Who restored from the mount is done when everything is closed.
func TestIdle(t *testing.T) {
	f := setup(t)
	m := f.mount(t, lazy.Config{})
	<-m.Idle() // nobody has opened anything
	var files []*os.File
	for _, name := range []string{"pages.img", "pages.img", "kernel.img"} {
		file, err := os.Open(filepath.Join(m.Dir(), name))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	idle := m.Idle()
	for _, file := range files {
		select {
		case <-idle:
			t.Error("idle while a file is open")
		default:
		}
		file.Close()
	}
	select {
	case <-idle:
	case <-time.After(10 * time.Second):
		t.Error("not idle after the last close")
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

func TestCloseWhileSomebodyReads(t *testing.T) {
	f := setup(t)
	m := f.mount(t, lazy.Config{})
	file, err := os.Open(filepath.Join(m.Dir(), "pages.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := m.Close(); err != nil {
		t.Errorf("close with an open file: %v", err)
	}
	if n, err := file.ReadAt(make([]byte, 4096), 1<<20); err == nil {
		t.Errorf("read %d bytes of a closed snapshot", n)
	}
}

// A copy of the mount in another mount namespace keeps nobody from closing it.
func TestCloseWhileAnotherNamespaceHasIt(t *testing.T) {
	f := setup(t)
	m := f.mount(t, lazy.Config{})
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := fmt.Fprintln(in, "ready"); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fscanln(out, new(string)); err != nil { // it has its namespace
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- m.Close() }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("close waits for the other namespace")
	}
}

// The child serves a mount until it is killed.
func TestMain(m *testing.M) {
	dir := os.Getenv("LAZY_TEST_CHILD")
	if dir == "" {
		os.Exit(m.Run())
	}
	l, err := local.Open(filepath.Join(dir, "objects"))
	if err != nil {
		panic(err)
	}
	s, err := chunk.Open(context.Background(), chunk.Config{Objects: l, Tenant: "t", Owner: "child"})
	if err != nil {
		panic(err)
	}
	v, err := s.View(context.Background(), "sn")
	if err != nil {
		panic(err)
	}
	if _, err := lazy.New(v, lazy.Config{Dir: filepath.Join(dir, "mnt")}); err != nil {
		panic(err)
	}
	fmt.Println("mounted")
	select {}
}

// When the serving process dies, a reader gets an error, and the next process can
// mount at the same place.
func TestServerThatDies(t *testing.T) {
	f := setup(t)
	dir := t.TempDir()
	l, err := local.Open(filepath.Join(dir, "objects"))
	if err != nil {
		t.Fatal(err)
	}
	_, want := fill(t, l)
	mnt := filepath.Join(dir, "mnt")
	if err := os.Mkdir(mnt, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LAZY_TEST_CHILD="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fscanln(out, new(string)); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(filepath.Join(mnt, "pages.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	buf := make([]byte, 4096)
	if _, err := file.ReadAt(buf, 0); err != nil || !bytes.Equal(buf, want["pages.img"][:4096]) {
		t.Fatalf("while it lives: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if e, ok := errors.AsType[*exec.ExitError](cmd.Wait()); !ok || e.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatal("the child ended by itself")
	}
	if n, err := file.ReadAt(buf, 2<<20); err == nil || n > 0 {
		t.Errorf("%d bytes from a dead process, %v", n, err)
	}
	m := f.mount(t, lazy.Config{Dir: mnt})
	if got, err := readAt(t, mnt, "kernel.img", 0, 100); err != nil || !bytes.Equal(got, f.want["kernel.img"][:100]) {
		t.Errorf("the next mount: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}
