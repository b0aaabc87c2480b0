package stats

import (
	"os"
	"path/filepath"
	"testing"
)

// tree writes a proc file system.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestProcessesAreDescendants(t *testing.T) {
	rest := " 0 0 0 0 0 0 0 0 0 1 2 3 4 20 0 5 0 100 4096 10 0"
	proc := tree(t, map[string]string{
		"5/stat":       "5 (holt-guest) S 1" + rest,
		"10/stat":      "10 (bash) S 5" + rest,
		"11/stat":      "11 (odd) name) R 9) R 10" + rest, // a name may hold anything
		"12/stat":      "12 (other) S 2" + rest,
		"13/stat":      "13 (loop) S 14" + rest, // read while it changed
		"14/stat":      "14 (loop) S 13" + rest,
		"15/stat":      "garbage",
		"16/stat":      "0 (ending) Z 5" + rest, // as gVisor shows it
		"self/stat":    "11 (not counted) R 5" + rest,
		"10/task/stat": "",
	})
	got, err := Processes(proc, 5)
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v, %v; want 10 and 11", got, err)
	}
	page := int64(os.Getpagesize())
	if want := (Process{PID: 10, Parent: 5, Comm: "bash", State: 'S', Ticks: 10, RSS: 10 * page, Threads: 5}); got[0] != want {
		t.Errorf("%+v, want %+v", got[0], want)
	}
	if got[1].Comm != "odd) name) R 9" || got[1].State != 'R' || got[1].Parent != 10 {
		t.Errorf("%+v", got[1])
	}
}

func TestProcessesOfInitAreAllOthers(t *testing.T) {
	rest := " 7 0 0 0 0 0 0 0 0 1 2 3 4 20 0 5 0 100 4096 10 0"
	got, err := Processes(tree(t, map[string]string{
		"1/stat":  "1 (holt-guest) S 0" + rest,
		"10/stat": "10 (bash) S 1" + rest,
		"12/stat": "12 (bomb) S 11" + rest, // its parent ended while the table was read
	}), 1)
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v, %v; want 10 and 12", got, err)
	}
	for _, p := range got {
		if p.PID == 1 || p.Group != 7 {
			t.Errorf("%+v", p)
		}
	}
}

func TestMemory(t *testing.T) {
	total, available, err := Memory(tree(t, map[string]string{"meminfo": "MemTotal:  2048 kB\nMemFree: 1 kB\nMemAvailable:  512 kB\n"}))
	if err != nil || total != 2<<20 || available != 512<<10 {
		t.Errorf("%d, %d, %v", total, available, err)
	}
	if _, _, err := Memory(tree(t, map[string]string{"meminfo": "nothing\n"})); err == nil {
		t.Error("no total was accepted")
	}
	if _, _, err := Memory(t.TempDir()); err == nil {
		t.Error("no file was accepted")
	}
}

func TestDisksCountsAFileSystemOnce(t *testing.T) {
	dir := t.TempDir()
	got := Disks([]string{"/nowhere", dir, dir, filepath.Dir(dir)})
	if len(got) != 1 || got[0].Path != dir || got[0].Total <= 0 {
		t.Errorf("%+v", got)
	}
}
