package main

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A guest that sends an evil archive changes nothing outside of the copy.
func TestUnpackHostileTree(t *testing.T) {
	file := func(name, text string) []tar.Header {
		return []tar.Header{{Typeflag: tar.TypeReg, Name: name, Size: int64(len(text)), Mode: 0o4755}}
	}
	for name, entries := range map[string][]tar.Header{
		"parent":             file("top/../../evil", "x"),
		"plain parent":       file("../evil", "x"),
		"absolute":           file("/evil", "x"),
		"link, then through": append([]tar.Header{{Typeflag: tar.TypeSymlink, Name: "top/l", Linkname: ".."}}, file("top/l/../../evil", "x")...),
		"link out":           append([]tar.Header{{Typeflag: tar.TypeSymlink, Name: "top/l", Linkname: "../.."}}, file("top/l/evil", "x")...),
		"absolute link":      append([]tar.Header{{Typeflag: tar.TypeSymlink, Name: "top/l", Linkname: "OUTSIDE"}}, file("top/l/evil", "x")...),
		"hard link out":      {{Typeflag: tar.TypeLink, Name: "top/h", Linkname: "top/../../victim"}},
		"hard link absolute": {{Typeflag: tar.TypeLink, Name: "top/h", Linkname: "/victim"}},
		"device":             {{Typeflag: tar.TypeChar, Name: "top/d", Devmajor: 1, Devminor: 3}},
		"fifo":               {{Typeflag: tar.TypeFifo, Name: "top/f"}},
		"top is a link":      append([]tar.Header{{Typeflag: tar.TypeSymlink, Name: "top", Linkname: ".."}}, file("top/evil", "x")...),
	} {
		t.Run(name, func(t *testing.T) {
			outside := t.TempDir()
			inside := filepath.Join(outside, "in")
			if err := os.Mkdir(inside, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(outside, "victim"), []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
			var buf bytes.Buffer
			tw := tar.NewWriter(&buf)
			for _, h := range entries {
				h.Linkname = strings.ReplaceAll(h.Linkname, "OUTSIDE", outside)
				if err := tw.WriteHeader(&h); err != nil {
					t.Fatal(err)
				}
				if _, err := tw.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
					t.Fatal(err)
				}
			}
			if err := tw.Close(); err != nil {
				t.Fatal(err)
			}
			root, err := os.OpenRoot(inside)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			if err := unpackTree(root, "copy", &buf, &meter{a: &app{}}); err == nil {
				t.Error("it was unpacked without complaint")
			}
			all, err := os.ReadDir(outside)
			if err != nil || len(all) != 2 {
				t.Errorf("outside holds %v, %v", all, err)
			}
			if b, err := os.ReadFile(filepath.Join(outside, "victim")); err != nil || string(b) != "precious" {
				t.Errorf("the victim is %q, %v", b, err)
			}
		})
	}
}

// A copy that breaks off is an error, and a setuid bit does not arrive.
func TestUnpackCutTree(t *testing.T) {
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "top/f", Size: 4, Mode: 0o4755}); err != nil {
		t.Fatal(err)
	}
	if _, err := tw.Write([]byte("text")); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	m := &meter{a: &app{}}
	if err := unpackTree(root, "copy", bytes.NewReader(buf.Bytes()[:514]), m); err == nil {
		t.Error("a cut archive was taken")
	}
	if err := unpackTree(root, "copy", &buf, m); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "copy/f"))
	if err != nil || info.Mode() != 0o755 || info.Mode()&fs.ModeSetuid != 0 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func FuzzUnpackTree(f *testing.F) {
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, h := range []*tar.Header{
		{Typeflag: tar.TypeDir, Name: "a/"}, {Typeflag: tar.TypeSymlink, Name: "a/l", Linkname: "../.."}, {Typeflag: tar.TypeReg, Name: "a/l/x"},
	} {
		_ = tw.WriteHeader(h)
	}
	_ = tw.Close()
	f.Add(buf.Bytes(), "copy")
	f.Add([]byte("not a tar"), "")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		if strings.ContainsAny(name, "/\x00") || name == ".." {
			return // names come from the command line, one element
		}
		outside := t.TempDir()
		inside := filepath.Join(outside, "in")
		if err := os.Mkdir(inside, 0o755); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(inside)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		_ = unpackTree(root, name, bytes.NewReader(data), &meter{a: &app{}}) // most data is wrong
		if all, err := os.ReadDir(outside); err != nil || len(all) != 1 {
			t.Errorf("outside holds %v, %v", all, err)
		}
	})
}
