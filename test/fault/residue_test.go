package fault

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"

	"github.com/holt-ide/holt/test/server"
)

// patience is how long a server may take to repair everything after a crash, on
// a loaded machine.
const patience = 60 * time.Second

// warmNetworks and prepared are how many networks and sandboxes holtd keeps ready.
const (
	warmNetworks = 2
	prepared     = 2
)

// reserved stands for the workspace of a sandbox that waits for one.
const reserved = "reserve"

// witness compares a server's words with what is really on the host. It
// remembers every sandbox it has seen, so that it finds what is left of them
// where several servers leave things.
type witness struct {
	s    *server.Server
	seen map[string]bool
}

func newWitness(s *server.Server) *witness { return &witness{s: s, seen: map[string]bool{}} }

// settle waits until every workspace has settled and nothing is left over, and
// returns the workspaces by name. What a workspace may not become without a
// word is an error at once.
func (w *witness) settle(t *testing.T) map[string]api.WorkspaceDetail {
	t.Helper()
	var wrong []string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		all := w.workspaces(t)
		if wrong = w.residue(t, all); len(wrong) == 0 {
			return all
		}
	}
	t.Fatalf("the server did not come to rest within %v:\n  %s", patience, strings.Join(wrong, "\n  "))
	return nil
}

func (w *witness) workspaces(t *testing.T) map[string]api.WorkspaceDetail {
	t.Helper()
	c := connect(t, w.s)
	list, err := c.List(t.Context())
	if err != nil {
		t.Fatalf("list workspaces: %v", err)
	}
	all := map[string]api.WorkspaceDetail{}
	for _, item := range list {
		d, err := c.Get(t.Context(), item.ID)
		if holt.IsKind(err, holt.KindNotFound) {
			continue // deleted since
		} else if err != nil {
			t.Fatalf("show %s: %v", item.Name, err)
		}
		all[d.Name] = d
	}
	return all
}

// note remembers the sandboxes that exist now; it is called after a crash too,
// when nobody has cleaned up yet.
func (w *witness) note(t *testing.T) {
	t.Helper()
	for _, dir := range []string{"node/units", "node/gvisor/sandboxes"} {
		for _, name := range w.list(t, dir) {
			w.seen[name] = true
		}
	}
}

// machine is the part of the node's record of a machine that tests look at.
type machine struct {
	Sandbox   string // the server's name
	Unit      string // the driver's name
	Workspace string
}

