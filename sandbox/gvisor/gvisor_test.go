package gvisor_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/image/imagetest"
	"github.com/holt-ide/holt/node/network"
	"github.com/holt-ide/holt/node/volume"
	"github.com/holt-ide/holt/sandbox"
	"github.com/holt-ide/holt/sandbox/gvisor"
	"github.com/holt-ide/holt/sandbox/sandboxtest"
	"github.com/holt-ide/holt/test/bins"
	"github.com/holt-ide/holt/toolbox"
	guestwire "github.com/holt-ide/holt/wire/guest"
)

func TestDriver(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("sandboxes need root")
	}
	r := newRig(t)
	d := r.Open(t).(*gvisor.Driver)
	t.Cleanup(func() {
		if err := d.Detach(); err != nil {
			t.Error(err)
		}
	})
	sandboxtest.Run(t, r)
}

// rig supplies volumes, networks and the tiny image.
type rig struct {
	dir      string
	cgroup   string
	image    string
	agent    string
	volumes  *volume.Pool
	networks *network.Pool
	owners   map[holt.SandboxID]holt.WorkspaceID
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) { // sandboxes are nobody to the host
		if err := os.Chmod(d, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	r := &rig{dir: dir, cgroup: "/holt-test-" + strconv.Itoa(os.Getpid()), image: imagetest.Tiny(t).Path, owners: map[holt.SandboxID]holt.WorkspaceID{}}
	tools := toolbox.Dir(filepath.Join(dir, "tools"))
	hash, err := tools.Install(bins.Path(t, "holt-guest"), "holt-guest")
	if err != nil {
		t.Fatal(err)
	}
	r.agent = filepath.Dir(tools.Path(hash, "holt-guest"))
	if r.volumes, err = volume.Open(t.Context(), volume.Config{Dir: dir, Size: 4 * holt.GiB}); err != nil {
		t.Fatal(err)
	}
	if r.networks, err = network.Open(t.Context(), network.Config{Owner: dir}, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.networks.Close(); err != nil {
			t.Error(err)
		}
		if err := r.volumes.Detach(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *rig) Open(t *testing.T) sandbox.Driver {
	t.Helper()
	d, err := gvisor.Open(t.Context(), gvisor.Config{Dir: filepath.Join(r.dir, "gvisor"), Runsc: bins.Path(t, "runsc"), Cgroup: r.cgroup})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (r *rig) Spec(t *testing.T) (sandbox.Spec, string) {
	t.Helper()
	ws := holt.NewWorkspaceID()
	if err := r.volumes.Create(t.Context(), ws, 64*holt.MiB); err != nil {
		t.Fatal(err)
	}
	secret := holt.NewSecret()
	config, err := json.Marshal(guestwire.Config{
		Listen: ":7077", Secret: secret, WorkspaceID: ws, Name: "test",
		User: "dev", UID: 1000, GID: 1000, Home: "/home/dev", Dir: "/workspace", Processes: 256,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r.place(t, ws, sandbox.Spec{
		Hostname: "first", Image: r.image, Init: []string{"/.holt/holt-guest"},
		Env:    []string{"PATH=/usr/bin:/bin", guestwire.ConfigEnv + "=" + string(config)},
		Limits: holt.Limits{CPUs: 1, Memory: 256 * holt.MiB, Root: 256 * holt.MiB, Processes: 256},
	}), secret
}

func (r *rig) Again(t *testing.T, spec sandbox.Spec) sandbox.Spec {
	t.Helper()
	ws := holt.NewWorkspaceID()
	if err := r.volumes.Copy(r.owners[spec.ID], ws); err != nil {
		t.Fatal(err)
	}
	spec.Hostname = "again-" + string(ws[len(ws)-6:])
	return r.place(t, ws, spec)
}

// place gives a specification an ID, a network and the workspace's volume.
func (r *rig) place(t *testing.T, ws holt.WorkspaceID, spec sandbox.Spec) sandbox.Spec {
	t.Helper()
	slot, err := r.networks.Get(t.Context(), network.Policy{Internet: true})
	if err != nil {
		t.Fatal(err)
	}
	spec.ID = holt.NewSandboxID()
	r.owners[spec.ID] = ws
	t.Cleanup(func() {
		if err := r.volumes.Remove(ws); err != nil {
			t.Error(err)
		}
		if err := r.networks.Put(slot); err != nil {
			t.Error(err)
		}
	})
	shift, err := volume.NewShift(slot.IDBase())
	if err != nil {
		t.Fatal(err)
	}
	defer shift.Close()
	dir, err := r.volumes.Mount(t.Context(), ws, shift)
	if err != nil {
		t.Fatal(err)
	}
	spec.IDBase = slot.IDBase()
	spec.Network = sandbox.Network{Sandbox: slot.Sandbox(), Gateway: slot.Gateway(), Agent: "10.0.0.2:7077"}
	spec.Mounts = []sandbox.Mount{
		{Source: r.agent, Target: "/.holt", ReadOnly: true},
		{Source: filepath.Join(dir, volume.Home), Target: "/home/dev"},
		{Source: filepath.Join(dir, volume.Workspace), Target: "/workspace"},
	}
	return spec
}

func (r *rig) Held(t *testing.T) []string {
	t.Helper()
	var held []string
	add := func(kind string, names ...string) {
		for _, n := range names {
			if !strings.HasSuffix(n, "/null-netns") { // one for all sandboxes, see Detach
				held = append(held, kind+" "+n)
			}
		}
	}
	glob := func(pattern string) []string {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); strings.HasPrefix(f[4], r.dir) {
			add("mount", f[4])
		}
	}
	for _, pid := range glob("/proc/[0-9]*") {
		if args, err := os.ReadFile(pid + "/cmdline"); err == nil && strings.Contains(string(args), r.dir) {
			add("process", pid+" "+strings.ReplaceAll(string(args), "\x00", " "))
		}
	}
	for _, loop := range glob("/sys/block/loop*/loop/backing_file") {
		if file, err := os.ReadFile(loop); err == nil && strings.HasPrefix(string(file), r.dir) {
			add("loop device", strings.TrimSpace(string(file)))
		}
	}
	for _, claim := range glob("/run/holt/slots/*") {
		if owner, err := os.ReadFile(claim); err == nil && strings.HasPrefix(string(owner), r.dir+"\n") {
			n := filepath.Base(claim)
			add("network", glob("/run/netns/holt-"+n+"-?")...)
			add("network", glob("/sys/class/net/holt"+n)...)
			add("claim", claim)
		}
	}
	add("cgroup", glob("/sys/fs/cgroup/*"+r.cgroup+"/*/")...)
	add("cgroup", glob("/sys/fs/cgroup"+r.cgroup+"/*/")...)
	add("file", glob(r.dir+"/gvisor/sandboxes/*")...)
	add("file", glob(r.dir+"/gvisor/root/*")...)
	add("file", glob(r.dir+"/pool/volumes/*")...)
	return held
}

func (r *rig) Kill(t *testing.T, sb sandbox.Sandbox) {
	t.Helper()
	// The sandbox's process carries the container's ID among its arguments.
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	killed := 0
	for _, name := range names {
		args, err := os.ReadFile(name + "/cmdline")
		if err != nil || !strings.HasPrefix(string(args), "runsc-sandbox") || !strings.Contains(string(args), string(sb.Spec().ID)) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(name))
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		killed++
	}
	if killed != 1 {
		t.Fatalf("killed %d sandbox processes", killed)
	}
}

func (r *rig) Outside(t *testing.T) string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		ip, ok := a.(*net.IPNet)
		if !ok || ip.IP.IsLoopback() || ip.IP.To4() == nil {
			continue
		}
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", net.JoinHostPort(ip.IP.String(), "0"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprintln(c, "hello")
				c.Close()
			}
		}()
		return l.Addr().String()
	}
	t.Skip("the host has no address beside the loopback one")
	return ""
}
