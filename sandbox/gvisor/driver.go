package gvisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/durable"
	"github.com/holt-ide/holt/fault"
	"github.com/holt-ide/holt/sandbox"
	"github.com/holt-ide/holt/toolbox"
)

// Config says where a Driver works.
type Config struct {
	// Dir holds everything of the driver's, see the package comment. It must
	// be the same path for as long as snapshots made from it are to be restored.
	Dir string

	// Runsc is the path of the runtime for new sandboxes. It is copied into
	// Dir under its content hash.
	Runsc string

	// Cgroup is the parent of every sandbox's cgroup: "/holt" when empty.
	Cgroup string

	Log *slog.Logger
}

// Driver implements [sandbox.Driver] on runsc.
type Driver struct {
	cfg     Config
	log     *slog.Logger
	tools   toolbox.Dir
	current string // hash of the runtime for new sandboxes
	version string

	first  sync.Mutex // guards shared, and is held while it is false
	shared bool       // the runtime has what its sandboxes share

	tracing sync.Mutex // one at a time, see [machine.traceAgain]; taken before a machine's mu

	mu   sync.Mutex
	live map[holt.SandboxID]*machine
}

var (
	_ sandbox.Driver   = (*Driver)(nil)
	_ sandbox.Preparer = (*Driver)(nil)
)

// Open prepares the driver's directory and installs the runtime. It does not
// look at existing sandboxes: call [Driver.Recover] for that.
func Open(ctx context.Context, cfg Config) (*Driver, error) {
	if cfg.Cgroup == "" {
		cfg.Cgroup = "/holt"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if os.Geteuid() != 0 {
		return nil, holt.Errorf(holt.KindUnsupported, "sandboxes need root: start holtd as root (it drops to an unprivileged user namespace for every sandbox)")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("locate driver directory: %w", err)
	}
	cfg.Dir = dir
	for _, sub := range []string{"tools", "root", "sandboxes"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o711); err != nil {
			return nil, fmt.Errorf("make driver directory: %w", err)
		}
	}
	d := &Driver{cfg: cfg, log: cfg.Log, tools: toolbox.Dir(filepath.Join(dir, "tools")), live: map[holt.SandboxID]*machine{}}
	if err := d.tools.Clean(); err != nil {
		return nil, err
	}
	if d.current, err = d.tools.Install(cfg.Runsc, "runsc"); err != nil {
		return nil, holt.Wrap(holt.KindUnsupported, err, "the sandbox runtime cannot be installed; build it with `make build`")
	}
	if d.version, err = d.runsc(sandbox.Spec{}).version(ctx); err != nil {
		return nil, holt.Wrap(holt.KindUnsupported, err, "the sandbox runtime does not start")
	}
	return d, nil
}

// Capabilities implements [sandbox.Driver].
func (d *Driver) Capabilities() sandbox.Capabilities {
	return sandbox.Capabilities{
		Name: "gvisor", Version: d.version, Toolchain: d.current,
		Memory: true, KeepRunning: true, LazyRestore: true, DiskLimit: true, RestoreElse: true, Prepare: true, Observe: true,
		MinMemory: overheadMemory,
	}
}

// Start implements [sandbox.Driver].
func (d *Driver) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	return d.make(ctx, spec, func(m *machine) error { return m.runsc.start(ctx, spec.ID, m.dir) })
}

// Restore implements [sandbox.Driver].
func (d *Driver) Restore(ctx context.Context, spec sandbox.Spec, dir string) (sandbox.Sandbox, error) {
	return d.make(ctx, spec, func(m *machine) error { return m.runsc.restore(ctx, spec.ID, m.dir, dir) })
}

// make lays the sandbox out and sets it going; on any error nothing is left.
func (d *Driver) make(ctx context.Context, spec sandbox.Spec, boot func(*machine) error) (_ sandbox.Sandbox, err error) {
	m, err := d.create(ctx, spec, boot)
	if err != nil {
		return nil, err
	}
	if err := m.keep(); err != nil {
		return nil, errors.Join(err, m.Close(context.WithoutCancel(ctx)))
	}
	return m, nil
}

