// Package api is the public contract of Holt's REST interface: the types that
// travel as JSON under [Prefix], the problems that errors become, and the
// events of the event stream. OpenAPI and the clients are made from it.
//
// These are edge types: they carry JSON tags and documentation and no
// behaviour of the inside. Times are RFC 3339 in UTC, sizes are bytes, and a
// field that has nothing to say is left out. Fields may be added in any
// version; none is renamed or removed within one [Prefix].
//
// The package imports the root package and the standard library only.
package api

import "time"

// Prefix is where all routes of this version live.
const Prefix = "/api/v1"

// MaxBody is the largest accepted request body in bytes, except for streams
// into a workspace.
const MaxBody = 1 << 20

// Headers of the interface.
const (
	// HeaderIdempotencyKey makes a create safe to repeat: the same key and body
	// give the same answer without a second workspace.
	HeaderIdempotencyKey = "Idempotency-Key"
	// HeaderRequestID names one request in answers and logs.
	HeaderRequestID = "X-Request-Id"
	// HeaderReplayed is "true" on an answer that was given before for the same
	// idempotency key.
	HeaderReplayed = "Idempotency-Replayed"
)

// UpgradeTCP is the value of the Upgrade header that turns a request for
// /w/{workspace}/port/{port} into a raw byte stream to that port.
const UpgradeTCP = "holt-tcp"

// A request below /w/ wakes a workspace that does not run, unless it carries
// the header [HeaderWake] or the query parameter [QueryWake] with the value
// [NoWake]: then it fails with a conflict that says so. Programs that connect
// again by themselves send it, so that a suspended workspace stays suspended.
const (
	HeaderWake = "Holt-Wake"
	QueryWake  = "wake"
	NoWake     = "no"
)

// Version tells what a server is.
type Version struct {
	Version string `json:"version" doc:"Version of the server"`
	API     string `json:"api" doc:"Version of this interface" example:"v1"`
	Node    string `json:"node,omitempty" doc:"Name of the node that answered"`
}

// Me tells whom a token belongs to.
type Me struct {
	User        string    `json:"user" doc:"ID of the token's owner"`
	Name        string    `json:"name" doc:"What the user signs in with"`
	Role        string    `json:"role" enum:"admin,member"`
	Kind        string    `json:"kind" enum:"api,session" doc:"Kind of the token"`
	Scope       string    `json:"scope" enum:"admin,write,read" doc:"What the token allows"`
	WorkspaceID string    `json:"workspace_id,omitempty" doc:"The only workspace that the token opens"`
	Password    bool      `json:"password,omitempty" doc:"The user has a password"`
	TokenID     string    `json:"token_id" doc:"Names the token in lists"`
	ExpiresAt   time.Time `json:"expires_at,omitzero" doc:"When the token ends; absent: never"`
}
