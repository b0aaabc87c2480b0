package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/auth"
	"github.com/holt-ide/holt/auth/oidc"
	"github.com/holt-ide/holt/durable"
	"github.com/holt-ide/holt/gateway"
	"github.com/holt-ide/holt/image"
	"github.com/holt-ide/holt/meta"
	metasql "github.com/holt-ide/holt/meta/sql"
	"github.com/holt-ide/holt/node"
	"github.com/holt-ide/holt/persist"
	"github.com/holt-ide/holt/sandbox/gvisor"
	"github.com/holt-ide/holt/web"
	"github.com/holt-ide/holt/workspace"
)

// owner is the ID of the first account of a server. Its name is chosen on the page
// behind the first link.
const owner = holt.UserID("owner")

// Main builds, runs and closes every part of the server.
type Main struct {
	cfg     config
	closers []func(context.Context) error
}

// shutdownPatience bounds how long requests under way may take at the end.
const shutdownPatience = 15 * time.Second

// Run serves until ctx ends.
func (m *Main) Run(ctx context.Context) (err error) {
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownPatience)
		defer cancel()
		err = errors.Join(err, m.close(end))
	}()
	if os.Geteuid() != 0 {
		return holt.Errorf(holt.KindUnsupported, "holtd needs root to make sandboxes: start it as root (each sandbox gets an unprivileged user namespace)")
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", m.cfg.listen)
	if errors.Is(err, unix.EADDRINUSE) {
		return holt.Errorf(holt.KindConflict, "address %s is in use: stop what listens there, or choose another with --listen", m.cfg.listen)
	} else if err != nil {
		return holt.Wrap(holt.KindInvalid, err, "cannot listen on "+m.cfg.listen)
	}
	defer ln.Close()
	g, sign, err := m.build(ctx, m.cfg.url(ln.Addr()))
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.Serve(ln) })
	group.Go(func() error {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownPatience)
		defer cancel()
		return g.Shutdown(end)
	})
	if err := m.announce(ctx, sign); err != nil {
		return errors.Join(err, g.Shutdown(context.WithoutCancel(ctx)), group.Wait())
	}
	return group.Wait()
}

// onClose adds a step to undo at the end, in reverse order.
func (m *Main) onClose(f func(context.Context) error) { m.closers = append(m.closers, f) }

func (m *Main) close(ctx context.Context) error {
	var errs []error
	for i := len(m.closers) - 1; i >= 0; i-- {
		errs = append(errs, m.closers[i](ctx))
	}
	m.closers = nil
	return errors.Join(errs...)
}

// sign is what a newcomer needs to get in.
type sign struct {
	url, token string
	auth       *auth.Service
}

