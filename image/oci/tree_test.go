package oci

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	holt "github.com/holt-ide/holt"
	"github.com/holt-ide/holt/image/imagetest"
)

// flatten applies layers to a new directory inside a directory with a sentinel,
// and fails the test if anything but the tree changed.
func flatten(t testing.TB, lim Limits, layers ...[]byte) (dir string, err error) {
	t.Helper()
	base := t.TempDir()
	outside := filepath.Join(base, "outside")
	if err := os.Mkdir(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("untouched"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, outside)
	dir = filepath.Join(base, "tree")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tr, err := newTree(dir, lim.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	for _, l := range layers {
		if err = tr.apply(t.Context(), bytes.NewReader(l)); err != nil {
			break
		}
	}
	if err == nil {
		err = tr.finish()
	}
	if after := snapshot(t, outside); !slices.Equal(before, after) {
		t.Fatalf("something outside the tree changed:\n%q\n%q", before, after)
	}
	if top, err := os.ReadDir(base); err != nil || len(top) != 2 {
		t.Fatalf("something was made beside the tree: %v %v", top, err)
	}
	return dir, err
}

func TestFlattenKeepsWhatFilesAre(t *testing.T) {
	imagetest.NeedRoot(t)
	owned := fileEntry("home/dev/.bashrc", "x=1\n")
	owned.Uid, owned.Gid, owned.Mode = 1000, 1001, 0o600
	setuid := fileEntry("usr/bin/sudo", "#!")
	setuid.Mode = 0o4755
	sticky := dirEntry("tmp/")
	sticky.Mode = 0o1777
	link := symlink("bin", "usr/bin")
	link.Uid = 7
	dir, err := flatten(t, Limits{}, makeTar(t,
		dirEntry("./"), dirEntry("usr/"), dirEntry("usr/bin/"), link, symlink("etc/mtab", "/proc/self/mounts"),
		owned, setuid, hardLink("usr/bin/sudoedit", "usr/bin/sudo"), hardLink("./usr/bin/again", "./bin/sudo"),
		fileEntry("bin/through-a-link", "t"), special(tar.TypeFifo, "run/pipe"), sticky,
	))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"Lrwxrwxrwx 7:0 bin -> usr/bin",
		"drwxr-xr-x 0:0 etc",
		"Lrwxrwxrwx 0:0 etc/mtab -> /proc/self/mounts",
		"drwxr-xr-x 0:0 home",
		"drwxr-xr-x 0:0 home/dev",
		"-rw------- 1000:1001 home/dev/.bashrc = x=1\n",
		"drwxr-xr-x 0:0 run",
		"prw-r--r-- 0:0 run/pipe",
		"dtrwxrwxrwx 0:0 tmp",
		"drwxr-xr-x 0:0 usr",
		"drwxr-xr-x 0:0 usr/bin",
		"urwxr-xr-x 0:0 usr/bin/again = #!",
		"urwxr-xr-x 0:0 usr/bin/sudo = #!",
		"urwxr-xr-x 0:0 usr/bin/sudoedit = #!",
		"-rw-r--r-- 0:0 usr/bin/through-a-link = t",
	}
	if got := snapshot(t, dir); !slices.Equal(got, want) {
		t.Errorf("tree:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, name := range []string{"usr/bin/sudo", "usr/bin", "bin", "run/pipe", "."} {
		fi, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !fi.ModTime().Equal(stamp) {
			t.Errorf("%s: modified %v, want %v", name, fi.ModTime(), stamp)
		}
		if st := fi.Sys().(*syscall.Stat_t); name == "usr/bin/sudo" && st.Nlink != 3 {
			t.Errorf("%s: %d links, want 3", name, st.Nlink)
		}
	}
}

func TestFlattenSetsAttributes(t *testing.T) {
	imagetest.NeedRoot(t)
	ping := fileEntry("ping", "#!")
	// struct vfs_cap_data, revision 2, cap_net_raw permitted and effective
	caps := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	ping.PAXRecords["SCHILY.xattr.security.capability"] = caps
	ping.PAXRecords["SCHILY.xattr.trusted.overlay.opaque"] = "y"
	dir, err := flatten(t, Limits{}, makeTar(t, ping))
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	n, err := unix.Getxattr(filepath.Join(dir, "ping"), "security.capability", buf)
	if err != nil || string(buf[:n]) != caps {
		t.Errorf("security.capability = %q, %v", buf[:max(n, 0)], err)
	}
	if n, err := unix.Getxattr(filepath.Join(dir, "ping"), "trusted.overlay.opaque", buf); !errors.Is(err, unix.ENODATA) {
		t.Errorf("trusted.overlay.opaque = %q, %v, want none", buf[:max(n, 0)], err)
	}
}

func TestWhiteouts(t *testing.T) {
	imagetest.NeedRoot(t)
	lower := makeTar(t, dirEntry("d/"), fileEntry("d/a", "1"), fileEntry("d/b", "1"), dirEntry("d/sub/"), fileEntry("d/sub/c", "1"),
		fileEntry("top", "1"), symlink("l", "d"))
	for _, tc := range []struct {
		name  string
		upper []tar.Header
		want  []string
	}{
		{"a file", []tar.Header{fileEntry("d/.wh.a", "")}, []string{"d", "d/b", "d/sub", "d/sub/c", "l", "top"}},
		{"a directory", []tar.Header{fileEntry("d/.wh.sub", "")}, []string{"d", "d/a", "d/b", "l", "top"}},
		{"what is not there", []tar.Header{fileEntry("none/.wh.a", ""), fileEntry(".wh.none", "")}, []string{"d", "d/a", "d/b", "d/sub", "d/sub/c", "l", "top"}},
		{"opaque before its files", []tar.Header{fileEntry("d/.wh..wh..opq", ""), fileEntry("d/n", "2")}, []string{"d", "d/n", "l", "top"}},
		{"opaque after its files", []tar.Header{fileEntry("d/n", "2"), fileEntry("d/sub/n", "2"), fileEntry("d/.wh..wh..opq", "")}, []string{"d", "d/n", "d/sub", "d/sub/n", "l", "top"}},
		{"opaque through a link", []tar.Header{fileEntry("d/n", "2"), fileEntry("l/.wh..wh..opq", "")}, []string{"d", "d/n", "l", "top"}},
		{"replaced and hidden", []tar.Header{fileEntry("d/a", "2"), fileEntry("d/.wh.a", "")}, []string{"d", "d/a", "d/b", "d/sub", "d/sub/c", "l", "top"}},
		{"directory remade", []tar.Header{fileEntry(".wh.d", ""), dirEntry("d/"), fileEntry("d/z", "2")}, []string{"d", "d/z", "l", "top"}},
		{"original of a new link", []tar.Header{hardLink("copy", "top"), fileEntry(".wh.top", "")}, []string{"copy", "d", "d/a", "d/b", "d/sub", "d/sub/c", "l"}},
		{"directory becomes a file", []tar.Header{fileEntry("d", "2")}, []string{"d", "l", "top"}},
		{"link becomes a directory", []tar.Header{dirEntry("l/"), fileEntry("l/x", "")}, []string{"d", "d/a", "d/b", "d/sub", "d/sub/c", "l", "l/x", "top"}},
		{"bookkeeping", []tar.Header{fileEntry(".wh..wh.aufs", ""), dirEntry(".wh..wh.plnk/")}, []string{"d", "d/a", "d/b", "d/sub", "d/sub/c", "l", "top"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, err := flatten(t, Limits{}, lower, makeTar(t, tc.upper...))
			if err != nil {
				t.Fatal(err)
			}
			if got := names(t, dir); !slices.Equal(got, tc.want) {
				t.Errorf("left %q, want %q", got, tc.want)
			}
		})
	}
}

func TestDuplicatesLastWins(t *testing.T) {
	imagetest.NeedRoot(t)
	dir, err := flatten(t, Limits{}, makeTar(t, fileEntry("a", "first"), symlink("b", "a"), fileEntry("a", "second"), fileEntry("b", "file now")))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"-rw-r--r-- 0:0 a = second", "-rw-r--r-- 0:0 b = file now"}
	if got := snapshot(t, dir); !slices.Equal(got, want) {
		t.Errorf("tree %q, want %q", got, want)
	}
}

// hostile are archives that must be refused with the name of the entry.
func hostile(t testing.TB) map[string]struct {
	entry string
	tar   []byte
} {
	type bad = struct {
		entry string
		tar   []byte
	}
	long := strings.Repeat("x", 300)
	return map[string]bad{
		"dot dot":                {"../outside/secret", makeTar(t, fileEntry("../outside/secret", "pwned"))},
		"dot dot inside":         {"a/../../outside/new", makeTar(t, dirEntry("a/"), fileEntry("a/../../outside/new", "pwned"))},
		"through absolute link":  {"evil/holt-pwned", makeTar(t, symlink("evil", "/tmp"), fileEntry("evil/holt-pwned", "pwned"))},
		"through relative link":  {"evil/secret", makeTar(t, symlink("evil", "../outside"), fileEntry("evil/secret", "pwned"))},
		"through two links":      {"b/secret", makeTar(t, symlink("a", ".."), symlink("b", "a/outside"), fileEntry("b/secret", "pwned"))},
		"through a loop":         {"a/x", makeTar(t, symlink("a", "b"), symlink("b", "a"), fileEntry("a/x", ""))},
		"directory through link": {"evil/new/", makeTar(t, symlink("evil", "../outside"), dirEntry("evil/new/"))},
		"whiteout through link":  {"evil/.wh.secret", makeTar(t, symlink("evil", "../outside"), fileEntry("evil/.wh.secret", ""))},
		"opaque through link":    {"evil/.wh..wh..opq", makeTar(t, symlink("evil", "../outside"), fileEntry("evil/.wh..wh..opq", ""))},
		"whiteout of dot dot":    {".wh...", makeTar(t, fileEntry(".wh...", ""))},
		"whiteout of nothing":    {"a/.wh.", makeTar(t, fileEntry("a/.wh.", ""))},
		"absolute hard link":     {"shadow", makeTar(t, hardLink("shadow", "/etc/shadow"))},
		"hard link out":          {"steal", makeTar(t, hardLink("steal", "../outside/secret"))},
		"hard link through link": {"steal", makeTar(t, symlink("evil", "../outside"), hardLink("steal", "evil/secret"))},
		"hard link to directory": {"copy", makeTar(t, dirEntry("d/"), hardLink("copy", "d"))},
		"hard link to nothing":   {"a", makeTar(t, hardLink("a", "none"))},
		"character device":       {"dev/mem", makeTar(t, special(tar.TypeChar, "dev/mem"))},
		"block device":           {"dev/sda", makeTar(t, special(tar.TypeBlock, "dev/sda"))},
		"unknown type":           {"odd", makeTar(t, special('Z', "odd"))},
		"root as a file":         {".", makeTar(t, special(tar.TypeFifo, "."))},
		"below a file":           {"a/b", makeTar(t, fileEntry("a", ""), fileEntry("a/b", ""))},
		"long component":         {long, makeTar(t, fileEntry(long, ""))},
		"long path":              {strings.Repeat("a/", 3000)[:300], makeTar(t, fileEntry(strings.Repeat("a/", 3000)+"b", ""))},
		"link without target":    {"l", makeTar(t, symlink("l", ""))},
		"long target":            {"l", makeTar(t, symlink("l", strings.Repeat("t", 5000)))},
	}
}

func TestHostileEntriesAreRefusedByName(t *testing.T) {
	imagetest.NeedRoot(t)
	for name, tc := range hostile(t) {
		t.Run(name, func(t *testing.T) {
			_, err := flatten(t, Limits{}, tc.tar)
			if !holt.IsKind(err, holt.KindInvalid) {
				t.Fatalf("error %v (kind %s), want kind invalid", err, holt.KindOf(err))
			}
			if !strings.Contains(err.Error(), tc.entry) {
				t.Errorf("error %q does not name the entry %q", err, tc.entry)
			}
			if _, err := os.Lstat("/tmp/holt-pwned"); err == nil {
				t.Error("a file was written outside of the tree")
			}
		})
	}
}

func TestLimits(t *testing.T) {
	imagetest.NeedRoot(t)
	var many []tar.Header
	for range 20 {
		many = append(many, fileEntry("same", "x"))
	}
	for _, tc := range []struct {
		name string
		lim  Limits
		tar  []tar.Header
		text string
	}{
		{"file", Limits{FileBytes: 3}, []tar.Header{fileEntry("ok", "123"), fileEntry("big", "1234")}, `"big" is larger than 3 B`},
		{"total", Limits{Bytes: 5}, []tar.Header{fileEntry("a", "123"), fileEntry("b", "456")}, `"b" exceeds the limit of 5 B`},
		{"entries", Limits{Entries: 10}, many, `"same" is one too many`},
		{"names", Limits{NameBytes: 9}, []tar.Header{symlink("abc", "def"), fileEntry("ghij", "")}, `"ghij" exceeds the limit of 9 B`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := flatten(t, tc.lim, makeTar(t, tc.tar...))
			if !holt.IsKind(err, holt.KindInvalid) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("error %v, want one with %q", err, tc.text)
			}
		})
	}
}

