// Package terminal owns the guest's pseudo-terminals. They live in the agent, so
// they survive a closed tab, a restarted gateway or node, and a checkpoint.
//
// Each terminal keeps the newest output in a ring ([Options.Ring]) whose bytes
// are numbered from 0. A [Viewer] has no buffer of its own: it reads from the
// ring, so any number of viewers costs nothing, and a viewer that comes back
// names the byte it wants next.
//
// Flow control. A viewer acknowledges what it consumed and is sent at most
// [Options.Window] bytes beyond. While at least one viewer is within its window
// the terminal is read; one that falls behind by more than the ring is resynced.
// When all are over their windows the terminal is not read and the kernel blocks
// the program. A viewer that acknowledges nothing for [Options.Stall] no longer
// counts, so that a frozen browser tab cannot stop a build for ever. Input never
// waits for output.
//
// Lock order: Manager.mu, then Terminal.mu.
package terminal

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/guest/account"
	"github.com/holt-ide/holt/guest/process"
	"github.com/holt-ide/holt/guest/pty"
	"github.com/holt-ide/holt/wire/guest"
)

// Options configures a [Manager]. Processes and Account are required.
type Options struct {
	Processes *process.Table
	Account   *account.Account
	Log       *slog.Logger  // nil means slog.Default
	Ring      int           // bytes of output kept for each terminal; 0 means 1 MiB
	Window    int           // unacknowledged bytes for each viewer; 0 means guestwire.Window
	Stall     time.Duration // 0 means 30 s
	Living    int           // most terminals at a time; 0 means 64
	Exited    int           // most exited terminals kept; 0 means 16
}

func (o Options) withDefaults() Options {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&o.Ring, 1<<20)
	def(&o.Window, guestwire.Window)
	def(&o.Living, 64)
	def(&o.Exited, 16)
	if o.Stall == 0 {
		o.Stall = 30 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return o
}

// Manager owns the terminals. It is safe for concurrent use.
type Manager struct {
	opt    Options
	wg     sync.WaitGroup
	input  atomic.Uint64
	output atomic.Uint64

	mu     sync.Mutex
	terms  []*Terminal // in order of creation
	count  int         // for IDs
	closed bool
}

// New returns a manager without terminals; the caller closes it.
func New(o Options) *Manager { return &Manager{opt: o.withDefaults()} }

// Close hangs up all terminals and waits for them.
func (m *Manager) Close() {
	m.mu.Lock()
	m.closed = true
	terms := m.terms
	m.terms = nil
	m.mu.Unlock()
	for _, t := range terms {
		t.hangup()
	}
	m.wg.Wait()
}

// Traffic returns how many bytes went into and came out of all terminals.
func (m *Manager) Traffic() (in, out uint64) { return m.input.Load(), m.output.Load() }

// Counts returns how many terminals live and how many viewers they have.
func (m *Manager) Counts() (living, viewers int) {
	for _, t := range m.List() {
		if t.Exit == nil {
			living++
		}
		viewers += t.Viewers
	}
	return living, viewers
}

// List describes all terminals, the oldest first.
func (m *Manager) List() []guestwire.Terminal {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]guestwire.Terminal, 0, len(m.terms))
	for _, t := range m.terms {
		out = append(out, t.describe())
	}
	return out
}

