package stand

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/guest"
	guestwire "github.com/holt-ide/holt/wire/guest"
	hostwire "github.com/holt-ide/holt/wire/host"
	"github.com/holt-ide/holt/workspace/scriptednode"
)

// Node is the scripted node with a real guest agent behind each machine.
type Node struct {
	*scriptednode.Node
	t   testing.TB
	log *slog.Logger

	mu     sync.Mutex
	agents map[holt.WorkspaceID]*agent
	live   map[holt.SandboxID]*agent
}

// agent is a guest agent and the connections into it.
type agent struct {
	addr   string
	secret string
	end    func()

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newNode(t testing.TB, log *slog.Logger) *Node {
	n := &Node{Node: scriptednode.New(), t: t, log: log, agents: map[holt.WorkspaceID]*agent{}, live: map[holt.SandboxID]*agent{}}
	t.Cleanup(func() {
		for _, a := range n.agents {
			a.drop()
			a.end()
		}
	})
	return n
}

// Provision boots a machine with a fresh agent.
func (n *Node) Provision(ctx context.Context, spec hostwire.Spec) error {
	if err := n.Node.Provision(ctx, spec); err != nil {
		return err
	}
	return n.attach(spec, true)
}

// Resume continues with the agent that was frozen, or for a fork with a new one.
func (n *Node) Resume(ctx context.Context, spec hostwire.Spec, snap holt.SnapshotID) error {
	if err := n.Node.Resume(ctx, spec, snap); err != nil {
		return err
	}
	return n.attach(spec, false)
}

func (n *Node) attach(spec hostwire.Spec, fresh bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	a := n.agents[spec.Workspace]
	if a != nil && fresh {
		a.drop()
		a.end()
		a = nil
	}
	if a == nil {
		var err error
		if a, err = startAgent(n.t, spec, n.log); err != nil {
			return err
		}
		n.agents[spec.Workspace] = a
	}
	n.live[spec.Sandbox] = a
	return nil
}

// Release cuts every connection into the machine.
func (n *Node) Release(ctx context.Context, id holt.SandboxID) error {
	n.detach(id)
	return n.Node.Release(ctx, id)
}

// Shutdown is Release here: a stopped workspace gets a fresh agent.
func (n *Node) Shutdown(ctx context.Context, id holt.SandboxID) error {
	n.detach(id)
	return n.Node.Shutdown(ctx, id)
}

func (n *Node) detach(id holt.SandboxID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if a := n.live[id]; a != nil {
		a.drop()
		delete(n.live, id)
	}
}

// Cut drops every connection into the workspace's machine, as a lost network
// does, and leaves the machine alone.
func (n *Node) Cut(id holt.WorkspaceID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.agents[id].drop()
}

// Dial implements gateway.Node.
func (n *Node) Dial(ctx context.Context, id holt.SandboxID) (net.Conn, error) {
	n.mu.Lock()
	a := n.live[id]
	n.mu.Unlock()
	if a == nil {
		return nil, holt.Errorf(holt.KindUnavailable, "there is no sandbox %s", id)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", a.addr)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conns[conn] = true
	return conn, nil
}

// Secret implements gateway.Node.
func (n *Node) Secret(id holt.SandboxID) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if a := n.live[id]; a != nil {
		return a.secret, nil
	}
	return "", holt.Errorf(holt.KindUnavailable, "there is no sandbox %s", id)
}

func (a *agent) drop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for c := range a.conns {
		c.Close()
	}
	clear(a.conns)
}

// uid is the user of processes in machines when the tests run as root. Nothing
// else on the host belongs to it.
const uid = 54322

func startAgent(t testing.TB, spec hostwire.Spec, log *slog.Logger) (*agent, error) {
	base, err := os.MkdirTemp("", "holt-stand-")
	if err != nil {
		return nil, err
	}
	user, group := uid, uid
	if os.Geteuid() != 0 {
		user, group = os.Geteuid(), os.Getegid()
	}
	dirs := []string{filepath.Join(base, "workspace"), filepath.Join(base, "home")}
	for _, d := range dirs {
		if err := os.Mkdir(d, 0o755); err != nil {
			return nil, err
		}
		if err := os.Chown(d, user, group); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(base, 0o755); err != nil {
		return nil, err
	}
	a := &agent{secret: holt.NewSecret(), conns: map[net.Conn]bool{}}
	g, err := guest.New(guestwire.Config{
		Secret: a.secret, WorkspaceID: spec.Workspace, Name: spec.Name, User: "dev", UID: user, GID: group, Home: dirs[1], Dir: dirs[0],
	}, guest.Options{Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin"}, Log: log})
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		g.Close()
		return nil, err
	}
	a.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(ctx, ln) }()
	a.end = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("agent: %v", err)
		}
		g.Close()
		os.RemoveAll(base)
	})
	return a, nil
}
