// Package sandboxtest is the suite that every sandbox driver passes, on the real
// driver with a real guest agent.
//
// A driver's test hands [Run] a [Rig], which makes drivers, and everything a
// sandbox needs beside its driver.
package sandboxtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holt-ide/holt/sandbox"
	guestwire "github.com/holt-ide/holt/wire/guest"
)

// Rig supplies what the suite needs.
type Rig interface {
	// Open opens the driver on the rig's one directory. Opened again, it stands
	// for the same server after a restart.
	Open(t *testing.T) sandbox.Driver

	// Spec returns a complete specification with a network and writable folders
	// of its own, which are freed at the end of the test, and the secret that
	// the guest agent will want. The guest has sh, dd, cat, sleep and id.
	Spec(t *testing.T) (sandbox.Spec, string)

	// Again returns a specification for a restore of a checkpoint made from
	// spec: everything that may differ differs, the folders are copies.
	Again(t *testing.T, spec sandbox.Spec) sandbox.Spec

	// Held lists every resource on the host that drivers and the rig hold now:
	// processes, mounts, namespaces, cgroups, files, loop devices.
	Held(t *testing.T) []string

	// Kill ends the sandbox's host process behind the driver's back.
	Kill(t *testing.T, sb sandbox.Sandbox)

	// Outside is an "address:port" where a server of the host listens, which no
	// guest may reach.
	Outside(t *testing.T) string
}

// guest is a started sandbox and its agent.
type guest struct {
	sandbox.Sandbox
	agent *guestwire.Client
}

// started makes a sandbox that is closed at the end of the test.
func started(t *testing.T, d sandbox.Driver, rig Rig, change ...func(*sandbox.Spec)) *guest {
	t.Helper()
	spec, secret := rig.Spec(t)
	for _, c := range change {
		c(&spec)
	}
	sb, err := d.Start(t.Context(), spec)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	return attach(t, sb, secret)
}

// restored makes a sandbox from a checkpoint of another.
func restored(t *testing.T, d sandbox.Driver, rig Rig, from *guest, dir, secret string) *guest {
	t.Helper()
	sb, err := d.Restore(t.Context(), rig.Again(t, from.Spec()), dir)
	if err != nil {
		t.Fatalf("restore: %v", err)
	}
	return attach(t, sb, secret)
}

func attach(t *testing.T, sb sandbox.Sandbox, secret string) *guest {
	t.Helper()
	t.Cleanup(func() {
		if err := sb.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	g := &guest{sb, guestwire.NewDial(sb.Dial, func() string { return secret })}
	t.Cleanup(g.agent.CloseIdle)
	eventually(t, 20*time.Second, "the agent answers", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := g.agent.Health(ctx)
		return err
	})
	return g
}

// sh runs a shell script in the guest and returns what it printed and its code.
func (g *guest) sh(t *testing.T, script string) (string, int) {
	t.Helper()
	out, code, err := g.try(t.Context(), script)
	if err != nil {
		t.Fatalf("run %q: %v", script, err)
	}
	return out, code
}

func (g *guest) try(ctx context.Context, script string) (string, int, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var out bytes.Buffer
	exit, err := g.agent.Run(ctx, guestwire.Exec{Cmd: []string{"sh", "-c", script}, Cwd: "/"}, nil, &out, &out)
	return strings.TrimSpace(out.String()), exit.Code, err
}

// must runs a script that has to succeed and returns what it printed.
func (g *guest) must(t *testing.T, script string) string {
	t.Helper()
	out, code := g.sh(t, script)
	if code != 0 {
		t.Fatalf("%q ended with code %d: %s", script, code, out)
	}
	return out
}

// background starts a script that runs on after the call.
func (g *guest) background(t *testing.T, script string) {
	t.Helper()
	s, err := g.agent.Exec(t.Context(), guestwire.Exec{Cmd: []string{"sh", "-c", script}, Cwd: "/", Detach: true})
	if err != nil {
		t.Fatalf("start %q: %v", script, err)
	}
	s.Abort()
}

// frozen pauses the sandbox and writes a checkpoint of it.
func (g *guest) frozen(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir() + "/checkpoint"
	if err := errors.Join(g.Pause(t.Context()), g.Checkpoint(t.Context(), dir)); err != nil {
		t.Fatalf("checkpoint: %v", err)
	}
	return dir
}

// eventually polls until f returns nil.
func eventually(t *testing.T, within time.Duration, what string, f func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %v: %v", what, within, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func ended(sb sandbox.Sandbox) error {
	select {
	case <-sb.Done():
		return nil
	default:
		return fmt.Errorf("sandbox %s lives", sb.Spec().ID)
	}
}
