package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/durable"
)

// Version is the version of the manifests that this package writes, and the only
// one that it reads.
const Version = 1

// Names in a backup.
const (
	manifestName = "backup"
	dataName     = "data"
)

// MaxManifest bounds what is read of a manifest: some millions of files.
const MaxManifest = 1 << 30

// Manifest says what is in a backup.
type Manifest struct {
	CreatedAt time.Time `json:"created_at"`        // the moment that it holds
	Server    string    `json:"server"`            // version of the program that made it
	Store     string    `json:"store"`             // where the objects are that were not copied, "" if all were
	Missing   []string  `json:"missing,omitempty"` // what the server's rows refer to and the server did not have either
	Files     []File    `json:"files"`             // by path
}

// File is one file of a backup.
type File struct {
	Path string      `json:"path"` // within the data directory, with slashes
	Mode fs.FileMode `json:"mode"`
	Size int64       `json:"size"` // bytes, holes included
	Sum  string      `json:"sum"`  // see [copySparse]
}

// Bytes returns the sum of the files' sizes, holes included.
func (m *Manifest) Bytes() (n int64) {
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

func (m *Manifest) write(dir string) error {
	body, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		return fmt.Errorf("encode backup: %w", err)
	}
	head := fmt.Sprintf("holt-backup %d", Version)
	if err := durable.WriteFile(filepath.Join(dir, manifestName), fmt.Appendf(nil, "%s\n%s\n%s", head, sumLine(head, body), body), 0o600); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	return nil
}

func sumLine(head string, body []byte) string {
	h := sha256.New()
	h.Write([]byte(head + "\n"))
	h.Write(body)
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// Read returns the manifest of the backup in dir: KindNotFound if there is none,
// KindCorrupt if it is damaged, KindUnsupported if it is of a later version.
func Read(dir string) (*Manifest, error) {
	path := filepath.Join(dir, manifestName)
	info, err := os.Stat(path)
	if os.IsNotExist(err) {
		return nil, holt.Errorf(holt.KindNotFound, "%s is no backup: it has no file %q", dir, manifestName)
	} else if err != nil {
		return nil, fmt.Errorf("read backup: %w", err)
	}
	if info.Size() > MaxManifest {
		return nil, holt.Errorf(holt.KindCorrupt, "%s is damaged: it has %d bytes", path, info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read backup: %w", err)
	}
	m, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

func decode(data []byte) (*Manifest, error) {
	head, rest, _ := bytes.Cut(data, []byte("\n"))
	sum, body, ok := bytes.Cut(rest, []byte("\n"))
	var v int
	if _, err := fmt.Sscanf(string(head), "holt-backup %d", &v); err != nil || !ok || v < 1 {
		return nil, holt.Errorf(holt.KindCorrupt, "the backup's list of files is damaged: it begins with %.40q", head)
	}
	if string(sum) != sumLine(string(head), body) {
		return nil, holt.Errorf(holt.KindCorrupt, "the backup's list of files is damaged: its sum is another")
	}
	if v > Version {
		return nil, holt.Errorf(holt.KindUnsupported, "the backup has version %d, this holtd knows up to %d: use a newer one", v, Version)
	}
	var m Manifest
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, holt.Wrap(holt.KindCorrupt, err, "the backup's list of files is damaged")
	}
	for _, f := range m.Files {
		if !filepath.IsLocal(filepath.FromSlash(f.Path)) || strings.Contains(f.Path, "//") || f.Size < 0 || !f.Mode.IsRegular() {
			return nil, holt.Errorf(holt.KindCorrupt, "the backup's list of files is damaged: it has %.100q", f.Path)
		}
	}
	return &m, nil
}
