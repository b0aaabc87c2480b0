package oci

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

var stamp = time.Unix(1600000000, 0)

func dirEntry(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, ModTime: stamp}
}

func fileEntry(name, text string) tar.Header {
	// The content travels in a record of our own, see makeTar.
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, ModTime: stamp, Size: int64(len(text)),
		PAXRecords: map[string]string{"HOLT.text": text}}
}

func symlink(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777, ModTime: stamp}
}

func hardLink(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644, ModTime: stamp}
}

func special(typ byte, name string) tar.Header {
	return tar.Header{Typeflag: typ, Name: name, Mode: 0o644, ModTime: stamp}
}

// makeTar writes the entries as they are, however hostile.
func makeTar(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range entries {
		text := h.PAXRecords["HOLT.text"]
		delete(h.PAXRecords, "HOLT.text")
		if err := w.WriteHeader(&h); err != nil {
			t.Fatalf("write header %q: %v", h.Name, err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// snapshot lists a tree: "mode owner path [target|content]" for each entry.
func snapshot(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.Walk(dir, func(p string, fi os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil || rel == "." {
			return err
		}
		st := fi.Sys().(*syscall.Stat_t)
		line := fmt.Sprintf("%s %d:%d %s", fi.Mode(), st.Uid, st.Gid, rel)
		switch {
		case fi.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			line += " -> " + target
		case fi.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			line += " = " + string(b)
		}
		out = append(out, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// names reduces a snapshot to the paths.
func names(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	for _, l := range snapshot(t, dir) {
		out = append(out, strings.Fields(l)[2])
	}
	slices.Sort(out)
	return out
}
