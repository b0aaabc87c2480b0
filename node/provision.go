package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/fault"
	"github.com/holt-ide/holt/node/network"
	"github.com/holt-ide/holt/node/volume"
	"github.com/holt-ide/holt/sandbox"
	guestwire "github.com/holt-ide/holt/wire/guest"
	hostwire "github.com/holt-ide/holt/wire/host"
)

// The guest's fixed places and people.
const (
	agentName  = "holt-guest"
	agentDir   = "/.holt"
	guestUser  = "dev"
	guestID    = 1000
	guestHome  = "/home/dev"
	projectDir = "/workspace"
)

// watermark is the part of the pool that must be free for a new machine.
const watermark = 10

// Provision boots a fresh machine; see package workspace.
func (n *Node) Provision(ctx context.Context, spec hostwire.Spec) error {
	if done, err := n.already(spec); done || err != nil {
		return err
	}
	if err := n.checkSpace(0); err != nil {
		return err
	}
	laps := newLaps()
	if ok, err := n.volumes.Exists(spec.Workspace); err != nil {
		return fmt.Errorf("look for volume: %w", err)
	} else if !ok {
		if err := n.volumes.Create(ctx, spec.Workspace, spec.Limits.Disk); err != nil {
			return err
		}
	}
	r := record{
		Sandbox: spec.Sandbox, Workspace: spec.Workspace, Name: spec.Name, Image: spec.Image,
		Limits: spec.Limits, Agent: n.agent, Secret: holt.NewSecret(),
	}
	laps.lap("create")
	m, err := n.assemble(ctx, laps, spec, r, "", func(ctx context.Context, s sandbox.Spec) (sandbox.Sandbox, error) {
		return n.driver.Start(ctx, s)
	})
	if err != nil {
		return err
	}
	err = m.thaw(ctx, spec)
	laps.lap("agent")
	if err == nil {
		err = m.clone(ctx, spec.Git)
		laps.lap("clone")
	}
	return n.handOver(ctx, laps, m, err)
}

// already reports whether the sandbox exists from an earlier call. Remains of an
// unfinished call are released.
func (n *Node) already(spec hostwire.Spec) (bool, error) {
	if _, err := n.find(spec.Sandbox); err == nil {
		return true, nil
	}
	_, found, err := n.readRecord(spec.Sandbox)
	if err != nil || !found {
		return false, err
	}
	return false, n.Release(n.run, spec.Sandbox)
}

// checkSpace refuses new machines when the pool is nearly full, or a snapshot
// that needs more than is free.
func (n *Node) checkSpace(need int64) error {
	free, total, err := n.volumes.Free()
	if err != nil {
		return fmt.Errorf("measure pool: %w", err)
	}
	switch {
	case need > free:
		return holt.Errorf(holt.KindNoSpace, "this needs about %s on the server's disk, where %s are free: remove workspaces or images", holt.FormatSize(need), holt.FormatSize(free))
	case need == 0 && free < total/watermark:
		return holt.Errorf(holt.KindNoSpace, "the server's disk is nearly full (%s of %s free): no new machine is started until workspaces or images are removed", holt.FormatSize(free), holt.FormatSize(total))
	}
	return nil
}

// assemble takes a slot, mounts the volume and makes the sandbox with boot. On
// error nothing but the volume is left.
func (n *Node) assemble(ctx context.Context, laps *laps, spec hostwire.Spec, r record, toolchain string,
	boot func(context.Context, sandbox.Spec) (sandbox.Sandbox, error),
) (_ *machine, err error) {
	image, env, err := n.cfg.Images.Base(ctx, r.Image)
	if err != nil {
		return nil, err
	}
	slot, err := n.networks.Get(ctx, network.Policy{Internet: spec.Egress != holt.EgressNone, Bandwidth: spec.Limits.Bandwidth})
	if err != nil {
		return nil, err
	}
	laps.lap("network")
	r.Slot, r.SlotTag, r.MadeAt = slot.Number, slot.Tag, time.Now()
	fault.Point("machine.slot-taken")
	if err := n.writeRecord(r); err != nil {
		return nil, errors.Join(err, n.networks.Put(slot))
	}
	fault.Point("machine.recorded")
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Release(context.WithoutCancel(ctx), r.Sandbox))
		}
	}()
	unlock := n.volumeLocks.lock(string(spec.Workspace))
	mount, err := n.volumes.Mount(ctx, spec.Workspace, slot.IDBase())
	unlock()
	if err != nil {
		return nil, fmt.Errorf("mount volume: %w", err)
	}
	fault.Point("machine.mounted")
	laps.lap("volume")
	resolv, err := n.resolvConf(r.Sandbox)
	if err != nil {
		return nil, err
	}
	config, err := agentConfig(spec, r.Secret)
	if err != nil {
		return nil, err
	}
	sb, err := boot(ctx, sandbox.Spec{
		ID: r.Sandbox, Hostname: spec.Name, Image: image,
		Init: []string{agentDir + "/" + agentName},
		Env:  append(baseEnv(env), guestwire.ConfigEnv+"="+config),
		Mounts: []sandbox.Mount{
			{Source: filepath.Dir(n.tools.Path(r.Agent, agentName)), Target: agentDir, ReadOnly: true},
			{Source: filepath.Join(mount, volume.Home), Target: guestHome},
			{Source: filepath.Join(mount, volume.Workspace), Target: projectDir},
			{Source: resolv, Target: "/etc/resolv.conf", ReadOnly: true},
		},
		Network: sandbox.Network{Sandbox: slot.Sandbox(), Gateway: slot.Gateway(), Agent: agentAddr()},
		IDBase:  slot.IDBase(), Limits: spec.Limits, Toolchain: toolchain,
	})
	if err != nil {
		return nil, err
	}
	fault.Point("machine.booted")
	laps.lap("sandbox")
	return n.machine(r, sb), nil
}

