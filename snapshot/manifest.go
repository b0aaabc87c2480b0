package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/holt-ide/holt"
)

// Version is the version of the manifest that this package writes, and the only
// one that it reads.
const Version = 1

// Names of the files beside the runtime's own.
const (
	manifestName = "manifest"
	VolumeName   = "volume.img"
)

// MaxManifest bounds what is read of a manifest: sums for 4 TiB and more.
const MaxManifest = 64 << 20

// Manifest describes one snapshot.
type Manifest struct {
	ID        holt.SnapshotID  `json:"id"`
	Workspace holt.WorkspaceID `json:"workspace"`
	CreatedAt time.Time        `json:"created_at"` // when the machine was frozen
	Pause     time.Duration    `json:"pause_ns"`   // how long the source stood still, if it ran on

	// What a restore needs to be equal to the source.
	Driver    string       `json:"driver"`    // "gvisor"
	Toolchain string       `json:"toolchain"` // hash of the runtime build
	Agent     string       `json:"agent"`     // hash of the guest agent, which is mapped in the memory
	Image     holt.ImageID `json:"image"`
	Host      *Host        `json:"host,omitempty"` // nil in a manifest that is older than the field

	// Secret is the frozen agent's; the first thing after a restore is to replace it.
	Secret string `json:"secret"`

	Files []File `json:"files"`
}

// Host is what the memory of a machine may depend on beside its runtime.
type Host struct {
	Arch   string   `json:"arch"`   // "amd64"
	CPU    []string `json:"cpu"`    // features that a guest may have found, sorted
	Kernel string   `json:"kernel"` // release, for whoever looks for a cause
}

// File is one file of a snapshot.
type File struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
	Sums []byte `json:"sums"` // 8 bytes per block, see the package comment
}

// Bytes returns the sum of the files' sizes, holes included.
func (m *Manifest) Bytes() int64 {
	var n int64
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

func (m *Manifest) encode() ([]byte, error) {
	body, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	head := fmt.Sprintf("holt-snapshot %d", Version)
	return fmt.Appendf(nil, "%s\n%s\n%s", head, sumLine(head, body), body), nil
}

// sumLine returns the second line of a manifest.
func sumLine(head string, body []byte) string {
	h := sha256.New()
	h.Write([]byte(head + "\n"))
	h.Write(body)
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// decode parses and checks a manifest. All errors but that of a newer version
// are [holt.KindCorrupt].
func decode(data []byte) (*Manifest, error) {
	head, rest, _ := bytes.Cut(data, []byte("\n"))
	line, body, ok := bytes.Cut(rest, []byte("\n"))
	if !ok || string(line) != sumLine(string(head), body) {
		return nil, holt.Errorf(holt.KindCorrupt, "manifest is damaged: its checksum does not match")
	}
	var version int
	if _, err := fmt.Sscanf(string(head), "holt-snapshot %d", &version); err != nil || version < 1 {
		return nil, holt.Errorf(holt.KindCorrupt, "manifest is damaged: it does not start like one")
	}
	if version > Version {
		return nil, holt.Errorf(holt.KindUnsupported, "snapshot has version %d, this server reads up to %d: it was written by a newer server", version, Version)
	}
	var m Manifest
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, holt.Wrap(holt.KindCorrupt, err, "manifest is damaged")
	}
	for _, f := range m.Files {
		if f.Name == "" || f.Name != strings.Trim(f.Name, "./") || strings.ContainsRune(f.Name, '/') || f.Size < 0 || int64(len(f.Sums)) != 8*blocks(f.Size) {
			return nil, holt.Errorf(holt.KindCorrupt, "manifest is damaged: entry %q does not add up", f.Name)
		}
	}
	return &m, nil
}
