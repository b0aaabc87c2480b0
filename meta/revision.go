package meta

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/holt-ide/holt"
)

// BlobID is the BLAKE3 of a blob's bytes, 32 bytes. As text it has 64 hexadecimal digits.
type BlobID [32]byte

// MarshalText implements [encoding.TextMarshaler].
func (b BlobID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, b[:]), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (b *BlobID) UnmarshalText(text []byte) error {
	if n, err := hex.Decode(b[:], text[:min(len(text), 2*len(b))]); err != nil || n != len(b) || len(text) != 2*len(b) {
		return fmt.Errorf("%.80q is not the name of a blob", text)
	}
	return nil
}

// Revision is a durable state of a workspace's files. Package persist says what its
// blobs are.
type Revision struct {
	Workspace holt.WorkspaceID
	Number    int64       // 1, 2, 3, …; numbers may be missing, and are never given twice while later ones exist
	Tenant    holt.UserID // within whose blobs its own are

	Txn    string    // the attempt that made it, unique in the database
	Base   int64     // the revision that it was made from, 0 for none
	At     time.Time // when the look at the files began
	Reason string    // why it was made: "interval", "save", "suspend", …
	Name   string    // given by a person, which keeps it for ever; or ""

	Root    BlobID // of the top folder's entry
	Record  BlobID // of the description in its pack, from which this row can be made anew
	Files   int64  // files, links and folders
	Bytes   int64  // of its files
	Stored  int64  // bytes that it added to the store
	Torn    int64  // files that changed while they were read, each time
	Skipped int64  // what cannot be kept: sockets, devices, names and files beyond the bounds

	PublishedAt time.Time // when all of it was in the store
	Damage      string    // what was found missing or damaged, or ""
}

// Pack is an object that holds blobs of one tenant.
type Pack struct {
	ID     string // its name in the store
	Size   int64  // bytes
	Header int64  // bytes of it before the first blob
	Blobs  int64
	DeadAt time.Time // since when nothing may refer to it any more; zero while it is alive
}

// Blob is where a blob is.
type Blob struct {
	ID     BlobID
	Pack   string
	Offset int64 // of the stored form in the pack
	Length int64 // of the stored form
	Plain  int64 // bytes of the blob
	Codec  byte  // as package persist numbers them
}

// Publication is what a flush found, once its packs are in the store.
type Publication struct {
	Revision Revision
	Packs    []Pack
	Blobs    []Blob   // in those packs; one that is known already is left out
	Reused   []BlobID // blobs that it needs, and that neither Packs nor the revision Base have

	Replace bool // its blobs take the place of those that are known already

	// From is the revision of another workspace of the tenant that this one is a copy
	// of; with Number 0 there is none. Its blobs count as those of Base do.
	From RevisionID
}

// RevisionID names a revision.
type RevisionID struct {
	Workspace holt.WorkspaceID
	Number    int64
}

// Sweep is what a collector has found out about a tenant at a version.
type Sweep struct {
	Version int64
	Packs   []Pack   // new ones, with what was moved to them
	Blobs   []Blob   // in those packs, in place of where they were
	Dead    []string // packs that nothing refers to any more once this is done, known ones or not
	Forget  []BlobID // blobs that no revision needs
	At      time.Time
}

// Holdings is all that is kept for a tenant at a version.
type Holdings struct {
	Version   int64
	Revisions []Revision // of all workspaces, oldest first
	Packs     []Pack     // dead ones too
}

// ErrRevisionStale reports a publication that does not fit what is there any more: what
// it was made from is gone, or another one took its number. It is a KindConflict.
var ErrRevisionStale error = &holt.Error{Kind: holt.KindConflict, Text: "the workspace's revisions changed at the same moment: try again"}

// Revisions stores the revisions of all workspaces and where their blobs are. A blob,
// a pack and a version belong to a tenant; nothing is shared between two.
type Revisions interface {
	// Publish makes p's revision the latest of its workspace, and appends events in
	// the same transaction. It sets PublishedAt to the present. A publication of the same
	// Txn that took effect already is left as it is, and returned. [ErrRevisionStale]
	// if the number is not above that of the latest, Base or From is not there, one of
	// Reused is not there, or one of the packs is dead.
	Publish(ctx context.Context, p Publication, events ...Event) (Revision, error)

	// Get returns one revision, or a KindNotFound error.
	Get(ctx context.Context, id holt.WorkspaceID, number int64) (Revision, error)

	// Latest returns the one with the highest number, or a KindNotFound error.
	Latest(ctx context.Context, id holt.WorkspaceID) (Revision, error)

	// List returns up to limit revisions of a workspace with numbers below before,
	// the latest first. before 0 means from the latest on, limit 0 means all.
	List(ctx context.Context, id holt.WorkspaceID, before int64, limit int) ([]Revision, error)

	// Name gives a revision a name, or takes it with "". KindNotFound if it is gone.
	Name(ctx context.Context, id holt.WorkspaceID, number int64, name string) error

	// Damage records what was found damaged of a revision, or "" for nothing any
	// more. KindNotFound if it is gone.
	Damage(ctx context.Context, id holt.WorkspaceID, number int64, damage string) error

	// Remove forgets revisions of a workspace; all of them with no numbers. Unknown
	// ones are no error.
	Remove(ctx context.Context, id holt.WorkspaceID, numbers ...int64) error

	// Blobs returns where those of the blobs are that are known, in any order.
	Blobs(ctx context.Context, tenant holt.UserID, ids ...BlobID) ([]Blob, error)

	// PackBlobs returns the blobs in a pack, in the order of their offsets.
	PackBlobs(ctx context.Context, tenant holt.UserID, pack string) ([]Blob, error)

	// Tenants returns who has revisions, blobs or packs.
	Tenants(ctx context.Context) ([]holt.UserID, error)

	// Holdings returns what a tenant has. Every Publish and every Sweep of a tenant
	// raises its version.
	Holdings(ctx context.Context, tenant holt.UserID) (Holdings, error)

	// Sweep applies s, and is [ErrRevisionStale] if the tenant has another version by
	// now. It returns which of s.Dead are dead by then: those that hold no blobs.
	Sweep(ctx context.Context, tenant holt.UserID, s Sweep) (dead []string, err error)

	// Bury forgets dead packs, once their objects cannot come back. Others are left.
	Bury(ctx context.Context, tenant holt.UserID, packs ...string) error
}
