// Package e2e holds the end-to-end tests: whole stories on the real server with
// the default image. This file makes the projects that they work on.
package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// project is a small real repository with some history.
type project struct {
	name    string
	commits []map[string]string // files written by each commit
	test    string              // command that runs its tests
	passes  string              // what the command then prints
}

var projects = []project{
	{
		name: "python",
		commits: []map[string]string{
			{"words.py": "def count(text):\n    return len(text.split())\n", "README.md": "# words\n"},
			{"test_words.py": `import unittest
from words import count, longest

class WordsTest(unittest.TestCase):
    def test_count(self):
        self.assertEqual(count("one two  three"), 3)

    def test_longest(self):
        self.assertEqual(longest("a bbb cc"), "bbb")

if __name__ == "__main__":
    unittest.main()
`, "words.py": "def count(text):\n    return len(text.split())\n\n\ndef longest(text):\n    return max(text.split(), key=len)\n"},
		},
		test: "python3 -m unittest -v 2>&1", passes: "Ran 2 tests",
	},
	{
		name: "node",
		commits: []map[string]string{
			{"package.json": `{"name": "sum", "version": "1.0.0", "type": "module", "scripts": {"test": "node --test"}}` + "\n"},
			{"sum.js": "export const sum = (...n) => n.reduce((a, b) => a + b, 0);\n", "sum.test.js": `import test from "node:test";
import assert from "node:assert";
import { sum } from "./sum.js";
test("adds", () => assert.equal(sum(1, 2, 3), 6));
test("empty", () => assert.equal(sum(), 0));
`},
		},
		test: "npm test --silent 2>&1", passes: "# pass 2",
	},
	{
		name: "c",
		commits: []map[string]string{
			{"gcd.c": "#include \"gcd.h\"\nunsigned gcd(unsigned a, unsigned b) { return b ? gcd(b, a % b) : a; }\n", "gcd.h": "unsigned gcd(unsigned a, unsigned b);\n"},
			{"check.c": `#include <assert.h>
#include <stdio.h>
#include "gcd.h"
int main(void) {
	assert(gcd(12, 18) == 6);
	assert(gcd(7, 13) == 1);
	assert(gcd(0, 5) == 5);
	puts("3 checks passed");
}
`, "Makefile": "CFLAGS = -O2 -Wall -Werror\ncheck: check.o gcd.o\n\t$(CC) -o run-check $^\n\t./run-check\n.PHONY: check\n"},
		},
		test: "make check 2>&1", passes: "3 checks passed",
	},
}

// publish makes a bare repository of the project below dir.
func (p project) publish(t testing.TB, dir string) {
	t.Helper()
	work := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", work, "-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	git("init", "-q")
	for _, files := range p.commits {
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		git("add", "-A")
		git("commit", "-q", "-m", "a step of "+p.name)
	}
	bare := filepath.Join(dir, p.name+".git")
	git("clone", "-q", "--bare", work, bare)
	git("--git-dir", bare, "update-server-info")
}
