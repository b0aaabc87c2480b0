// Package gvisor runs sandboxes on gVisor's runsc: a kernel in user space per
// sandbox, on the systrap platform, which needs no hardware virtualisation.
//
// # How a sandbox is laid out
//
// Under [Config].Dir:
//
//	tools/HASH/runsc       every build of runsc that a live sandbox or snapshot needs
//	root/                  runsc's own state, one JSON file per container
//	sandboxes/ID/          one folder per sandbox, mode 0700
//	  spec.json            the [sandbox.Spec]; written last, so a folder without it is garbage
//	  bundle/config.json   the OCI runtime specification
//	  bundle/rootfs/       empty; the root file system is an EROFS image
//	  overlay/             the file that backs the writable layer, limited in size by runsc
//	  runsc.log, console   the runtime's words, for support
//	  trace.json           what the sandbox's kernel is to report
//
// # Isolation
//
// Each sandbox has its own user namespace with its own range of host IDs, its
// own pid, ipc, uts and mount namespaces, a cgroup, and a network namespace that
// the caller made. runsc adds its seccomp filter. Root in the guest has the
// capabilities in [capabilities], none of them on the host.
//
// # What the sandbox's kernel refuses
//
// The kernel of each sandbox reports the return of the system calls in [calls] and
// of opens, to this process ([sandbox.Observer]). The guest has no way to that
// socket. A path is taken from the guest's memory when the call has returned, so
// that another thread can have changed it, and is told as it was asked for: who
// goes through a relative path, a link or openat2 is refused as well, and not
// named. The kernel drops what nobody reads, so a server that is gone costs a guest
// nothing; an adopted sandbox gets a new connection.
//
// # Pause and checkpoint
//
// A checkpoint is always taken of a paused sandbox with "leave running" set, so
// that a refused or failed checkpoint leaves the sandbox as it was: runsc without
// that flag kills the sandbox even when the disk was full. runsc counts pauses,
// so the sandbox is still paused afterwards.
//
// What is restored may differ in host name, mount sources, namespaces, ID range
// and limits; runsc's own comparison of the two specifications is stricter than
// it needs to be and is switched off. The manifest of a snapshot records what
// must be equal.
package gvisor
