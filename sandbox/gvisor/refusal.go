package gvisor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/holt-ide/holt/sandbox"
)

// Messages of the sandbox's kernel. One message is one packet: a header of eight
// bytes, little-endian, and a protocol buffer.
//
//	offset  size  what
//	0       2     size of the header
//	2       2     kind of message
//	4       4     messages dropped so far, wraps around
//
// Both kinds that we ask for have exit as field 2, with the result as its field 1
// and the error number as its field 2; zero is left out.
//
//	traceRaw   sysno 4, arguments 5-10
//	traceOpen  sysno 3, directory 4, path 6, flags 7
//
// Version 1 of the protocol; see pkg/sentry/seccheck of gVisor.
const (
	traceHeader = 8
	traceRaw    = 6
	traceOpen   = 7
	traceMost   = 8 << 10 // a path has at most 4 KiB
)

type args [6]uint64

// tracedCall is one system call that returned.
type tracedCall struct {
	kind    uint16
	dropped uint32
	sysno   uint64
	args    args
	path    string
	flags   uint64
	errno   unix.Errno // 0 if it succeeded
}

var errTrace = errors.New("malformed trace message")

// decodeTrace reads a message. What it does not know it passes over.
func decodeTrace(b []byte) (tracedCall, error) {
	var c tracedCall
	if len(b) < traceHeader {
		return c, errTrace
	}
	size := int(binary.LittleEndian.Uint16(b))
	c.kind, c.dropped = binary.LittleEndian.Uint16(b[2:]), binary.LittleEndian.Uint32(b[4:])
	if size < traceHeader || size > len(b) {
		return c, errTrace
	}
	err := eachField(b[size:], func(n protowire.Number, v uint64, body []byte) error {
		switch {
		case n == 2:
			return eachField(body, func(n protowire.Number, v uint64, _ []byte) error {
				if n == 2 {
					c.errno = unix.Errno(v)
				}
				return nil
			})
		case c.kind == traceRaw && n == 4, c.kind == traceOpen && n == 3:
			c.sysno = v
		case c.kind == traceRaw && n >= 5 && n <= 10:
			c.args[n-5] = v
		case c.kind == traceOpen && n == 6:
			c.path = string(body)
		case c.kind == traceOpen && n == 7:
			c.flags = v
		}
		return nil
	})
	return c, err
}

// eachField calls f with the number of each field and its value, or its bytes.
func eachField(b []byte, f func(n protowire.Number, v uint64, body []byte) error) error {
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return errTrace
		}
		b = b[size:]
		var v uint64
		var body []byte
		switch kind {
		case protowire.VarintType:
			v, size = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			body, size = protowire.ConsumeBytes(b)
		default:
			size = protowire.ConsumeFieldValue(n, kind, b)
		}
		if size < 0 {
			return errTrace
		}
		b = b[size:]
		if err := f(n, v, body); err != nil {
			return err
		}
	}
	return nil
}

// call says when a system call is worth a word.
type call struct {
	probe, text string
	// when narrows it down; nil means whenever it is refused.
	when func(args, unix.Errno) bool
}

const nodeText = "make a node for a device (mknod)"

// calls are the system calls that the sandbox's kernel reports, by number. They
// are rare in honest work. ptrace is not among them: that kernel decides about an
// attach only after it has reported the call's return.
var calls = map[uint64]call{
	unix.SYS_INIT_MODULE:       {probe: "init_module", text: "load a kernel module (init_module)"},
	unix.SYS_FINIT_MODULE:      {probe: "finit_module", text: "load a kernel module (finit_module)"},
	unix.SYS_DELETE_MODULE:     {probe: "delete_module", text: "remove a kernel module (delete_module)"},
	unix.SYS_KEXEC_LOAD:        {probe: "kexec_load", text: "load another kernel (kexec_load)"},
	unix.SYS_REBOOT:            {probe: "reboot", text: "restart the machine (reboot)"},
	unix.SYS_BPF:               {probe: "bpf", text: "load a program into the kernel (bpf)"},
	unix.SYS_PERF_EVENT_OPEN:   {probe: "perf_event_open", text: "trace the whole system (perf_event_open)"},
	unix.SYS_SETTIMEOFDAY:      {probe: "settimeofday", text: "set the clock (settimeofday)"},
	unix.SYS_CLOCK_SETTIME:     {probe: "clock_settime", text: "set the clock (clock_settime)"},
	unix.SYS_SWAPON:            {probe: "swapon", text: "use a file as memory (swapon)"},
	unix.SYS_ACCT:              {probe: "acct", text: "account for all processes (acct)"},
	unix.SYS_SETHOSTNAME:       {probe: "sethostname", text: "rename the machine (sethostname)"},
	unix.SYS_SETDOMAINNAME:     {probe: "setdomainname", text: "rename the machine (setdomainname)"},
	unix.SYS_MOUNT:             {probe: "mount", text: "mount a file system (mount)"},
	unix.SYS_PIVOT_ROOT:        {probe: "pivot_root", text: "replace the root file system (pivot_root)"},
	unix.SYS_OPEN_BY_HANDLE_AT: {probe: "open_by_handle_at", text: "open a file past its folder (open_by_handle_at)"},
	unix.SYS_MKNODAT:           {"mknod", nodeText, func(a args, _ unix.Errno) bool { return deviceNode(a[2], a[3]) }},
	unix.SYS_KILL: {"kill", "end the guest agent (kill)", func(a args, e unix.Errno) bool {
		return e == unix.EPERM && int32(a[0]) == 1
	}},
	unix.SYS_SOCKET: {"socket", "open a raw socket, or one to the host (socket)", func(a args, _ unix.Errno) bool {
		const kinds = 0xf // the others are flags
		family := uint32(a[0])
		raw := a[1]&kinds == unix.SOCK_RAW && (family == unix.AF_INET || family == unix.AF_INET6)
		return raw || family == unix.AF_PACKET || family == unix.AF_VSOCK
	}},
}