func (w *witness) machines(t *testing.T) (list []machine) {
	t.Helper()
	for _, name := range w.list(t, "node/machines") {
		if !strings.HasSuffix(name, ".json") || strings.HasPrefix(name, ".") {
			continue
		}
		body, err := os.ReadFile(filepath.Join(w.s.Dir, "node/machines", name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // released meanwhile
		} else if err != nil {
			t.Fatal(err)
		}
		var m machine
		if err := json.Unmarshal(body, &m); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		list = append(list, m)
	}
	return list
}

// checkpoints returns the snapshots that a workspace keeps.
func (w *witness) checkpoints(t *testing.T, name string) (ids []string) {
	t.Helper()
	list, err := connect(t, w.s).Checkpoints(t.Context(), name)
	if err != nil && !holt.IsKind(err, holt.KindNotFound) {
		t.Fatalf("list checkpoints: %v", err)
	}
	for _, c := range list {
		ids = append(ids, c.ID)
	}
	return ids
}

// line returns the snapshots of a workspace, those that the store has too.
func (w *witness) line(t *testing.T, name string) (ids []string) {
	t.Helper()
	list, err := connect(t, w.s).Snapshots(t.Context(), name)
	if err != nil && !holt.IsKind(err, holt.KindNotFound) {
		t.Fatalf("list snapshots: %v", err)
	}
	for _, s := range list.Items {
		ids = append(ids, s.ID)
	}
	return ids
}

// units returns the workspace of every unit of the node: of those that wait for
// one, too, which are named in wrong if they are too many.
func (w *witness) units(t *testing.T) (owner map[string]string, wrong []string) {
	t.Helper()
	owner = map[string]string{}
	for _, name := range w.list(t, "node/units") {
		owner[name] = reserved
	}
	waiting := len(owner)
	for _, m := range w.machines(t) {
		if owner[m.Unit] == reserved {
			waiting--
		}
		owner[m.Unit] = m.Workspace
	}
	if waiting > prepared {
		wrong = append(wrong, fmt.Sprintf("%d sandboxes wait for a workspace", waiting))
	}
	return owner, wrong
}

// residue returns what is wrong, in words.
func (w *witness) residue(t *testing.T, all map[string]api.WorkspaceDetail) (wrong []string) {
	t.Helper()
	w.note(t)
	running := map[string]string{} // sandbox: workspace
	snapshots, volumes, known := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for name, d := range all {
		state := holt.State(d.State)
		switch {
		case !state.Settled():
			wrong = append(wrong, fmt.Sprintf("%s is still %s: %s", name, d.State, d.Message))
		case state == holt.Failed && d.Message == "":
			wrong = append(wrong, name+" is FAILED and does not say why")
		case state != holt.Failed && !holt.Goal(d.Goal).Reached(state):
			wrong = append(wrong, fmt.Sprintf("%s is %s and should become %s: %s", name, d.State, d.Goal, d.Message))
		}
		volumes[d.ID+".img"] = true
		switch {
		case state == holt.Running:
			running[d.SandboxID] = d.ID
			if d.Snapshot != nil {
				wrong = append(wrong, name+" runs and has a snapshot")
			}
		case d.SandboxID != "":
			wrong = append(wrong, name+" is "+d.State+" and has a sandbox")
		case state == holt.Suspended && d.Snapshot == nil:
			wrong = append(wrong, name+" is SUSPENDED without a snapshot")
		}
		if d.Snapshot != nil {
			snapshots[d.Snapshot.ID] = true
		}
		if d.RollingBack && state != holt.Failed {
			wrong = append(wrong, name+" is still on its way back to a checkpoint")
		}
		for _, c := range w.checkpoints(t, name) {
			snapshots[c] = true
		}
		for _, id := range w.line(t, name) {
			known[id] = true
		}
	}
	for _, m := range w.machines(t) {
		if running[m.Sandbox] == "" {
			wrong = append(wrong, "machine "+m.Sandbox+" belongs to nobody")
		}
	}
	units, more := w.units(t)
	wrong = append(wrong, more...)
	wrong = append(wrong, w.processes(t, units)...)
	wrong = append(wrong, w.mounts(t, running)...)
	wrong = append(wrong, w.networks(t, len(running))...)
	wrong = append(wrong, w.cgroups(t, units)...)
	return append(wrong, w.files(t, units, snapshots, known, volumes)...)
}

// sandboxes counts the sandbox processes of this server, by sandbox.
func (w *witness) sandboxes(t *testing.T) map[string]int {
	t.Helper()
	count := map[string]int{}
	for _, args := range w.commands(t) {
		if args[0] == "runsc-sandbox" {
			count[args[len(args)-1]]++
		}
	}
	return count
}

// commands returns the command lines on this host that name the data directory.
func (w *witness) commands(t *testing.T) (lines [][]string) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || !strings.Contains(string(line), w.s.Dir+"/") {
			continue // not a process, gone, or not ours
		}
		lines = append(lines, strings.Split(strings.TrimRight(string(line), "\x00"), "\x00"))
	}
	return lines
}

// processes: one sandbox for each running workspace, and nothing that nobody
// waits for.
func (w *witness) processes(t *testing.T, units map[string]string) (wrong []string) {
	t.Helper()
	for _, args := range w.commands(t) {
		switch {
		case args[0] == "runsc-sandbox", args[0] == "runsc-gofer":
		case slices.Contains(args, "--data-dir"), slices.Contains(args, "state"): // holtd itself, or its question after a sandbox
		case slices.Contains(args, "attend") && units[args[len(args)-1]] == reserved: // waits beside one that waits
		default:
			wrong = append(wrong, "a process is left: "+strings.Join(args, " "))
		}
	}
	count := w.sandboxes(t)
	for id, n := range count {
		if units[id] == "" {
			wrong = append(wrong, fmt.Sprintf("sandbox %s runs for nobody", id))
		} else if n != 1 {
			wrong = append(wrong, fmt.Sprintf("sandbox %s has %d processes", id, n))
		}
	}
	for id, owner := range units {
		if count[id] == 0 && owner != reserved { // else it may be about to get one
			wrong = append(wrong, fmt.Sprintf("sandbox %s has no process", id))
		}
	}
	return wrong
}

// sandboxPID returns the process of a machine.
func (w *witness) sandboxPID(t *testing.T, id string) int {
	t.Helper()
	return w.processOf(t, "runsc-sandbox", id)
}

// processOf returns the process of that name that belongs to a machine.
func (w *witness) processOf(t *testing.T, name, sandbox string) (pid int) {
	t.Helper()
	id := ""
	for _, m := range w.machines(t) {
		if m.Sandbox == sandbox {
			id = m.Unit
		}
	}
	if id == "" {
		t.Fatalf("machine %s has no record", sandbox)
	}
	return w.unitPID(t, name, id)
}

