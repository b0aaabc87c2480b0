package guard

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt/guest/stats"
	"github.com/holt-ide/holt/wire/guest"
)

// initPID is the agent's process ID in a machine of its own.
const initPID = 1

// NewSystem returns the machine whose proc file system is mounted at proc. Root
// is the agent's process ID, and paths are what Disks looks at.
func NewSystem(proc string, root int, paths []string) System { return system{proc, root, paths} }

type system struct {
	proc  string
	root  int
	paths []string
}

func (s system) Memory() (total, available int64, err error) { return stats.Memory(s.proc) }
func (s system) Processes() ([]stats.Process, error)         { return stats.Processes(s.proc, s.root) }
func (s system) Disks() []guestwire.Disk                     { return stats.Disks(s.paths) }
func (s system) Kill(pid int) error                          { return syscall.Kill(pid, syscall.SIGKILL) }

// Tasks asks the kernel for its count where the whole machine is the guest's.
func (s system) Tasks() (int64, error) {
	if s.root != initPID {
		return s.count()
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, fmt.Errorf("count processes: %w", err)
	}
	own, err := stats.Threads(s.proc, s.root)
	if err != nil {
		return 0, err
	}
	return int64(info.Procs) - own, nil
}

func (s system) count() (int64, error) {
	procs, err := s.Processes()
	var n int64
	for _, p := range procs {
		n += p.Threads
	}
	return n, err
}
