// Package ignore decides which files of a workspace are not worth keeping: what
// package managers and compilers make again, and what the file .holtignore names in the
// grammar of gitignore(5).
//
// A pattern of .holtignore counts from /workspace. Later patterns win over earlier
// ones, and all of them over the [Defaults], so that `!node_modules/` keeps what would be left
// out. As in Git, nothing in a folder that is left out can be taken back in.
//
// The text comes from a guest: it is bounded, and matching takes no more than the product of
// the lengths of pattern and path. The package imports the standard library only.
package ignore

import (
	"slices"
	"strings"
)

// FileName is the name of the file with a workspace's own patterns, in /workspace.
const FileName = ".holtignore"

// Bounds of what is read of that file.
const (
	MaxSize     = 64 << 10 // bytes
	MaxPatterns = 1000
)

// Defaults are the patterns that hold for /workspace without being asked for.
const Defaults = `# What package managers and compilers bring or make again
node_modules/
.venv/
venv/
__pycache__/
.mypy_cache/
.pytest_cache/
.ruff_cache/
.tox/
.nox/
.gradle/
.next/cache/
.nuxt/
.turbo/
.parcel-cache/
.terraform/
**/target/debug/
**/target/release/
**/target/CACHEDIR.TAG
*.pyc
core.[0-9]*
.holt-restore-*
.DS_Store
`

// HomeDefaults are those for /home/dev.
const HomeDefaults = `/.cache/
/.npm/
/.yarn/cache/
/.pnpm-store/
/.local/share/Trash/
/.local/share/pnpm/store/
/.cargo/registry/
/.cargo/git/
/.m2/repository/
/.gradle/
/.nuget/packages/
/.bundle/cache/
/go/pkg/
node_modules/
__pycache__/
.holt-restore-*
`

// Rules decide about paths from a volume's top: "workspace/a", "home/b". The zero value
// leaves nothing out.
type Rules struct {
	text      string
	workspace list
	home      list
}

type list struct {
	patterns []pattern
	// Patterns that are a name without special characters, by that name: most are.
	named map[string][]int
	rest  []int
}

type pattern struct {
	negated  bool
	dirOnly  bool
	anchored bool   // it is compared with the whole path, not with the last name
	glob     string // without a slash in front
}

// New returns the defaults and the patterns of text, which is what is in a workspace's
// .holtignore.
func New(text string) *Rules {
	return &Rules{text: text, workspace: parse(Defaults + "\n" + text), home: parse(HomeDefaults)}
}

// Text returns what New was given.
func (r *Rules) Text() string { return r.text }

// Match reports whether what is at path is left out. That a folder above it is left
// out does not count: ask for that first.
func (r *Rules) Match(path string, dir bool) bool {
	top, rest, _ := strings.Cut(path, "/")
	switch {
	case rest == "":
		return false
	case top == "workspace":
		return r.workspace.match(rest, dir)
	case top == "home":
		return r.home.match(rest, dir)
	}
	return false
}

func parse(text string) list {
	l := list{named: map[string][]int{}}
	for line := range strings.Lines(text) {
		if len(l.patterns) == MaxPatterns {
			break
		}
		p, ok := parseLine(strings.TrimRight(line, "\r\n"))
		if !ok {
			continue
		}
		if n := len(l.patterns); !p.anchored && !strings.ContainsAny(p.glob, `*?[\`) {
			l.named[p.glob] = append(l.named[p.glob], n)
		} else {
			l.rest = append(l.rest, n)
		}
		l.patterns = append(l.patterns, p)
	}
	return l
}

// parseLine understands a line as gitignore(5) says.
func parseLine(s string) (p pattern, ok bool) {
	if strings.HasPrefix(s, "#") {
		return p, false
	}
	for strings.HasSuffix(s, " ") && !escaped(s, len(s)-1) {
		s = s[:len(s)-1]
	}
	if s, p.negated = strings.CutPrefix(s, "!"); s == "" {
		return p, false
	}
	s, p.dirOnly = strings.CutSuffix(s, "/")
	p.anchored = strings.Contains(s, "/")
	p.glob = strings.TrimPrefix(s, "/")
	return p, p.glob != "" || s == "/"
}

// escaped reports whether an odd number of backslashes stands before s[i].
func escaped(s string, i int) bool {
	n := 0
	for n < i && s[i-1-n] == '\\' {
		n++
	}
	return n%2 == 1
}

func (l *list) match(path string, dir bool) bool {
	name := path[strings.LastIndexByte(path, '/')+1:]
	last := -1
	for _, n := range l.named[name] {
		if n > last && (dir || !l.patterns[n].dirOnly) {
			last = n
		}
	}
	for _, n := range slices.Backward(l.rest) {
		if n <= last {
			break
		}
		p := &l.patterns[n]
		if p.dirOnly && !dir {
			continue
		}
		if p.anchored && glob(p.glob, path) || !p.anchored && glob(p.glob, name) {
			last = n
			break
		}
	}
	return last >= 0 && !l.patterns[last].negated
}
