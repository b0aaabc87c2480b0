package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/holt-ide/holt"
)

// Exit codes of commands that could not be run, as a shell has them.
const (
	ExitNotFound      = 127
	ExitNotExecutable = 126
)

// ErrNotFound is in the chain of the error for a command that does not exist.
var ErrNotFound = errors.New("command not found")

// Look finds the command name as a shell with the environment env in dir would.
// It checks that there is an executable file, not whether the user may run it:
// the start tells.
func Look(name string, env []string, dir string) (string, error) {
	if name == "" {
		return "", holt.Invalid("cmd", "the command is empty")
	}
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		if _, err := os.Stat(name); errors.Is(err, os.ErrNotExist) {
			return "", notFound(name)
		}
		return name, nil
	}
	refused := ""
	for _, kv := range env {
		path, ok := strings.CutPrefix(kv, "PATH=")
		if !ok {
			continue
		}
		for _, d := range filepath.SplitList(path) {
			if !filepath.IsAbs(d) {
				d = filepath.Join(dir, d)
			}
			file := filepath.Join(d, name)
			st, err := os.Stat(file)
			switch {
			case err != nil || !st.Mode().IsRegular():
			case st.Mode()&0o111 != 0:
				return file, nil
			default:
				refused = file
			}
		}
	}
	if refused != "" {
		return refused, nil // the start fails with the right error
	}
	return "", notFound(name)
}

func notFound(name string) error {
	return &holt.Error{Kind: holt.KindNotFound, Field: "cmd", Text: name, Err: ErrNotFound}
}

// Explain turns the error of [Table.Start] into one for the user.
func Explain(name, dir string, err error) error {
	fail := func(k holt.Kind, field, text string) error {
		return &holt.Error{Kind: k, Field: field, Text: text, Err: err}
	}
	switch {
	case errors.Is(err, syscall.EAGAIN):
		return fail(holt.KindLimit, "processes", "the workspace has as many processes as it may; end some")
	case errors.Is(err, syscall.ENOMEM):
		return fail(holt.KindLimit, "memory", "the workspace has no memory left; end some processes")
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return fail(holt.KindForbidden, "cmd", fmt.Sprintf("%s cannot be executed, or %s cannot be entered", name, dir))
	case errors.Is(err, syscall.ENOENT):
		return fail(holt.KindInvalid, "cmd", fmt.Sprintf("%s names an interpreter that does not exist", name))
	case errors.Is(err, syscall.ENOEXEC):
		return fail(holt.KindInvalid, "cmd", fmt.Sprintf("%s is not a program: a script needs a #! line", name))
	case errors.Is(err, syscall.E2BIG):
		return fail(holt.KindInvalid, "cmd", "the arguments and the environment are too long")
	}
	return fail(holt.KindInvalid, "cmd", fmt.Sprintf("%s cannot be started", name))
}
