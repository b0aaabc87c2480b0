package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/test/stand"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server starts a server and returns what runs command lines against it.
func server(t *testing.T) (*stand.Stand, map[string]string) {
	t.Helper()
	s := stand.New(t)
	return s, map[string]string{"HOLT_URL": s.URL, "HOLT_TOKEN": s.Admin, "HOME": t.TempDir()}
}

// ok runs a command line that has to work.
func ok(t *testing.T, env map[string]string, args ...string) string {
	t.Helper()
	got := call(t, env, "", args...)
	if got.code != 0 {
		t.Fatalf("holt %s: exit %d: %s", strings.Join(args, " "), got.code, got.err)
	}
	return got.out
}

func TestLifeFromTheCommandLine(t *testing.T) {
	_, env := server(t)
	var w map[string]any
	if err := json.Unmarshal([]byte(ok(t, env, "create", "demo", "--memory", "512m", "--disk", "1g", "--idle", "30m", "--json")), &w); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"id", "name", "state", "created_at"} {
		if w[field] == nil {
			t.Errorf("create --json lacks %s: %v", field, w)
		}
	}
	if w["state"] != "RUNNING" {
		t.Errorf("create did not wait: %v", w["state"])
	}
	if got := ok(t, env, "suspend", "demo"); got != "demo\tSUSPENDED\n" {
		t.Errorf("suspend printed %q", got)
	}
	var d map[string]any
	if err := json.Unmarshal([]byte(ok(t, env, "show", "demo", "--json")), &d); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"node", "image", "limits", "snapshot", "last_active_at", "state_history"} {
		if d[field] == nil {
			t.Errorf("show --json lacks %s: %v", field, d)
		}
	}
	if l := d["limits"].(map[string]any); l["memory_bytes"] != float64(512<<20) || d["idle_after_seconds"] != float64(1800) {
		t.Errorf("limits %v, idle %v", l, d["idle_after_seconds"])
	}
	ok(t, env, "resume", "demo")
	if err := json.Unmarshal([]byte(ok(t, env, "show", "demo", "--json")), &d); err != nil || d["sandbox_id"] == nil {
		t.Errorf("show --json of a running one lacks sandbox_id: %v", d)
	}
	ok(t, env, "fork", "demo", "copy")
	if got := ok(t, env, "ls"); !strings.Contains(got, "demo") || !strings.Contains(got, "copy") || !strings.Contains(got, "512 MiB") {
		t.Errorf("ls printed\n%s", got)
	}
	if got := ok(t, env, "show", "demo"); !strings.Contains(got, "history") {
		t.Errorf("show printed\n%s", got)
	}
	for _, line := range strings.Split(strings.TrimSpace(ok(t, env, "logs", "demo", "--json")), "\n") {
		var e api.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Seq == 0 {
			t.Errorf("log line %q: %v", line, err)
		}
	}
	ok(t, env, "stop", "copy")
	ok(t, env, "rm", "copy")
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"rm demo", 4, "--force"},
		{"create demo", 4, "another name"},
		{"create Bad", 2, "a-z"},
		{"create x --image nope", 3, "holt image ls"},
		{"create x --memory 999t", 2, "at most 16 GiB"},
		{"show copy", 3, "copy"},
	} {
		if got := call(t, env, "", strings.Fields(c.args)...); got.code != c.code || !strings.Contains(got.err, c.says) {
			t.Errorf("holt %s: exit %d, %q; want %d with %q", c.args, got.code, got.err, c.code, c.says)
		}
	}
	ok(t, env, "rm", "demo", "--force")
	if got := ok(t, env, "ls", "--json"); got != "[]\n" {
		t.Errorf("ls of nothing: %q", got)
	}
	env["HOLT_TOKEN"] = "holt_wrong"
	if got := call(t, env, "", "ls"); got.code != 5 {
		t.Errorf("wrong token: %+v", got)
	}
}

