package meta

import (
	"context"
	"time"

	"github.com/holt-ide/holt"
)

// Role says what a user may do on the server as a whole.
type Role string

// The roles of users.
const (
	RoleAdmin  Role = "admin"  // everything, with every workspace
	RoleMember Role = "member" // workspaces of their own and those shared with them
)

// User is an account.
type User struct {
	ID         holt.UserID
	Name       string // unique; what the user signs in with
	Email      string // for people to read; never a proof of anything; may be ""
	Role       Role
	Password   string // as package auth hashed it, or "": this user has no password
	CreatedAt  time.Time
	DisabledAt time.Time // zero: not disabled
	LastSeenAt time.Time // zero: never
}

// Identity is an account of an identity provider that signs a user in.
type Identity struct {
	Issuer  string // URL of the provider
	Subject string // the provider's own name for the account, which it never gives to another
	User    holt.UserID

	CreatedAt time.Time
}

// Users stores accounts. At any time at least one enabled admin is left, once
// there is one: what would end this is [ErrLastAdmin].
type Users interface {
	// Create stores u together with the identities that sign it in. A name that
	// is taken is [ErrUserTaken], an identity that is linked already
	// [ErrIdentityTaken].
	Create(ctx context.Context, u User, ids ...Identity) error

	// Get returns the user of id, or a KindNotFound error.
	Get(ctx context.Context, id holt.UserID) (User, error)

	// ByName returns the user of that very name, or a KindNotFound error.
	ByName(ctx context.Context, name string) (User, error)

	// ByIdentity returns the user whom the identity signs in, or a KindNotFound
	// error.
	ByIdentity(ctx context.Context, issuer, subject string) (User, error)

	// List returns all users, by name.
	List(ctx context.Context) ([]User, error)

	// Update replaces the user of id by what change makes of it, in one
	// transaction, and returns it. An error of change is returned and changes
	// nothing. ID, CreatedAt and LastSeenAt are not written. change may be called
	// again and must not use the store.
	Update(ctx context.Context, id holt.UserID, change func(*User) error) (User, error)

	// Link adds an identity to a user, or returns [ErrIdentityTaken].
	Link(ctx context.Context, id Identity) error

	// Identities returns what signs a user in, oldest first.
	Identities(ctx context.Context, id holt.UserID) ([]Identity, error)

	// Seen moves LastSeenAt of the user forward to at, never back.
	Seen(ctx context.Context, id holt.UserID, at time.Time) error

	// Remove forgets a user with all its tokens, identities and memberships. One
	// who owns workspaces that are not deleted is KindConflict.
	Remove(ctx context.Context, id holt.UserID) error
}
