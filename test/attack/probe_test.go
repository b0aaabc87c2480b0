package attack

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// probeScript tries what must not work, and prints one line for each: its name and
// "denied", or "OPEN" and what it got. It runs as the workspace's user and as the
// guest's root.
const probeScript = `
import ctypes, os, socket, stat
libc = ctypes.CDLL(None, use_errno=True)
number = {
    "x86_64": dict(init_module=175, finit_module=313, delete_module=176, reboot=169, kexec_load=246, bpf=321,
                   perf_event_open=298, settimeofday=164, swapon=167, sethostname=170, ptrace=101, iopl=172),
    "aarch64": dict(init_module=105, finit_module=273, delete_module=106, reboot=142, kexec_load=104, bpf=280,
                    perf_event_open=241, settimeofday=170, swapon=224, sethostname=161, ptrace=117),
}[os.uname().machine]

def call(name, *args):
    def f():
        if libc.syscall(number[name], *args) < 0:
            raise OSError(ctypes.get_errno(), name)
        return "it worked"
    return f

def read(path):
    def f():
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        return os.read(fd, 16)
    return f

def write(path, text):
    def f():
        fd = os.open(path, os.O_WRONLY)
        return os.write(fd, text)
    return f

def node(directory, kind, major, minor):
    def f():
        path = directory + "/probe-node"
        try: os.unlink(path)
        except OSError: pass
        os.mknod(path, 0o600 | kind, os.makedev(major, minor))
        try: return os.read(os.open(path, os.O_RDWR | os.O_NONBLOCK), 16)
        finally: os.unlink(path)
    return f

def mount(source, target, kind, flags=0):
    def f():
        if libc.mount(source, target, kind, flags, None) < 0:
            raise OSError(ctypes.get_errno(), "mount")
        return "mounted"
    return f

def raw(family, kind, proto):
    return lambda: socket.socket(family, kind, proto)

def strangers():
    names = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try: words = open("/proc/" + pid + "/cmdline", "rb").read()
        except OSError: continue
        names += [w for w in (b"holtd", b"runsc", b"neighbours-secret") if w in words]
    if not names: raise OSError(3, "none")
    return names

probes = {
    "kernel memory": read("/proc/kcore"),
    "physical memory": read("/dev/mem"),
    "kernel log": read("/dev/kmsg"),
    "sysrq": write("/proc/sysrq-trigger", b"b"),
    "core pattern": write("/proc/sys/kernel/core_pattern", b"|/tmp/x"),
    "module helper": write("/proc/sys/kernel/modprobe", b"/tmp/x"),
    "hotplug helper": write("/sys/kernel/uevent_helper", b"/tmp/x"),
    "drop caches": write("/proc/sys/vm/drop_caches", b"3"),
    "power state": write("/sys/power/state", b"mem"),
    "virtual machines": read("/dev/kvm"),
    "host disk": read("/dev/vda"),
    "loop control": read("/dev/loop-control"),
    "container socket": read("/run/docker.sock"),
    "agent binary": write("/.holt/holt-guest", b"x"),
    "node for a disk": node("/var/tmp", stat.S_IFBLK, 8, 0),
    "node for a virtual disk": node("/var/tmp", stat.S_IFBLK, 253, 0),
    "node for a loop": node("/var/tmp", stat.S_IFBLK, 7, 0),
    "node for memory": node("/var/tmp", stat.S_IFCHR, 1, 1),
    "node on the volume": node("/workspace", stat.S_IFBLK, 8, 0),
    "node in dev": node("/dev", stat.S_IFCHR, 1, 1),
    "file in dev": lambda: os.open("/dev/file", os.O_CREAT | os.O_WRONLY),
    "mount tmpfs": mount(b"none", b"/mnt", b"tmpfs"),
    "mount proc": mount(b"none", b"/mnt", b"proc"),
    "bind mount": mount(b"/", b"/mnt", None, 4096),
    "make dev writable": mount(None, b"/dev", None, 32),
    "packet socket": raw(socket.AF_PACKET, socket.SOCK_RAW, 0x300),
    "raw socket": raw(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "vsock to the host": lambda: socket.socket(40, socket.SOCK_STREAM).connect((2, 22)),
    "load module": call("init_module", b"x", 1, b""),
    "load module file": call("finit_module", 0, b"", 0),
    "remove module": call("delete_module", b"loop", 0),
    "reboot": call("reboot", 0xfee1dead, 672274793, 0x1234567, None),
    "load kernel": call("kexec_load", 0, 0, None, 0),
    "load bpf": call("bpf", 5, None, 0),
    "trace the system": call("perf_event_open", None, -1, 0, -1, 0),
    "set the clock": call("settimeofday", (ctypes.c_long * 2)(1, 0), None),
    "swap": call("swapon", b"/workspace/keep", 0),
    "processes of others": strangers,
}
if "iopl" in number: probes["io ports"] = call("iopl", 3)
if os.getuid() != 0:
    probes["trace the agent"] = call("ptrace", 16, 1, 0, 0)
    probes["signal the agent"] = lambda: os.kill(1, 9)
    probes["memory of the agent"] = read("/proc/1/mem")
    probes["environment of the agent"] = read("/proc/1/environ")
    probes["password hashes"] = read("/etc/shadow")
for name, f in probes.items():
    try: print(name + ":", "OPEN", f())
    except OSError as e: print(name + ":", "denied", e)
print("probed", len(probes))
`