func TestExec(t *testing.T) {
	s, env := server(t)
	s.Start(t, "demo")
	for _, c := range []struct {
		name, stdin string
		args        []string
		code        int
		out, err    string
	}{
		{"output and code", "", []string{"exec", "demo", "--", "sh", "-c", "echo out; echo err >&2; exit 3"}, 3, "out\n", "err\n"},
		{"stdin", "hello", []string{"exec", "demo", "-i", "--", "cat"}, 0, "hello", ""},
		{"no stdin unless asked", "hello", []string{"exec", "demo", "--", "cat"}, 0, "", ""},
		{"environment and directory", "", []string{"exec", "demo", "-e", "A=1 2", "--cwd", "/", "--", "sh", "-c", `echo "$A" $PWD`}, 0, "1 2 /\n", ""},
		{"flags of the command", "", []string{"exec", "demo", "--", "echo", "-n", "--json"}, 0, "--json", ""},
		{"signal", "", []string{"exec", "demo", "--", "sh", "-c", "kill -TERM $$"}, 143, "", ""},
		{"not found", "", []string{"exec", "demo", "--", "no-such-command"}, 127, "", "no-such-command"},
		{"not executable", "", []string{"exec", "demo", "--", "/etc/passwd"}, 126, "", "passwd"},
		{"no workspace", "", []string{"exec", "nobody", "--", "true"}, 125, "", "nobody"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := call(t, env, c.stdin, c.args...)
			if got.code != c.code || got.out != c.out || !strings.Contains(got.err, c.err) || (c.err == "" && got.err != "") {
				t.Errorf("%+v, want %d, %q, %q", got, c.code, c.out, c.err)
			}
		})
	}
	ok(t, env, "suspend", "demo")
	if got := ok(t, env, "exec", "demo", "--", "echo", "woken"); got != "woken\n" {
		t.Errorf("exec in a suspended workspace: %q", got)
	}
}

func TestCopy(t *testing.T) {
	s, env := server(t)
	s.Start(t, "demo")
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	for name, mode := range map[string]os.FileMode{"a.txt": 0o640, "sub/run.sh": 0o755, "sub/deep/x": 0o600} {
		p := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte("content of "+name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a.txt", filepath.Join(tree, "link")); err != nil {
		t.Fatal(err)
	}
	old := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	if err := os.Chtimes(filepath.Join(tree, "a.txt"), old, old); err != nil {
		t.Fatal(err)
	}
	inside := func(cmd string) string { return ok(t, env, "exec", "demo", "--", "sh", "-c", cmd) }

	ok(t, env, "cp", tree, "demo:new")   // a new name
	ok(t, env, "cp", tree, "demo:new")   // into what is now a directory
	ok(t, env, "cp", tree+"/.", "demo:") // its content
	want := "./a.txt 640 2020\n./link\n./new/a.txt 640 2020\n./new/tree/a.txt 640 2020\n"
	got := inside(`for f in a.txt link new/a.txt new/tree/a.txt; do [ -L $f ] && echo ./$f || echo ./$f $(stat -c '%a' $f) $(date -u -r $f +%Y); done`)
	if got != want {
		t.Errorf("inside:\n%swant:\n%s", got, want)
	}
	if got := inside("cat new/sub/run.sh; stat -c ' %a' new/sub/run.sh; readlink link"); got != "content of sub/run.sh 755\na.txt\n" {
		t.Errorf("inside: %q", got)
	}
	ok(t, env, "cp", filepath.Join(tree, "a.txt"), "demo:renamed")
	if got := inside("cat renamed"); got != "content of a.txt" {
		t.Errorf("renamed: %q", got)
	}

	back := filepath.Join(dir, "back")
	ok(t, env, "cp", "demo:new/sub", back)
	ok(t, env, "cp", "demo:renamed", dir)
	ok(t, env, "cp", "demo:new", dir+"/")
	for name, text := range map[string]string{"back/run.sh": "sub/run.sh", "back/deep/x": "sub/deep/x", "renamed": "a.txt", "new/link": "a.txt", "new/tree/sub/deep/x": "sub/deep/x"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(b) != "content of "+text {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "new/a.txt"))
	if err != nil || info.Mode().Perm() != 0o640 || !info.ModTime().Equal(old) {
		t.Errorf("new/a.txt: %v, %v", info, err)
	}
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"cp", dir + "/nothing", "demo:x"}, 3}, {[]string{"cp", "demo:nothing", dir}, 3},
		{[]string{"cp", tree, "demo:renamed"}, 4}, {[]string{"cp", "demo:new", dir + "/renamed"}, 4},
		{[]string{"cp", filepath.Join(tree, "a.txt"), "demo:nodir/"}, 3},
	} {
		if got := call(t, env, "", c.args...); got.code != c.code {
			t.Errorf("%v: %+v, want %d", c.args, got, c.code)
		}
	}
}

