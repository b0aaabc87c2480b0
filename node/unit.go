package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/node/network"
	"github.com/holt-ide/holt/node/volume"
	"github.com/holt-ide/holt/sandbox"
	guestwire "github.com/holt-ide/holt/wire/guest"
	hostwire "github.com/holt-ide/holt/wire/host"
)

// unit is the place of one sandbox: what it needs beside a workspace's volume.
// It may hold a prepared sandbox already.
//
// Its folder holds
//
//	resolv.conf        the guest's resolver configuration
//	agent/holt-guest   the agent, the same file as in the toolbox
//	agent/config.json  what the agent is told at its first boot, until it was told
type unit struct {
	id       holt.SandboxID // the driver's name of the sandbox
	kind     kind
	slot     network.Slot
	shift    *volume.Shift    // of the slot's IDs
	prepared sandbox.Prepared // nil in one made to measure
}

// kind is everything in which units differ that are not in use: any unit of a
// workspace's kind can become its machine.
type kind struct {
	image     holt.ImageID
	toolchain string      // of the driver, "" for its current one
	agent     string      // hash of the guest agent
	limits    holt.Limits // without those of the volume
	egress    holt.Egress
}

// kindOf returns the kind of a record's machine.
func kindOf(r record, toolchain string, egress holt.Egress) kind {
	k := kind{image: r.Image, toolchain: toolchain, agent: r.Agent, limits: r.Limits, egress: egress}
	k.limits.Disk = 0
	return k
}

// newUnit takes a network and lays the unit's folder out. Nothing of it is left
// on error.
func (n *Node) newUnit(ctx context.Context, k kind) (_ *unit, err error) {
	slot, err := n.networks.Get(ctx, network.Policy{Internet: k.egress != holt.EgressNone, Bandwidth: k.limits.Bandwidth})
	if err != nil {
		return nil, err
	}
	u := &unit{id: holt.NewSandboxID(), kind: k, slot: slot}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.dispose(context.WithoutCancel(ctx), u))
		}
	}()
	if u.shift, err = volume.NewShift(slot.IDBase()); err != nil {
		return nil, err
	}
	dir := filepath.Join(n.unitDir(u.id), "agent")
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("make unit: %w", err)
	}
	// A link, so that all machines share the agent's pages.
	if err := os.Link(n.tools.Path(k.agent, agentName), filepath.Join(dir, agentName)); err != nil {
		return nil, fmt.Errorf("place agent: %w", err)
	}
	var text []byte
	for _, a := range n.networks.Nameservers() {
		text = fmt.Appendf(text, "nameserver %s\n", a)
	}
	if err := os.WriteFile(filepath.Join(n.unitDir(u.id), "resolv.conf"), text, 0o644); err != nil {
		return nil, fmt.Errorf("write resolver configuration: %w", err)
	}
	return u, nil
}

// dispose gives everything of a unit back that no machine has taken.
func (n *Node) dispose(ctx context.Context, u *unit) error {
	if u.prepared != nil {
		if err := u.prepared.Close(ctx); err != nil {
			return fmt.Errorf("close prepared sandbox: %w", err)
		}
	}
	return errors.Join(u.unshift(), n.networks.Put(u.slot), os.RemoveAll(n.unitDir(u.id)))
}

// unshift gives the shift up, which only the mount needs.
func (u *unit) unshift() error {
	if u.shift == nil {
		return nil
	}
	err := u.shift.Close()
	u.shift = nil
	return err
}

func (n *Node) unitsDir() string                   { return filepath.Join(n.cfg.Dir, "units") }
func (n *Node) unitDir(unit holt.SandboxID) string { return filepath.Join(n.unitsDir(), string(unit)) }
func (n *Node) configPath(unit holt.SandboxID) string {
	return filepath.Join(n.unitDir(unit), "agent", configName)
}

// clearUnits removes the folders of units that no record names.
func (n *Node) clearUnits(records []record) error {
	entries, err := os.ReadDir(n.unitsDir())
	if err != nil {
		return fmt.Errorf("list units: %w", err)
	}
	for _, e := range entries {
		if slices.ContainsFunc(records, func(r record) bool { return string(r.unit()) == e.Name() }) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(n.unitsDir(), e.Name())); err != nil {
			return fmt.Errorf("remove unit: %w", err)
		}
	}
	return nil
}

