package gvisor

import (
	"encoding/binary"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/holt-ide/holt/test/bins"
)

// message writes what the sandbox's kernel sends: the fields in the order of their
// numbers, zero left out.
func message(kind uint16, result int64, errno unix.Errno, fields func([]byte) []byte) []byte {
	b := make([]byte, traceHeader)
	binary.LittleEndian.PutUint16(b, traceHeader)
	binary.LittleEndian.PutUint16(b[2:], kind)
	exit := varint(varint(nil, 1, uint64(result)), 2, uint64(errno))
	b = protowire.AppendBytes(protowire.AppendTag(b, 2, protowire.BytesType), exit)
	return fields(b)
}

func varint(b []byte, n protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}

func open(sysno uint64, dir int64, name string, flags uint64, result int64, errno unix.Errno) []byte {
	return message(traceOpen, result, errno, func(b []byte) []byte {
		b = varint(varint(b, 3, sysno), 4, uint64(dir))
		if name != "" {
			b = protowire.AppendString(protowire.AppendTag(b, 6, protowire.BytesType), name)
		}
		return varint(b, 7, flags)
	})
}

func raw(sysno uint64, errno unix.Errno, arguments ...uint64) []byte {
	return message(traceRaw, 0, errno, func(b []byte) []byte {
		b = varint(b, 4, sysno)
		for i, v := range arguments {
			b = varint(b, protowire.Number(5+i), v)
		}
		return b
	})
}

// taken runs the socket filter.
func taken(t testing.TB, b []byte) bool {
	t.Helper()
	program, all := bpf.Disassemble(traceFilter())
	if !all {
		t.Fatal("the filter has instructions that nobody knows")
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(b)
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}

func TestTraceCalls(t *testing.T) {
	const cwd = unix.AT_FDCWD
	long := "/" + strings.Repeat("a", 200)
	for _, c := range []struct {
		name  string
		msg   []byte
		taken bool
		probe string
	}{
		{"module", raw(unix.SYS_INIT_MODULE, unix.EPERM, 1, 2, 3), true, "init_module"},
		{"mount", raw(unix.SYS_MOUNT, unix.EPERM), true, "mount"},
		{"mount that works", raw(unix.SYS_MOUNT, 0), false, ""},
		{"unasked", raw(unix.SYS_GETPID, unix.EPERM), true, ""},
		{"disk node", raw(unix.SYS_MKNODAT, unix.EPERM, 1, 2, unix.S_IFBLK|0o600, 8<<8), true, "mknod"},
		{"pipe", raw(unix.SYS_MKNODAT, unix.EEXIST, 1, 2, unix.S_IFIFO|0o600), true, ""},
		{"whiteout", raw(unix.SYS_MKNODAT, unix.EPERM, 1, 2, unix.S_IFCHR), true, ""},
		{"signal to the agent", raw(unix.SYS_KILL, unix.EPERM, 1, 9), true, "kill"},
		{"signal to nobody", raw(unix.SYS_KILL, unix.ESRCH, 1, 9), true, ""},
		{"signal to another", raw(unix.SYS_KILL, unix.EPERM, 10, 9), true, ""},
		{"raw socket", raw(unix.SYS_SOCKET, unix.EPERM, unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 1), true, "socket"},
		{"netlink socket", raw(unix.SYS_SOCKET, unix.EPERM, unix.AF_NETLINK, unix.SOCK_RAW), true, ""},

		{"memory", open(unix.SYS_OPENAT, cwd, "/dev/mem", 0, 0, unix.ENOENT), true, "/dev/mem"},
		{"memory with open", open(2, cwd, "/dev/mem", 0, 0, unix.ENOENT), true, "/dev/mem"},
		{"memory with creat", open(85, cwd, "/dev/mem", unix.O_WRONLY|unix.O_CREAT, 0, unix.EROFS), true, "/dev/mem"},
		{"memory beside a folder", open(unix.SYS_OPENAT, 7, "/dev/mem", 0, 0, unix.ENOENT), true, "/dev/mem"},
		{"memory beside folder 0", open(unix.SYS_OPENAT, 0, "/dev/mem", 0, 0, unix.ENOENT), true, "/dev/mem"},
		{"memory beside folder 156", open(unix.SYS_OPENAT, 156, "/dev/mem", 0, 0, unix.ENOENT), true, "/dev/mem"},
		{"memory beside folder 500", open(unix.SYS_OPENAT, 500, "/dev/mem", 0, 0, unix.ENOENT), true, "/dev/mem"},
		{"memory by a detour", open(unix.SYS_OPENAT, cwd, "//dev/./shm/..//mem", 0, 0, unix.ENOENT), true, "/dev/mem"},
		{"passwords", open(unix.SYS_OPENAT, cwd, "/etc/shadow", 0, 0, unix.EACCES), true, "/etc/shadow"},
		{"containers", open(unix.SYS_OPENAT, cwd, "/var/run/docker.sock", unix.O_RDWR, 0, unix.ENXIO), true, "/var/run/docker.sock"},
		{"setting", open(unix.SYS_OPENAT, cwd, "/proc/sys/kernel/core_pattern", unix.O_WRONLY, 0, unix.EACCES), true, "/proc/sys/kernel/core_pattern"},
		{"any setting", open(unix.SYS_OPENAT, cwd, "/sys/a/b", unix.O_RDWR, 0, unix.EROFS), true, "kernel-setting"},
		{"setting read", open(unix.SYS_OPENAT, cwd, "/sys/fs/cgroup/cpu.max", 0, 0, unix.ENOENT), true, ""},
		{"disk", open(unix.SYS_OPENAT, cwd, "/dev/nvme0n1", 0, 0, unix.ENOENT), true, "disk"},
		{"file in dev", open(unix.SYS_OPENAT, cwd, "/dev/file", unix.O_WRONLY|unix.O_CREAT, 0, unix.EROFS), true, "dev-file"},
		{"terminal", open(unix.SYS_OPENAT, cwd, "/dev/tty", unix.O_RDWR, 0, unix.ENXIO), true, ""},
		{"memory of others", open(unix.SYS_OPENAT, cwd, "/proc/12/mem", 0, 0, unix.EACCES), true, "process-mem"},
		{"memory of the gone", open(unix.SYS_OPENAT, cwd, "/proc/12/mem", 0, 0, unix.ENOENT), true, ""},
		{"agent", open(unix.SYS_OPENAT, cwd, "/.holt/holt-guest", unix.O_WRONLY, 0, unix.EROFS), true, "agent-file"},
		{"null", open(unix.SYS_OPENAT, cwd, "/dev/null", 0, 3, 0), false, ""},
		{"descriptor 0", open(unix.SYS_OPENAT, cwd, "/dev/mem", 0, 0, 0), false, ""},
		{"library", open(unix.SYS_OPENAT, cwd, "/usr/lib/x.so", 0, 0, unix.ENOENT), false, ""},
		{"preload", open(unix.SYS_OPENAT, cwd, "/etc/ld.so.preload", 0, 0, unix.ENOENT), false, ""},
		{"mail", open(unix.SYS_OPENAT, cwd, "/var/mail/dev", 0, 0, unix.ENOENT), false, ""},
		{"long", open(unix.SYS_OPENAT, cwd, long, 0, 0, unix.ENOENT), false, ""},
		{"long and hostile", open(unix.SYS_OPENAT, cwd, "/proc/sys"+long, unix.O_WRONLY, 0, unix.EACCES), true, "kernel-setting"},
		{"short", open(unix.SYS_OPENAT, cwd, "/x", 0, 0, unix.ENOENT), false, ""},
		{"beside the working directory", open(unix.SYS_OPENAT, cwd, "config", 0, 0, unix.ENOENT), false, ""},
		{"nothing", open(unix.SYS_OPENAT, cwd, "", 0, 0, unix.EFAULT), false, ""},
	} {
		if got := taken(t, c.msg); got != c.taken {
			t.Errorf("%s: the filter takes it: %v", c.name, got)
		}
		call, err := decodeTrace(c.msg)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		r, _ := call.refusal()
		if r.Probe != c.probe {
			t.Errorf("%s: told as %+v, want %q", c.name, r, c.probe)
		}
	}
}

// Every point has the name that the runtime knows it by; unknown ones would be
// passed over without a word.
func TestTracePointsExist(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), bins.Path(t, "runsc"), "trace", "metadata").Output()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		if rest, ok := strings.CutPrefix(line, "Name: "); ok {
			name, _, _ := strings.Cut(rest, ",")
			names = append(names, name)
		}
	}
	for _, p := range tracePoints() {
		if !slices.Contains(names, p) {
			t.Errorf("the runtime has no point %s", p)
		}
	}
}