func TestPort(t *testing.T) {
	s, env := server(t)
	s.Start(t, "demo")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer ln.Close()
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				all, _ := io.ReadAll(conn)
				fmt.Fprintf(conn, "got %s", all)
			})
		}
	})
	_, port, _ := net.SplitHostPort(ln.Addr().String())

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pr, pw := io.Pipe()
	done := make(chan int, 1)
	go func() {
		var errs bytes.Buffer
		done <- run(ctx, []string{"port", "demo", port, "0"}, streams{in: strings.NewReader(""), out: pw, err: &errs}, func(k string) string { return env[k] })
	}()
	buf := make([]byte, 256)
	n, err := pr.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	addr, _, _ := strings.Cut(string(buf[:n]), " ")
	for range 3 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, "ping")
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(conn); err != nil || string(got) != "got ping" {
			t.Errorf("through the port: %q, %v", got, err)
		}
		conn.Close()
	}
	cancel()
	if code := <-done; code != exitInterrupted {
		t.Errorf("exit %d", code)
	}
}

// screen collects what a terminal shows.
type screen struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

func (s *screen) wait(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !strings.Contains(s.String(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%q did not appear after %q", text, s.String())
		}
	}
}

// A terminal whose connection is cut again and again shows every line once.
func TestTerminalReconnects(t *testing.T) {
	st, env := server(t)
	w := st.Start(t, "demo")
	pr, pw := io.Pipe()
	var out screen
	done := make(chan int, 1)
	go func() {
		done <- run(t.Context(), []string{"terminal", "demo"}, streams{in: pr, out: &out, err: io.Discard}, func(k string) string { return env[k] })
	}()
	keys := func(s string) {
		t.Helper()
		if _, err := io.WriteString(pw, s); err != nil {
			t.Fatal(err)
		}
	}
	keys("stty -echo; PS1=; for i in $(seq 1 40); do echo line-$i-end; sleep 0.02; done; echo all-$((1+1))-done\r")
	for _, after := range []string{"line-5-end", "line-15-end", "line-25-end"} {
		out.wait(t, after)
		st.Node.Cut(holt.WorkspaceID(w.ID))
	}
	out.wait(t, "all-2-done")
	for i := 1; i <= 40; i++ {
		if n := strings.Count(out.String(), fmt.Sprintf("line-%d-end", i)); n != 1 {
			t.Errorf("line %d appeared %d times", i, n)
		}
	}
	keys("exit 5\r")
	if code := <-done; code != 5 {
		t.Errorf("exit %d, want the shell's 5", code)
	}
	pw.Close()
}

func TestTerminalDetaches(t *testing.T) {
	st, env := server(t)
	st.Start(t, "demo")
	attach := func(input, want string) {
		t.Helper()
		pr, pw := io.Pipe()
		defer pw.Close()
		var out screen
		done := make(chan int, 1)
		go func() {
			done <- run(t.Context(), []string{"terminal", "demo", "--id", "work"}, streams{in: pr, out: &out, err: io.Discard}, func(k string) string { return env[k] })
		}()
		io.WriteString(pw, input)
		out.wait(t, want)
		io.WriteString(pw, "~.")
		if code := <-done; code != 0 {
			t.Errorf("detach: exit %d", code)
		}
	}
	attach("x=20; echo one-$((x+1))\r", "one-21")
	attach("echo two-$((x+2))\r", "two-22") // the same shell
}

