package main

import (
	"context"
	"fmt"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/api/client"
)

// await waits until w is in state want, shows each change of state with the
// time it took on a terminal, and then prints the workspace.
func (a *app) await(ctx context.Context, c *client.Client, w api.Workspace, want holt.State, noWait bool) error {
	if !noWait {
		start, last := time.Now(), ""
		var err error
		w, err = c.Await(ctx, w, want, func(w api.Workspace) {
			if line := w.State + "  " + w.Message; line != last {
				a.notef("%6.1fs  %-12s  %s", time.Since(start).Seconds(), w.State, w.Message)
				last = line
			}
		})
		if err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(w)
	}
	fmt.Fprintf(a.out, "%s\t%s\n", w.Name, w.State)
	return nil
}

// meter shows how far a long job has come, on one line of a terminal.
type meter struct {
	a     *app
	shown time.Time
	phase string
}

// show draws the line again, at most ten times a second. A total of 0 is unknown.
func (m *meter) show(phase string, done, total int64, unit func(int64) string) {
	if !isTerminal(m.a.err) || m.a.json || (phase == m.phase && time.Since(m.shown) < 100*time.Millisecond && done != total) {
		return
	}
	if phase != m.phase && m.phase != "" {
		fmt.Fprintln(m.a.err)
	}
	m.phase, m.shown = phase, time.Now()
	switch {
	case total > 0:
		fmt.Fprintf(m.a.err, "\r\x1b[K%s  %s of %s  %d%%", phase, unit(done), unit(total), done*100/total)
	case done > 0:
		fmt.Fprintf(m.a.err, "\r\x1b[K%s  %s", phase, unit(done))
	default:
		fmt.Fprintf(m.a.err, "\r\x1b[K%s", phase)
	}
}

// end leaves the line.
func (m *meter) end() {
	if m.phase != "" {
		fmt.Fprintln(m.a.err)
		m.phase = ""
	}
}
