// Package stats reads what the guest uses from /proc.
//
// User processes are the descendants of the agent, which as PID 1 or as
// a subreaper has all of them below it.
package stats

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/holt-ide/holt/wire/guest"
	"golang.org/x/sys/unix"
)

// The unit of times in /proc/PID/stat: USER_HZ, 100 on every Linux.
const ticksPerSecond = 100

// Process is one user process, from /proc/PID/stat.
type Process struct {
	PID    int
	Parent int
	Group  int // process group
	Comm   string
	State  byte   // R, S, D, T, Z, …
	Ticks  uint64 // user and system time of itself and of its collected children
	RSS    int64  // bytes

	Threads int64
}

// Processes returns the descendants of root in no order. proc is the mount
// point of the proc file system. Of init they are all others: a table read while
// it changes, as under a fork bomb, lacks the parents of most.
func Processes(proc string, root int) ([]Process, error) {
	d, err := os.Open(proc)
	if err != nil {
		return nil, fmt.Errorf("read processes: %w", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("read processes: %w", err)
	}
	all := map[int]Process{}
	children := map[int][]int{}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(proc, name, "stat"))
		if err != nil {
			continue // gone
		}
		// A process that is just ending reads as number 0 on gVisor. To signal
		// that would be to signal the agent's own group.
		if p, ok := parseStat(raw); ok && p.PID == pid && pid != root {
			all[pid] = p
			children[p.Parent] = append(children[p.Parent], pid)
		}
	}
	var out []Process
	if root == 1 {
		return slices.Collect(maps.Values(all)), nil
	}
	for next := children[root]; len(next) > 0; {
		pid := next[len(next)-1]
		next = next[:len(next)-1]
		out = append(out, all[pid])
		next = append(next, children[pid]...)
		delete(children, pid) // a table read while it changes may hold a ring
	}
	return out, nil
}

// Threads returns how many threads one process has.
func Threads(proc string, pid int) (int64, error) {
	raw, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, fmt.Errorf("read process: %w", err)
	}
	p, ok := parseStat(raw)
	if !ok {
		return 0, fmt.Errorf("read process %d: its stat file is odd", pid)
	}
	return p.Threads, nil
}

// parseStat reads "pid (comm) state ppid …", where comm may hold anything.
func parseStat(raw []byte) (p Process, ok bool) {
	open, end := bytes.IndexByte(raw, '('), bytes.LastIndexByte(raw, ')')
	if open < 0 || end < open {
		return p, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw[:open])))
	col := strings.Fields(string(raw[end+1:]))
	if err != nil || len(col) < 22 {
		return p, false
	}
	p = Process{PID: pid, Comm: strings.ToValidUTF8(string(raw[open+1:end]), "?"), State: col[0][0]}
	p.Parent, _ = strconv.Atoi(col[1])
	p.Group, _ = strconv.Atoi(col[2])
	for _, c := range col[11:15] { // utime stime cutime cstime
		n, _ := strconv.ParseUint(c, 10, 64)
		p.Ticks += n
	}
	p.Threads, _ = strconv.ParseInt(col[17], 10, 64)
	pages, _ := strconv.ParseInt(col[21], 10, 64)
	p.RSS = pages * int64(os.Getpagesize())
	return p, true
}

// Memory returns the total and the available memory in bytes.
func Memory(proc string) (total, available int64, err error) {
	f, err := os.Open(filepath.Join(proc, "meminfo"))
	if err != nil {
		return 0, 0, fmt.Errorf("read memory: %w", err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		col := strings.Fields(lines.Text())
		if len(col) < 2 {
			continue
		}
		n, _ := strconv.ParseInt(col[1], 10, 64)
		switch col[0] {
		case "MemTotal:":
			total = n << 10
		case "MemAvailable:":
			available = n << 10
		}
	}
	if total == 0 {
		return 0, 0, fmt.Errorf("read memory: no MemTotal in meminfo")
	}
	return total, available, nil
}

// Disks returns the usage of the file systems that hold the paths, each file
// system once. A path that does not exist is left out.
func Disks(paths []string) []guestwire.Disk {
	var out []guestwire.Disk
	seen := map[uint64]bool{}
	for _, path := range paths {
		var st unix.Stat_t
		var fs unix.Statfs_t
		if unix.Stat(path, &st) != nil || unix.Statfs(path, &fs) != nil || seen[st.Dev] {
			continue
		}
		seen[st.Dev] = true
		size := fs.Frsize
		if size == 0 {
			size = fs.Bsize
		}
		out = append(out, guestwire.Disk{
			Path: path, Tmpfs: fs.Type == unix.TMPFS_MAGIC,
			// Without what is reserved for root, as df shows it.
			Total: int64(fs.Blocks-fs.Bfree+fs.Bavail) * size, Used: int64(fs.Blocks-fs.Bfree) * size,
			InodesTotal: int64(fs.Files), InodesUsed: int64(fs.Files - fs.Ffree),
		})
	}
	return out
}

// Read returns the guest's use of processor, memory, processes and disks.
func Read(proc string, root int, paths []string) (guestwire.Stats, error) {
	var s guestwire.Stats
	procs, err := Processes(proc, root)
	if err != nil {
		return s, err
	}
	var ticks uint64
	for _, p := range procs {
		ticks += p.Ticks
		if p.State == 'Z' {
			continue
		}
		s.Processes++
		if p.State == 'R' || p.State == 'D' {
			s.Running++
		}
	}
	// The collected children of the agent, with all that these collected.
	var ended syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &ended); err != nil {
		return s, fmt.Errorf("read processor time: %w", err)
	}
	s.CPUSeconds = float64(ticks)/ticksPerSecond + seconds(ended.Utime) + seconds(ended.Stime)
	total, available, err := Memory(proc)
	if err != nil {
		return s, err
	}
	s.MemoryTotal, s.MemoryUsed = total, total-available
	if raw, err := os.ReadFile(filepath.Join(proc, "loadavg")); err == nil {
		first, _, _ := strings.Cut(string(raw), " ")
		s.Load1, _ = strconv.ParseFloat(first, 64)
	}
	s.Disks = Disks(paths)
	return s, nil
}

func seconds(tv syscall.Timeval) float64 { return float64(tv.Sec) + float64(tv.Usec)/1e6 }
