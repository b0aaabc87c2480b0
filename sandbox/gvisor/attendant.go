package gvisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/holt-ide/holt"
)

// attendant is a process of the runtime that waits for what it shall do with one
// container (cmd/runsc, attend), so that nobody waits for the start of a process
// when it matters. It is no more than a shortcut: when it is not there, because the
// container's build of the runtime is older or it died, separate calls do the same.
type attendant struct {
	runsc  runsc
	kill   context.CancelFunc
	orders io.WriteCloser
	words  *head

	reports chan report   // of the process: at most one that is not read; closed when it says no more
	ended   chan struct{} // closed when the process is gone
	ready   bool          // the first report was read
}

// order and report are what both sides say, one JSON object per line.
type (
	order struct {
		Verb  string `json:"verb"`
		Image string `json:"image,omitempty"`
	}
	report struct {
		Error string `json:"error"`
	}
)

// errUnattended is returned when nothing was done because no attendant is there.
var errUnattended = errors.New("no attendant")

// attend starts an attendant of the container and does not wait until it is ready.
func (r runsc) attend(id holt.SandboxID) (_ *attendant, err error) {
	ctx, kill := context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			kill()
			err = fmt.Errorf("attend sandbox: %w", err)
		}
	}()
	cmd := r.command(ctx, "attend", string(id))
	a := &attendant{runsc: r, kill: kill, words: new(head), reports: make(chan report, 1), ended: make(chan struct{})}
	cmd.Stderr = a.words
	if a.orders, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	said, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(a.ended)
		defer kill()
		for d := json.NewDecoder(said); ; {
			var rep report
			if d.Decode(&rep) != nil {
				break
			}
			a.reports <- rep
		}
		close(a.reports)
		_ = cmd.Wait() // how it ended does not matter: it said what it did
	}()
	return a, nil
}

// do has the attendant carry o out. It waits for the end even if ctx is cancelled
// in the meantime: half a verb leaves more behind than a whole one.
func (a *attendant) do(ctx context.Context, o order) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("runsc %s: %w", o.Verb, context.Cause(ctx))
	}
	patience := time.AfterFunc(callPatience, a.kill)
	defer patience.Stop()
	if !a.ready {
		if rep, ok := <-a.reports; !ok || rep.Error != "" {
			return errUnattended
		}
		a.ready = true
	}
	line, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode order: %w", err)
	}
	if _, err := a.orders.Write(append(line, '\n')); err != nil {
		return errUnattended // it reads whole orders only
	}
	rep, ok := <-a.reports
	switch {
	case !ok:
		<-a.ended
		return a.runsc.explain(o.Verb, errors.New("the call ended early"), a.words.String())
	case rep.Error != "":
		return a.runsc.explain(o.Verb, errors.New("refused"), rep.Error)
	}
	return nil
}

// dismiss lets the process end, and closes ended then.
func (a *attendant) dismiss() {
	_ = a.orders.Close() // a pipe: nothing is lost
	late := time.AfterFunc(killPatience, a.kill)
	go func() {
		<-a.ended
		late.Stop()
	}()
}

// head keeps the first bytes that are written to it.
type head struct {
	mu   sync.Mutex
	text []byte
}

// headSize is enough for an error with the stack that some carry.
const headSize = 16 << 10

func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.text = append(h.text, p[:min(len(p), headSize-len(h.text))]...)
	return len(p), nil
}

func (h *head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return string(h.text)
}

// ask has the runtime carry o out, by the machine's attendant or else by a call.
// The lock m.mu is held, or nobody else has the machine yet.
func (m *machine) ask(ctx context.Context, o order, call func() error) error {
	m.attend()
	if m.attendant == nil {
		return call()
	}
	err := m.attendant.do(ctx, o)
	if errors.Is(err, errUnattended) {
		m.dismiss()
		return call()
	}
	select {
	case <-m.attendant.ended: // the next order needs another
		m.dismiss()
	default:
	}
	return err
}

// attend calls an attendant, unless there is one.
func (m *machine) attend() {
	if m.attendant != nil {
		return
	}
	a, err := m.runsc.attend(m.spec.ID)
	if err != nil {
		m.driver.log.Warn("sandbox has no attendant", "sandbox", m.spec.ID, "err", err)
		return
	}
	m.attendant = a
	m.attendants.Go(func() { <-a.ended })
}

// dismiss sends the attendant away, until there is more to do.
func (m *machine) dismiss() {
	if m.attendant != nil {
		m.attendant.dismiss()
		m.attendant = nil
	}
}
