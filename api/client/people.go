package client

import (
	"context"
	"net/url"

	"github.com/holt-ide/holt/api"
)

// Users returns all users, by name.
func (c *Client) Users(ctx context.Context) ([]api.User, error) {
	var l api.UserList
	err := c.do(ctx, call{method: "GET", path: "/users", safe: true}, &l)
	return l.Items, err
}

// UpdateUser changes the user of that name or ID.
func (c *Client) UpdateUser(ctx context.Context, nameOrID string, change api.UpdateUser) (api.User, error) {
	var u api.User
	err := c.do(ctx, call{method: "PATCH", path: userPath(nameOrID), body: change, safe: true}, &u)
	return u, err
}

// RemoveUser removes a user, who must own no workspaces.
func (c *Client) RemoveUser(ctx context.Context, nameOrID string) error {
	return c.do(ctx, call{method: "DELETE", path: userPath(nameOrID)}, nil)
}

// ResetPassword makes a link with which a user chooses a password, once.
func (c *Client) ResetPassword(ctx context.Context, nameOrID string) (api.ResetLink, error) {
	var l api.ResetLink
	err := c.do(ctx, call{method: "POST", path: userPath(nameOrID) + "/reset"}, &l)
	return l, err
}

func userPath(nameOrID string) string { return "/users/" + url.PathEscape(nameOrID) }

// Invite makes a link with which one person makes an account.
func (c *Client) Invite(ctx context.Context, req api.CreateInvitation) (api.NewInvitation, error) {
	var i api.NewInvitation
	err := c.do(ctx, call{method: "POST", path: "/invitations", body: req}, &i)
	return i, err
}

// Invitations returns all invitations, newest first.
func (c *Client) Invitations(ctx context.Context) ([]api.Invitation, error) {
	var l api.InvitationList
	err := c.do(ctx, call{method: "GET", path: "/invitations", safe: true}, &l)
	return l.Items, err
}

// RevokeInvitation takes an invitation back.
func (c *Client) RevokeInvitation(ctx context.Context, id string) error {
	return c.do(ctx, call{method: "DELETE", path: "/invitations/" + url.PathEscape(id), safe: true}, nil)
}

// SetPassword changes one's own password and ends one's other sessions.
func (c *Client) SetPassword(ctx context.Context, req api.SetPassword) error {
	return c.do(ctx, call{method: "PUT", path: "/me/password", body: req}, nil)
}

// Sessions returns the browsers in which one is signed in.
func (c *Client) Sessions(ctx context.Context) ([]api.Session, error) {
	var l api.SessionList
	err := c.do(ctx, call{method: "GET", path: "/sessions", safe: true}, &l)
	return l.Items, err
}

// EndSession signs a browser out.
func (c *Client) EndSession(ctx context.Context, id string) error {
	return c.do(ctx, call{method: "DELETE", path: "/sessions/" + url.PathEscape(id)}, nil)
}

// Members returns who may use a workspace, its owner first.
func (c *Client) Members(ctx context.Context, workspace string) ([]api.Member, error) {
	var l api.MemberList
	err := c.do(ctx, call{method: "GET", path: workspacePath(workspace) + "/members", safe: true}, &l)
	return l.Items, err
}

// Share gives a user a role in a workspace, in place of an earlier one.
func (c *Client) Share(ctx context.Context, workspace, user, role string) ([]api.Member, error) {
	var l api.MemberList
	err := c.do(ctx, call{method: "PUT", path: memberPath(workspace, user), body: api.SetMember{Role: role}, safe: true}, &l)
	return l.Items, err
}

// Unshare ends the sharing of a workspace with a user.
func (c *Client) Unshare(ctx context.Context, workspace, user string) error {
	return c.do(ctx, call{method: "DELETE", path: memberPath(workspace, user)}, nil)
}

func memberPath(workspace, user string) string {
	return workspacePath(workspace) + "/members/" + url.PathEscape(user)
}

// ShareLink makes a link that shares a workspace with one person.
func (c *Client) ShareLink(ctx context.Context, workspace string, req api.CreateShareLink) (api.NewInvitation, error) {
	var i api.NewInvitation
	err := c.do(ctx, call{method: "POST", path: workspacePath(workspace) + "/links", body: req}, &i)
	return i, err
}

// ShareLinks lists the links that share a workspace, newest first.
func (c *Client) ShareLinks(ctx context.Context, workspace string) ([]api.Invitation, error) {
	var l api.InvitationList
	err := c.do(ctx, call{method: "GET", path: workspacePath(workspace) + "/links", safe: true}, &l)
	return l.Items, err
}

// RevokeShareLink takes a link back that nobody has used.
func (c *Client) RevokeShareLink(ctx context.Context, workspace, id string) error {
	return c.do(ctx, call{method: "DELETE", path: workspacePath(workspace) + "/links/" + url.PathEscape(id), safe: true}, nil)
}

// Audit returns one page of the audit log, newest first. The query may have the
// names of the interface: cursor, limit, user, action, workspace.
func (c *Client) Audit(ctx context.Context, query url.Values) (api.AuditLog, error) {
	var l api.AuditLog
	err := c.do(ctx, call{method: "GET", path: "/audit", query: query, safe: true}, &l)
	return l, err
}
