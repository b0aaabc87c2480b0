package volume_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/node/volume"
)

const base = 7 << 16

func open(t *testing.T) *volume.Pool {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil { // the guest's user passes through
		t.Fatal(err)
	}
	p, err := volume.Open(t.Context(), volume.Config{Dir: dir, Size: 2 * holt.GiB})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Detach(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func create(t *testing.T, p *volume.Pool, size int64) (holt.WorkspaceID, string) {
	t.Helper()
	ws := holt.NewWorkspaceID()
	if err := p.Create(t.Context(), ws, size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Remove(ws); err != nil {
			t.Error(err)
		}
	})
	return ws, mount(t, p, ws)
}

func mount(t *testing.T, p *volume.Pool, ws holt.WorkspaceID) string {
	t.Helper()
	shift, err := volume.NewShift(base)
	if err != nil {
		t.Fatal(err)
	}
	defer shift.Close()
	dir, err := p.Mount(t.Context(), ws, shift)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// asGuest runs f with the file system rights of the guest's user.
func asGuest(t *testing.T, f func() error) error {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	become := func(id int) {
		if err := errors.Join(unix.Setfsgid(id), unix.Setfsuid(id)); err != nil {
			t.Fatal(err)
		}
	}
	become(base + 1000)
	defer become(0)
	return f()
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := asGuest(t, func() error { return os.WriteFile(name, data, 0o644) }); err != nil {
		t.Fatal(err)
	}
}

func TestFilesBelongToTheSandboxRange(t *testing.T) {
	p := open(t)
	_, dir := create(t, p, 64*holt.MiB)
	for _, sub := range []string{volume.Home, volume.Workspace} {
		info, err := os.Stat(filepath.Join(dir, sub))
		if err != nil {
			t.Fatal(err)
		}
		if uid := info.Sys().(*syscall.Stat_t).Uid; uid != base+1000 {
			t.Errorf("%s belongs to %d, want %d", sub, uid, base+1000)
		}
	}
}

func TestCopyIsIndependentAndWhole(t *testing.T) {
	p := open(t)
	ws, dir := create(t, p, 256*holt.MiB)
	want := make([]byte, 8<<20)
	rand.Read(want)
	name := filepath.Join(dir, volume.Workspace, "data")
	write(t, name, want)
	cp := filepath.Join(p.Root(), "copy.img")
	if err := p.CopyOut(ws, cp); err != nil { // while mounted
		t.Fatal(err)
	}
	write(t, name, []byte("later"))
	if err := p.CopyIn(cp, ws); !holt.IsKind(err, holt.KindConflict) {
		t.Fatalf("copy into a mounted volume: %v, want a conflict", err)
	}
	if err := p.Unmount(ws); err != nil {
		t.Fatal(err)
	}
	if err := p.CopyIn(cp, ws); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(mount(t, p, ws), volume.Workspace, "data"))
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("volume after copying back: %d bytes, %v; want what was copied", len(got), err)
	}
}

func TestSizeIsAHardLimit(t *testing.T) {
	p := open(t)
	ws, dir := create(t, p, 64*holt.MiB)
	var f *os.File
	err := asGuest(t, func() (err error) {
		f, err = os.Create(filepath.Join(dir, volume.Home, "big"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var written int64
	for chunk := make([]byte, 1<<20); err == nil && written < 128*holt.MiB; {
		var n int
		n, err = f.Write(chunk)
		written += int64(n)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("wrote %d bytes into a volume of 64 MiB: %v, want no space", written, err)
	}
	u, err := p.Usage(ws)
	if err != nil || u.Bytes < u.BytesTotal*97/100 {
		t.Fatalf("usage %+v, %v: want it full", u, err)
	}
}

func TestMountAgainAfterRestart(t *testing.T) {
	p := open(t)
	ws, dir := create(t, p, 64*holt.MiB)
	write(t, filepath.Join(dir, volume.Home, "kept"), []byte("x"))
	again := mount(t, p, ws) // as a new process would, with the old mount still there
	if _, err := os.Stat(filepath.Join(again, volume.Home, "kept")); err != nil {
		t.Fatal(err)
	}
	list, err := p.List()
	if err != nil || len(list) != 1 || list[0] != ws {
		t.Fatalf("list: %v, %v", list, err)
	}
}

func TestRemoveTwice(t *testing.T) {
	p := open(t)
	ws, _ := create(t, p, 64*holt.MiB)
	for range 2 {
		if err := p.Remove(ws); err != nil {
			t.Fatal(err)
		}
	}
	if ok, err := p.Exists(ws); ok || err != nil {
		t.Fatalf("exists after removal: %v, %v", ok, err)
	}
}

// What is built beside has its name only when it is whole, and the volume's own IDs.
func TestBuild(t *testing.T) {
	p := open(t)
	ws := holt.NewWorkspaceID()
	t.Cleanup(func() { _ = p.Remove(ws) })
	broken := errors.New("broken")
	if err := p.Build(t.Context(), ws, 64*holt.MiB, func(string) error { return broken }); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if ok, err := p.Exists(ws); ok || err != nil {
		t.Fatalf("half a volume is there: %v, %v", ok, err)
	}
	err := p.Build(t.Context(), ws, 64*holt.MiB, func(dir string) error {
		name := filepath.Join(dir, volume.Workspace, "file")
		return errors.Join(os.WriteFile(name, []byte("built"), 0o600), os.Chown(name, 1000, 1000))
	})
	if err != nil {
		t.Fatal(err)
	}
	err = p.Look(ws, func(dir string) error {
		name := filepath.Join(dir, volume.Workspace, "file")
		if err := os.WriteFile(name, nil, 0o600); !errors.Is(err, syscall.EROFS) {
			t.Errorf("write where one only looks: %v", err)
		}
		got, err := os.ReadFile(name)
		if string(got) != "built" {
			t.Errorf("the volume has %q", got)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Unshifted(ws, func(string) error { return nil }); !holt.IsKind(err, holt.KindUnavailable) {
		t.Errorf("a second mount of none: %v", err)
	}
	dir := mount(t, p, ws)
	err = p.Unshifted(ws, func(top string) error {
		name := filepath.Join(top, volume.Workspace, "late")
		return errors.Join(os.WriteFile(name, []byte("late"), 0o600), os.Chown(name, 1000, 1000))
	})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, volume.Workspace, "late"))
	if err != nil {
		t.Fatal(err)
	}
	if uid := info.Sys().(*syscall.Stat_t).Uid; uid != base+1000 {
		t.Errorf("belongs to %d, want %d", uid, base+1000)
	}
}

func TestSetAside(t *testing.T) {
	p := open(t)
	ws, _ := create(t, p, 64*holt.MiB)
	name, err := p.SetAside(ws)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := p.Exists(ws); ok || err != nil {
		t.Errorf("still there: %v, %v", ok, err)
	}
	if err := p.Remove(ws); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was set aside stays: %v", err)
	}
}
