package gvisor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/sandbox"
)

// prepared implements [sandbox.Prepared]: a container that was created and has
// neither processes nor memory.
type prepared struct {
	m    *machine
	used bool
}

// Prepare implements [sandbox.Preparer]. Mounts without a source are empty
// folders until the sandbox is set going.
func (d *Driver) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Prepared, error) {
	m, err := d.create(ctx, spec, func(m *machine) error { return m.runsc.create(ctx, spec.ID, m.dir) })
	if err != nil {
		return nil, err
	}
	m.attend()
	return &prepared{m: m}, nil
}

// Start implements [sandbox.Prepared].
func (p *prepared) Start(ctx context.Context, mounts []sandbox.Mount) (sandbox.Sandbox, error) {
	return p.set(ctx, mounts, order{Verb: "start"}, func(m *machine) error { return m.runsc.startCreated(ctx, m.spec.ID) })
}

// Restore implements [sandbox.Prepared].
func (p *prepared) Restore(ctx context.Context, mounts []sandbox.Mount, dir string) (sandbox.Sandbox, error) {
	return p.set(ctx, mounts, order{Verb: "restore", Image: dir},
		func(m *machine) error { return m.runsc.restoreCreated(ctx, m.spec.ID, dir) })
}

// Done implements [sandbox.Prepared].
func (p *prepared) Done() <-chan struct{} { return p.m.done }

// Close implements [sandbox.Prepared].
func (p *prepared) Close(ctx context.Context) error {
	if p.used {
		return nil
	}
	p.used = true
	return p.m.Close(ctx)
}

// set fills the open mounts and sets the sandbox going by o, or else by call.
func (p *prepared) set(ctx context.Context, mounts []sandbox.Mount, o order, call func(*machine) error) (_ sandbox.Sandbox, err error) {
	if p.used {
		return nil, sandbox.ErrGone
	}
	p.used = true
	defer func() {
		if err != nil {
			err = errors.Join(err, p.m.Close(context.WithoutCancel(ctx)))
		}
	}()
	if err := p.m.fill(mounts); err != nil {
		return nil, err
	}
	if err := p.m.ask(ctx, o, func() error { return call(p.m) }); err != nil {
		return nil, err
	}
	p.m.dismiss()
	return p.m, p.m.keep()
}

// placeholder is what stands at mount i until its source is known.
func placeholder(dir string, i int) string { return filepath.Join(dir, "open-"+strconv.Itoa(i)) }

// fill mounts the sources of the open mounts over their placeholders, in the
// gofer's own mount namespace: the gofer opens them when the sandbox is set going.
func (m *machine) fill(given []sandbox.Mount) error {
	source := map[string]string{}
	for _, g := range given {
		source[g.Target] = g.Source
	}
	open := map[string]string{}
	for i := range m.spec.Mounts {
		mount := &m.spec.Mounts[i]
		if mount.Source != "" {
			continue
		}
		from, ok := source[mount.Target]
		if !ok {
			return holt.Errorf(holt.KindInvalid, "nothing is given to mount at %s", mount.Target)
		}
		mount.Source, open[mount.Target] = from, from
		if mount.ReadOnly {
			return holt.Errorf(holt.KindInvalid, "the mount at %s is read-only: it must be given from the start", mount.Target)
		}
	}
	if len(open) == 0 {
		return nil
	}
	pid, err := m.runsc.gofer(m.spec.ID)
	if err != nil {
		return err
	}
	err = onOwnThread(func() error { return mountInto(pid, open) })
	select {
	case <-m.gofer.ended: // then pid may have been another's
		return errors.Join(sandbox.ErrGone, err)
	default:
		return err
	}
}

// onOwnThread runs f on a thread that ends with it, whatever f made of it. That
// is never the first thread of the process, whose namespaces /proc/self shows.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			done <- onOwnThread(f) // on another one, this one being taken
			return
		}
		done <- f() // never unlocked: the thread ends with this goroutine
	}()
	return <-done
}

// mountInto makes the directories, by target, appear in the root of process pid.
// Nothing of a guest has run there: the targets are the runtime's own folders.
func mountInto(pid int, sources map[string]string) error {
	type move struct{ tree, at int }
	var moves []move
	defer func() {
		for _, m := range moves {
			unix.Close(m.tree)
			unix.Close(m.at)
		}
	}()
	for target, source := range sources {
		tree, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return fmt.Errorf("clone mount of %s: %w", target, err)
		}
		attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
		if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, attr); err != nil {
			return errors.Join(fmt.Errorf("restrict mount of %s: %w", target, err), unix.Close(tree))
		}
		at, err := unix.Open(fmt.Sprintf("/proc/%d/root%s", pid, target), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return errors.Join(fmt.Errorf("open mount point %s: %w", target, err), unix.Close(tree))
		}
		moves = append(moves, move{tree, at})
	}
	ns, err := unix.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open mount namespace: %w", err)
	}
	defer unix.Close(ns)
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // a thread that shares its root cannot enter
		return fmt.Errorf("leave shared root: %w", err)
	}
	if err := unix.Setns(ns, unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter mount namespace: %w", err)
	}
	for _, m := range moves {
		if err := unix.MoveMount(m.tree, "", m.at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
			return fmt.Errorf("place mount: %w", err)
		}
	}
	return nil
}
