package meta

import (
	"context"
	"time"

	"github.com/holt-ide/holt"
)

// Invitation lets one person in who has its secret: with an account of their
// own, and into one workspace if it names one. The secret itself is never stored.
type Invitation struct {
	ID   string // names the invitation in lists; not a secret
	Hash string // of the secret; unique
	Note string // whom it is for, in the words of who made it
	Role Role   // of the account that it makes; "" if it makes none

	Workspace     holt.WorkspaceID // shared with who accepts; or ""
	WorkspaceRole WorkspaceRole    // in that workspace; or ""

	CreatedBy holt.UserID
	CreatedAt time.Time
	ExpiresAt time.Time
	UsedAt    time.Time // zero: not used
	UsedBy    holt.UserID
	RevokedAt time.Time // zero: not revoked
}

// Invitations stores invitations by the hash of their secret. It does not judge
// them by their age.
type Invitations interface {
	// Create stores i. A second one of the same hash is KindConflict.
	Create(ctx context.Context, i Invitation) error

	// ByHash returns the invitation of that hash, or a KindNotFound error.
	ByHash(ctx context.Context, hash string) (Invitation, error)

	// List returns all invitations, newest first.
	List(ctx context.Context) ([]Invitation, error)

	// Accept uses the invitation up for a new user, who is stored together with
	// the identities and becomes a member of the invitation's workspace, in one
	// transaction. Of many callers one succeeds: an invitation that was used or
	// revoked is [ErrInvitationUsed]. A name that is taken is [ErrUserTaken], an
	// identity that is linked already [ErrIdentityTaken]; both leave it unused.
	Accept(ctx context.Context, id string, at time.Time, u User, ids ...Identity) error

	// AcceptAs uses the invitation up for a user who exists, in the same way. A
	// role in the workspace that is higher already stays.
	AcceptAs(ctx context.Context, id string, at time.Time, user holt.UserID) error

	// Revoke ends an invitation and returns whether this call did. A used one is
	// KindConflict, an unknown id KindNotFound.
	Revoke(ctx context.Context, id string, at time.Time) (first bool, err error)

	// Purge removes the invitations that expired, were used or were revoked before
	// the time and returns how many those were.
	Purge(ctx context.Context, before time.Time) (int, error)
}