// refusals are the outcomes that the probes must have in the log: the kernel of the
// sandbox tells them. Others come to the same one: a look at a second disk within
// the minute, a second kind of raw socket. Nothing is refused to who looks for
// other people's processes: there are none. That it refused to trace a process the
// kernel does not tell.
var refusals = []string{
	"/proc/kcore", "/dev/mem", "/dev/kmsg", "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe",
	"/sys/kernel/uevent_helper", "/proc/sys/vm/drop_caches", "/sys/power/state", "/dev/kvm", "open a disk", "/run/docker.sock",
	"/.holt/holt-guest", "mknod", "/dev/file", "mount", "socket",
	"init_module", "finit_module", "delete_module", "reboot", "kexec_load", "bpf", "perf_event_open", "settimeofday", "swapon",
	"(kill)", "/proc/1/mem", "/proc/1/environ", "/etc/shadow",
}

// probes looks into each corner of the machine, as the user and as the guest's
// root: each probe is refused, named in the log, and the host is as it was.
func (f *field) probes(t *testing.T) {
	since, before := f.lastEvent(t), f.s.Show(t, attacker)
	host := hostState(t)
	if _, err := f.run(t, neighbour, "", "(setsid sh -c 'while :; do sleep 1; done' neighbours-secret >/dev/null 2>&1 &)"); err != nil {
		t.Fatal(err)
	}
	rest := atRest(t, f.c, neighbour)
	w := watch(t, f.c, neighbour)
	for again := true; again; again = w.count() < least && !t.Failed() {
		for _, user := range []string{"", "root"} {
			out, err := f.python(t, attacker, user, probeScript)
			if err != nil || !strings.Contains(out, "\nprobed ") {
				t.Fatalf("probes as %q: %v: %s", user, err, out)
			}
			for line := range strings.Lines(out) {
				if strings.Contains(line, ": OPEN ") {
					t.Errorf("as %q: %s", user, line)
				}
			}
		}
	}
	during, err := w.finish()
	if err != nil {
		t.Errorf("neighbour's exec: %v", err)
	}
	judge(t, rest, during)
	var outcomes []string
	for _, r := range refusals {
		outcomes = append(outcomes, "probe-refused:"+r)
	}
	f.named(t, since, outcomes...)
	if restarted := f.usable(t, before.SandboxID, since); restarted {
		t.Error("the attacker's machine was started afresh")
	}
	if after := hostState(t); !slices.Equal(after, host) {
		t.Errorf("the host changed:\n%v\nwas\n%v", after, host)
	}
	f.clean(t)
}

// hostState is what a successful probe would have changed.
func hostState(t *testing.T) []string {
	t.Helper()
	var state []string
	for _, path := range []string{
		"/proc/sys/kernel/random/boot_id", "/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern",
		"/proc/sys/kernel/modprobe", "/proc/sys/kernel/sysrq", "/sys/kernel/uevent_helper", "/proc/swaps",
	} {
		body, err := os.ReadFile(path)
		if err != nil {
			body = []byte("not there")
		}
		state = append(state, fmt.Sprintf("%s: %s", path, strings.TrimSpace(string(body))))
	}
	return state
}