// Accounts, sharing and the audit log from the command line.
func TestPeopleFromTheCommandLine(t *testing.T) {
	s, env := server(t)
	bob := s.Token(t, s.User(t, "bob", meta.RoleMember), meta.ScopeAdmin, "")
	his := map[string]string{"HOLT_URL": s.URL, "HOLT_TOKEN": bob, "HOME": t.TempDir()}
	ok(t, env, "create", "demo")
	if got := call(t, his, "", "show", "demo"); got.code != exitNotFound || !strings.Contains(got.err, "there is no workspace") {
		t.Errorf("a stranger's show: %+v", got)
	}
	if got := ok(t, env, "share", "demo", "bob"); !strings.Contains(got, "bob") || !strings.Contains(got, "viewer") || !strings.Contains(got, "owner") {
		t.Errorf("share printed %q", got)
	}
	if got := ok(t, his, "ls"); !strings.Contains(got, "demo") {
		t.Errorf("ls printed %q", got)
	}
	if got := call(t, his, "", "rm", "demo", "--force"); got.code != exitForbidden || !strings.Contains(got.err, "you are a viewer of demo") {
		t.Errorf("a viewer's rm: %+v", got)
	}
	if got := call(t, his, "", "exec", "demo", "--", "true"); got.code != exitExecOwn || !strings.Contains(got.err, "this needs an editor") {
		t.Errorf("a viewer's exec: %+v", got)
	}
	ok(t, env, "share", "demo", "bob", "--role", "editor")
	ok(t, his, "exec", "demo", "--", "true")
	if got := ok(t, env, "members", "demo", "--json"); !strings.Contains(got, `"role": "editor"`) {
		t.Errorf("members printed %s", got)
	}
	if got := ok(t, env, "share", "demo", "--link"); !strings.HasPrefix(got, s.URL+"/invite?code=holti_") {
		t.Errorf("share --link printed %q", got)
	}
	if got := call(t, env, "", "share", "demo"); got.code != exitUsage {
		t.Errorf("share with nobody: %+v", got)
	}
	if got := call(t, env, "", "share", "demo", "nobody"); got.code != exitNotFound || !strings.Contains(got.err, `there is no user "nobody"`) {
		t.Errorf("share with an unknown user: %+v", got)
	}
	ok(t, his, "unshare", "demo", "bob") // he leaves
	if got := ok(t, his, "ls", "--json"); got != "[]\n" {
		t.Errorf("after leaving he sees %s", got)
	}

	if got := ok(t, env, "user", "invite", "for Eve"); !strings.HasPrefix(got, s.URL+"/invite?code=") {
		t.Errorf("invite printed %q", got)
	}
	if got := ok(t, env, "user", "invitations"); !strings.Contains(got, "for Eve") || !strings.Contains(got, "open") {
		t.Errorf("invitations printed %q", got)
	}
	if got := call(t, his, "", "user", "ls"); got.code != exitForbidden || !strings.Contains(got.err, "only an admin") {
		t.Errorf("a member's user ls: %+v", got)
	}
	if got := ok(t, env, "user", "disable", "bob"); got != "bob\tmember\tdisabled\n" {
		t.Errorf("disable printed %q", got)
	}
	if got := call(t, his, "", "ls"); got.code != exitForbidden || !strings.Contains(got.err, "is disabled") {
		t.Errorf("a disabled user's ls: %+v", got)
	}
	ok(t, env, "user", "enable", "bob")
	if got := ok(t, env, "user", "role", "bob", "admin"); got != "bob\tadmin\tenabled\n" {
		t.Errorf("role printed %q", got)
	}
	if got := ok(t, env, "user", "ls"); !strings.Contains(got, "bob") || !strings.Contains(got, "root") {
		t.Errorf("user ls printed %q", got)
	}
	if got := ok(t, env, "user", "reset", "bob"); !strings.HasPrefix(got, s.URL+"/welcome?code=") {
		t.Errorf("reset printed %q", got)
	}
	token := strings.TrimSpace(ok(t, env, "token", "create", "ci", "--workspace", "demo", "--expires", "1h"))
	narrow := map[string]string{"HOLT_URL": s.URL, "HOLT_TOKEN": token, "HOME": t.TempDir()}
	ok(t, narrow, "exec", "demo", "--", "true")
	if got := call(t, narrow, "", "create", "other"); got.code != exitForbidden {
		t.Errorf("a token for one workspace made another: %+v", got)
	}
	var entries []api.AuditEntry
	if err := json.Unmarshal([]byte(ok(t, env, "audit", "--json", "--limit", "1000")), &entries); err != nil {
		t.Fatal(err)
	}
	var acts []string
	for _, e := range entries {
		acts = append(acts, e.Actor+" "+e.Action+" "+e.Target+" "+e.Outcome)
	}
	for _, want := range []string{
		"root create-workspace demo done", "bob delete-workspace demo refused", "root set-member demo done", "root create-share-link demo done",
		"bob remove-member demo done", "root create-invitation for Eve done", "root update-user bob done", "root reset-password bob done", "root create-token ci done",
		"root create-workspace  refused",
	} {
		if !slices.Contains(acts, want) {
			t.Errorf("the audit log lacks %q: %q", want, acts)
		}
	}
	if got := ok(t, env, "audit", "--action", "set-member", "--limit", "2"); strings.Count(got, "\n") != 3 || !strings.Contains(got, "with bob as editor") {
		t.Errorf("audit printed %q", got)
	}
	ok(t, env, "user", "rm", "bob")
	if got := call(t, env, "", "user", "rm", "root"); got.code != exitConflict || !strings.Contains(got.err, "last admin") {
		t.Errorf("rm of the last admin: %+v", got)
	}
}
