package gvisor

import "golang.org/x/sys/unix"

// openPoints are the points that tell a path.
var openPoints = []string{"syscall/creat/exit", "syscall/open/exit", "syscall/openat/exit"}

func init() {
	calls[unix.SYS_MKNOD] = call{"mknod", nodeText, func(a args, _ unix.Errno) bool { return deviceNode(a[1], a[2]) }}
	calls[unix.SYS_IOPL] = call{probe: "iopl", text: "reach the machine's ports (iopl)"}
	calls[unix.SYS_IOPERM] = call{probe: "ioperm", text: "reach the machine's ports (ioperm)"}
}
