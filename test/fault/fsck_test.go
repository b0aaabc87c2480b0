package fault

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holt-ide/holt/durable"
	"github.com/holt-ide/holt/fsck"
	"github.com/holt-ide/holt/test/server"
)

// holtd fsck finds nothing in a server at work, and names what was damaged or lost.
func TestFsck(t *testing.T) {
	t.Parallel()
	s := server.Start(t, "--pool-size", "3g")
	s.TinyImage(t)
	for _, name := range []string{"runs", "sleeps", "gone"} {
		small(t, s, name)
		s.Sh(t, name, "head -c 300000 /dev/urandom >/workspace/file; sync")
	}
	s.Must(t, "checkpoint", "runs", "first")
	for _, name := range []string{"sleeps", "gone"} {
		s.Must(t, "suspend", name)
		s.AwaitDurable(t, name, time.Minute)
	}
	ask := func(args ...string) *fsck.Report {
		t.Helper()
		did := s.Verb(t, "fsck", append([]string{"--json"}, args...)...)
		r := new(fsck.Report)
		if err := json.Unmarshal([]byte(did.Stdout), r); err != nil {
			t.Fatalf("code %d: %v: %s%s", did.Code, err, did.Stdout, did.Stderr)
		}
		if want := map[bool]int{true: 1}[r.Bad()]; did.Code != want {
			t.Errorf("exit code %d, want %d", did.Code, want)
		}
		return r
	}
	stop := make(chan struct{})
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				s.Sh(t, "runs", "cp /workspace/file /workspace/other; mkdir -p /workspace/d; rm -r /workspace/d")
			}
		}
	}()
	healthy := ask()
	close(stop)
	<-wrote
	if len(healthy.Findings) > 0 {
		t.Errorf("a healthy server: %+v", healthy.Findings)
	}
	for kind, least := range map[string]int{"workspaces": 3, "volumes": 3, "snapshots": 3, "stored snapshots": 2, "images": 2, "tools": 2} {
		if healthy.Checked[kind] < least {
			t.Errorf("%d %s were checked, want %d", healthy.Checked[kind], kind, least)
		}
	}
	s.Stop(t)
	if r := ask("--quick"); len(r.Findings) > 0 {
		t.Errorf("a server at rest: %+v", r.Findings)
	}

	one := func(pattern string, pick func(path string) bool) string {
		t.Helper()
		paths, err := filepath.Glob(filepath.Join(s.Dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		if i := slices.IndexFunc(paths, pick); i >= 0 {
			return paths[i]
		}
		t.Fatalf("nothing is %s", pattern)
		return ""
	}
	current := func(name string) string { return s.AwaitDurable(t, name, time.Minute).ID }
	s.Start(t)
	sleeps, gone := current("sleeps"), current("gone")
	volume := s.Show(t, "runs").ID
	s.Kill(t)
	every := func(string) bool { return true }
	flip(t, one("node/pool/snapshots/"+sleeps+"/pages.img", every))
	largest, size := "", int64(0)
	if err := filepath.WalkDir(filepath.Join(s.Dir, "store", "data"), func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.Contains(path, "/segment/") {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Size() > size {
			largest, size = path, info.Size()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(largest, size/2); err != nil {
		t.Fatal(err)
	}
	image := one("images/*.erofs", func(path string) bool { info, err := os.Stat(path); return err == nil && info.Size() < 100<<20 })
	own(t, image)
	flip(t, image)
	if err := os.Rename(one("node/pool/snapshots/"+gone, every), filepath.Join(s.Dir, "node/pool/snapshots/sn-stray")); err != nil {
		t.Fatal(err)
	}
	wreck(t, one("node/pool/volumes/"+volume+".img", every))
	r := ask()
	for _, want := range []struct {
		level fsck.Level
		what  string
	}{
		{fsck.Damage, "snapshot " + sleeps},
		{fsck.Damage, "image " + strings.TrimSuffix(filepath.Base(image), ".erofs")},
		{fsck.Damage, "stored snapshot "},
		{fsck.Damage, "volume of workspace runs"},
		{fsck.Stray, "snapshot sn-stray"},
	} {
		if !slices.ContainsFunc(r.Findings, func(f fsck.Finding) bool { return f.Level == want.level && strings.HasPrefix(f.What, want.what) }) {
			t.Errorf("%s of %s is not found", want.level, want.what)
		}
	}
	for _, f := range r.Findings {
		t.Log(f.Level, f.What, f.Text)
	}
	// What is wrecked here cannot be served; it is removed with the server.
	if err := os.RemoveAll(filepath.Join(s.Dir, "node/pool/snapshots/sn-stray")); err != nil {
		t.Fatal(err)
	}
}

// own gives the data directory a copy of a file that it shares with the cache.
func own(t *testing.T, path string) {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(path, body, 0o444); err != nil {
		t.Fatal(err)
	}
}

// wreck overwrites the first group's inode table of an ext4 file system, which begins
// a few blocks after the superblock.
func wreck(t *testing.T, img string) {
	t.Helper()
	f, err := os.OpenFile(img, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	junk := make([]byte, 256<<10)
	for i := range junk {
		junk[i] = byte(i*7 + 3)
	}
	if _, err := f.WriteAt(junk, 8192); err != nil {
		t.Fatal(err)
	}
}
