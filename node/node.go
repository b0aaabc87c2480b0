package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/durable"
	"github.com/holt-ide/holt/node/depot"
	"github.com/holt-ide/holt/node/network"
	"github.com/holt-ide/holt/node/volume"
	"github.com/holt-ide/holt/persist/journal"
	"github.com/holt-ide/holt/sandbox"
	"github.com/holt-ide/holt/snapshot"
	"github.com/holt-ide/holt/toolbox"
	hostwire "github.com/holt-ide/holt/wire/host"
)

// Images finds base images; package image implements it.
type Images interface {
	// Base returns the stable path of the image's EROFS file and the
	// environment that it gives to processes. KindNotFound if it is not stored.
	Base(ctx context.Context, id holt.ImageID) (path string, env []string, err error)
}

// Config says what a node works with.
type Config struct {
	// Dir is the node's directory. It must stay the same path for as long as
	// snapshots made under it are to be resumed.
	Dir string

	// Driver makes the sandboxes.
	Driver sandbox.Driver

	// Images finds the base images.
	Images Images

	// Agent is the path of the holt-guest executable for new machines.
	Agent string

	// PoolSize bounds the file that holds volumes and snapshots, where the
	// host's file system needs one; see [volume.Config].
	PoolSize int64

	// Network is where the slots' addresses come from and who answers name
	// queries; see [network.Config].
	NetworkRange netip.Prefix
	Nameservers  []netip.Addr
	WarmNetworks int

	// Prepared is how many sandboxes are kept ready for the next machine, each
	// at the price of some 30 MB. Zero means none, and also a driver that
	// cannot prepare.
	Prepared int

	// Store reaches the object storage that keeps snapshots; nil means none. See
	// [depot.Config] for it and the next two.
	Store      func(ctx context.Context) (depot.Objects, error)
	StoreOwner string
	RawLimit   int64

	// Files keeps revisions of the volumes' files outside the node; nil means none.
	Files Files
	Flush FlushConfig

	// JournalDir is where the journal of documents is: in Dir when "".
	JournalDir string

	// Sample is how often machines are looked at: 5 s when zero.
	Sample time.Duration

	Log *slog.Logger
}

// agentPort is where the guest agent listens inside every sandbox.
const agentPort = 7077

// Node is the machines of one host. All methods may be called concurrently.
type Node struct {
	cfg       Config
	log       *slog.Logger
	driver    sandbox.Driver
	volumes   *volume.Pool
	networks  *network.Pool
	snapshots *depot.Depot
	host      snapshot.Host
	tools     toolbox.Dir
	agent     string // hash of the agent for new machines
	reserve   *reserve
	journal   *journal.Journal // of the documents in the machines
	files     *filer

	notices chan hostwire.Notice
	run     context.Context // ends at Close
	stop    context.CancelFunc
	wg      sync.WaitGroup

	releases    locks // by sandbox: one release at a time
	volumeLocks locks // by workspace: mounting, and taking away what no record needs

	mu       sync.Mutex
	machines map[holt.SandboxID]*machine
}

