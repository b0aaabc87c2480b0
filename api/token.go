package api

import "time"

// Token is what is known of an API token. Its secret is shown once, at creation.
type Token struct {
	ID         string    `json:"id"`
	Name       string    `json:"name" example:"ci"`
	Scope      string    `json:"scope" enum:"admin,write,read" doc:"read: look; write: use, make and change workspaces; admin: everything that its user may"`
	User       string    `json:"user" doc:"Name of its user"`
	Workspace  string    `json:"workspace_id,omitempty" doc:"The only workspace that it opens"`
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at,omitzero" doc:"Absent: never"`
	LastUsedAt time.Time `json:"last_used_at,omitzero" doc:"Absent: never"`
	RevokedAt  time.Time `json:"revoked_at,omitzero" doc:"Absent: not revoked"`
}

// CreateToken asks for a token.
type CreateToken struct {
	Name             string `json:"name" doc:"1 to 64 characters that tell its use" example:"ci"`
	Scope            string `json:"scope,omitempty" doc:"read, write, or admin (default)"`
	Workspace        string `json:"workspace,omitempty" doc:"Name or ID of the only workspace that it opens; absent: all of its user's"`
	ExpiresInSeconds int64  `json:"expires_in_seconds,omitempty" doc:"Absent: never expires"`
}

// NewToken is a token with its secret, which is never shown again.
type NewToken struct {
	Token
	Secret string `json:"secret" doc:"Send it as: Authorization: Bearer SECRET"`
}

// TokenList is API tokens, oldest first.
type TokenList struct {
	Items []Token `json:"items"`
}

// CreateLogin asks for a link that signs a browser in.
type CreateLogin struct {
	Workspace string `json:"workspace,omitempty" doc:"Workspace that the page shows after the login"`
}

// Login is a link that signs one browser in, once.
type Login struct {
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expires_at"`
}
