// Package meta declares what Holt remembers about workspaces, what happened to
// them, who may do what with them and did, and which requests were answered
// already.
//
// It holds contracts only, one file per noun; package meta/sql implements them
// on SQLite and PostgreSQL and package meta/metatest is the suite that every
// implementation passes. Files of workspaces and snapshots are not here: only
// their identifiers are. The package imports the root package and the standard
// library, and any package at or above its level may import it.
//
// Guarantees of every implementation: a call that returned nil is durable; a
// call that returned an error changed nothing, except where the answer of the
// database was lost; all methods may be called concurrently; times come back in
// UTC with microseconds. Errors are [holt.Error] values: KindNotFound for a row
// that is not there, KindConflict for a lost race or a taken name, KindNoSpace
// when the disk under the database is full, KindCorrupt when the database is
// damaged, KindUnavailable when it does not answer.
package meta

import "github.com/holt-ide/holt"

// Store is one open database.
type Store interface {
	Workspaces() Workspaces
	Checkpoints() Checkpoints
	Snapshots() Snapshots
	Revisions() Revisions
	Events() Events
	Users() Users
	Invitations() Invitations
	Members() Members
	Tokens() Tokens
	Audit() Audit
	Idempotency() Idempotency

	// Close ends all use of the database. Calls under way fail.
	Close() error
}

// ErrStale reports a compare-and-swap that lost: the row has changed since it
// was read. Read it again and decide anew. It is a KindConflict.
var ErrStale error = &holt.Error{Kind: holt.KindConflict, Text: "the workspace changed at the same moment: try again"}

// ErrNameTaken reports a name that a workspace which is not deleted has already.
// It is a KindConflict about the field "name".
var ErrNameTaken error = &holt.Error{Kind: holt.KindConflict, Field: "name",
	Text: "a workspace of this name exists already: choose another name, or delete that one first"}

// ErrLabelTaken reports a label that a checkpoint of the workspace has already. It
// is a KindConflict about the field "label".
var ErrLabelTaken error = &holt.Error{Kind: holt.KindConflict, Field: "label",
	Text: "this workspace has a checkpoint of this label already: choose another label, or remove that one first"}

// ErrUserTaken reports a name that another user has already. It is a KindConflict
// about the field "name".
var ErrUserTaken error = &holt.Error{Kind: holt.KindConflict, Field: "name", Text: "this name is taken: choose another one"}

// ErrIdentityTaken reports an account of an identity provider that signs a user
// in already. It is a KindConflict.
var ErrIdentityTaken error = &holt.Error{Kind: holt.KindConflict, Text: "this account of the identity provider belongs to a user already"}

// ErrLastAdmin reports a change that would leave the server without an enabled
// admin. It is a KindConflict.
var ErrLastAdmin error = &holt.Error{Kind: holt.KindConflict, Text: "this is the last admin: make somebody else an admin first"}

// ErrInvitationUsed reports an invitation that was used or revoked. It is a
// KindUnauthorized.
var ErrInvitationUsed error = &holt.Error{Kind: holt.KindUnauthorized,
	Text: "this invitation was used or taken back already: ask for a new one, or sign in if it was you"}

// ErrKeyReused reports an idempotency key that was used for another request. It
// is a KindInvalid about the field "Idempotency-Key".
var ErrKeyReused error = &holt.Error{Kind: holt.KindInvalid, Field: "Idempotency-Key",
	Text: "this idempotency key was used for a different request: make a new key for each request"}