// deviceNode tells devices from other nodes, and from whiteouts of an overlay,
// which have the number 0.
func deviceNode(mode, dev uint64) bool {
	kind := mode & unix.S_IFMT
	return (kind == unix.S_IFBLK || kind == unix.S_IFCHR) && dev != 0
}

// refusal says what the call means, if it means anything.
func (c tracedCall) refusal() (sandbox.Refusal, bool) {
	if c.errno == 0 {
		return sandbox.Refusal{}, false
	}
	if c.kind == traceOpen {
		return refusedOpen(path.Clean(c.path), c.flags, c.errno)
	}
	known, ok := calls[c.sysno]
	if c.kind != traceRaw || !ok || (known.when != nil && !known.when(c.args, c.errno)) {
		return sandbox.Refusal{}, false
	}
	return sandbox.Refusal{Probe: known.probe, Text: known.text}, true
}

// secrets are files that nothing honest asks for, or that say by themselves what
// somebody wanted who may not have them.
var secrets = map[string]string{
	"/proc/kcore":                     "read the kernel's memory",
	"/proc/sysrq-trigger":             "command the kernel",
	"/dev/mem":                        "read the machine's memory",
	"/dev/kmem":                       "read the kernel's memory",
	"/dev/port":                       "reach the machine's ports",
	"/dev/kmsg":                       "read the kernel's log",
	"/dev/kvm":                        "run a virtual machine",
	"/etc/shadow":                     "read the password hashes",
	"/etc/gshadow":                    "read the password hashes",
	"/run/docker.sock":                "reach the host's containers",
	"/var/run/docker.sock":            "reach the host's containers",
	"/run/containerd/containerd.sock": "reach the host's containers",
}

// settings are the files of the kernel that attackers write first; any other one
// has a common name.
var settings = map[string]bool{
	"/proc/sys/kernel/core_pattern": true, "/proc/sys/kernel/modprobe": true, "/proc/sys/vm/drop_caches": true,
	"/sys/kernel/uevent_helper": true, "/sys/power/state": true,
}

// disks are how the names of block devices begin.
var disks = []string{"sd", "hd", "vd", "xvd", "nvme", "mmcblk", "loop", "dm-", "mapper/", "md", "nbd", "zram"}

// refusedOpen says what a refused open of a cleaned path means. Programs look for
// many files under /proc, /sys and /dev that are not there; what they look for out
// of curiosity is not told, only what could hurt if it were there.
func refusedOpen(p string, flags uint64, errno unix.Errno) (sandbox.Refusal, bool) {
	refusal := func(probe, text string) (sandbox.Refusal, bool) {
		if plain(p) {
			text = fmt.Sprintf("%s (%s)", text, p)
		}
		return sandbox.Refusal{Probe: probe, Text: text}, true
	}
	if what, ok := secrets[p]; ok {
		return refusal(p, what)
	}
	writing := flags&(unix.O_WRONLY|unix.O_RDWR|unix.O_CREAT) != 0
	device, inDev := strings.CutPrefix(p, "/dev/")
	switch {
	case writing && settings[p]:
		return refusal(p, "change the kernel")
	case writing && (strings.HasPrefix(p, "/proc/sys/") || strings.HasPrefix(p, "/sys/")):
		return refusal("kernel-setting", "change the kernel")
	case writing && strings.HasPrefix(p, "/.holt/"):
		return refusal("agent-file", "change the guest agent")
	case inDev && startsWithAny(device, disks):
		return refusal("disk", "open a disk")
	case inDev && flags&unix.O_CREAT != 0:
		return refusal("dev-file", "make a file among the devices")
	case errno == unix.EACCES || errno == unix.EPERM:
		pid, file, _ := strings.Cut(strings.TrimPrefix(p, "/proc/"), "/")
		if strings.HasPrefix(p, "/proc/") && strings.Trim(pid, "0123456789") == "" && (file == "mem" || file == "environ") {
			return refusal("process-"+file, "read another process's memory")
		}
	}
	return sandbox.Refusal{}, false
}

func startsWithAny(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// plain tells whether a path that a guest chose can be shown as it is.
func plain(p string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:"
	return len(p) <= 80 && strings.Trim(p, letters) == ""
}