// build opens every room, lowest first. The order is part of recovery: the node
// finds its machines before the lifecycle compares them with its rows, and both
// before anybody can ask.
func (m *Main) build(ctx context.Context, url string) (*gateway.Gateway, sign, error) {
	cfg := &m.cfg
	dir, err := filepath.Abs(cfg.dataDir)
	if err != nil {
		return nil, sign{}, fmt.Errorf("locate data directory: %w", err)
	}
	release, err := openDataDir(dir)
	if err != nil {
		return nil, sign{}, err
	}
	m.onClose(func(context.Context) error { return release() })

	if cfg.imageCache == "" {
		cfg.imageCache = image.CacheDir(os.Getenv)
	}
	database, where := cfg.databaseOf(dir), "at the address of --database" // which may hold a password
	if file, ok := strings.CutPrefix(database, "sqlite:"); ok {
		where = file
		if err := durable.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return nil, sign{}, fmt.Errorf("make directory of the database: %w", err)
		}
	}
	store, err := metasql.Open(ctx, database)
	if err != nil {
		return nil, sign{}, fmt.Errorf("open database %s: %w", where, err)
	}
	m.onClose(func(context.Context) error { return store.Close() })

	bases, err := image.Open(filepath.Join(dir, "images"), cfg.log)
	if err != nil {
		return nil, sign{}, fmt.Errorf("open images: %w", err)
	}
	m.onClose(func(context.Context) error { return bases.Close() })
	room := imageRoom{store: bases, cache: cfg.imageCache, log: cfg.log}
	if err := room.adoptDefault(ctx); err != nil {
		return nil, sign{}, fmt.Errorf("take default image: %w", err)
	}

	machines, files, err := m.openNode(ctx, dir, room, store)
	if err != nil {
		return nil, sign{}, err
	}
	m.onClose(func(context.Context) error { return machines.Close() })

	lifecycle, err := m.openLifecycle(ctx, store, machines, files, room)
	if err != nil {
		return nil, sign{}, err
	}
	m.onClose(lifecycle.Close)
	room.users = lifecycle
	if usual, err := lifecycle.Usual(ctx); err == nil { // there may be no image yet
		machines.Expect(usual)
	}

	people := auth.New(auth.Config{Users: store.Users(), Invitations: store.Invitations(), Tokens: store.Tokens()})
	token, err := bootstrap(ctx, people, filepath.Join(dir, "token"))
	if err != nil {
		return nil, sign{}, err
	}
	if files != nil {
		m.onClose(runUntilClosed(ctx, filesTidier{store.Workspaces(), files, lifecycle.Tell, cfg.log}.run))
	}
	m.onClose(startPurging(ctx, cfg.log, purges(store, people)))
	key, err := cookieKey(filepath.Join(dir, "cookie-key"))
	if err != nil {
		return nil, sign{}, err
	}
	var identity *oidc.Provider
	if cfg.oidc.Issuer != "" {
		identity = oidc.New(cfg.oidc)
	}
	g, err := gateway.New(gateway.Config{
		Identity: identity, IdentityDomains: cfg.oidcDomains,
		Workspaces: door{lifecycle}, Revisions: revisions(files), Events: store.Events(), Idempotency: store.Idempotency(), Auth: people,
		Members: store.Members(), Audit: store.Audit(), TrustedProxies: cfg.trustedProxies,
		Node: machines, Images: room, PublicURL: url, PortDomain: cfg.portDomain, CookieKey: key,
		Web: web.Handler(), Version: version(), NodeID: nodeID(), Log: cfg.log,
	})
	if err != nil {
		return nil, sign{}, fmt.Errorf("open gateway: %w", err)
	}
	return g, sign{url: url, token: token, auth: people}, nil
}

