package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestImageLoadAndRemove(t *testing.T) {
	_, env := server(t)
	text := strings.Repeat("archive", 1000)
	file := filepath.Join(t.TempDir(), "app.tar")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, stdin string }{{file, ""}, {"-", text}} {
		got := call(t, env, c.stdin, "image", "load", c.from, "--name", "team/app:1", "--json")
		if got.code != 0 || got.err != "" || !strings.Contains(got.out, `"team/app:1"`) || !strings.Contains(got.out, `"bytes": 7000`) {
			t.Errorf("load %s: %+v", c.from, got)
		}
	}
	if got := call(t, env, "", "image", "load", "-", "--name", "app"); got.code != 2 || !strings.Contains(got.err, "empty") {
		t.Errorf("load of nothing: %+v", got)
	}
	if got := call(t, env, "", "image", "rm", "default"); got.code != 4 || !strings.Contains(got.err, "in use by demo") {
		t.Errorf("rm of an image in use: %+v", got)
	}
	if got := call(t, env, "", "image", "rm", "registry.test/none:1"); got.code != 3 || !strings.Contains(got.err, "registry.test/none:1") {
		t.Errorf("rm of no image: %+v", got)
	}
}