// spec is what the driver needs to know of the unit; volume is where the
// workspace's volume is mounted, or "" if that comes later.
func (n *Node) spec(ctx context.Context, u *unit, mounted string) (sandbox.Spec, error) {
	image, env, err := n.cfg.Images.Base(ctx, u.kind.image)
	if err != nil {
		return sandbox.Spec{}, err
	}
	dir := n.unitDir(u.id)
	return sandbox.Spec{
		ID: u.id, Hostname: "holt", Image: image,
		Init: []string{agentDir + "/" + agentName},
		Env:  append(baseEnv(env), guestwire.ConfigEnv+"=@"+agentDir+"/"+configName),
		Mounts: slices.Concat(
			[]sandbox.Mount{{Source: filepath.Join(dir, "agent"), Target: agentDir, ReadOnly: true}},
			volumeMounts(mounted),
			[]sandbox.Mount{{Source: filepath.Join(dir, "resolv.conf"), Target: "/etc/resolv.conf", ReadOnly: true}},
		),
		Network: sandbox.Network{Sandbox: u.slot.Sandbox(), Gateway: u.slot.Gateway(), Agent: agentAddr()},
		IDBase:  u.slot.IDBase(), Limits: u.kind.limits, Toolchain: u.kind.toolchain,
	}, nil
}

func volumeMounts(mounted string) []sandbox.Mount {
	list := []sandbox.Mount{{Target: guestHome}, {Target: projectDir}}
	if mounted != "" {
		list[0].Source, list[1].Source = filepath.Join(mounted, volume.Home), filepath.Join(mounted, volume.Workspace)
	}
	return list
}

// start sets a fresh machine going in the unit.
func (n *Node) start(ctx context.Context, u *unit, mounted string) (sandbox.Sandbox, error) {
	if u.prepared != nil {
		return u.prepared.Start(ctx, volumeMounts(mounted))
	}
	s, err := n.spec(ctx, u, mounted)
	if err != nil {
		return nil, err
	}
	return n.driver.Start(ctx, s)
}

// restore sets a machine going in the unit from a checkpoint.
func (n *Node) restore(ctx context.Context, u *unit, mounted, dir string) (sandbox.Sandbox, error) {
	if u.prepared != nil {
		return u.prepared.Restore(ctx, volumeMounts(mounted), dir)
	}
	s, err := n.spec(ctx, u, mounted)
	if err != nil {
		return nil, err
	}
	return n.driver.Restore(ctx, s, dir)
}

// configName is the agent's configuration in its folder.
const configName = "config.json"

// tellAgent writes what the agent is told at its first boot, for the guest's root
// alone to read.
func (n *Node) tellAgent(u *unit, spec hostwire.Spec, secret string) error {
	body, err := json.Marshal(guestwire.Config{
		Listen: fmt.Sprintf(":%d", agentPort), Secret: secret, WorkspaceID: spec.Workspace, Name: spec.Name,
		User: guestUser, UID: guestID, GID: guestID, Home: guestHome, Dir: projectDir, Processes: spec.Limits.Processes, Memory: spec.Limits.Memory,
	})
	if err != nil {
		return fmt.Errorf("encode agent configuration: %w", err)
	}
	path, root := n.configPath(u.id), int(u.slot.IDBase())
	if err := os.WriteFile(path, body, 0o400); err != nil {
		return fmt.Errorf("write agent configuration: %w", err)
	}
	if err := os.Chown(path, root, root); err != nil {
		return fmt.Errorf("own agent configuration: %w", err)
	}
	return nil
}

// baseEnv returns a copy of the image's environment, which all machines of the
// image share, with a search path, which not every image has.
func baseEnv(env []string) []string {
	own := slices.Clip(slices.Clone(env))
	for _, e := range own {
		if strings.HasPrefix(e, "PATH=") {
			return own
		}
	}
	return append(own, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
}