func (m *Main) openNode(ctx context.Context, dir string, room imageRoom, db meta.Store) (*node.Node, *persist.Store, error) {
	driver, err := gvisor.Open(ctx, gvisor.Config{Dir: filepath.Join(dir, "node", "gvisor"), Runsc: m.cfg.runsc, Log: m.cfg.log})
	if err != nil {
		return nil, nil, fmt.Errorf("open sandbox driver: %w", err)
	}
	if err := m.cfg.store.checkPlace(dir); err != nil {
		return nil, nil, err
	}
	store, err := tryStore(ctx, m.cfg.store.connector(dir))
	if err != nil {
		return nil, nil, err
	}
	owner, err := storeOwner(dir)
	if err != nil {
		return nil, nil, err
	}
	var opened atomic.Pointer[node.Node] // the two know each other
	files, err := m.openFiles(dir, db, &opened)
	if err != nil {
		return nil, nil, err
	}
	var keeper node.Files
	if files != nil {
		keeper = files
	}
	n, err := node.Open(ctx, node.Config{
		Files: keeper, Flush: node.FlushConfig{Interval: m.cfg.flushInterval}, JournalDir: m.cfg.journalDir,
		Store: store, StoreOwner: owner, RawLimit: m.cfg.rawCopies,
		Dir: filepath.Join(dir, "node"), Driver: driver, Images: room, Agent: m.cfg.agent, PoolSize: m.cfg.poolSize,
		NetworkRange: m.cfg.networkRange, Nameservers: m.cfg.nameservers, WarmNetworks: 2, Prepared: m.cfg.prepared, Log: m.cfg.log,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("open node: %w", err)
	}
	opened.Store(n)
	if files != nil {
		m.onClose(runUntilClosed(ctx, files.Run))
	}
	return n, files, nil
}

// runUntilClosed runs work beside everything else until the server ends.
func runUntilClosed(ctx context.Context, work func(context.Context)) (stop func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() { defer close(done); work(ctx) }()
	return func(end context.Context) error {
		cancel()
		select {
		case <-done:
			return nil
		case <-end.Done():
			return fmt.Errorf("wait for work under way: %w", end.Err())
		}
	}
}

// openFiles opens what keeps the files of workspaces outside their volumes; nil without
// a store.
func (m *Main) openFiles(dir string, db meta.Store, n *atomic.Pointer[node.Node]) (*persist.Store, error) {
	connect := m.cfg.store.connector(dir)
	if connect == nil {
		return nil, nil
	}
	spool := filepath.Join(dir, "spool")
	if err := durable.MkdirAll(spool, 0o700); err != nil {
		return nil, fmt.Errorf("make spool: %w", err)
	}
	s, err := persist.New(persist.Config{
		Objects: &reached{connect: connect}, Revisions: db.Revisions(), Spool: spool, Log: m.cfg.log,
		Published: func(r persist.Revision) {
			if n := n.Load(); n != nil {
				n.FilesPublished(r)
			}
		},
		Dropped: func(_ context.Context, ws holt.WorkspaceID) {
			if n := n.Load(); n != nil {
				n.FilesDropped(ws)
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("open store of files: %w", err)
	}
	return s, nil
}

func (m *Main) openLifecycle(ctx context.Context, store meta.Store, machines *node.Node, files *persist.Store, room imageRoom) (*workspace.Manager, error) {
	most := m.cfg.most
	if most.Memory == 0 {
		var err error
		if most.Memory, err = hostMemory(); err != nil {
			return nil, err
		}
	}
	var snapshots workspace.SnapshotStore
	if m.cfg.store.at != "none" {
		snapshots = machines
	}
	var keeper workspace.FileStore
	var copyRevision workspace.CopyRevision
	if files != nil {
		keeper = machines
		copyRevision = func(ctx context.Context, from holt.WorkspaceID, number int64, to holt.WorkspaceID) error {
			_, err := files.Copy(ctx, from, number, to)
			return err
		}
	}
	w, err := workspace.Open(ctx, workspace.Config{
		Snapshots: snapshots, Files: keeper, CopyRevision: copyRevision,
		Store: store, Node: machines, NodeID: nodeID(), Images: room, Most: most,
		MaxRunning: m.cfg.maxRunning, IdleAfter: m.cfg.idleAfter, Log: m.cfg.log,
	})
	if err != nil {
		return nil, fmt.Errorf("open lifecycle: %w", err)
	}
	return w, nil
}

// bootstrap returns the first user's token, which is kept in a file that only
// root can read and made anew when it was lost, revoked or expired.
func bootstrap(ctx context.Context, people *auth.Service, path string) (string, error) {
	have, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read token: %w", err)
	}
	secret, err := people.Bootstrap(ctx, strings.TrimSpace(string(have)), owner)
	if err != nil {
		return "", fmt.Errorf("make token: %w", err)
	}
	if err := durable.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("write token: %w", err)
	}
	return secret, nil
}

// announce tells people on the log and programs in the ready file how to get in.
func (m *Main) announce(ctx context.Context, s sign) error {
	code, err := s.auth.Setup(ctx, owner)
	if err != nil {
		return fmt.Errorf("make first link: %w", err)
	}
	in := "sign in:               " + s.url + "/login"
	if code != "" {
		in = "make your account:     " + s.url + "/welcome?code=" + code + "\n                         (once, within a day; each start of holtd prints a new link until there is an account)"
	}
	fmt.Fprintf(os.Stdout, "\nHolt is ready at %s\n\n  %s\n  command line:          export HOLT_URL=%s HOLT_TOKEN=$(cat %s)\n\n",
		s.url, in, s.url, filepath.Join(m.cfg.dataDir, "token"))
	if m.cfg.readyFile == "" {
		return nil
	}
	body, err := json.Marshal(map[string]any{"url": s.url, "token": s.token, "pid": os.Getpid()})
	if err != nil {
		return fmt.Errorf("encode ready file: %w", err)
	}
	if err := durable.WriteFile(m.cfg.readyFile, append(body, '\n'), 0o600); err != nil {
		return fmt.Errorf("write ready file: %w", err)
	}
	m.onClose(func(context.Context) error { return durable.Remove(m.cfg.readyFile) })
	return nil
}

// cookieKey returns the key that signs the cookies of forwarded ports.
func cookieKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if err == nil && len(key) >= 32 {
		return key, nil
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read cookie key: %w", err)
	}
	key = []byte(holt.NewSecret())
	if err := durable.WriteFile(path, key, 0o600); err != nil {
		return nil, fmt.Errorf("write cookie key: %w", err)
	}
	return key, nil
}

// nodeID is the one node of a one-machine server. It does not follow the host
// name, which people change.
func nodeID() holt.NodeID { return "local" }

func hostMemory() (int64, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, fmt.Errorf("measure memory: %w", err)
	}
	return int64(info.Totalram) * int64(info.Unit), nil
}
