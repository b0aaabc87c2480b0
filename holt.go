// Package holt holds the words every room shares: identifiers, workspace states
// and their legal transitions, limits, and the closed set of error kinds.
//
// It imports the standard library only, does no I/O and keeps no state. Every
// other package may import it; it imports none of them.
package holt

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"regexp"
	"time"
)

// Typed identifiers. All are made by this package, never parsed for meaning,
// and contain only [a-z0-9-], so that they are safe in paths and host names.
type (
	// WorkspaceID names a workspace for its whole life: "ws-" and 26 characters.
	WorkspaceID string
	// SandboxID names one life of a machine: "sb-" and 26 characters. A resumed
	// or forked machine gets a new one. Fixed length, because runtimes match
	// container IDs by prefix.
	SandboxID string
	// SnapshotID names one frozen machine: "sn-" and 26 characters.
	SnapshotID string
	// NodeID names a host that runs sandboxes.
	NodeID string
	// TerminalID names a persistent terminal within a workspace; chosen by
	// the user or counted by the guest agent. See [ValidTerminalID].
	TerminalID string
	// ImageID is the content hash of a read-only base image: "sha256-" and 64
	// hexadecimal digits.
	ImageID string
	// UserID names an account.
	UserID string
)

// NewWorkspaceID returns a fresh identifier that sorts by creation time.
func NewWorkspaceID() WorkspaceID { return WorkspaceID("ws-" + newID()) }

// NewSandboxID returns a fresh identifier that sorts by creation time.
func NewSandboxID() SandboxID { return SandboxID("sb-" + newID()) }

// NewSnapshotID returns a fresh identifier that sorts by creation time.
func NewSnapshotID() SnapshotID { return SnapshotID("sn-" + newID()) }

// NewID returns 26 characters of [0-9a-v]: 48 bits of milliseconds since the
// Unix epoch followed by 80 random bits, as in ULID, in base32hex so that the
// text sorts like the time.
func NewID() string { return newID() }

var idEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

func newID() string {
	var b [16]byte
	ms := uint64(time.Now().UnixMilli())
	binary.BigEndian.PutUint64(b[:8], ms<<16)
	rand.Read(b[6:]) // never fails since Go 1.24
	return idEncoding.EncodeToString(b[:])
}

// NewSecret returns 256 random bits as 52 characters of [0-9a-v]; it is used for
// tokens and per-boot agent secrets.
func NewSecret() string {
	var b [32]byte
	rand.Read(b[:])
	return idEncoding.EncodeToString(b[:])
}

// The longest accepted workspace name: it must fit a DNS label together with
// "65535--" in front (RFC 1035: 63 octets).
const MaxNameLength = 40

var (
	nameRE     = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	terminalRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)
)

// CheckName reports why name cannot name a workspace: it must be a DNS label of
// at most [MaxNameLength] characters without "--" (which separates the port in
// forwarded host names).
func CheckName(name string) error {
	switch {
	case name == "":
		return Invalid("name", "a workspace needs a name")
	case len(name) > MaxNameLength:
		return &Error{Kind: KindInvalid, Field: "name", Limit: fmt.Sprint(MaxNameLength),
			Text: fmt.Sprintf("a name has at most %d characters, this one has %d", MaxNameLength, len(name))}
	case !nameRE.MatchString(name):
		return Invalidf("name", "%q: a name has only a-z, 0-9 and -, and neither starts nor ends with -", name)
	}
	for i := 1; i < len(name); i++ {
		if name[i] == '-' && name[i-1] == '-' {
			return Invalidf("name", "%q: a name has no --, which separates the port in forwarded addresses", name)
		}
	}
	if len(name) == 29 && name[:3] == "ws-" {
		return Invalidf("name", "%q looks like a workspace ID", name)
	}
	return nil
}

// ValidTerminalID reports whether id may name a terminal: 1-64 characters of
// [A-Za-z0-9_.-], the first a letter or digit.
func ValidTerminalID(id TerminalID) bool { return terminalRE.MatchString(string(id)) }
