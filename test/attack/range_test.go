package attack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/api/client"
	guestwire "github.com/holt-ide/holt/wire/guest"

	"github.com/holt-ide/holt/test/server"
)

const (
	attacker  = "attacker"
	neighbour = "neighbour"
	keepsake  = "written before the attacks"
)

// field is a server with an attacker and a neighbour.
type field struct {
	s *server.Server
	c *client.Client
}

func newField(t *testing.T) *field {
	t.Helper()
	s := server.Start(t)
	c, err := client.New(client.Config{URL: s.URL, Token: s.Token})
	if err != nil {
		t.Fatal(err)
	}
	// Half a core, so that the attacker meets its limit, not the host's, where
	// others use the host too; little disk, so that it is full of files soon.
	s.Must(t, "create", attacker, "--cpus", "0.5", "--memory", "512m", "--disk", "512m", "--root-disk", "512m", "--processes", "256")
	s.Must(t, "create", neighbour, "--cpus", "1", "--memory", "512m", "--disk", "512m")
	f := &field{s, c}
	for _, name := range []string{attacker, neighbour} {
		if _, err := f.run(t, name, "", "echo '"+keepsake+"' >/workspace/keep"); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// run runs a shell script as user ("" is the workspace's own), for at most 100
// seconds, and returns the beginning of what it printed. The exit code is no error.
func (f *field) run(t *testing.T, name, user, script string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	return f.exec(ctx, name, user, nil, "bash", "-c", script)
}

// python is run for a Python script, which comes through standard input so that no
// process carries its text on the command line.
func (f *field) python(t *testing.T, name, user, script string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	return f.exec(ctx, name, user, strings.NewReader(script), append([]string{"python3", "-"}, args...)...)
}

func (f *field) exec(ctx context.Context, name, user string, stdin io.Reader, cmd ...string) (string, error) {
	if user == "root" {
		cmd = append([]string{"sudo"}, cmd...) // the way that an attacker has
	}
	var out bytes.Buffer
	text := &capped{w: &out}
	_, err := f.c.Guest(name, true).Run(ctx, guestwire.Exec{Cmd: cmd}, stdin, text, text)
	return strings.TrimSpace(out.String()), err
}

// capped keeps the beginning of what is written: a bomb complains a lot.
type capped struct{ w *bytes.Buffer }

func (c *capped) Write(p []byte) (int, error) {
	const most = 16 << 10
	c.w.Write(p[:min(len(p), max(0, most-c.w.Len()))])
	return len(p), nil
}

// logged returns the attacker's events since a number.
func (f *field) logged(t *testing.T, since int64) []api.Event {
	t.Helper()
	var all []api.Event
	for {
		page, err := f.c.Log(t.Context(), attacker, since)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
		since = page[len(page)-1].Seq
	}
}

func (f *field) lastEvent(t *testing.T) int64 {
	t.Helper()
	all := f.logged(t, 0)
	return all[len(all)-1].Seq
}

// named waits until every outcome is in the attacker's log. An outcome is a name,
// or a name and a part of the text after a colon.
func (f *field) named(t *testing.T, since int64, outcomes ...string) {
	t.Helper()
	await(t, 30*time.Second, func() error {
		events := f.logged(t, since)
		var errs []error
		for _, want := range outcomes {
			name, part, _ := strings.Cut(want, ":")
			i := slices.IndexFunc(events, func(e api.Event) bool { return e.Name == name && strings.Contains(e.Text, part) })
			if i < 0 {
				errs = append(errs, fmt.Errorf("the log does not name %q: %v", want, events))
			}
		}
		return errors.Join(errs...)
	})
	for _, e := range f.logged(t, since) {
		if e.Type == api.EventLog {
			t.Logf("log: %s: %s", e.Name, e.Text)
		}
	}
}

// usable waits until the attacker works again, and checks that nothing of its
// files is lost. It returns whether the machine was started afresh meanwhile, which
// must then have been told.
func (f *field) usable(t *testing.T, sandbox string, since int64) (restarted bool) {
	t.Helper()
	await(t, time.Minute, func() error {
		out, err := f.run(t, attacker, "", "cat /workspace/keep && touch /workspace/new && rm /workspace/new && echo works")
		if err == nil && out != keepsake+"\nworks" {
			err = fmt.Errorf("the attacker's workspace says %q", out)
		}
		return err
	})
	w := f.s.Show(t, attacker)
	if w.State != string(holt.Running) {
		t.Errorf("the attacker is %s: %s", w.State, w.Message)
	}
	if w.SandboxID != sandbox {
		restarted = true
		f.named(t, since, "restarted")
	}
	return restarted
}

// clean fails the test when the host holds anything for machines that are gone.
func (f *field) clean(t *testing.T) {
	t.Helper()
	if !f.s.Alive() {
		t.Fatal("holtd is gone")
	}
	machines := []string{f.s.Show(t, attacker).SandboxID, f.s.Show(t, neighbour).SandboxID}
	await(t, 20*time.Second, func() error {
		live, waiting, err := f.units(machines)
		if err != nil {
			return err
		}
		names, err := names(filepath.Join(f.s.Dir, "node/gvisor/sandboxes"))
		if err != nil {
			return err
		}
		for _, id := range names {
			if !slices.Contains(live, id) && !slices.Contains(waiting, id) {
				return fmt.Errorf("sandbox %s is left of a machine that is gone", id)
			}
		}
		return errors.Join(f.sandboxProcesses(live, waiting), f.mounts(len(live)))
	})
}

// prepared is how many sandboxes holtd keeps ready for the next machine.
const prepared = 2

// units returns the driver's names of the machines, which must be all that there
// are, and of the sandboxes that wait for one.
func (f *field) units(machines []string) (live, waiting []string, err error) {
	records, err := names(filepath.Join(f.s.Dir, "node/machines"))
	if err != nil {
		return nil, nil, err
	}
	for _, name := range records {
		if !slices.Contains(machines, strings.TrimSuffix(name, ".json")) {
			return nil, nil, fmt.Errorf("the record %s is left of a machine that is gone", name)
		}
		body, err := os.ReadFile(filepath.Join(f.s.Dir, "node/machines", name))
		if err != nil {
			return nil, nil, err
		}
		var r struct{ Unit string }
		if err := json.Unmarshal(body, &r); err != nil {
			return nil, nil, err
		}
		live = append(live, r.Unit)
	}
	all, err := names(filepath.Join(f.s.Dir, "node/units"))
	if err != nil {
		return nil, nil, err
	}
	for _, id := range all {
		if !slices.Contains(live, id) {
			waiting = append(waiting, id)
		}
	}
	if len(waiting) > prepared {
		return nil, nil, fmt.Errorf("%d sandboxes wait for a machine", len(waiting))
	}
	return live, waiting, nil
}

func names(dir string) (list []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list, err
}

// sandboxProcesses looks for runtimes of this server, by the data directory on
// their command line, that belong neither to the live machines nor to
// those that wait.
func (f *field) sandboxProcesses(live, waiting []string) error {
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, path := range all {
		body, err := os.ReadFile(path)
		if err != nil {
			continue // gone meanwhile
		}
		args := strings.Split(strings.TrimRight(string(body), "\x00"), "\x00")
		if !strings.HasPrefix(args[0], "runsc") || !strings.Contains(string(body), f.s.Dir) {
			continue
		}
		within := func(id string) bool { return strings.Contains(string(body), id) }
		i := slices.IndexFunc(live, within)
		if i < 0 && slices.ContainsFunc(waiting, within) {
			continue
		} else if i < 0 {
			return fmt.Errorf("process %s is left: %q", path, args)
		}
		seen[live[i]] = true
	}
	if len(seen) != len(live) {
		return fmt.Errorf("runtimes of %d machines were found, want %d", len(seen), len(live))
	}
	return nil
}

// mounts counts the mounted volumes of this server.
func (f *field) mounts(machines int) error {
	body, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	volumes := 0
	for line := range strings.Lines(string(body)) {
		if strings.Contains(line, f.s.Dir+"/node/mnt/") {
			volumes++
		}
	}
	if volumes != machines {
		return fmt.Errorf("%d volumes are mounted for %d machines", volumes, machines)
	}
	return nil
}
