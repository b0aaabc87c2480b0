package meta

import (
	"context"
	"time"

	"github.com/holt-ide/holt"
)

// Outcome is how what somebody tried ended.
type Outcome string

// The outcomes.
const (
	OutcomeDone    Outcome = "done"
	OutcomeRefused Outcome = "refused" // not allowed, or a wrong password
	OutcomeFailed  Outcome = "failed"  // allowed, and went wrong
)

// AuditEntry is one security-relevant thing that somebody did or tried. Entries
// are never changed.
type AuditEntry struct {
	Seq       int64 // numbers all entries: 1, 2, 3, …; assigned by the store
	At        time.Time
	Actor     holt.UserID // "" when nobody was signed in
	ActorName string      // at that time
	Token     string      // ID of the token or session that was used, or ""
	Action    string      // such as "delete-workspace", "login"
	Target    string      // ID of what it was done to, or ""
	Label     string      // its name at that time
	Address   string      // where the request came from
	Outcome   Outcome
	Detail    string // one sentence, or ""
	Request   string // ID of the request in the server's log
}

// AuditPage selects a part of the audit log. Its zero value is the newest page.
type AuditPage struct {
	Before int64       // only entries with a Seq below; 0 means from the newest on
	Limit  int         // most entries, 1..[MaxPage]; 0 means [DefaultPage]
	Actor  holt.UserID // only what this user did
	Action string      // only this action
	Target string      // only what was done to this target
}

// Audit is the log of who did what. It is append-only: only age removes entries.
type Audit interface {
	// Append adds entries in this order, all or none. One with no time gets the
	// present.
	Append(ctx context.Context, entries ...AuditEntry) error

	// List returns one page, newest first.
	List(ctx context.Context, p AuditPage) ([]AuditEntry, error)

	// Purge removes the entries from before the time and returns how many those
	// were. Their numbers are not given again.
	Purge(ctx context.Context, before time.Time) (int, error)
}
