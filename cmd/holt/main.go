// Command holt drives a Holt server from the command line: it makes, lists,
// suspends, resumes, forks and removes workspaces, and runs commands, copies
// files and forwards ports in them.
//
// It knows the server only through package api/client. Each verb is one file.
// Exit codes are in exit.go and in the help.
package main

import (
	"context"
	"io"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}, os.Getenv))
}

// streams is where a command reads and writes.
type streams struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, s streams, getenv func(string) string) int {
	a := &app{streams: s, getenv: getenv}
	root := newRoot(a)
	root.SetArgs(args)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	err := root.ExecuteContext(ctx)
	a.report(err)
	return exitCode(err)
}
