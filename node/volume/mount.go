package volume

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// mountLoop mounts the file system in the file img at target. The loop device
// writes around the page cache of the file system that holds img (the mounted
// one has its own) and frees itself at the unmount.
func mountLoop(img, target, fstype string, flags uintptr, options string) error {
	dev, err := attachLoop(img)
	if err != nil {
		return err
	}
	defer dev.Close() // the mount holds the device now
	if err := unix.Mount(dev.Name(), target, fstype, flags, options); err != nil {
		return fmt.Errorf("mount %s at %s: %w", img, target, err)
	}
	return nil
}

// attachLoop puts img behind a free loop device. Other programs take loop
// devices too, so the number that the kernel offers may be gone by the time it
// is used: then the next is tried.
func attachLoop(img string) (*os.File, error) {
	back, err := os.OpenFile(img, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open volume: %w", err)
	}
	defer back.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open loop control: %w", err)
	}
	defer control.Close()
	for range 64 {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("find free loop device: %w", err)
		}
		dev, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return nil, fmt.Errorf("open loop device: %w", err)
		}
		cfg := unix.LoopConfig{Fd: uint32(back.Fd())}
		cfg.Info.Flags = unix.LO_FLAGS_AUTOCLEAR | unix.LO_FLAGS_DIRECT_IO
		copy(cfg.Info.File_name[:len(cfg.Info.File_name)-1], img)
		err = unix.IoctlLoopConfigure(int(dev.Fd()), &cfg)
		if err == nil {
			return dev, nil
		}
		dev.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("attach loop device: %w", err)
		}
	}
	return nil, errors.New("attach loop device: every free one was taken by somebody else")
}

// mountShifted makes the tree mounted at source appear at target with IDs moved
// up by the base of shift: what belongs to 0 on disk belongs to base under target.
func mountShifted(source, target string, shift *Shift) error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("clone mount: %w", err)
	}
	defer unix.Close(fd)
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(shift.ns.Fd())}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, attr); err != nil {
		return fmt.Errorf("shift IDs of mount (Linux 5.12 or newer is needed): %w", err)
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("place mount: %w", err)
	}
	return nil
}

// Shift is how the IDs in a volume and those on the host belong together.
type Shift struct {
	ns *os.File // a user namespace
}

// NewShift makes the shift that shows 0 to 65,535 in a volume as the range that
// starts at base. The kernel wants a user namespace for it, and a namespace needs
// a process to be born, which takes some milliseconds: make it ahead.
func NewShift(base uint32) (*Shift, error) {
	ns, err := userNamespace(base)
	if err != nil {
		return nil, err
	}
	return &Shift{ns: ns}, nil
}

// Close gives the shift up. Volumes that were mounted with it stay as they are.
func (s *Shift) Close() error { return s.ns.Close() }

// userNamespace returns a user namespace that maps 65,536 IDs from base. Its
// first process blocks on its standard input and ends with this function.
func userNamespace(base uint32) (*os.File, error) {
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(base), Size: 65536}}
	cmd := exec.Command("/bin/cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("make user namespace: %w", err)
	}
	runtime.LockOSThread() // the death signal is the thread's
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("make user namespace: %w", err)
	}
	ns, openErr := os.Open(fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid))
	in.Close()
	if err := cmd.Wait(); err != nil && openErr == nil {
		ns.Close()
		return nil, fmt.Errorf("make user namespace: %w", err)
	}
	if openErr != nil {
		return nil, fmt.Errorf("open user namespace: %w", openErr)
	}
	return ns, nil
}

// unmount unmounts target and forgets it even if it is busy. What is not
// mounted, or not there, is no error.
func unmount(target string) error {
	for {
		err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		switch {
		case err == nil:
			continue // mounts may be stacked after a crash
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
			return nil
		}
		return fmt.Errorf("unmount %s: %w", target, err)
	}
}

// mounted reports whether a file system is mounted at dir.
func mounted(dir string) bool {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	escaped := strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace(dir)
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == escaped {
			return true
		}
	}
	return false
}
