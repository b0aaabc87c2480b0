package api

import "time"

// User is an account.
type User struct {
	ID         string    `json:"id"`
	Name       string    `json:"name" doc:"What the user signs in with" example:"ada"`
	Email      string    `json:"email,omitempty"`
	Role       string    `json:"role" enum:"admin,member" doc:"admin: everything, with every workspace; member: workspaces of their own and those shared with them"`
	Disabled   bool      `json:"disabled,omitempty" doc:"May not sign in, and their tokens do not work"`
	SignIn     []string  `json:"sign_in" doc:"How this user can sign in: password, and identity providers by their address"`
	Workspaces int       `json:"workspaces" doc:"How many workspaces the user owns"`
	CreatedAt  time.Time `json:"created_at"`
	LastSeenAt time.Time `json:"last_seen_at,omitzero" doc:"Absent: never"`
}

// UserList is all users, by name.
type UserList struct {
	Items []User `json:"items"`
}

// UpdateUser changes a user. Absent fields stay as they are.
type UpdateUser struct {
	Name     *string `json:"name,omitempty" doc:"1 to 32 characters of a-z, 0-9, dot, hyphen and underscore"`
	Email    *string `json:"email,omitempty"`
	Role     *string `json:"role,omitempty" doc:"admin or member"`
	Disabled *bool   `json:"disabled,omitempty"`
}

// CreateInvitation asks for a link with which one person makes an account.
type CreateInvitation struct {
	Note             string `json:"note,omitempty" doc:"Whom it is for" maxLength:"100"`
	Role             string `json:"role,omitempty" doc:"Of the account: member (default) or admin"`
	ExpiresInSeconds int64  `json:"expires_in_seconds,omitempty" doc:"Absent: a week; at most 90 days"`
}

// CreateShareLink asks for a link that shares a workspace with one person.
type CreateShareLink struct {
	Role             string `json:"role" doc:"In the workspace: viewer or editor"`
	Note             string `json:"note,omitempty" doc:"Whom it is for" maxLength:"100"`
	ExpiresInSeconds int64  `json:"expires_in_seconds,omitempty" doc:"Absent: a week; at most 90 days"`
}

// Invitation is what is known of an invitation. Its link is shown once, at
// creation.
type Invitation struct {
	ID            string    `json:"id"`
	Note          string    `json:"note,omitempty" doc:"Whom it is for"`
	Role          string    `json:"role,omitempty" doc:"Of the account that it makes; absent: it makes none, and is for people who have one"`
	WorkspaceID   string    `json:"workspace_id,omitempty" doc:"The workspace that it shares"`
	WorkspaceRole string    `json:"workspace_role,omitempty"`
	State         string    `json:"state" enum:"open,used,revoked,expired"`
	CreatedBy     string    `json:"created_by" doc:"Name of the user who made it"`
	UsedBy        string    `json:"used_by,omitempty" doc:"Name of the user who accepted it"`
	CreatedAt     time.Time `json:"created_at"`
	ExpiresAt     time.Time `json:"expires_at"`
}

// InvitationList is all invitations, newest first.
type InvitationList struct {
	Items []Invitation `json:"items"`
}

// NewInvitation is an invitation with its link, which is never shown again.
type NewInvitation struct {
	Invitation
	URL string `json:"url" doc:"Whoever opens this first has the invitation: send it to nobody else"`
}

// ResetLink is a link with which a user chooses a password, once.
type ResetLink struct {
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expires_at"`
}

// SetPassword changes the caller's own password.
type SetPassword struct {
	Current string `json:"current,omitempty" doc:"The present one; absent if there is none"`
	New     string `json:"new" doc:"At least 10 characters"`
}

// Session is a browser that is signed in.
type Session struct {
	ID         string    `json:"id"`
	Current    bool      `json:"current,omitempty" doc:"It is the one that asks"`
	Agent      string    `json:"agent,omitempty" doc:"How the browser names itself"`
	Address    string    `json:"address,omitempty" doc:"Where it signed in from"`
	StartedAt  time.Time `json:"started_at,omitzero" doc:"When it signed in"`
	LastUsedAt time.Time `json:"last_used_at,omitzero"`
	ExpiresAt  time.Time `json:"expires_at" doc:"When it ends unless it is used before"`
}

// SessionList is the caller's own sessions.
type SessionList struct {
	Items []Session `json:"items"`
}

// Member is a user who may use a workspace.
type Member struct {
	User    string    `json:"user" doc:"Name of the user"`
	UserID  string    `json:"user_id"`
	Role    string    `json:"role" enum:"owner,editor,viewer" doc:"owner: everything; editor: works in it; viewer: looks"`
	AddedBy string    `json:"added_by,omitempty" doc:"Name of who shared it; absent for the owner"`
	AddedAt time.Time `json:"added_at,omitzero"`
	// HereSince is since when the user has had something of the workspace open,
	// without a pause, as this server knows it.
	HereSince time.Time `json:"here_since,omitzero" doc:"Since when the user has had the workspace open; absent: not at this moment"`
}

// MemberList is all users of a workspace, its owner first.
type MemberList struct {
	Items []Member `json:"items"`
}

// SetMember shares a workspace.
type SetMember struct {
	Role string `json:"role" doc:"viewer or editor"`
}

// AuditEntry is one security-relevant thing that somebody did or tried.
type AuditEntry struct {
	Seq      int64     `json:"seq" doc:"Numbers the entries, growing"`
	At       time.Time `json:"at"`
	Actor    string    `json:"actor,omitempty" doc:"Name of the user at that time; absent when nobody was signed in"`
	ActorID  string    `json:"actor_id,omitempty"`
	TokenID  string    `json:"token_id,omitempty" doc:"The token or session that was used"`
	Action   string    `json:"action" doc:"The operation, such as delete-workspace or login" example:"delete-workspace"`
	Target   string    `json:"target,omitempty" doc:"Name of what it was done to, at that time"`
	TargetID string    `json:"target_id,omitempty"`
	Address  string    `json:"address,omitempty" doc:"Where the request came from"`
	Outcome  string    `json:"outcome" enum:"done,refused,failed"`
	Detail   string    `json:"detail,omitempty"`
	Request  string    `json:"request_id,omitempty" doc:"Names the request in the server's log"`
}

// AuditLog is one page of the audit log, newest first.
type AuditLog struct {
	Items []AuditEntry `json:"items"`
	Next  string       `json:"next,omitempty" doc:"Cursor of the next page; absent after the last"`
}
