package fault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/api/client"
	guestwire "github.com/holt-ide/holt/wire/guest"

	"github.com/holt-ide/holt/test/server"
)

const (
	kills   = 20
	workers = 3
	seed    = 20260101 // change it to try other moments
)

// TestKilledUnderLoad kills holtd at random moments while several people create,
// use, freeze, thaw, fork and remove workspaces, and holds it to this: no crash
// costs memory, nobody has two machines, and in the end all is in order.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	s := server.New(t, "--pool-size", "4g")
	s.Flags = append(s.Flags, "--listen", freeAddress(t)) // the same after each start
	s.Start(t)
	s.TinyImage(t)
	w := newWitness(s)
	t.Logf("seed %d", seed)

	run, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	people := make([]*person, workers)
	for i := range people {
		c, err := client.New(client.Config{URL: s.URL, Token: s.Token, Patience: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		p := &person{name: fmt.Sprint("w", i), client: c, rnd: rand.New(rand.NewPCG(seed, uint64(i)))}
		people[i] = p
		wg.Go(func() { p.work(run) })
	}
	rnd := rand.New(rand.NewPCG(seed, 1000))
	for i := range kills {
		moment := 100*time.Millisecond + time.Duration(rnd.Int64N(int64(2*time.Second)))
		<-time.After(moment)
		s.Kill(t)
		w.note(t)
		for _, wrong := range w.doubles(t) {
			t.Errorf("kill %d, after %v: %s", i, moment, wrong)
		}
		s.Start(t)
	}
	stop()
	wg.Wait()
	all := w.settle(t)
	for _, p := range people {
		t.Logf("%s: %s", p.name, p.counts())
		t.Logf("%s", strings.Join(p.errs, "\n"))
		for _, wrong := range p.wrong {
			t.Error(wrong)
		}
		p.last(t, s, all)
	}
}

// freeAddress returns an address on which nobody listens now.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// doubles returns workspaces with two machines, while holtd is dead.
func (w *witness) doubles(t *testing.T) (wrong []string) {
	t.Helper()
	owner, _ := w.units(t) // there may be another than those in reserve that was on its way
	seen := map[string]string{}
	for id := range w.sandboxes(t) {
		ws := owner[id]
		if ws == reserved {
			continue
		} else if ws == "" {
			wrong = append(wrong, "sandbox "+id+" has no record: nobody would clean it up")
		} else if seen[ws] != "" {
			wrong = append(wrong, fmt.Sprintf("workspace %s has two machines: %s and %s", ws, id, seen[ws]))
		}
		seen[ws] = id
	}
	return wrong
}

// person works with one workspace and forks of it. Only its own goroutine
// touches it until that has ended.
type person struct {
	name   string
	client *client.Client
	rnd    *rand.Rand

	mark   string // in the memory of the workspace, "" when none is expected
	pid    string
	done   map[string]int
	failed map[string]int
	wrong  []string
	errs   []string // what was cut off, to explain a failure
}

func (p *person) work(ctx context.Context) {
	p.done, p.failed = map[string]int{}, map[string]int{}
	for ctx.Err() == nil {
		verbs := []string{"look", "look", "suspend", "resume", "suspend", "resume", "fork", "rm"}
		if p.mark == "" {
			verbs = []string{"start"}
		}
		v := verbs[p.rnd.IntN(len(verbs))]
		step, cancel := context.WithTimeout(ctx, 20*time.Second)
		begin := time.Now()
		err := p.act(step, v)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			p.done[v]++
		default:
			// Crashes cut requests off: what matters is what is found later.
			p.failed[v]++
			p.errs = append(p.errs, fmt.Sprintf("%v %s after %v: %v", begin.Format("05.000"), v, time.Since(begin).Round(time.Millisecond), err))
			if errors.Is(err, errLost) {
				p.wrong = append(p.wrong, p.name+": "+err.Error())
			}
		}
	}
}

func (p *person) counts() string {
	var parts []string
	for _, v := range []string{"start", "look", "suspend", "resume", "fork", "rm"} {
		parts = append(parts, fmt.Sprintf("%s %d (+%d cut off)", v, p.done[v], p.failed[v]))
	}
	return strings.Join(parts, ", ")
}

