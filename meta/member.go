package meta

import (
	"context"
	"time"

	"github.com/holt-ide/holt"
)

// WorkspaceRole says what a user may do with one workspace.
type WorkspaceRole string

// The roles in a workspace, each with everything that the one before may.
const (
	WorkspaceViewer WorkspaceRole = "viewer" // looks: files, terminals, what happens
	WorkspaceEditor WorkspaceRole = "editor" // works in it
	WorkspaceOwner  WorkspaceRole = "owner"  // shares, forks, rolls back, deletes
)

// Rank orders roles: 0 for none, 3 for an owner.
func (r WorkspaceRole) Rank() int {
	switch r {
	case WorkspaceViewer:
		return 1
	case WorkspaceEditor:
		return 2
	case WorkspaceOwner:
		return 3
	}
	return 0
}

// Member is a user with whom a workspace is shared. Its owner, whom the
// workspace's row names, is none.
type Member struct {
	Workspace holt.WorkspaceID
	User      holt.UserID
	Role      WorkspaceRole // viewer or editor
	AddedBy   holt.UserID
	AddedAt   time.Time
}

// Members stores with whom workspaces are shared.
type Members interface {
	// Set stores m, in place of an earlier role of the same user.
	Set(ctx context.Context, m Member) error

	// Remove ends a membership. An unknown one is KindNotFound.
	Remove(ctx context.Context, id holt.WorkspaceID, user holt.UserID) error

	// Of returns the members of a workspace, oldest first.
	Of(ctx context.Context, id holt.WorkspaceID) ([]Member, error)

	// ByUser returns the memberships of a user in workspaces, oldest first.
	ByUser(ctx context.Context, user holt.UserID) ([]Member, error)

	// RoleOf returns the role of a user in a workspace, deleted or not:
	// [WorkspaceOwner] for whom its row names, "" for whom it is not shared with.
	RoleOf(ctx context.Context, id holt.WorkspaceID, user holt.UserID) (WorkspaceRole, error)

	// Purge removes the members of workspaces that are DELETED since before the
	// time and returns how many those were.
	Purge(ctx context.Context, before time.Time) (int, error)
}
