package fault

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"

	"github.com/holt-ide/holt/test/server"
)

// harms are the ways in which a file of a snapshot may be damaged.
var harms = []struct {
	name string
	do   func(t *testing.T, path string)
}{
	{"flipped", flip},
	{"truncated", func(t *testing.T, path string) {
		info, err := os.Stat(path)
		if err == nil {
			err = os.Truncate(path, info.Size()/2)
		}
		if err != nil {
			t.Fatal(err)
		}
	}},
	{"missing", func(t *testing.T, path string) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}},
}

// flip changes one bit in the middle of what a file holds.
func flip(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	at, err := unix.Seek(int(f.Fd()), info.Size()/2, unix.SEEK_DATA)
	if err != nil { // only a hole from there on
		at = 0
	}
	b := []byte{0}
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedSnapshot: a snapshot that is not whole is refused, the file at
// fault is named, and the workspace goes on from its files.
func TestDamagedSnapshot(t *testing.T) {
	t.Parallel()
	s := server.Start(t, "--pool-size", "3g")
	s.TinyImage(t)
	w := newWitness(s)
	small(t, s, "main")
	for _, file := range []string{"manifest", "checkpoint.img", "pages.img", "pages_meta.img", "volume.img"} {
		for _, harm := range harms {
			t.Run(file+"/"+harm.name, func(t *testing.T) {
				alive := live(t, s, "main", holt.NewID())
				s.Must(t, "suspend", "main")
				frozen := w.settle(t)["main"]
				harm.do(t, filepath.Join(s.Dir, "node/pool/snapshots", frozen.Snapshot.ID, file))

				if r := s.Holt(t, "resume", "main"); r.Code != 0 {
					t.Fatalf("resume: code %d: %s", r.Code, r.Stderr)
				}
				after := w.settle(t)["main"]
				if after.State != string(holt.Running) {
					t.Fatalf("main is %s: %s", after.State, after.Message)
				}
				for _, want := range []string{"running processes and unsaved memory are lost", "the files are"} {
					if !strings.Contains(after.Message, want) {
						t.Errorf("the message does not say %q: %s", want, after.Message)
					}
				}
				if log := s.Must(t, "logs", "main"); !strings.Contains(log, after.Message) {
					t.Errorf("the message is not in the log: %s", log)
				}
				named := strings.Contains(after.Message, file) || file == "manifest" && strings.Contains(after.Message, "there is no snapshot")
				if !named || !strings.Contains(after.Message, frozen.Snapshot.ID) {
					t.Errorf("%s of %s is not named: %s", file, frozen.Snapshot.ID, after.Message)
				}
				alive.files(t, s)
				if r := s.Holt(t, "exec", "main", "--", "test", "-e", "/dev/shm/life"); r.Code != 1 {
					t.Errorf("memory is still there: %d %s", r.Code, r.Stderr)
				}
			})
		}
	}
}