// unitPID returns the process of that name that belongs to a unit.
func (w *witness) unitPID(t *testing.T, name, id string) (pid int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && strings.HasPrefix(string(line), name+"\x00") && strings.Contains(string(line), "/"+id+"/") {
			if _, err := fmt.Sscan(e.Name(), &pid); err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatalf("sandbox %s has no process %s", id, name)
	return 0
}

// mounts: the pool, one volume for each running workspace, and their loop devices.
func (w *witness) mounts(t *testing.T, running map[string]string) (wrong []string) {
	t.Helper()
	want := map[string]int{"node/pool": 1, "node/gvisor/root/null-netns": -1} // -1: may be there
	for _, ws := range running {
		want["node/mnt/"+ws] = 1
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]int{}
	for line := range strings.Lines(string(table)) {
		if at, ok := strings.CutPrefix(strings.Fields(line)[4], w.s.Dir+"/"); ok {
			have[at]++
		}
	}
	for at, n := range have {
		if want[at] != n && (want[at] != -1 || n > 1) {
			wrong = append(wrong, fmt.Sprintf("%d mounts at %s", n, at))
		}
	}
	for at, n := range want {
		if n > 0 && have[at] == 0 {
			wrong = append(wrong, "nothing is mounted at "+at)
		}
	}
	loops, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	used := 0
	for _, l := range loops {
		if file, err := os.ReadFile(l); err == nil && strings.HasPrefix(string(file), w.s.Dir+"/") {
			used++
		}
	}
	if used != 1+len(running) {
		wrong = append(wrong, fmt.Sprintf("%d loop devices for one pool and %d volumes", used, len(running)))
	}
	return wrong
}

// networks: a slot for each running workspace, and the ready ones.
func (w *witness) networks(t *testing.T, running int) (wrong []string) {
	t.Helper()
	entries, err := os.ReadDir("/run/holt/slots")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		owner, err := os.ReadFile(filepath.Join("/run/holt/slots", e.Name()))
		if err != nil || !strings.HasPrefix(string(owner), filepath.Join(w.s.Dir, "node")+"\n") {
			continue
		}
		n++
		for _, kind := range []string{"s", "g"} {
			if _, err := os.Stat("/run/netns/holt-" + e.Name() + "-" + kind); err != nil {
				wrong = append(wrong, fmt.Sprintf("slot %s: %v", e.Name(), err))
			}
		}
	}
	if most := running + warmNetworks + prepared; n < running || n > most {
		wrong = append(wrong, fmt.Sprintf("%d network slots for %d machines: at most %d are right", n, running, most))
	}
	return wrong
}

// cgroups: none of a sandbox that is gone.
func (w *witness) cgroups(t *testing.T, units map[string]string) (wrong []string) {
	t.Helper()
	for _, pattern := range []string{"/sys/fs/cgroup/holt/sb-*", "/sys/fs/cgroup/*/holt/sb-*"} {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range dirs {
			if id := filepath.Base(dir); w.seen[id] && units[id] == "" {
				wrong = append(wrong, "a cgroup is left: "+dir)
			}
		}
	}
	return wrong
}

// files: what the node keeps is what the workspaces name.
func (w *witness) files(t *testing.T, units map[string]string, snapshots, known, volumes map[string]bool) (wrong []string) {
	t.Helper()
	isUnit := func(name string) bool { return units[name] != "" }
	for dir, named := range map[string]func(string) bool{
		"node/gvisor/sandboxes": isUnit,
		"node/gvisor/root": func(name string) bool {
			i := strings.Index(name, "sb-")
			return name == "null-netns" || i >= 0 && isUnit(name[i:min(len(name), i+29)])
		},
		"node/mnt": func(name string) bool {
			for _, ws := range units {
				if ws == name {
					return true
				}
			}
			return false
		},
		"node/pool/snapshots": func(name string) bool { return snapshots[name] || known[name] },
		"node/lazy":           func(string) bool { return false }, // nothing is being fetched
		"node/pool/volumes":   func(name string) bool { return volumes[name] },
	} {
		for _, name := range w.list(t, dir) {
			if !named(name) {
				wrong = append(wrong, fmt.Sprintf("%s/%s belongs to nobody", dir, name))
			}
		}
	}
	wrong = append(wrong, w.unfinished(t)...)
	for id := range snapshots {
		if _, err := os.Stat(filepath.Join(w.s.Dir, "node/pool/snapshots", id, "manifest")); err != nil {
			wrong = append(wrong, fmt.Sprintf("snapshot: %v", err))
		}
	}
	return wrong
}

// unfinished returns files whose writing was cut short. Where machines and their
// files are, the names of what belongs there are known.
func (w *witness) unfinished(t *testing.T) (wrong []string) {
	t.Helper()
	err := filepath.WalkDir(w.s.Dir, func(path string, e fs.DirEntry, err error) error {
		switch below, _ := filepath.Rel(w.s.Dir, path); {
		case errors.Is(err, fs.ErrNotExist):
			return nil // removed since
		case err != nil:
			return err
		case below == "node/mnt", below == "node/pool", below == "node/gvisor/sandboxes",
			below == "store": // which others may share: there such files go when they are old
			return fs.SkipDir
		case strings.HasPrefix(e.Name(), ".") && below != ".":
			wrong = append(wrong, below+" was not finished")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return wrong
}

// list returns the names in a folder of the data directory, which may be missing.
func (w *witness) list(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(w.s.Dir, dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
