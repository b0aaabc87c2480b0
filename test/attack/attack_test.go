// Package attack lets one workspace misbehave in every way its owner could, on
// the real server, and watches that a neighbour does not feel it, that the
// outcome has a name in the attacker's log, that the attacker's files survive,
// and that nothing is left on the host.
package attack

import (
	"testing"
	"time"
)

// attack is one thing that a workspace's owner may try.
type attack struct {
	name   string
	user   string // "" is the workspace's own, "root" its root through sudo
	script string
	clean  string // run as root afterwards
	// named are outcomes that must be in the log; see [field.named].
	named []string
	// survives says that the machine must not be restarted by it.
	survives bool
	// own says that the attacker must reach its own machine meanwhile.
	own bool
}

// attacks run in this order. The busy loops come first, because an outcome is
// told once a minute and others keep the processor busy too.
var attacks = []attack{
	{
		name:   "busy loops",
		script: `for i in $(seq 32); do timeout 12 sh -c 'while :; do :; done' & done; wait`,
		named:  []string{"cpu-limit"}, survives: true, own: true,
	},
	{
		name: "fork bomb",
		// What is being forked while its group is killed lives on, and bash tries a
		// refused fork again for 15 s: such a child ends by itself.
		script: `timeout -s KILL 8 bash -c 'b() { [ $SECONDS -lt 8 ] || exit; b | b & }; b; sleep 60' >/dev/null 2>&1`,
		named:  []string{"process-limit"}, survives: true,
	},
	{
		name: "fork bomb with memory",
		script: `timeout -s KILL 10 python3 -c '
import os, time
while True:
    try: os.fork()
    except OSError: time.sleep(0.01)'`,
		named: []string{"memory-limit"},
	},
	{
		name: "fast memory bomb",
		script: `python3 -c '
hold = []
while True:
    hold.append(bytearray(64 << 20))
    hold[-1][::4096] = b"x" * (len(hold[-1]) // 4096)'`,
		named: []string{"memory-limit:killed python3"}, survives: true,
	},
	{
		name: "slow memory bomb",
		script: `python3 -c '
import time
hold = []
while True:
    hold.append(b"x" * (8 << 20))
    time.sleep(0.1)'`,
		named: []string{"memory-limit:killed python3"}, survives: true,
	},
	{
		name:   "volume fill",
		script: `dd if=/dev/zero of=/workspace/fill bs=1M; sleep 3`,
		clean:  `rm -f /workspace/fill`,
		named:  []string{"disk-full:/workspace"}, survives: true,
	},
	{
		name: "root fill", user: "root",
		script: `dd if=/dev/zero of=/usr/fill bs=1M; sleep 3`,
		clean:  `rm -f /usr/fill`,
		named:  []string{"disk-full:/ is full"}, survives: true,
	},
	{
		name:   "memory file systems",
		script: `dd if=/dev/zero of=/tmp/fill bs=1M; dd if=/dev/zero of=/dev/shm/fill bs=1M; sleep 3`,
		clean:  `rm -f /tmp/fill /dev/shm/fill`,
		named:  []string{"tmpfs-full:/tmp", "tmpfs-full:/dev/shm"}, survives: true,
	},
	{
		name:   "inode fill",
		script: `mkdir -p /workspace/many && cd /workspace/many && python3 -c '` + manyFiles + `'; sleep 3`,
		clean:  `rm -rf /workspace/many`,
		named:  []string{"inodes-full:/workspace"}, survives: true,
	},
	{
		// File nodes of a tmpfs live in the sandbox's kernel and have no limit of
		// their own: the machine's memory is the limit.
		name:   "inode fill in memory",
		script: `mkdir -p /tmp/many && cd /tmp/many && timeout 80 python3 -c '` + manyFiles + `'`,
		named:  []string{"memory-limit"},
	},
}

const manyFiles = `
import os
n = 0
try:
    while True:
        os.close(os.open(str(n), os.O_CREAT | os.O_WRONLY))
        n += 1
except OSError as e:
    print(e)`

func TestAttacks(t *testing.T) {
	f := newField(t)
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) { f.try(t, a) })
	}
	t.Run("port scan", f.portScan)
	t.Run("probes", f.probes)
	if out, err := f.run(t, neighbour, "", "cat /workspace/keep; cat /proc/uptime >/dev/null && echo alive"); err != nil || out != keepsake+"\nalive" {
		t.Errorf("the neighbour says %q, %v", out, err)
	}
}

// try runs one attack to its end and judges it.
func (f *field) try(t *testing.T, a attack) {
	since, before := f.lastEvent(t), f.s.Show(t, attacker)
	next := f.s.Show(t, neighbour).SandboxID
	rest := atRest(t, f.c, neighbour)
	during := f.during(t, a)
	f.named(t, since, a.named...)
	judge(t, rest, during)
	if a.clean != "" {
		if out, err := f.run(t, attacker, "root", a.clean); err != nil || out != "" {
			t.Errorf("clean up: %v: %s", err, out)
		}
	}
	if restarted := f.usable(t, before.SandboxID, since); restarted && a.survives {
		t.Error("the attacker's machine was started afresh; it should have lived on")
	}
	if f.s.Show(t, neighbour).SandboxID != next {
		t.Error("the neighbour's machine was started afresh")
	}
	f.clean(t)
}

// during attacks for as long as it takes to measure the neighbour. A machine that
// was ended by it is not attacked again: its restart is part of the attack.
func (f *field) during(t *testing.T, a attack) latency {
	t.Helper()
	w := watch(t, f.c, neighbour)
	var own *watcher
	if a.own {
		own = watch(t, f.c, attacker)
	}
	begin := time.Now()
	for err := error(nil); err == nil; {
		var out string
		out, err = f.run(t, attacker, a.user, a.script)
		t.Logf("the attack was over after %v: %v: %.200q", time.Since(begin).Round(time.Millisecond), err, out)
		if w.count() >= least {
			break
		}
	}
	if own != nil {
		l, err := own.finish()
		t.Logf("attacker: %v", l)
		if err != nil || l.p50 > patience {
			t.Errorf("the attacker's own exec: p50 %v, want at most %v, and all within half a minute: %v", l.p50, patience, err)
		}
	}
	await(t, time.Minute, w.enough)
	during, err := w.finish()
	if err != nil {
		t.Errorf("neighbour's exec: %v", err)
	}
	return during
}

// patience is what the owner of a machine whose processor is taken must have.
const patience = 5 * time.Second