// Open prepares the node, adopts the machines that live and releases what is
// left of others.
func Open(ctx context.Context, cfg Config) (_ *Node, err error) {
	if cfg.Sample == 0 {
		cfg.Sample = 5 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return nil, fmt.Errorf("locate node directory: %w", err)
	}
	for _, sub := range []string{"machines", "units"} {
		if err := durable.MkdirAll(filepath.Join(cfg.Dir, sub), 0o711); err != nil {
			return nil, fmt.Errorf("make node directory: %w", err)
		}
	}
	if _, err := durable.Clean(filepath.Join(cfg.Dir, "machines")); err != nil {
		return nil, fmt.Errorf("clean node directory: %w", err)
	}
	n := &Node{
		cfg: cfg, log: cfg.Log, driver: cfg.Driver, tools: toolbox.Dir(filepath.Join(cfg.Dir, "tools")),
		notices: make(chan hostwire.Notice, 256), machines: map[holt.SandboxID]*machine{},
	}
	if err := n.tools.Clean(); err != nil {
		return nil, err
	}
	if n.agent, err = n.tools.Install(cfg.Agent, agentName); err != nil {
		return nil, holt.Wrap(holt.KindUnsupported, err, "the guest agent cannot be installed; build it with `make build`")
	}
	if n.volumes, err = volume.Open(ctx, volume.Config{Dir: cfg.Dir, Size: cfg.PoolSize, Log: cfg.Log}); err != nil {
		return nil, fmt.Errorf("open volumes: %w", err)
	}
	if n.host, err = thisHost(); err != nil {
		return nil, err
	}
	n.reserve = newReserve(n, cfg.Prepared)
	n.snapshots, err = depot.Open(depot.Config{
		Root: filepath.Join(n.volumes.Root(), "snapshots"), Mounts: filepath.Join(cfg.Dir, "lazy"), Connect: cfg.Store, Owner: cfg.StoreOwner,
		RawLimit: cfg.RawLimit, Space: n.volumes.Free, Busy: n.reserve.isBusy, Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	if n.journal, err = journal.Open(cmp.Or(cfg.JournalDir, filepath.Join(cfg.Dir, "journal")), journal.Options{}, cfg.Log); err != nil {
		return nil, err
	}
	n.run, n.stop = context.WithCancel(context.WithoutCancel(ctx))
	n.files = newFiler(n, cfg.Files, cfg.Flush)
	err = n.adopt(ctx)
	if err == nil {
		err = n.files.open()
	}
	if err != nil {
		n.stop()
		n.wg.Wait()
		return nil, err
	}
	n.wg.Go(n.sampleLoop)
	n.wg.Go(n.reserve.run)
	n.wg.Go(func() { n.snapshots.Run(n.run) })
	return n, nil
}

// adopt takes over the living machines and releases everything else.
func (n *Node) adopt(ctx context.Context) error {
	live, err := n.driver.Recover(ctx)
	if err != nil {
		return fmt.Errorf("recover sandboxes: %w", err)
	}
	records, err := n.records()
	if err != nil {
		return err
	}
	if err := n.clearUnits(records); err != nil {
		return err
	}
	byUnit := map[holt.SandboxID]record{}
	var slots []int
	for _, r := range records {
		byUnit[r.unit()] = r
		slots = append(slots, r.Slot)
	}
	n.networks, err = network.Open(ctx, network.Config{
		Owner: n.cfg.Dir, Range: n.cfg.NetworkRange, Nameservers: n.cfg.Nameservers, Warm: n.cfg.WarmNetworks, Log: n.log,
	}, slots)
	if err != nil {
		return fmt.Errorf("open networks: %w", err)
	}
	for _, sb := range live {
		r, ok := byUnit[sb.Spec().ID]
		if !ok || !r.Ready || r.Loading {
			if r.Loading {
				n.log.Warn("a machine whose memory was still being fetched is given up", "sandbox", r.Sandbox, "workspace", r.Workspace)
			}
			if err := sb.Close(ctx); err != nil {
				return fmt.Errorf("close unfinished sandbox: %w", err)
			}
			continue
		}
		m := n.machine(r, sb)
		if m.frozen, err = sb.Paused(ctx); err != nil {
			n.log.Warn("adopted machine does not tell whether it is paused", "sandbox", r.Sandbox, "err", err)
		}
		n.enlist(m)
		n.reserve.expect(kindOf(r, sb.Spec().Toolchain, holt.EgressInternet))
		n.log.Info("adopted machine", "sandbox", r.Sandbox, "workspace", r.Workspace, "frozen", m.frozen)
		delete(byUnit, r.unit())
	}
	for _, r := range byUnit {
		n.log.Info("release remains of a machine", "sandbox", r.Sandbox, "workspace", r.Workspace)
		if err := n.Release(ctx, r.Sandbox); err != nil {
			return fmt.Errorf("release remains of %s: %w", r.Sandbox, err)
		}
	}
	return nil
}

// Close stops watching. The machines run on, to be adopted by the next Open;
// prepared sandboxes do not.
func (n *Node) Close() error {
	n.stop()
	n.mu.Lock()
	for _, m := range n.machines {
		m.conns.closeAll()
	}
	n.mu.Unlock()
	n.wg.Wait()
	return errors.Join(n.reserve.empty(context.Background()), n.networks.Close(), n.journal.Close())
}

// find returns a living machine.
func (n *Node) find(id holt.SandboxID) (*machine, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if m := n.machines[id]; m != nil {
		return m, nil
	}
	return nil, holt.Errorf(holt.KindUnavailable, "machine %s is not running", id)
}

// Dial opens a byte stream to the guest agent, an HTTP/1.1 server. The stream
// is closed when the machine is frozen or released.
func (n *Node) Dial(ctx context.Context, id holt.SandboxID) (net.Conn, error) {
	m, err := n.find(id)
	if err != nil {
		return nil, err
	}
	return m.dial(ctx)
}

// Secret returns what the guest agent wants to see in every request.
func (n *Node) Secret(id holt.SandboxID) (string, error) {
	m, err := n.find(id)
	if err != nil {
		return "", err
	}
	return m.secret(), nil
}

// Notices delivers what machines did on their own. When nobody reads, new
// notices are dropped: the state of the machines is what counts, and that can be
// asked for.
func (n *Node) Notices() <-chan hostwire.Notice { return n.notices }

func (n *Node) notify(m *machine, name, text string, exited bool) {
	r := m.snapshotRecord()
	n.tell(hostwire.Notice{Workspace: r.Workspace, Sandbox: r.Sandbox, At: time.Now(), Name: name, Text: text, Exited: exited})
}

// noticeOf is notify about a workspace, whose machine may be none.
func (n *Node) noticeOf(m *machine, ws holt.WorkspaceID, name, text string) {
	if m != nil {
		n.notify(m, name, text, false)
		return
	}
	n.tell(hostwire.Notice{Workspace: ws, At: time.Now(), Name: name, Text: text})
}

func (n *Node) tell(notice hostwire.Notice) {
	select {
	case n.notices <- notice:
	default:
		n.log.Warn("notice dropped", "workspace", notice.Workspace, "name", notice.Name, "text", notice.Text)
	}
}

// Inventory lists what exists.
func (n *Node) Inventory(context.Context) (hostwire.Inventory, error) {
	var inv hostwire.Inventory
	n.mu.Lock()
	for _, m := range n.machines {
		inv.Sandboxes = append(inv.Sandboxes, m.info())
	}
	n.mu.Unlock()
	var err, err2 error
	inv.Snapshots, err = n.snapshots.List()
	for _, id := range inv.Snapshots {
		if n.snapshots.Evicted(id) {
			inv.Evicted = append(inv.Evicted, id)
		}
	}
	inv.Volumes, err2 = n.volumes.List()
	return inv, errors.Join(err, err2)
}

func agentAddr() string {
	return net.JoinHostPort(network.GuestAddr.String(), strconv.Itoa(agentPort))
}
