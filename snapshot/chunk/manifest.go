package chunk

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/holt-ide/holt"
)

// Version is the version of the manifests and catalogs that this package writes,
// and the only one that it reads.
const Version = 1

// The first words of the sealed texts.
const (
	manifestKind = "holt-chunked-snapshot"
	catalogKind  = "holt-snapshot-catalog"
	traceKind    = "holt-snapshot-trace"
)

// txnID names one attempt to write a snapshot, and every object that it writes:
// 26 characters of [0-9a-v]. It is never used twice.
type txnID string

func newTxn() txnID { return txnID(holt.NewID()) }

func (t txnID) valid() bool {
	for _, c := range []byte(t) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'v') {
			return false
		}
	}
	return len(t) == 26
}

// FileInfo is one file of a snapshot.
type FileInfo struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

// Stats counts where the bytes of a snapshot are. Plain, Zero, Duplicate and New
// count bytes of the files: Plain = Zero + Duplicate + New.
type Stats struct {
	Plain     int64 `json:"plain"`
	Zero      int64 `json:"zero"`      // in chunks of nothing but zeros, which are not stored
	Duplicate int64 `json:"duplicate"` // in chunks that were there already, in an older snapshot or in this one
	New       int64 `json:"new"`       // in chunks that this snapshot brought
	Stored    int64 `json:"stored"`    // bytes that the new chunks take, compressed, with their tables
	Segments  int   `json:"segments"`  // new ones
}

// Manifest describes one snapshot.
type Manifest struct {
	ID         holt.SnapshotID  `json:"id"`
	Tenant     string           `json:"tenant"`
	Workspace  holt.WorkspaceID `json:"workspace"`
	Parent     holt.SnapshotID  `json:"parent,omitempty"` // what it continues; chunks never depend on it
	Label      string           `json:"label,omitempty"`
	CreatedAt  time.Time        `json:"created_at"`
	Txn        txnID            `json:"txn"`
	Generation int              `json:"generation"` // how often the compactor has rewritten it
	Files      []FileInfo       `json:"files"`
	Stats      Stats            `json:"stats"`
	IndexSize  int64            `json:"index_size"`
	IndexSum   string           `json:"index_sum"` // SHA-256, hexadecimal
	Segments   refs             `json:"segments"`

	// Meta is the caller's, such as what a restore needs to be equal to the source.
	Meta json.RawMessage `json:"meta,omitempty"`
}

// Bytes returns the sum of the files' sizes, holes included.
func (m *Manifest) Bytes() int64 {
	var n int64
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

func decodeManifest(data []byte) (*Manifest, error) {
	m := new(Manifest)
	if err := unseal(manifestKind, data, m); err != nil {
		return nil, err
	}
	if m.ID == "" || !m.Txn.valid() || m.IndexSize <= 0 || m.Generation < 0 || len(m.Files) == 0 || !m.Segments.valid() {
		return nil, errors.New("what it says does not add up")
	}
	return m, nil
}

// seal encodes v as a text that can be checked: "KIND VERSION", a SHA-256 over
// that line and everything after the second, and JSON.
func seal(kind string, v any) ([]byte, error) {
	body, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", kind, err)
	}
	head := fmt.Sprintf("%s %d", kind, Version)
	return fmt.Appendf(nil, "%s\n%s\n%s", head, sealLine(head, body), body), nil
}

func sealLine(head string, body []byte) string {
	h := sha256.New()
	h.Write([]byte(head + "\n"))
	h.Write(body)
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// unseal decodes what seal encoded. A newer version is KindUnsupported.
func unseal(kind string, data []byte, v any) error {
	head, rest, _ := bytes.Cut(data, []byte("\n"))
	line, body, ok := bytes.Cut(rest, []byte("\n"))
	if !ok || string(line) != sealLine(string(head), body) {
		return errors.New("its checksum does not match")
	}
	var version int
	number, ok := strings.CutPrefix(string(head), kind+" ")
	if _, err := fmt.Sscanf(number, "%d", &version); !ok || err != nil || version < 1 {
		return fmt.Errorf("it does not start like a %s", kind)
	}
	if version > Version {
		return holt.Errorf(holt.KindUnsupported, "a %s of version %d was written by a newer server, this one reads up to %d", kind, version, Version)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	return nil
}
