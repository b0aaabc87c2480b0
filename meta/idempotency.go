package meta

import (
	"context"
	"time"
)

// Key names a request that its sender may repeat: the value that the sender
// chose and the token it came with, so that senders cannot collide.
type Key struct {
	Token string // ID of the token
	Value string // at most 255 bytes
}

// Reply is an answer kept for repeated requests.
type Reply struct {
	Status int
	Type   string // media type of Body
	Body   []byte
}

// Claim is the outcome of claiming a key.
type Claim struct {
	// First reports that nobody handled the request before: the caller does now,
	// and calls Complete or Abandon.
	First bool
	// Reply is the stored answer; nil when First, and nil when another caller
	// is handling the request at this moment.
	Reply *Reply
	// Since is not zero when First takes the place of a caller that claimed the
	// key then and must have died: what it did may have happened or not.
	Since time.Time
}

// ClaimPatience is how long a claimed key without an answer is left to its
// claimer. Handling a request takes far less; a caller that is slower has died
// with its process.
const ClaimPatience = 10 * time.Second

// Idempotency remembers the answers to requests that must not happen twice.
type Idempotency interface {
	// Claim takes the key for a request whose content has the given hash, until
	// expires. Of many callers exactly one gets First. The same key with another
	// hash is [ErrKeyReused]. A key that has no answer after [ClaimPatience] goes
	// to the next caller, whose expires must be as far from its now. A key that expired before now counts as unused.
	Claim(ctx context.Context, key Key, hash string, now, expires time.Time) (Claim, error)

	// Complete stores the answer of a claimed key. An unknown key is KindNotFound.
	Complete(ctx context.Context, key Key, reply Reply) error

	// Abandon gives a key that has no answer back, because the request failed in
	// a way that a repetition may mend. Unknown and answered keys are left alone.
	Abandon(ctx context.Context, key Key) error

	// Purge removes the keys that expired before now and returns how many.
	Purge(ctx context.Context, now time.Time) (int, error)
}
