// Package toolbox keeps executables by content: DIR/HASH/NAME. A file in it never
// changes, so whatever maps or records one finds the same bytes for as long as
// the file is there. A frozen machine needs that: it resumes in the middle of
// the very binary that was running.
//
// It imports durable and the standard library; rooms that install or run tools
// import it.
package toolbox

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holt-ide/holt/durable"
)

// Dir is the directory of a toolbox.
type Dir string

// Install copies the executable at src in as name and returns its hash: 64
// hexadecimal digits of SHA-256. A copy that is already there is left alone.
// Concurrent calls are safe.
func (t Dir) Install(src, name string) (hash string, err error) {
	f, err := os.Open(src)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	hash = hex.EncodeToString(h.Sum(nil))
	if t.Has(hash, name) {
		return hash, nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", fmt.Errorf("rewind %s: %w", name, err)
	}
	dst := t.Path(hash, name)
	if err := durable.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
		return "", fmt.Errorf("make tool directory: %w", err)
	}
	copyIn := func(w io.Writer) error { _, err := io.Copy(w, f); return err }
	if err := durable.Write(dst, 0o755, copyIn); err != nil {
		return "", fmt.Errorf("install %s: %w", name, err)
	}
	return hash, nil
}

// Clean removes what installations that were cut short have left. Only the one
// process that installs may call it, before it does.
func (t Dir) Clean() error {
	entries, err := os.ReadDir(string(t))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("list tools: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if _, err := durable.Clean(filepath.Join(string(t), e.Name())); err != nil {
			return fmt.Errorf("clean tools: %w", err)
		}
	}
	return nil
}

// Path returns where the tool name with that hash is, if it is there.
func (t Dir) Path(hash, name string) string { return filepath.Join(string(t), hash, name) }

// Has reports whether the tool is there. What is no hash names none: it may come from
// another server.
func (t Dir) Has(hash, name string) bool {
	if b, err := hex.DecodeString(hash); err != nil || len(b) != sha256.Size {
		return false
	}
	info, err := os.Stat(t.Path(hash, name))
	return err == nil && info.Mode().IsRegular()
}