// FuzzTrace: whatever comes, nothing breaks, no guest's words get through, and the
// filter refuses no call that means something, if it is written as the sandbox's
// kernel writes.
func FuzzTrace(f *testing.F) {
	f.Add(raw(unix.SYS_MOUNT, unix.EPERM), "/proc/kcore", uint64(0), uint16(unix.EPERM), int32(unix.AT_FDCWD))
	f.Add([]byte{8, 0, 7, 0}, "/proc/sys/\x1b[31m\n", uint64(unix.O_WRONLY), uint16(unix.EACCES), int32(156))
	f.Add([]byte{}, "/./etc/shadow", uint64(unix.O_CREAT), uint16(1000), int32(-1))
	f.Fuzz(func(t *testing.T, b []byte, name string, flags uint64, errno uint16, dir int32) {
		judge := func(b []byte) (probe string) {
			c, err := decodeTrace(b)
			if err != nil {
				return ""
			}
			r, ok := c.refusal()
			if ok && (r.Probe == "" || len(r.Text) > 200 || strings.ContainsFunc(r.Text, func(c rune) bool { return c < ' ' || c > '~' })) {
				t.Errorf("%x is told as %+v", b, r)
			}
			return r.Probe
		}
		judge(b)
		taken(t, b)
		if len(name) > unix.PathMax-1 || strings.Contains(name, "\x00") {
			return
		}
		msg := open(unix.SYS_OPENAT, int64(dir), name, uint64(uint32(flags)), 0, unix.Errno(errno))
		if probe := judge(msg); probe != "" && !taken(t, msg) && !detour(name) {
			t.Errorf("%q (flags %#x, error %d) is %s, and the filter refused it", name, flags, errno, probe)
		}
	})
}

// detour tells whether a path goes through a folder that it does not name in the
// end, as in /usr/../dev/mem.
func detour(name string) bool { return path.Clean(name) != name }
