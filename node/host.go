package node

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/snapshot"
)

// thisHost returns what the memory of machines made here may depend on.
func thisHost() (snapshot.Host, error) {
	h := snapshot.Host{Arch: runtime.GOARCH}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return h, fmt.Errorf("ask for the kernel's release: %w", err)
	}
	h.Kernel = unix.ByteSliceToString(name.Release[:])
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return h, fmt.Errorf("look at the processor: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		if key = strings.TrimSpace(key); key == "flags" || key == "Features" { // x86, ARM
			h.CPU = slices.DeleteFunc(strings.Fields(value), func(f string) bool { return kernelOwn[f] })
			slices.Sort(h.CPU)
			h.CPU = slices.Compact(h.CPU)
			break // all cores are alike
		}
	}
	return h, lines.Err()
}

// kernelOwn are words by which the host's kernel tells about itself or its clocks,
// and not what a program can use of the processor.
var kernelOwn = map[string]bool{
	"aperfmperf": true, "arch_perfmon": true, "constant_tsc": true, "cpuid": true, "cpuid_fault": true, "hypervisor": true, "ibpb": true,
	"ibrs": true, "ibrs_enhanced": true, "nonstop_tsc": true, "nopl": true, "pti": true, "rep_good": true, "ssbd": true, "stibp": true,
	"tsc_known_freq": true, "tsc_reliable": true, "xtopology": true,
}

// suits reports, as KindUnsupported, why a snapshot of a machine on host cannot be
// resumed on this one.
func (n *Node) suits(m *snapshot.Manifest) error {
	if m.Host == nil {
		return nil // written before it was noted: on this machine
	}
	if m.Host.Arch != n.host.Arch {
		return holt.Errorf(holt.KindUnsupported, "the memory in snapshot %s is that of a machine with %s processors, this one has %s", m.ID, m.Host.Arch, n.host.Arch)
	}
	var lacks []string
	for _, f := range m.Host.CPU {
		if _, ok := slices.BinarySearch(n.host.CPU, f); !ok {
			lacks = append(lacks, f)
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	more := ""
	if len(lacks) > 6 {
		more = fmt.Sprintf(" and %d more", len(lacks)-6)
	}
	return holt.Errorf(holt.KindUnsupported, "the memory in snapshot %s needs features that this machine's processor lacks: %s%s",
		m.ID, strings.Join(lacks[:min(len(lacks), 6)], " "), more)
}
