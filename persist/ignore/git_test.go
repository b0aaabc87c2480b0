package ignore

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The rules decide as Git does, for patterns and paths made of the pieces that matter. Two
// stars beside a name are left out: Git takes them for folders or not depending on what is before.
func TestLikeGit(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	dir := t.TempDir()
	git := func(in string, args ...string) string {
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "core.excludesFile="}, args...)...)
		cmd.Stdin = strings.NewReader(in)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil && errs.Len() > 0 { // 1 means that nothing is ignored
			t.Fatalf("git %v: %v: %s", args, err, errs.Bytes())
		}
		return out.String()
	}
	git("", "init", "-q")
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	names := []string{"a", "b", "ab", "abc", "a.b", "x.log", "[", "a b", "A", "*", "é", "!a", "#a", "ba"}
	for range 60 {
		var patterns strings.Builder
		for range 1 + r.IntN(4) {
			patterns.WriteString(pick("", "", "", "!"))
			patterns.WriteString(pick("", "", "/", "**/", "a/"))
			for range 1 + r.IntN(3) {
				patterns.WriteString(pick("a", "b", "*", "?", "[ab]", "[!a]", "[^b]", "[a-c]", "[[:alpha:]]", `\*`, `\a`, ".log", ".", "/", "/**/", "a", "ab", "[]a]", "é", "[a-", `\`))
			}
			patterns.WriteString(pick("", "", "/", "/*", "/**", " ", `\ `))
			patterns.WriteString(pick("\n", "\n", "\n", "\r\n"))
		}
		text := patterns.String()
		if err := os.WriteFile(filepath.Join(dir, ".git/info/exclude"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		rules := parse(text)
		var paths []string
		var in strings.Builder
		for range 40 {
			path := pick(names...)
			for range r.IntN(3) {
				path += "/" + pick(names...)
			}
			if r.IntN(2) == 0 {
				if err := os.MkdirAll(filepath.Join(dir, path), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			paths = append(paths, path)
			fmt.Fprintf(&in, "%s\x00", path)
		}
		ignored := map[string]bool{}
		fields := strings.Split(git(in.String(), "check-ignore", "--no-index", "-v", "-n", "-z", "--stdin"), "\x00")
		for i := 0; i+3 < len(fields); i += 4 {
			ignored[fields[i+3]] = fields[i+2] != "" && !strings.HasPrefix(fields[i+2], "!")
		}
		for _, path := range paths {
			info, err := os.Stat(filepath.Join(dir, path))
			if got := walked(&rules, path, err == nil && info.IsDir()); got != ignored[path] {
				t.Errorf("patterns %q: %q is left out: %v, Git says %v", text, path, got, ignored[path])
			}
		}
		if t.Failed() {
			return
		}
	}
}

// walked asks for every folder above first, as one who walks does.
func walked(l *list, path string, dir bool) bool {
	for i := range len(path) {
		if path[i] == '/' && l.match(path[:i], true) {
			return true
		}
	}
	return l.match(path, dir)
}

// A pattern that is made to take long does not.
func TestManyStars(t *testing.T) {
	l := parse(strings.Repeat("*a", 200) + "b\n" + strings.Repeat("**/", 200) + "b\n")
	if l.match(strings.Repeat("a/", 120)+strings.Repeat("a", 250), false) {
		t.Error("matched")
	}
}
