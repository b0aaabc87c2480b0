package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write the golden files")

// result is what one command line gave.
type result struct {
	code     int
	out, err string
}

// call runs a command line without a server unless env names one.
func call(t *testing.T, env map[string]string, stdin string, args ...string) result {
	t.Helper()
	return callCtx(t.Context(), env, stdin, args...)
}

func callCtx(ctx context.Context, env map[string]string, stdin string, args ...string) result {
	var out, errs bytes.Buffer
	code := run(ctx, args, streams{in: strings.NewReader(stdin), out: &out, err: &errs}, func(k string) string { return env[k] })
	return result{code, out.String(), errs.String()}
}

// The help of every command is a golden file: it is part of the interface.
func TestHelp(t *testing.T) {
	var visit func(cmd *cobra.Command, words []string)
	seen := map[string]bool{}
	visit = func(cmd *cobra.Command, words []string) {
		name := strings.Join(append([]string{"holt"}, words...), "-") + ".txt"
		seen[name] = true
		got := call(t, nil, "", append(words, "--help")...)
		if got.code != 0 || got.err != "" {
			t.Errorf("%s: exit %d, %s", name, got.code, got.err)
		}
		golden(t, name, got.out)
		for _, sub := range cmd.Commands() {
			if sub.Name() != "help" && sub.Name() != "completion" {
				visit(sub, append(words[:len(words):len(words)], sub.Name()))
			}
		}
	}
	visit(newRoot(&app{getenv: func(string) string { return "" }}), nil)
	entries, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !seen[e.Name()] {
			t.Errorf("testdata/%s belongs to no command", e.Name())
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not as committed; look at the difference, then run go test ./cmd/holt -run Help -update\ngot:\n%s", path, got)
	}
}

func TestWrongCommandLines(t *testing.T) {
	env := map[string]string{"HOLT_URL": "http://127.0.0.1:1", "HOLT_TOKEN": "x"}
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"frobnicate", 2, "unknown command"},
		{"create", 2, "usage: holt create NAME"},
		{"create a b", 2, "accepts 1 arg"},
		{"create a --memory lots", 2, "is not a size"},
		{"create a --idle soon", 2, "is not a duration"},
		{"create a --colour red", 2, "unknown flag"},
		{"port a web", 2, "is not a port"},
		{"port a 0", 2, "from 1 to 65535"},
		{"port a 80 65536", 2, "from 0 to 65535"},
		{"cp a b", 2, "one of SRC and DST"},
		{"cp a:x b:y", 2, "one of SRC and DST"},
		{"terminal a --id ..", 2, "cannot name a terminal"},
		{"exec a", 125, "usage: holt exec NAME"},
		{"exec a b -- c", 125, "one NAME goes before --"},
		{"exec a -e X -- c", 125, "NAME=VALUE"},
		{"exec a --colour -- c", 125, "unknown flag"},
		{"exec a -- true", 125, "cannot reach the server"},
		{"image frobnicate", 2, "unknown command"},
		{"image load x.tar", 2, "give it with --name"},
		{"image load /no/such.tar --name a", 3, "no such archive"},
		{"image load / --name a", 2, "is a directory"},
		{"image rm", 2, "accepts 1 arg"},
		{"ls", 6, "is holtd running, and is HOLT_URL right?"},
	} {
		got := call(t, env, "", strings.Fields(c.args)...)
		if got.code != c.code || !strings.Contains(got.err, c.says) || got.out != "" {
			t.Errorf("holt %s: exit %d, out %q, err %q; want %d with %q", c.args, got.code, got.out, got.err, c.code, c.says)
		}
	}
	if got := call(t, map[string]string{"HOLT_URL": "ftp://x", "HOLT_TOKEN": "x"}, "", "ls"); got.code != 2 || !strings.Contains(got.err, "not the address of a server") {
		t.Errorf("bad URL: %+v", got)
	}
	got := call(t, env, "", "--json", "create", "a", "--memory", "lots")
	if want := `{"error":{"kind":"invalid","field":"memory","text":"\"lots\" is not a size: use a number and k, m, g or t, such as 512m"}}` + "\n"; got.err != want {
		t.Errorf("error as JSON: %s", got.err)
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if got := call(t, nil, "", "completion", shell); got.code != 0 || !strings.Contains(got.out, "holt") {
			t.Errorf("%s: %+v", shell, got.code)
		}
	}
}

// The detach sequence in every cut of what is typed.
func TestEscape(t *testing.T) {
	for _, c := range []struct {
		in, out string
		leave   bool
	}{
		{"ls\r", "ls\r", false},
		{"~.", "", true},
		{"ls\r~.", "ls\r", true},
		{"a~.", "a~.", false},
		{"~~", "~", false},
		{"~~.", "~.", false},
		{"~~\r~.x", "~\r", true},
		{"~a~.", "~a~.", false},
		{"cd ~/x\r~x\r~.", "cd ~/x\r~x\r", true},
		{"\n~.", "\n", true},
		{"~\r~.", "~\r", true},
	} {
		for cut := range len(c.in) + 1 {
			var e escape
			var out []byte
			var leave bool
			for _, part := range []string{c.in[:cut], c.in[cut:]} {
				if leave {
					break
				}
				var o []byte
				o, leave = e.feed([]byte(part))
				out = append(out, o...)
			}
			if string(out) != c.out || leave != c.leave {
				t.Errorf("%q cut at %d: %q, %v; want %q, %v", c.in, cut, out, leave, c.out, c.leave)
			}
		}
	}
}
