package gvisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/containerd/cgroups/v3"
	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"

	"github.com/holt-ide/holt/sandbox"
)

// Stats implements [sandbox.Sandbox].
func (m *machine) Stats(ctx context.Context) (sandbox.Stats, error) {
	if err := ctx.Err(); err != nil {
		return sandbox.Stats{}, err
	}
	path := filepath.Join(m.driver.cfg.Cgroup, string(m.spec.ID))
	read := statsV1
	if cgroups.Mode() == cgroups.Unified {
		read = statsV2
	}
	s, err := read(path)
	if errors.Is(err, cgroup1.ErrCgroupDeleted) || errors.Is(err, fs.ErrNotExist) {
		return s, sandbox.ErrGone
	}
	return s, err
}

func statsV1(path string) (sandbox.Stats, error) {
	cg, err := cgroup1.Load(cgroup1.StaticPath(path))
	if err != nil {
		return sandbox.Stats{}, fmt.Errorf("open cgroup: %w", err)
	}
	m, err := cg.Stat(cgroup1.IgnoreNotExist)
	if err != nil {
		return sandbox.Stats{}, fmt.Errorf("read cgroup: %w", err)
	}
	usage := m.GetMemory().GetUsage()
	return sandbox.Stats{
		CPU:          time.Duration(m.GetCPU().GetUsage().GetTotal()),
		Throttled:    time.Duration(m.GetCPU().GetThrottling().GetThrottledTime()),
		Memory:       int64(usage.GetUsage()),
		MemoryLimit:  int64(usage.GetLimit()),
		MemoryPeak:   int64(usage.GetMax()),
		MemoryDenied: usage.GetFailcnt(),
		OOMKills:     m.GetMemoryOomControl().GetOomKill(),
		Processes:    int64(m.GetPids().GetCurrent()),
	}, nil
}

func statsV2(path string) (sandbox.Stats, error) {
	cg, err := cgroup2.Load(path)
	if err != nil {
		return sandbox.Stats{}, fmt.Errorf("open cgroup: %w", err)
	}
	m, err := cg.Stat()
	if err != nil {
		return sandbox.Stats{}, fmt.Errorf("read cgroup: %w", err)
	}
	return sandbox.Stats{
		CPU:          time.Duration(m.GetCPU().GetUsageUsec()) * time.Microsecond,
		Throttled:    time.Duration(m.GetCPU().GetThrottledUsec()) * time.Microsecond,
		Memory:       int64(m.GetMemory().GetUsage()),
		MemoryLimit:  int64(m.GetMemory().GetUsageLimit()),
		MemoryPeak:   int64(m.GetMemory().GetMaxUsage()),
		MemoryDenied: m.GetMemoryEvents().GetMax(),
		OOMKills:     m.GetMemoryEvents().GetOomKill(),
		Processes:    int64(m.GetPids().GetCurrent()),
	}, nil
}

// removePatience bounds the removal of a cgroup on a loaded host.
const removePatience = 10 * time.Second

// removeCgroup ends what is left in a sandbox's cgroup, whatever it is, and removes
// it. A cgroup that is gone is no error.
func removeCgroup(path string) error {
	var err error
	for begin := time.Now(); time.Since(begin) < removePatience; time.Sleep(10 * time.Millisecond) {
		if err = deleteCgroup(path); err == nil {
			return nil
		}
	}
	return fmt.Errorf("remove cgroup: %w", err)
}

func deleteCgroup(path string) (err error) {
	if cgroups.Mode() == cgroups.Unified {
		err = deleteV2(path)
	} else {
		err = deleteV1(path)
	}
	if errors.Is(err, cgroup1.ErrCgroupDeleted) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func deleteV2(path string) error {
	cg, err := cgroup2.Load(path)
	if err != nil {
		return err
	}
	if err := cg.Delete(); err == nil {
		return nil
	}
	return errors.Join(cg.Kill(), cg.Delete())
}

func deleteV1(path string) error {
	cg, err := cgroup1.Load(cgroup1.StaticPath(path))
	if err != nil {
		return err
	}
	if err := cg.Delete(); err == nil {
		return nil
	}
	// Loaded anew: what could not be deleted is in an unknown state.
	if cg, err = cgroup1.Load(cgroup1.StaticPath(path)); err != nil {
		return err
	}
	procs, err := cg.Processes(cgroup1.Pids, true)
	if err != nil {
		return err
	}
	for _, p := range procs {
		if victim, err := openProcess(p.Pid); err == nil {
			victim.kill() // the cgroup is this sandbox's alone
		}
	}
	return cg.Delete()
}
