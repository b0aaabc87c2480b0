package gvisor

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/sandbox"
)

// overheadMemory is what the sandbox's own kernel may use beside the guest's
// memory, so that a guest at its limit meets the limit inside, not the host's
// out-of-memory killer. Each process and thread of the guest costs more, about
// 330 KiB when measured; few workspaces use all that they may have, and the slack
// must not become a second memory, so a part of that is allowed for.
const (
	overheadMemory  = 96 * holt.MiB
	overheadProcess = 64 * holt.KiB
)

// hostTasks is the cgroup's task limit: systrap needs a few host threads for
// every guest thread and some hundreds for itself. The guest's own limit is
// RLIMIT_NPROC, which the agent sets.
func hostTasks(l holt.Limits) int64 { return 4096 + 4*l.Processes }

// capabilities of root inside the guest's kernel. None of them exist on the
// host: the sandbox process runs in a user namespace under runsc's seccomp filter.
// CAP_SYS_ADMIN is the agent's, which names the machine with it after a restore
// and withholds it from every other process.
var capabilities = []string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
	"CAP_NET_BIND_SERVICE", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_ADMIN", "CAP_SYS_CHROOT",
	"CAP_SYS_NICE", "CAP_SYS_PTRACE", "CAP_SYS_RESOURCE",
}

// idRange is the number of host IDs a sandbox has to itself.
const idRange = 65536

// ociSpec translates spec into an OCI runtime specification. The annotations
// give runsc the EROFS image and the size-limited writable layer above it.
func ociSpec(spec sandbox.Spec, dir, cgroup string) *specs.Spec {
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: spec.IDBase, Size: idRange}}
	return &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			Args: spec.Init, Env: spec.Env, Cwd: "/",
			Capabilities: &specs.LinuxCapabilities{Bounding: capabilities, Effective: capabilities, Permitted: capabilities},
			Rlimits:      []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 1 << 20, Soft: 1 << 16}},
		},
		Root:     &specs.Root{Path: filepath.Join(dir, "bundle", "rootfs")},
		Hostname: spec.Hostname,
		Mounts:   mounts(spec, dir),
		Annotations: map[string]string{
			"dev.gvisor.spec.rootfs.type":    "erofs",
			"dev.gvisor.spec.rootfs.source":  spec.Image,
			"dev.gvisor.spec.rootfs.overlay": "dir=" + filepath.Join(dir, "overlay"),
			"dev.gvisor.spec.rootfs.options": fmt.Sprintf("size=%d", spec.Limits.Root),
		},
		Linux: &specs.Linux{
			CgroupsPath: filepath.Join(cgroup, string(spec.ID)),
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
				{Type: specs.MountNamespace}, {Type: specs.UserNamespace},
				{Type: specs.NetworkNamespace, Path: spec.Network.Sandbox},
			},
			UIDMappings: ids, GIDMappings: ids,
			Resources: resources(spec.Limits),
		},
	}
}

// mounts lists the kernel's file systems, the sized in-memory ones, and the
// bind mounts. Every tmpfs has a size: filling an unlimited one would be charged
// to the sandbox's own kernel, which the host then kills. runsc's /dev takes no
// size, so nothing can be written there; its devices and /dev/shm still can (but
// access(2) for writing says no, which is runsc's).
func mounts(spec sandbox.Spec, dir string) []specs.Mount {
	tmp := fmt.Sprintf("size=%d", max(spec.Limits.Memory/4, 16*holt.MiB))
	list := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc"},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755", "ro"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777", tmp}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777", tmp}},
	}
	for i, m := range spec.Mounts {
		opts := []string{"rbind", "nosuid", "nodev", "rw"}
		if m.ReadOnly {
			opts[3] = "ro"
		}
		if m.Source == "" {
			m.Source = placeholder(dir, i)
		}
		list = append(list, specs.Mount{Destination: m.Target, Type: "bind", Source: m.Source, Options: opts})
	}
	return list
}

func resources(l holt.Limits) *specs.LinuxResources {
	const period = uint64(100_000)
	quota := int64(l.CPUs * float64(period))
	shares := uint64(max(2, min(262144, l.CPUs*1024)))
	memory, tasks := l.Memory+overheadMemory+l.Processes*overheadProcess, hostTasks(l)
	return &specs.LinuxResources{
		CPU:    &specs.LinuxCPU{Quota: &quota, Period: ptr(period), Shares: &shares},
		Memory: &specs.LinuxMemory{Limit: &memory},
		Pids:   &specs.LinuxPids{Limit: tasks},
	}
}

func ptr[T any](v T) *T { return &v }

// layOut makes the sandbox's folder and its bundle.
func (m *machine) layOut() error {
	for _, sub := range []string{"", "bundle", "bundle/rootfs", "overlay"} {
		if err := os.Mkdir(filepath.Join(m.dir, sub), 0o711); err != nil {
			return fmt.Errorf("make sandbox directory: %w", err)
		}
	}
	for i, mount := range m.spec.Mounts {
		if mount.Source == "" {
			if err := os.Mkdir(placeholder(m.dir, i), 0o711); err != nil {
				return fmt.Errorf("make placeholder: %w", err)
			}
		}
	}
	body, err := json.Marshal(ociSpec(m.spec, m.dir, m.driver.cfg.Cgroup))
	if err != nil {
		return fmt.Errorf("encode bundle: %w", err)
	}
	if err := os.WriteFile(filepath.Join(m.dir, "bundle", "config.json"), body, 0o600); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	return nil
}
