package guest_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/guest/files"
	"github.com/holt-ide/holt/wire/guest"
)

func (s *served) put(t *testing.T, path, text string, o guestwire.WriteOptions) guestwire.FileInfo {
	t.Helper()
	info, err := s.Write(within(t), path, strings.NewReader(text), o)
	if err != nil {
		t.Fatalf("write %s: %v", path, err)
	}
	return info
}

func (s *served) get(t *testing.T, path string, offset, length int64) string {
	t.Helper()
	r, _, err := s.Read(within(t), path, offset, length)
	if err != nil {
		t.Fatalf("read %s: %v", path, err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func wantKind(t *testing.T, what string, err error, kind holt.Kind) {
	t.Helper()
	if holt.KindOf(err) != kind {
		t.Errorf("%s: kind %q (%v), want %q", what, holt.KindOf(err), err, kind)
	}
}

func TestFilesReadWrite(t *testing.T) {
	s := serve(t)
	ctx := within(t)
	info := s.put(t, "a.txt", "hello world", guestwire.WriteOptions{})
	if info.Path != s.dir+"/a.txt" || info.Size != 11 || info.Mode != 0o644 || info.UID != uint32(s.cfg.UID) || info.ETag == "" {
		t.Errorf("written %+v", info)
	}
	if got := s.get(t, s.dir+"/a.txt", 0, -1); got != "hello world" {
		t.Errorf("read %q", got)
	}
	if got := s.get(t, "a.txt", 6, 3); got != "wor" {
		t.Errorf("read a range: %q", got)
	}
	if st, err := s.Stat(ctx, "a.txt"); err != nil || st != info {
		t.Errorf("stat %+v, %v; want %+v", st, err, info)
	}

	// Conflicts.
	second := s.put(t, "a.txt", "second", guestwire.WriteOptions{IfMatch: info.ETag})
	if second.ETag == info.ETag {
		t.Error("the tag is the same after a write")
	}
	_, err := s.Write(ctx, "a.txt", strings.NewReader("lost"), guestwire.WriteOptions{IfMatch: info.ETag})
	if !errors.Is(err, guestwire.ErrPrecondition) || !holt.IsKind(err, holt.KindConflict) {
		t.Errorf("write over a change: %v", err)
	}
	_, err = s.Write(ctx, "a.txt", strings.NewReader("lost"), guestwire.WriteOptions{New: true})
	if !errors.Is(err, guestwire.ErrPrecondition) {
		t.Errorf("create over a file: %v", err)
	}
	_, err = s.Write(ctx, "gone.txt", strings.NewReader("lost"), guestwire.WriteOptions{IfMatch: info.ETag})
	if !errors.Is(err, guestwire.ErrPrecondition) {
		t.Errorf("write over a removed file: %v", err)
	}
	if got := s.get(t, "a.txt", 0, -1); got != "second" {
		t.Errorf("after conflicts: %q", got)
	}

	// Mode and link are kept.
	if err := s.Chmod(ctx, guestwire.Chmod{Path: "a.txt", Mode: 0o755}); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a.txt", s.dir+"/link"); err != nil {
		t.Fatal(err)
	}
	if info := s.put(t, "link", "third", guestwire.WriteOptions{}); info.Mode != 0o755 {
		t.Errorf("mode %o after a write, want 755", info.Mode)
	}
	if st, _ := s.Stat(ctx, "link"); st.Type != guestwire.TypeSymlink || st.Target != "a.txt" || st.Points != guestwire.TypeFile {
		t.Errorf("the link became %+v", st)
	}
	if got := s.get(t, "a.txt", 0, -1); got != "third" {
		t.Errorf("through the link: %q", got)
	}

	// A body that breaks off changes nothing and leaves nothing.
	broken := io.MultiReader(strings.NewReader("part"), errReader{})
	if _, err := s.Write(ctx, "a.txt", broken, guestwire.WriteOptions{}); err == nil {
		t.Error("a broken body was accepted")
	}
	if got := s.get(t, "a.txt", 0, -1); got != "third" {
		t.Errorf("after a broken body: %q", got)
	}
	eventually(t, "the temporary file is gone", func() bool {
		m, _ := filepath.Glob(s.dir + "/.holt-write-*")
		return len(m) == 0
	})
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("cut") }

func TestFilesExclusiveCreateHasOneWinner(t *testing.T) {
	s := serve(t)
	ctx := within(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	wins := 0
	for i := range 16 {
		wg.Go(func() {
			_, err := s.Write(ctx, "one", strings.NewReader(fmt.Sprint(i)), guestwire.WriteOptions{New: true})
			if err == nil {
				mu.Lock()
				wins++
				mu.Unlock()
			} else if !errors.Is(err, guestwire.ErrPrecondition) {
				t.Errorf("loser: %v", err)
			}
		})
	}
	wg.Wait()
	if wins != 1 {
		t.Errorf("%d of 16 created the file", wins)
	}
}

func TestFilesNames(t *testing.T) {
	s := serve(t)
	ctx := within(t)
	if err := s.Mkdir(ctx, guestwire.Mkdir{Path: "d/e/f", Parents: true}); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "make it again", s.Mkdir(ctx, guestwire.Mkdir{Path: "d"}), holt.KindConflict)
	wantKind(t, "make without parents", s.Mkdir(ctx, guestwire.Mkdir{Path: "x/y"}), holt.KindNotFound)
	s.put(t, "d/one", "1", guestwire.WriteOptions{})
	s.put(t, "d/two", "2", guestwire.WriteOptions{})
	wantKind(t, "rename over", s.Rename(ctx, guestwire.Rename{From: "d/one", To: "d/two"}), holt.KindConflict)
	if err := s.Rename(ctx, guestwire.Rename{From: "d/one", To: "d/two", Overwrite: true}); err != nil {
		t.Error(err)
	}
	if got := s.get(t, "d/two", 0, -1); got != "1" {
		t.Errorf("after rename: %q", got)
	}
	wantKind(t, "remove what is not empty", s.Remove(ctx, "d", false), holt.KindConflict)
	wantKind(t, "remove the workspace", s.Remove(ctx, s.dir, true), holt.KindInvalid)
	// A removal follows no link, not even one that it may not remove.
	for _, dir := range []string{"kept", "d/locked"} {
		if err := s.Mkdir(ctx, guestwire.Mkdir{Path: dir}); err != nil {
			t.Fatal(err)
		}
	}
	s.put(t, "kept/file", "", guestwire.WriteOptions{})
	s.put(t, "d/locked/x", "", guestwire.WriteOptions{})
	if err := os.Symlink(s.dir+"/kept", s.dir+"/d/locked/link"); err != nil {
		t.Fatal(err)
	}
	if err := s.Chmod(ctx, guestwire.Chmod{Path: "d/locked", Mode: 0o555}); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(ctx, "d", true); os.Geteuid() == 0 {
		wantKind(t, "remove with a locked directory", err, holt.KindForbidden)
	}
	if _, err := s.Stat(ctx, "kept/file"); err != nil {
		t.Errorf("removed through a link: %v", err)
	}
	if err := s.Chmod(ctx, guestwire.Chmod{Path: "d/locked", Mode: 0o755}); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(ctx, "d", true); err != nil {
		t.Error(err)
	}
	if _, err := s.Stat(ctx, "kept/file"); err != nil {
		t.Errorf("removed through a link: %v", err)
	}
	wantKind(t, "remove nothing", s.Remove(ctx, "d", true), holt.KindNotFound)
	wantKind(t, "odd mode", s.Chmod(ctx, guestwire.Chmod{Path: ".", Mode: 1 << 20}), holt.KindInvalid)
	_, err := s.Stat(ctx, "")
	wantKind(t, "no path", err, holt.KindInvalid)
	_, err = s.Stat(ctx, strings.Repeat("x/", 3000))
	wantKind(t, "long path", err, holt.KindInvalid)
	_, _, err = s.Read(ctx, ".", 0, -1)
	wantKind(t, "read a directory", err, holt.KindInvalid)
	if err := syscall.Mkfifo(s.dir+"/fifo", 0o666); err != nil {
		t.Fatal(err)
	}
	_, _, err = s.Read(ctx, "fifo", 0, -1) // must not wait for a writer
	wantKind(t, "read a FIFO", err, holt.KindInvalid)
	s.put(t, "short", "12345", guestwire.WriteOptions{})
	_, _, err = s.Read(ctx, "short", 100, 5)
	wantKind(t, "read beyond the end", err, holt.KindInvalid)
}

func TestFilesListPages(t *testing.T) {
	s := serve(t)
	const n = 5000
	for i := range n {
		if err := os.WriteFile(fmt.Sprintf("%s/f%04d", s.dir, i), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	after, pages := "", 0
	for {
		list, err := s.List(within(t), ".", after, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Entries) > files.MaxPage {
			t.Fatalf("a page of %d", len(list.Entries))
		}
		pages++
		for _, e := range list.Entries {
			names = append(names, e.Name)
		}
		if after = list.Next; after == "" {
			break
		}
	}
	if len(names) != n || names[0] != "f0000" || names[n-1] != "f4999" || pages != 3 {
		t.Errorf("%d names in %d pages", len(names), pages)
	}
}

func TestFilesActWithTheUsersRights(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to change users")
	}
	s := serve(t)
	ctx := within(t)
	secret := filepath.Join(filepath.Dir(s.dir), "root-only")
	if err := os.WriteFile(secret, []byte("root's"), 0o600); err != nil {
		t.Fatal(err)
	}
	owned := s.dir + "/owned-by-root" // in the user's own directory
	if err := os.WriteFile(owned, []byte("root's"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, s.dir+"/way"); err != nil {
		t.Fatal(err)
	}
	write := func(path string) error {
		_, err := s.Write(ctx, path, strings.NewReader("mine"), guestwire.WriteOptions{})
		return err
	}
	read := func(path string) error {
		r, _, err := s.Read(ctx, path, 0, -1)
		if err == nil {
			r.Close()
		}
		return err
	}
	extract := s.Extract(ctx, filepath.Dir(s.dir), archive(t, tar.Header{Name: "x", Typeflag: tar.TypeReg}))
	for what, err := range map[string]error{
		"read root's file": read(secret), "write root's file": write(secret), "read through a link": read("way"),
		"write through a link": write("way"), "write a file owned by root": write(owned),
		"make in root's directory": s.Mkdir(ctx, guestwire.Mkdir{Path: "/etc/holt"}), "extract in root's directory": extract,
		"chmod root's file": s.Chmod(ctx, guestwire.Chmod{Path: owned, Mode: 0o777}),
		"remove root's":     s.Remove(ctx, secret, false),
		"rename root's":     s.Rename(ctx, guestwire.Rename{From: secret, To: s.dir + "/stolen"}),
	} {
		wantKind(t, what, err, holt.KindForbidden)
	}
	_, err := s.Search(ctx, guestwire.Search{Path: filepath.Dir(s.dir), Query: "root's", Globs: []string{"root-only"}},
		func(m guestwire.SearchMatch) error { return fmt.Errorf("found %+v", m) })
	if err != nil {
		t.Errorf("search: %v", err)
	}
	for _, path := range []string{secret, owned} {
		if b, err := os.ReadFile(path); err != nil || string(b) != "root's" {
			t.Errorf("%s: %q, %v", path, b, err)
		}
	}
	// A file that the user may write keeps its owner.
	if err := os.Chown(owned, 0, testUID); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(owned, 0o664); err != nil {
		t.Fatal(err)
	}
	if info := s.put(t, owned, "ours", guestwire.WriteOptions{}); info.UID != 0 || info.GID != testUID || info.Mode != 0o664 {
		t.Errorf("owner and mode after a write: %+v", info)
	}
}

// archive returns a tar stream; a regular file's content is its name.
func archive(t *testing.T, headers ...tar.Header) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, h.Name); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func TestFilesArchiveRoundTrip(t *testing.T) {
	s := serve(t)
	ctx := within(t)
	err := s.Extract(ctx, "in", archive(t,
		tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o555},
		tar.Header{Name: "d/file", Typeflag: tar.TypeReg, Mode: 0o4751},
		tar.Header{Name: "d/deep/er", Typeflag: tar.TypeReg, Mode: 0o600},
		tar.Header{Name: "d/link", Typeflag: tar.TypeSymlink, Linkname: "/usr/bin/python3"},
		tar.Header{Name: "d/hard", Typeflag: tar.TypeLink, Linkname: "d/file"},
		tar.Header{Name: "d/file", Typeflag: tar.TypeReg, Mode: 0o640}, // again: replaces
	))
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Archive(ctx, "in")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []string
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(tr)
		got = append(got, fmt.Sprintf("%s %o %s%s", h.Name, h.Mode, h.Linkname, b))
	}
	want := []string{"in/ 755 ", "in/d/ 555 ", "in/d/deep/ 755 ", "in/d/deep/er 600 d/deep/er", "in/d/file 640 d/file",
		"in/d/hard 751 d/file", "in/d/link 777 /usr/bin/python3"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("archived\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if os.Geteuid() == 0 { // unreadable for the user
		if err := os.WriteFile(s.dir+"/in/secret", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := s.Archive(ctx, "in")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		_, err = io.Copy(io.Discard, r)
		wantKind(t, "archive with an unreadable file", err, holt.KindForbidden)
	}
}

func TestFilesExtractRefusesHostileEntries(t *testing.T) {
	s := serve(t)
	ctx := within(t)
	outside := filepath.Join(filepath.Dir(s.dir), "outside")
	if err := os.Mkdir(outside, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(outside, 0o777); err != nil {
		t.Fatal(err)
	}
	reg := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	for name, body := range map[string]io.Reader{
		"../evil":       archive(t, reg("../evil")),
		"a/../../evil":  archive(t, reg("a/../../evil")),
		outside + "/x":  archive(t, reg(outside+"/x")),
		"way/x":         archive(t, link("way", outside), reg("way/x")),
		"up/x":          archive(t, link("up", "../../outside"), reg("up/x")),
		"up/d/x":        archive(t, link("up", "../../outside"), reg("up/d/x")),
		"dirlink/":      archive(t, link("dirlink", outside), tar.Header{Name: "dirlink/", Typeflag: tar.TypeDir, Mode: 0o700}),
		"hard":          archive(t, tar.Header{Name: "hard", Typeflag: tar.TypeLink, Linkname: "../../outside/x"}),
		"dev":           archive(t, tar.Header{Name: "dev", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 5}),
		"fifo":          archive(t, tar.Header{Name: "fifo", Typeflag: tar.TypeFifo}),
		"not a tar":     strings.NewReader(strings.Repeat("this is not a tar ", 100)),
		"empty":         strings.NewReader(""),
		"near \"long\"": bytes.NewReader(archive(t, reg("long")).Bytes()[:514]),
	} {
		err := s.Extract(ctx, "target", body)
		wantKind(t, name, err, holt.KindInvalid)
		if err != nil && !strings.Contains(err.Error(), name) {
			t.Errorf("%s: the error does not say so: %v", name, err)
		}
		os.RemoveAll(s.dir + "/target")
	}
	if left, _ := os.ReadDir(outside); len(left) != 0 {
		t.Errorf("written outside: %v", left)
	}
	if st, err := os.Stat(outside); err != nil || st.Mode().Perm() != 0o777 {
		t.Errorf("mode changed outside: %v, %v", st.Mode(), err)
	}
}

func TestFilesWatch(t *testing.T) {
	s := serve(t)
	ctx := within(t)
	w, err := s.Client.Watch(ctx, ".", "node_modules")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	seen := map[string]bool{}
	until := func(want ...string) {
		t.Helper()
		for {
			missing := ""
			for _, k := range want {
				if !seen[k] {
					missing = k
				}
			}
			if missing == "" {
				return
			}
			e, err := w.Next(ctx)
			if err != nil {
				t.Fatalf("waiting for %s: %v; seen %v", missing, err, seen)
			}
			seen[string(e.Op)+" "+strings.TrimPrefix(e.Path, s.dir)] = true
		}
	}
	until("ready ")
	s.run(t, sh("mkdir -p node_modules/x a/b/c; echo 1 > a/b/c/deep; echo 1 > node_modules/x/y; echo 1 > top; mv top moved"), nil)
	until("create /a", "create /a/b", "create /a/b/c", "create /a/b/c/deep", "create /moved", "remove /top")
	s.run(t, sh("echo 2 >> a/b/c/deep; chmod 600 moved; rm -r a; echo > last"), nil)
	until("write /a/b/c/deep", "chmod /moved", "remove /a/b/c/deep", "remove /a", "create /last")
	for k := range seen {
		if strings.Contains(k, "node_modules") {
			t.Errorf("ignored, but told: %s", k)
		}
	}
	_, err = s.Client.Watch(ctx, "nowhere")
	wantKind(t, "watch nothing", err, holt.KindNotFound)
}

// Searches of the real program, with the user's rights.
func TestFilesSearch(t *testing.T) {
	s := serve(t)
	ctx := within(t)
	find := func(q guestwire.Search) (lines []string, cut bool, err error) {
		cut, err = s.Search(ctx, q, func(m guestwire.SearchMatch) error {
			lines = append(lines, fmt.Sprintf("%s:%d:%s%v", strings.TrimPrefix(m.Path, s.dir), m.Line, m.Text, m.Ranges))
			return nil
		})
		return lines, cut, err
	}
	s.put(t, "a.go", "package a\n// needle (1) here\n", guestwire.WriteOptions{})
	s.put(t, "b.txt", "NEEDLE (1)\n"+strings.Repeat("needle\n", 100), guestwire.WriteOptions{})
	if _, _, err := find(guestwire.Search{Query: "needle"}); holt.IsKind(err, holt.KindUnsupported) {
		if !strings.Contains(err.Error(), "install it") {
			t.Errorf("without ripgrep: %v", err)
		}
		t.Skip("ripgrep is not installed here")
	}
	got, _, err := find(guestwire.Search{Query: "needle (1)", Globs: []string{"*.go"}})
	if err != nil || len(got) != 1 || got[0] != "/a.go:2:// needle (1) here[[3 13]]" {
		t.Errorf("literal: %q, %v", got, err)
	}
	if got, _, err := find(guestwire.Search{Query: "needle .1.", Regex: true, Case: true}); err != nil || len(got) != 1 {
		t.Errorf("regular expression with case: %q, %v", got, err)
	}
	if got, cut, err := find(guestwire.Search{Query: "needle", Max: 10}); err != nil || len(got) != 10 || !cut {
		t.Errorf("%d matches, cut %v, %v; want 10 and cut", len(got), cut, err)
	}
	if got, cut, err := find(guestwire.Search{Query: "--pre=/bin/false"}); err != nil || len(got) != 0 || cut {
		t.Errorf("no match: %q, %v, %v", got, cut, err)
	}
	_, _, err = find(guestwire.Search{Query: "(", Regex: true})
	wantKind(t, "bad expression", err, holt.KindInvalid)
	_, _, err = find(guestwire.Search{})
	wantKind(t, "no expression", err, holt.KindInvalid)
}

// Two writers with the tag of one version: one wins.
func TestFilesConcurrentIfMatch(t *testing.T) {
	s := serve(t)
	ctx := within(t)
	info := s.put(t, "f", "0", guestwire.WriteOptions{})
	for round := range 20 {
		var wg sync.WaitGroup
		results := make(chan guestwire.FileInfo, 4)
		for i := range 4 {
			wg.Go(func() {
				if got, err := s.Write(ctx, "f", strings.NewReader(fmt.Sprint(round, i)), guestwire.WriteOptions{IfMatch: info.ETag}); err == nil {
					results <- got
				}
			})
		}
		wg.Wait()
		if len(results) != 1 {
			t.Fatalf("round %d: %d writers won", round, len(results))
		}
		info = <-results
	}
}

// A guest's page must not run with the gateway's origin.
func TestFilesAreServedPassively(t *testing.T) {
	s := serve(t)
	s.put(t, "page.html", "<script>alert(1)</script>", guestwire.WriteOptions{})
	req, err := http.NewRequestWithContext(within(t), http.MethodGet, "http://"+s.addr+"/v1/files/content?path=page.html", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(guestwire.SecretHeader, testSecret)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	defer resp.Body.Close()
	h := resp.Header
	if h.Get("Content-Type") != "application/octet-stream" || h.Get("X-Content-Type-Options") != "nosniff" ||
		!strings.HasPrefix(h.Get("Content-Security-Policy"), "sandbox") || h.Get("Content-Disposition") != "attachment" {
		t.Errorf("headers %v", h)
	}
}
