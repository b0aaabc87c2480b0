package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holt-ide/holt/test/bins"
)

// bare is gVisor as a careful person would use it by hand: a network namespace,
// a new file system for the files, a bundle, and runsc's own verbs.
type bare struct {
	dir, image string
	runsc      string
	n          int
}

func newBare(t *testing.T, dir, image string) *bare {
	t.Helper()
	b := &bare{dir: filepath.Join(dir, "bare"), image: image, runsc: bins.Path(t, "runsc")}
	if err := os.MkdirAll(filepath.Join(b.dir, "root"), 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = exec.Command("umount", "-l", filepath.Join(b.dir, "root", "null-netns")).Run() // there may be none
		if err := os.RemoveAll(b.dir); err != nil {
			t.Error(err)
		}
	})
	return b
}

// container is one machine made by hand.
type container struct {
	b        *bare
	t        *testing.T
	id, dir  string
	args     []string
	overlay  string
	netns    string
	volume   string
	mount    string
	attached bool
}

func (c *container) run(name string, args ...string) string {
	c.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		c.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (c *container) runsc(args ...string) string {
	c.t.Helper()
	return c.run(c.b.runsc, append(c.flags(), args...)...)
}

func (c *container) flags() []string {
	return []string{"--root=" + filepath.Join(c.b.dir, "root"), "--platform=systrap", "--overlay2=root:dir=" + c.overlay,
		"--restore-spec-validation=ignore", "--host-settings=ignore", "--allow-suid"}
}

// make prepares what a container needs; from is a volume to copy, or "". Its
// first process is args, or sleeps: only the first process and its children
// survive a restore of runsc, what runsc exec started does not.
func (b *bare) make(t *testing.T, from string, args ...string) *container {
	t.Helper()
	b.n++
	if len(args) == 0 {
		args = []string{"/bin/sleep", "1000000"}
	}
	c := &container{b: b, t: t, id: fmt.Sprintf("bare-%06d", b.n), args: args}
	c.dir = filepath.Join(b.dir, c.id)
	c.overlay, c.mount = filepath.Join(c.dir, "overlay"), filepath.Join(c.dir, "mnt")
	c.volume, c.netns = filepath.Join(c.dir, "volume.img"), "holt-bench-"+c.id
	for _, d := range []string{"bundle/rootfs", "overlay", "mnt"} {
		if err := os.MkdirAll(filepath.Join(c.dir, d), 0o711); err != nil {
			t.Fatal(err)
		}
	}
	c.run("ip", "netns", "add", c.netns)
	c.run("ip", "-n", c.netns, "link", "add", "peer0", "type", "veth", "peer", "name", "eth0")
	c.run("ip", "-n", c.netns, "addr", "add", "10.0.0.2/30", "dev", "eth0")
	c.run("ip", "-n", c.netns, "link", "set", "eth0", "up")
	if from != "" {
		c.run("cp", "--sparse=always", "--reflink=auto", from, c.volume)
	} else {
		c.run("truncate", "-s", "5G", c.volume)
		c.run("mkfs.ext4", "-q", "-F", c.volume)
	}
	c.run("mount", "-o", "loop", c.volume, c.mount)
	c.attached = true
	c.bundle()
	t.Cleanup(c.end)
	return c
}

func (c *container) bundle() {
	c.t.Helper()
	caps := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_SETGID", "CAP_SETUID", "CAP_KILL"}
	ids := []map[string]int{{"containerID": 0, "hostID": 500_000_000, "size": 65536}}
	spec := map[string]any{
		"ociVersion": "1.2.1",
		"process": map[string]any{
			"args": c.args, "cwd": "/", "env": []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin"},
			"user": map[string]int{"uid": 0, "gid": 0}, "capabilities": map[string]any{"bounding": caps, "effective": caps, "permitted": caps},
		},
		"root": map[string]any{"path": filepath.Join(c.dir, "bundle", "rootfs")}, "hostname": "bare",
		"mounts": []map[string]any{
			{"destination": "/proc", "type": "proc", "source": "proc"},
			{"destination": "/dev/shm", "type": "tmpfs", "source": "tmpfs", "options": []string{"size=1073741824"}},
			{"destination": "/workspace", "type": "bind", "source": c.mount, "options": []string{"rbind", "rw"}},
		},
		"annotations": map[string]string{
			"dev.gvisor.spec.rootfs.type": "erofs", "dev.gvisor.spec.rootfs.source": c.b.image,
			"dev.gvisor.spec.rootfs.overlay": "dir=" + c.overlay, "dev.gvisor.spec.rootfs.options": "size=5g",
		},
		"linux": map[string]any{
			"namespaces": []map[string]string{{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "user"},
				{"type": "network", "path": "/run/netns/" + c.netns}},
			"uidMappings": ids, "gidMappings": ids, "cgroupsPath": "/holt-bench/" + c.id,
			"resources": map[string]any{"cpu": map[string]any{"quota": 200000, "period": 100000}, "memory": map[string]any{"limit": 2 << 30}},
		},
	}
	body, err := json.Marshal(spec)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.dir, "bundle", "config.json"), body, 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// launch makes the sandbox with one call of runsc; its streams are files, or the
// call would never return.
func (c *container) launch(verb ...string) {
	c.t.Helper()
	log, err := os.Create(filepath.Join(c.dir, "console"))
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	args := append(append(c.flags(), verb...), "--bundle", filepath.Join(c.dir, "bundle"), c.id)
	cmd := exec.Command(c.b.runsc, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(log.Name())
		c.t.Fatalf("runsc %s: %v: %s", verb[0], err, text)
	}
}

func (c *container) start() { c.t.Helper(); c.launch("run", "--detach") }

func (c *container) restore(from string) {
	c.t.Helper()
	c.launch("restore", "--detach", "--background", "--image-path", from)
}

func (c *container) exec(cmd ...string) string {
	c.t.Helper()
	return c.runsc(append([]string{"exec", c.id}, cmd...)...)
}
func (c *container) execTime() (took time.Duration) {
	begin := time.Now()
	c.exec("/bin/true")
	return time.Since(begin)
}
func (c *container) checkpoint(to string, more ...string) {
	c.t.Helper()
	args := append([]string{"checkpoint", "--compression=none", "--exclude-committed-zero-pages", "--image-path", to}, more...)
	c.runsc(append(args, c.id)...)
}

// end removes everything of the container.
func (c *container) end() {
	_ = exec.Command(c.b.runsc, append(c.flags(), "delete", "--force", c.id)...).Run() // it may have ended by itself
	if c.attached {
		c.run("umount", c.mount)
		c.attached = false
	}
	_ = exec.Command("ip", "netns", "del", c.netns).Run() // the second end finds none
	if err := os.RemoveAll(c.dir); err != nil {
		c.t.Error(err)
	}
}