func TestRepeatedWhiteoutsAreBounded(t *testing.T) {
	imagetest.NeedRoot(t)
	var entries []tar.Header
	for _, n := range strings.Split("abcdefghijklmnopqrst", "") {
		entries = append(entries, fileEntry(n, ""))
	}
	for range 80 {
		entries = append(entries, fileEntry(".wh..wh..opq", ""))
	}
	_, err := flatten(t, Limits{Entries: 100}, makeTar(t, entries...)) // 80 * 20 visits > 8 * 100
	if !holt.IsKind(err, holt.KindInvalid) || !strings.Contains(err.Error(), "costs too much") {
		t.Errorf("error %v, want a refusal of the cost", err)
	}
}

func TestNotATar(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		bytes      []byte
	}{
		{"text", "not a tar archive", bytes.Repeat([]byte("this is no archive at all. "), 100)},
		{"cut off", "cut off", makeTar(t, fileEntry("a", strings.Repeat("x", 5000)))[:2000]},
		{"damaged later", "damaged", append(makeTar(t, fileEntry("a", "x"))[:1024], bytes.Repeat([]byte{1}, 1024)...)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := flatten(t, Limits{}, tc.bytes)
			if !holt.IsKind(err, holt.KindInvalid) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("error %v (kind %s), want %q", err, holt.KindOf(err), tc.text)
			}
		})
	}
}

// FuzzFlatten looks for an archive that changes something outside of the tree
// (checked by flatten), leaves a device, or ends without a proper error.
func FuzzFlatten(f *testing.F) {
	for _, tc := range hostile(f) {
		f.Add(tc.tar)
	}
	f.Add(makeTar(f, dirEntry("d/"), fileEntry("d/a", "1"), fileEntry("d/.wh.a", ""), fileEntry("d/.wh..wh..opq", "")))
	f.Fuzz(func(t *testing.T, data []byte) {
		if os.Geteuid() != 0 {
			t.Skip("needs root")
		}
		dir, err := flatten(t, Limits{Bytes: 1 << 20, Entries: 200, NameBytes: 1 << 16}, data, data)
		if err != nil && holt.KindOf(err) == holt.KindInternal {
			t.Errorf("an error without a kind: %v", err)
		}
		for _, line := range snapshot(t, dir) {
			if line[0] == 'D' || strings.HasPrefix(line, "S") {
				t.Errorf("a device or socket was made: %s", line)
			}
		}
	})
}
