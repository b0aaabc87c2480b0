package meta

import (
	"context"
	"time"

	"github.com/holt-ide/holt"
)

// TokenKind says what a token is for.
type TokenKind string

// The kinds of token.
const (
	TokenAPI     TokenKind = "api"     // sent with each request by programs
	TokenSession TokenKind = "session" // kept in a browser's cookie
	TokenLogin   TokenKind = "login"   // exchanged once for a session
	TokenReset   TokenKind = "reset"   // used once to choose a password
)

// Scope says what the bearer of a token may do.
type Scope string

// The scopes.
const (
	ScopeAdmin Scope = "admin" // everything that its owner may
	ScopeWrite Scope = "write" // use, make and change workspaces; nothing about people and rights
	ScopeRead  Scope = "read"  // look, change and enter nothing
)

// Token is what is known of a secret that lets its bearer in. The secret itself
// is never stored.
type Token struct {
	ID         string // names the token in lists; not a secret
	Hash       string // of the secret; unique
	Name       string // chosen by its maker: "ci", "laptop"
	Kind       TokenKind
	Scope      Scope
	Owner      holt.UserID
	Workspace  holt.WorkspaceID // the only one that it opens; "" means all of its owner's
	Agent      string           // of a session: how the browser named itself
	Address    string           // of a session: where it began
	StartedAt  time.Time        // of a session: when its user signed in
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: never
	LastUsedAt time.Time // zero: never
	RevokedAt  time.Time // zero: not revoked
}

// Tokens stores tokens by the hash of their secret. It does not judge them:
// expired and revoked ones are returned too.
type Tokens interface {
	// Create stores t. A second token of the same hash is KindConflict.
	Create(ctx context.Context, t Token) error

	// ByHash returns the token of that hash, or a KindNotFound error.
	ByHash(ctx context.Context, hash string) (Token, error)

	// List returns all tokens of the kind in order of creation.
	List(ctx context.Context, kind TokenKind) ([]Token, error)

	// Of returns all tokens of the kind that a user has, in order of creation.
	Of(ctx context.Context, owner holt.UserID, kind TokenKind) ([]Token, error)

	// Touch moves LastUsedAt of the token forward to at, never back.
	Touch(ctx context.Context, id string, at time.Time) error

	// Revoke sets RevokedAt unless it is set, and returns whether this call set
	// it: of many callers exactly one gets true. An unknown id is KindNotFound.
	Revoke(ctx context.Context, id string, at time.Time) (first bool, err error)

	// RevokeOf sets RevokedAt of all tokens of the kind that a user has, unless it
	// is set to an earlier time or the token is except.
	RevokeOf(ctx context.Context, owner holt.UserID, kind TokenKind, at time.Time, except string) error

	// Purge removes every token that expired or was revoked before the time and
	// returns how many those were.
	Purge(ctx context.Context, before time.Time) (int, error)
}
