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
)

// Scope says what the bearer of a token may do.
type Scope string

// The scopes.
const (
	ScopeAdmin Scope = "admin" // everything
	ScopeRead  Scope = "read"  // look at everything, change and enter nothing
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

	// Touch moves LastUsedAt of the token forward to at, never back.
	Touch(ctx context.Context, id string, at time.Time) error

	// Revoke sets RevokedAt unless it is set, and returns whether this call set
	// it: of many callers exactly one gets true. An unknown id is KindNotFound.
	Revoke(ctx context.Context, id string, at time.Time) (first bool, err error)

	// Purge removes every token that expired or was revoked before the time and
	// returns how many those were.
	Purge(ctx context.Context, before time.Time) (int, error)
}
