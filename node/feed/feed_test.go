package feed_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt/node/feed"
)

// volume mounts a fresh ext4 file system, as the machines have.
func volume(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	img, mnt := filepath.Join(dir, "img"), filepath.Join(dir, "mnt")
	if err := os.WriteFile(img, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(img, 1<<30); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, cmd := range [][]string{{"mkfs.ext4", "-q", "-F", "-i", "8192", img}, {"mount", "-o", "loop", img, mnt}} {
		if out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", cmd, err, out)
		}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mnt, 0); err != nil { // not lazily: a feed that keeps it busy is a bug
			t.Errorf("unmount: %v", err)
			_ = unix.Unmount(mnt, unix.MNT_DETACH)
		}
	})
	for _, sub := range []string{"workspace", "home"} {
		if err := os.Mkdir(filepath.Join(mnt, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return mnt
}

func open(t testing.TB, dir string) *feed.Feed {
	t.Helper()
	f, err := feed.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	if err := f.Refused(); err != nil {
		t.Fatalf("this kernel does not report: %v", err)
	}
	if c := f.Take(); !c.All || c.Since.IsZero() {
		t.Fatalf("a new feed says %+v, want everything", c)
	}
	return f
}

// until takes changes until all of want were reported.
func until(t *testing.T, f *feed.Feed, want ...string) []string {
	t.Helper()
	var got []string
	for deadline := time.After(10 * time.Second); ; {
		select {
		case <-f.Changed():
		case <-deadline:
			t.Fatalf("reported %q, want %q among it", got, want)
		}
		c := f.Take()
		if c.All {
			t.Fatal("everything is reported as changed")
		}
		got = append(got, c.Paths...)
		if !slices.ContainsFunc(want, func(p string) bool { return !slices.Contains(got, p) }) {
			return got
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestReportsEveryKindOfChange(t *testing.T) {
	dir := volume(t)
	ws := filepath.Join(dir, "workspace")
	f := open(t, dir)
	must(t, os.MkdirAll(filepath.Join(ws, "a/b"), 0o755))
	must(t, os.WriteFile(filepath.Join(ws, "a/b/naïve \n file"), []byte("x"), 0o644))
	until(t, f, "workspace/a", "workspace/a/b", "workspace/a/b/naïve \n file")
	must(t, os.Rename(filepath.Join(ws, "a/b"), filepath.Join(ws, "moved")))
	until(t, f, "workspace/a/b", "workspace/moved")
	must(t, os.Chmod(filepath.Join(ws, "moved/naïve \n file"), 0o600))
	until(t, f, "workspace/moved/naïve \n file")
	must(t, os.Symlink("nowhere", filepath.Join(ws, "link")))
	must(t, os.Link(filepath.Join(ws, "moved/naïve \n file"), filepath.Join(dir, "home/hard")))
	until(t, f, "workspace/link", "home/hard")
	must(t, os.Chmod(filepath.Join(ws, "moved"), 0o700))
	until(t, f, "workspace/moved")
	must(t, os.RemoveAll(ws))
	got := until(t, f, "workspace")
	if slices.Contains(got, "") {
		t.Errorf("reported %q", got)
	}
	if since, dirty := f.Dirty(); dirty {
		t.Errorf("dirty since %v after everything was taken", since)
	}
}

// A folder that was made, filled and moved before anybody asked.
func TestPathsAreThoseOfNow(t *testing.T) {
	dir := volume(t)
	f := open(t, dir)
	must(t, os.Mkdir(filepath.Join(dir, "workspace/tmp"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "workspace/tmp/file"), []byte("x"), 0o644))
	must(t, os.Rename(filepath.Join(dir, "workspace/tmp"), filepath.Join(dir, "workspace/final")))
	until(t, f, "workspace/final", "workspace/final/file", "workspace/tmp")
}

func TestTooManyAreEverything(t *testing.T) {
	dir := volume(t)
	f := open(t, dir)
	for i := range feed.MaxPaths + 10 {
		must(t, os.WriteFile(filepath.Join(dir, "workspace", fmt.Sprint(i)), nil, 0o644))
	}
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		if c := f.Take(); c.All {
			break
		} else {
			f.Return(c)
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatal("still told apart")
		}
	}
	must(t, os.WriteFile(filepath.Join(dir, "workspace/next"), nil, 0o644))
	for begin := time.Now(); ; time.Sleep(time.Millisecond) { // what was queued comes first
		if c := f.Take(); !c.All && slices.Contains(c.Paths, "workspace/next") {
			return
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatal("never told apart again")
		}
	}
}

func TestReturn(t *testing.T) {
	dir := volume(t)
	f := open(t, dir)
	must(t, os.WriteFile(filepath.Join(dir, "workspace/one"), nil, 0o644))
	<-f.Changed()
	first := f.Take()
	must(t, os.WriteFile(filepath.Join(dir, "workspace/two"), nil, 0o644))
	f.Return(first)
	until(t, f, "workspace/one", "workspace/two")
	f.Return(feed.Changes{All: true, Since: first.Since})
	if since, dirty := f.Dirty(); !dirty || !since.Equal(first.Since) {
		t.Errorf("dirty %v since %v, want since %v", dirty, since, first.Since)
	}
	if c := f.Take(); !c.All {
		t.Errorf("%+v, want everything", c)
	}
}

// Two volumes that were copied from one another have one file system ID.
func TestOthersAreNotReported(t *testing.T) {
	a, b := volume(t), volume(t)
	fa, fb := open(t, a), open(t, b)
	must(t, os.WriteFile(filepath.Join(a, "workspace/mine"), nil, 0o644))
	until(t, fa, "workspace/mine")
	if c := fb.Take(); !c.None() {
		t.Errorf("the other volume reports %+v", c)
	}
}

// The cost at rest is nothing; that of a change, and of looking at everything where
// the kernel refuses, is what is printed.
func BenchmarkCost(b *testing.B) {
	for _, files := range []int{1000, 10000, 50000} {
		b.Run(fmt.Sprint(files), func(b *testing.B) {
			dir := volume(b)
			for i := range files {
				sub := filepath.Join(dir, "workspace", fmt.Sprint(i/100))
				if i%100 == 0 {
					must(b, os.Mkdir(sub, 0o755))
				}
				must(b, os.WriteFile(filepath.Join(sub, fmt.Sprint(i)), []byte("x"), 0o644))
			}
			f := open(b, dir)
			b.Run("idle", func(b *testing.B) {
				cpu, begin := used(), time.Now()
				time.Sleep(3 * time.Second)
				b.ReportMetric(100*float64(used()-cpu)/float64(time.Since(begin)), "cpu-%")
			})
			b.Run("touch-and-take", func(b *testing.B) {
				for range b.N {
					must(b, os.WriteFile(filepath.Join(dir, "workspace/0/0"), []byte("y"), 0o644))
					<-f.Changed()
					f.Take()
				}
			})
			b.Run("scan", func(b *testing.B) {
				cpu := used()
				for range b.N {
					n := 0
					must(b, filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
						if err == nil {
							_, err = d.Info()
						}
						n++
						return err
					}))
				}
				b.ReportMetric(float64((used()-cpu).Microseconds())/float64(b.N)/1000, "cpu-ms/op")
			})
		})
	}
}

// used is the processor time of this process so far.
func used() time.Duration {
	var r unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
