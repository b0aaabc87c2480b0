package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/fault"
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
	if err := n.makeSpace(0); err != nil {
		return err
	}
	laps := newLaps()
	restored, err := n.provideVolume(ctx, spec)
	if err != nil {
		return err
	}
	r := record{
		Sandbox: spec.Sandbox, Workspace: spec.Workspace, Name: spec.Name, Tenant: spec.Tenant, Image: spec.Image,
		Limits: spec.Limits, Agent: n.agent, Secret: holt.NewSecret(),
	}
	laps.lap("create")
	made := sync.OnceFunc(n.reserve.making())
	defer made()
	m, err := n.assemble(ctx, laps, spec, r, n.driver.Capabilities().Toolchain, func(ctx context.Context, u *unit, mounted string) (sandbox.Sandbox, error) {
		if err := n.tellAgent(u, spec, r.Secret); err != nil {
			return nil, err
		}
		return n.start(ctx, u, mounted)
	})
	if err != nil {
		return err
	}
	err = m.thaw(ctx, spec)
	if err == nil {
		if restored.text != "" {
			n.notify(m, "files-restored", restored.text, false)
		}
		m.replayJournal(ctx)
		err = os.Remove(n.configPath(m.rec.Unit)) // the agent has read it
	}
	laps.lap("agent")
	made()
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

// makeSpace is checkSpace after giving up what can be fetched again, if that helps.
func (n *Node) makeSpace(need int64) error {
	err := n.checkSpace(need)
	if !holt.IsKind(err, holt.KindNoSpace) {
		return err
	}
	if freed, terr := n.snapshots.Trim(need); terr != nil || freed == 0 {
		return errors.Join(err, terr)
	}
	return n.checkSpace(need)
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

// assemble finds a unit, mounts the volume and makes the sandbox with boot. On
// error nothing but the volume is left.
func (n *Node) assemble(ctx context.Context, laps *laps, spec hostwire.Spec, r record, toolchain string,
	boot func(ctx context.Context, u *unit, mounted string) (sandbox.Sandbox, error),
) (_ *machine, err error) {
	if _, _, err := n.cfg.Images.Base(ctx, r.Image); err != nil {
		return nil, err
	}
	u, err := n.reserve.take(ctx, kindOf(r, toolchain, spec.Egress))
	if err != nil {
		return nil, err
	}
	laps.lap("unit")
	r.Unit, r.Slot, r.SlotTag, r.MadeAt = u.id, u.slot.Number, u.slot.Tag, time.Now()
	fault.Point("machine.slot-taken")
	if err := n.writeRecord(r); err != nil {
		return nil, errors.Join(err, n.dispose(ctx, u))
	}
	fault.Point("machine.recorded")
	defer func() {
		if err == nil {
			return
		}
		undo := context.WithoutCancel(ctx)
		if u.prepared != nil {
			err = errors.Join(err, u.prepared.Close(undo))
		}
		err = errors.Join(err, n.Release(undo, r.Sandbox))
	}()
	n.files.leave(spec.Workspace)
	if err := n.files.behind(spec.Workspace, spec.Tenant); err != nil {
		return nil, errors.Join(err, u.unshift())
	}
	unlock := n.volumeLocks.lock(string(spec.Workspace))
	mounted, err := n.volumes.Mount(ctx, spec.Workspace, u.shift)
	unlock()
	if err := errors.Join(err, u.unshift()); err != nil {
		return nil, fmt.Errorf("mount volume: %w", err)
	}
	fault.Point("machine.mounted")
	laps.lap("volume")
	sb, err := boot(ctx, u, mounted)
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