func (p *person) act(ctx context.Context, verb string) error {
	switch verb {
	case "start":
		return p.start(ctx)
	case "look":
		return p.look(ctx, p.name)
	case "suspend":
		w, err := p.client.Suspend(ctx, p.name)
		return p.await(ctx, w, err, holt.Suspended)
	case "resume":
		w, err := p.client.Resume(ctx, p.name)
		return p.await(ctx, w, err, holt.Running)
	case "fork":
		return p.fork(ctx)
	}
	return p.remove(ctx)
}

// remove deletes the workspace and waits until its name is free.
func (p *person) remove(ctx context.Context) error {
	p.mark = ""
	if err := p.client.Delete(ctx, p.name, true); err != nil {
		return err
	}
	for {
		w, err := p.client.Get(ctx, p.name)
		if holt.IsKind(err, holt.KindNotFound) {
			return nil
		} else if err == nil {
			_, err = p.client.Await(ctx, w.Workspace, holt.Deleted, nil)
		}
		if err != nil {
			return err
		}
	}
}

func (p *person) await(ctx context.Context, w api.Workspace, err error, want holt.State) error {
	if err != nil {
		return err
	}
	_, err = p.client.Await(ctx, w, want, nil)
	return err
}

// start makes the workspace if it is not there and begins a life in it.
func (p *person) start(ctx context.Context) error {
	limits := &api.Limits{MemoryBytes: 192 * holt.MiB, DiskBytes: 128 * holt.MiB}
	w, err := p.client.Create(ctx, api.CreateWorkspace{Name: p.name, Image: "tiny", Limits: limits})
	if err != nil && !holt.IsKind(err, holt.KindConflict) {
		return err
	}
	if err == nil {
		if err := p.await(ctx, w, nil, holt.Running); err != nil {
			return err
		}
	}
	mark := holt.NewID()
	out, err := p.run(ctx, p.name, liveScript, mark)
	if err != nil {
		return err
	}
	p.mark, p.pid = mark, strings.TrimSpace(out)
	return nil
}

// errLost reports that something is gone that no crash may take.
var errLost = errors.New("lost")

// look wakes a workspace and reports memory that is gone.
func (p *person) look(ctx context.Context, name string) error {
	out, err := p.run(ctx, name, lookScript, "")
	if err == nil || errors.Is(err, errExit) {
		if f := strings.Fields(out); err != nil || len(f) != 3 || f[0] != p.mark || f[1] != p.pid {
			return fmt.Errorf("%w: %s says %q (%w), want mark %s and process %s", errLost, name, out, err, p.mark, p.pid)
		}
	}
	return err
}

// fork forks the workspace, looks for the same life in the copy, and removes it.
func (p *person) fork(ctx context.Context) error {
	name := p.name + "-copy"
	w, err := p.client.Fork(ctx, p.name, api.ForkWorkspace{Name: name})
	if err == nil {
		if err = p.await(ctx, w, nil, holt.Running); err == nil {
			err = p.look(ctx, name)
		}
	}
	return errors.Join(err, p.client.Delete(ctx, name, true))
}

// errExit reports a command that ran and failed.
var errExit = errors.New("the command failed")

func (p *person) run(ctx context.Context, name, script, arg string) (string, error) {
	var out, words bytes.Buffer
	exit, err := p.client.Guest(name, true).Run(ctx, guestwire.Exec{Cmd: []string{"sh", "-c", script, "sh", arg}}, nil, &out, &words)
	if err != nil {
		return out.String(), err
	}
	if exit.Signal != "" || ctx.Err() != nil {
		return out.String(), fmt.Errorf("cut off by %s", exit.Signal)
	}
	if exit.Code != 0 {
		return out.String(), fmt.Errorf("%w: code %d: %s", errExit, exit.Code, words.String())
	}
	return out.String(), nil
}

// last looks at the workspace when all is quiet.
func (p *person) last(t *testing.T, s *server.Server, all map[string]api.WorkspaceDetail) {
	t.Helper()
	w, ok := all[p.name]
	switch {
	case p.mark == "":
		return // it was being made or removed
	case !ok:
		t.Errorf("%s is gone", p.name)
		return
	case w.State == string(holt.Failed) || w.State == string(holt.Stopped):
		t.Errorf("%s is %s: %s", p.name, w.State, w.Message)
		return
	}
	life{name: p.name, mark: p.mark, pid: p.pid}.check(t, s)
}