// Create starts a terminal. A living one with the same ID is a conflict; an
// exited one is replaced.
func (m *Manager) Create(req guestwire.NewTerminal) (guestwire.Terminal, error) {
	if err := check(&req, m.opt.Account.Dir); err != nil {
		return guestwire.Terminal{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t, err := m.create(req)
	if err != nil {
		return guestwire.Terminal{}, err
	}
	return t.describe(), nil
}

func check(req *guestwire.NewTerminal, dir string) error {
	switch {
	case req.ID != "" && !holt.ValidTerminalID(req.ID):
		return holt.Invalidf("id", "%q is not a terminal ID: 1 to 64 of A-Z, a-z, 0-9, _ . -, the first a letter or digit", req.ID)
	case len(req.Name) > 64:
		return holt.Invalidf("name", "a terminal's name has at most 64 bytes, this one has %d", len(req.Name))
	}
	if req.Cols == 0 {
		req.Cols = 80
	}
	if req.Rows == 0 {
		req.Rows = 24
	}
	if req.Cwd == "" {
		req.Cwd = dir
	}
	if !filepath.IsAbs(req.Cwd) {
		req.Cwd = filepath.Join(dir, req.Cwd)
	}
	return nil
}

// create starts a terminal with m.mu held.
func (m *Manager) create(req guestwire.NewTerminal) (*Terminal, error) {
	if m.closed {
		return nil, holt.Errorf(holt.KindUnavailable, "the machine is shutting down")
	}
	for req.ID == "" {
		m.count++
		if id := holt.TerminalID(fmt.Sprintf("t%d", m.count)); m.find(id) == nil {
			req.ID = id
		}
	}
	living := 0
	for _, t := range m.terms {
		if !t.exited() {
			living++
		}
	}
	old := m.find(req.ID)
	switch {
	case old != nil && !old.exited():
		return nil, &holt.Error{Kind: holt.KindConflict, Field: "id", Text: fmt.Sprintf("terminal %s is running already; attach to it", req.ID)}
	case living >= m.opt.Living:
		return nil, holt.Errorf(holt.KindLimit, "a workspace has at most %d terminals; close one", m.opt.Living)
	}
	t, err := m.start(req)
	if err != nil {
		return nil, err
	}
	if old != nil {
		m.forget(old)
	}
	m.terms = append(m.terms, t)
	m.trim()
	return t, nil
}

func (m *Manager) start(req guestwire.NewTerminal) (*Terminal, error) {
	a := m.opt.Account
	argv := req.Cmd
	if len(argv) == 0 {
		argv = []string{a.Shell, "-l"}
	}
	env := map[string]string{"TERM": "xterm-256color", "COLORTERM": "truecolor", "HOLT_TERMINAL": string(req.ID)}
	for k, v := range req.Env {
		env[k] = v
	}
	vars := a.Env(env)
	path, err := process.Look(argv[0], vars, req.Cwd)
	if err != nil {
		return nil, err
	}
	if st, err := os.Stat(req.Cwd); err != nil || !st.IsDir() {
		return nil, holt.Invalidf("cwd", "%s is not a directory", req.Cwd)
	}
	master, slave, err := pty.Open(a.UID)
	if err != nil {
		return nil, err
	}
	defer slave.Close()
	if err := pty.SetSize(master, req.Cols, req.Rows); err != nil {
		master.Close()
		return nil, fmt.Errorf("set terminal size: %w", err)
	}
	p, err := m.opt.Processes.Start(process.Spec{
		Path: path, Args: argv, Env: vars, Dir: req.Cwd,
		Files: []*os.File{slave, slave, slave}, Cred: a.Credential(), TTY: true,
	})
	if err != nil {
		master.Close()
		return nil, process.Explain(argv[0], req.Cwd, err)
	}
	return m.run(newTerminal(m, req, argv, master, p)), nil
}

func (m *Manager) run(t *Terminal) *Terminal {
	m.wg.Go(t.writeInput)
	m.wg.Go(t.awaitExit)
	m.wg.Go(func() {
		t.readOutput()
		t.finish()
	})
	return t
}

// Delete hangs up a terminal and forgets it.
func (m *Manager) Delete(id holt.TerminalID) error {
	m.mu.Lock()
	t := m.find(id)
	if t != nil {
		m.forget(t)
	}
	m.mu.Unlock()
	if t == nil {
		return noTerminal(id)
	}
	t.hangup()
	return nil
}

// Attach adds a viewer to a terminal; the caller closes it. See
// [guestwire.Attach] for when a shell is started.
func (m *Manager) Attach(id holt.TerminalID, a guestwire.Attach) (*Viewer, error) {
	req := guestwire.NewTerminal{ID: id, Cols: a.Cols, Rows: a.Rows}
	if err := check(&req, m.opt.Account.Dir); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.find(id)
	if a.Create && (t == nil || (t.exited() && a.Since == nil)) {
		var err error
		if t, err = m.create(req); err != nil {
			return nil, err
		}
	}
	if t == nil {
		return nil, noTerminal(id)
	}
	return t.attach(a), nil
}

func noTerminal(id holt.TerminalID) error {
	return &holt.Error{Kind: holt.KindNotFound, Field: "id", Text: fmt.Sprintf("there is no terminal %q; list them, or attach with create", id)}
}

func (m *Manager) find(id holt.TerminalID) *Terminal {
	for _, t := range m.terms {
		if t.id == id {
			return t
		}
	}
	return nil
}

func (m *Manager) forget(t *Terminal) {
	m.terms = slices.DeleteFunc(slices.Clone(m.terms), func(o *Terminal) bool { return o == t })
}

// trim forgets the oldest exited terminals beyond what is kept.
func (m *Manager) trim() {
	over := -m.opt.Exited
	for _, t := range m.terms {
		if t.exited() {
			over++
		}
	}
	m.terms = slices.DeleteFunc(slices.Clone(m.terms), func(t *Terminal) bool {
		drop := over > 0 && t.exited()
		if drop {
			over--
		}
		return drop
	})
}
