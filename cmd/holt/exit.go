package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holt-ide/holt"
)

// The exit codes of every verb but exec. They are part of the interface.
const (
	exitFailure     = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitConflict    = 4
	exitForbidden   = 5
	exitUnavailable = 6
	exitLimit       = 7

	exitExecOwn     = 125 // exec could not run the command
	exitInterrupted = 130 // the user pressed Ctrl-C
)

// codes maps kinds of error to exit codes; what is not here is exitFailure.
var codes = map[holt.Kind]int{
	holt.KindInvalid:      exitUsage,
	holt.KindNotFound:     exitNotFound,
	holt.KindConflict:     exitConflict,
	holt.KindUnauthorized: exitForbidden,
	holt.KindForbidden:    exitForbidden,
	holt.KindUnavailable:  exitUnavailable,
	holt.KindTimeout:      exitUnavailable,
	holt.KindLimit:        exitLimit,
	holt.KindNoSpace:      exitLimit,
}

// exitError carries an exit code of its own. A nil err prints nothing.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

var errInterrupted error = &exitError{code: exitInterrupted}

// usage returns an error about the command line of cmd.
func usage(cmd *cobra.Command, err error) error {
	if _, ok := errors.AsType[*exitError](err); ok {
		return err
	}
	code := exitUsage
	if cmd.Name() == "exec" { // 2 could be the command's own
		code = exitExecOwn
	}
	return &exitError{code: code, err: fmt.Errorf("%w\nusage: %s\nhelp:  %s --help", err, cmd.UseLine(), cmd.CommandPath())}
}

func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	if errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	if code, ok := codes[holt.KindOf(err)]; ok {
		return code
	}
	return exitFailure
}

// report prints an error for people, or with --json for programs.
func (a *app) report(err error) {
	if err == nil {
		return
	}
	if e, ok := errors.AsType[*exitError](err); ok && e.err == nil {
		return
	}
	if !a.json {
		fmt.Fprintf(a.err, "holt: %v\n", err)
		return
	}
	body := jsonError{Text: err.Error(), Kind: holt.KindOf(err)}
	if exitCode(err) == exitUsage {
		body.Kind = holt.KindInvalid
	}
	if e, ok := errors.AsType[*holt.Error](err); ok {
		body.Field, body.Limit = e.Field, e.Limit
	}
	data, _ := json.Marshal(map[string]jsonError{"error": body}) // strings always encode
	fmt.Fprintf(a.err, "%s\n", data)
}

// jsonError is how --json shows an error, under the key "error".
type jsonError struct {
	Kind  holt.Kind `json:"kind"`
	Field string    `json:"field,omitempty"`
	Limit string    `json:"limit,omitempty"`
	Text  string    `json:"text"`
}