// create builds the bundle and lets call make the container of it; on any error
// nothing is left. Recover does not find the sandbox until [machine.keep].
func (d *Driver) create(ctx context.Context, spec sandbox.Spec, call func(*machine) error) (_ *machine, err error) {
	if spec.Toolchain == "" {
		spec.Toolchain = d.current
	}
	if !d.tools.Has(spec.Toolchain, "runsc") {
		return nil, holt.Errorf(holt.KindUnsupported, "this snapshot needs the runtime build %.12s, which is not on this machine any more", spec.Toolchain)
	}
	m := d.machine(spec)
	d.mu.Lock()
	_, exists := d.live[spec.ID]
	if !exists {
		d.live[spec.ID] = m
	}
	d.mu.Unlock()
	if exists {
		return nil, holt.Errorf(holt.KindConflict, "sandbox %s exists already", spec.ID)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Close(context.WithoutCancel(ctx)))
		}
	}()
	if err := m.layOut(); err != nil {
		return nil, err
	}
	if err := m.listenTrace(false); err != nil {
		return nil, err
	}
	fault.Point("sandbox.laid-out")
	if err := d.launched(func() error { return call(m) }); err != nil {
		return nil, err
	}
	fault.Point("sandbox.booted")
	return m, m.watchCreated()
}

// launched calls launch, and the first time alone: the runtime makes a network
// namespace then that all its sandboxes share, and two of them would both make it.
func (d *Driver) launched(launch func() error) error {
	d.first.Lock()
	if d.shared {
		d.first.Unlock()
		return launch()
	}
	defer d.first.Unlock()
	err := launch()
	d.shared = err == nil
	return err
}

// keep writes what Recover needs to find the sandbox again.
func (m *machine) keep() error {
	body, err := json.MarshalIndent(m.spec, "", "\t")
	if err != nil {
		return fmt.Errorf("encode spec: %w", err)
	}
	if err := durable.Replace(filepath.Join(m.dir, "spec.json"), body, 0o600); err != nil {
		return fmt.Errorf("write spec: %w", err)
	}
	m.kept.Store(true)
	return nil
}

// Recover implements [sandbox.Driver].
func (d *Driver) Recover(ctx context.Context) ([]sandbox.Sandbox, error) {
	entries, err := os.ReadDir(filepath.Join(d.cfg.Dir, "sandboxes"))
	if err != nil {
		return nil, fmt.Errorf("list sandboxes: %w", err)
	}
	var alive []sandbox.Sandbox
	for _, e := range entries {
		id := holt.SandboxID(e.Name())
		d.mu.Lock()
		known := d.live[id]
		d.mu.Unlock()
		if known != nil {
			if known.kept.Load() {
				alive = append(alive, known)
			}
			continue
		}
		m, err := d.adopt(ctx, id)
		if err != nil {
			d.log.Warn("remove what is left of a sandbox", "sandbox", id, "why", err)
			if err := d.machine(sandbox.Spec{ID: id, Toolchain: d.current}).Close(ctx); err != nil {
				return alive, fmt.Errorf("remove sandbox %s: %w", id, err)
			}
			continue
		}
		alive = append(alive, m)
	}
	return alive, nil
}

// Detach releases what the runtime keeps for all sandboxes together (one empty
// network namespace), for uninstalling and for tests. No sandbox may live.
func (d *Driver) Detach() error {
	err := unix.Unmount(filepath.Join(d.cfg.Dir, "root", "null-netns"), unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("release shared namespace: %w", err)
	}
	return nil
}

// adopt returns the machine behind an existing folder, or why it is dead.
func (d *Driver) adopt(ctx context.Context, id holt.SandboxID) (*machine, error) {
	body, err := os.ReadFile(filepath.Join(d.cfg.Dir, "sandboxes", string(id), "spec.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("it was never finished")
	} else if err != nil {
		return nil, fmt.Errorf("read spec: %w", err)
	}
	var spec sandbox.Spec
	if err := json.Unmarshal(body, &spec); err != nil {
		return nil, fmt.Errorf("decode spec: %w", err)
	}
	m := d.machine(spec)
	if err := m.watch(ctx); err != nil {
		return nil, err
	}
	m.kept.Store(true)
	d.mu.Lock()
	d.live[id] = m
	d.mu.Unlock()
	go m.traceAgain()
	return m, nil
}

// machine returns the value for a sandbox, which may not exist yet.
func (d *Driver) machine(spec sandbox.Spec) *machine {
	return &machine{
		driver: d, spec: spec,
		dir:   filepath.Join(d.cfg.Dir, "sandboxes", string(spec.ID)),
		runsc: d.runsc(spec),
		done:  make(chan struct{}),

		refusals: make(chan sandbox.Refusal, traceBurst),
	}
}

func (d *Driver) runsc(spec sandbox.Spec) runsc {
	hash := spec.Toolchain
	if hash == "" || !d.tools.Has(hash, "runsc") {
		hash = d.current
	}
	r := runsc{bin: d.tools.Path(hash, "runsc"), root: filepath.Join(d.cfg.Dir, "root")}
	if spec.ID != "" {
		dir := filepath.Join(d.cfg.Dir, "sandboxes", string(spec.ID))
		r.overlay, r.logFile = filepath.Join(dir, "overlay"), filepath.Join(dir, "runsc.log")
	}
	return r
}