// handOver makes a machine known that came up, or releases one that did not.
func (n *Node) handOver(ctx context.Context, laps *laps, m *machine, err error) error {
	if err == nil {
		fault.Point("machine.answers")
		err = m.update(func(r *record) { r.Ready = true })
	}
	if err != nil {
		m.conns.closeAll()
		ctx := context.WithoutCancel(ctx)
		return errors.Join(err, m.sb.Close(ctx), n.Release(ctx, m.rec.Sandbox))
	}
	n.enlist(m)
	n.log.Info("machine ready", laps.attrs("sandbox_id", m.rec.Sandbox, "workspace", m.rec.Workspace)...)
	return nil
}

func agentConfig(spec hostwire.Spec, secret string) (string, error) {
	body, err := json.Marshal(guestwire.Config{
		Listen: fmt.Sprintf(":%d", agentPort), Secret: secret, WorkspaceID: spec.Workspace, Name: spec.Name,
		User: guestUser, UID: guestID, GID: guestID, Home: guestHome, Dir: projectDir, Processes: spec.Limits.Processes, Memory: spec.Limits.Memory,
	})
	if err != nil {
		return "", fmt.Errorf("encode agent configuration: %w", err)
	}
	return string(body), nil
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

// cloneScript clones beside the project and moves the result in, so that a crash
// half way leaves an empty project that is cloned again. A project that has
// anything in it is left alone.
const cloneScript = `
set -e
if [ -n "$(ls -A /workspace | grep -v -x -e lost+found -e .holt-clone || true)" ]; then exit 0; fi
rm -rf /workspace/.holt-clone
GIT_TERMINAL_PROMPT=0 git clone --recurse-submodules -- "$1" /workspace/.holt-clone
cd /workspace/.holt-clone
find . -mindepth 1 -maxdepth 1 -exec mv -t /workspace -- {} +
cd /workspace
rmdir .holt-clone
`

// clone fetches the project. Without a URL it does nothing.
func (m *machine) clone(ctx context.Context, url string) error {
	if url == "" {
		return nil
	}
	words, err := m.capture(ctx, "sh", "-c", cloneScript, "clone", url)
	if err == nil {
		return nil
	}
	if holt.IsKind(err, holt.KindUnavailable) || ctx.Err() != nil {
		return fmt.Errorf("clone project: %w", err)
	}
	return holt.Errorf(holt.KindInvalid, "git clone of %s did not work: %s", url, lastLines(words, 3))
}

// errCommand is wrapped by capture when the command ran and failed.
var errCommand = errors.New("command failed")

// capture runs a command in the guest as its user and returns the end of what it printed.
func (m *machine) capture(ctx context.Context, cmd ...string) (string, error) {
	out := &tail{most: 8 << 10}
	exit, err := m.agent.Run(ctx, guestwire.Exec{Cmd: cmd, Cwd: "/"}, nil, out, out)
	if err != nil {
		return out.String(), err
	}
	if exit.Code != 0 {
		return out.String(), fmt.Errorf("%w with code %d: %s", errCommand, exit.Code, lastLines(out.String(), 1))
	}
	return out.String(), nil
}

// tail keeps the last bytes written to it.
type tail struct {
	buf  bytes.Buffer
	most int
}

func (t *tail) Write(b []byte) (int, error) {
	t.buf.Write(b)
	if over := t.buf.Len() - t.most; over > 0 {
		t.buf.Next(over)
	}
	return len(b), nil
}

func (t *tail) String() string { return t.buf.String() }

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}
