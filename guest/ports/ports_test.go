package ports

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/holt-ide/holt/wire/guest"
)

const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

func TestList(t *testing.T) {
	proc := t.TempDir()
	for _, d := range []string{"net", "41/fd", "9/fd"} {
		if err := os.MkdirAll(filepath.Join(proc, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	row := func(local, state, inode string) string {
		return "   0: " + local + " 00000000:0000 " + state + " 00000000:00000000 00:00000000 00000000  1000        0 " + inode + " 1 0000000000000000 100 0 0 10 0\n"
	}
	for name, text := range map[string]string{
		"net/tcp": head + row("0100007F:1F90", "0A", "777") + row("00000000:1BA5", "0A", "1") + row("0100007F:1F91", "01", "778") +
			row("0100007F:1F90", "0A", "779") + "short line\n",
		"net/tcp6": head + row("00000000000000000000000001000000:0BB8", "0A", "780") + row("0000000000000000FFFF00000100007F:0BB9", "0A", "781"),
		"41/comm":  "node\n",
	} {
		if err := os.WriteFile(filepath.Join(proc, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("socket:[777]", proc+"/41/fd/3"); err != nil {
		t.Fatal(err)
	}
	got, err := List(proc, 7077)
	want := []guestwire.Port{
		{Port: 3000, Address: "::1"}, {Port: 3001, Address: "127.0.0.1"}, {Port: 8080, Address: "127.0.0.1", PID: 41, Process: "node"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
}

func FuzzParseAddr(f *testing.F) {
	f.Add("0100007F:1F90")
	f.Add("00000000000000000000000001000000:0BB8")
	f.Add(":")
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := parseAddr(s); err == nil && !a.IsValid() {
			t.Errorf("%q gives %v without an error", s, a)
		}
	})
}
