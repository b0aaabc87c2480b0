package gateway

import (
	"context"
	"net/http"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/auth"
	"github.com/holt-ide/holt/meta"
	guestwire "github.com/holt-ide/holt/wire/guest"
)

// standing is what a caller has to be for a route, each including those after it
// as far as workspaces are concerned.
type standing int

const (
	anyone   standing = iota + 1 // without signing in
	signedIn                     // whoever has an account
	viewer                       // of the workspace in the path
	editor
	owner
	admin // of the server
)

// right is what a route needs.
type right struct {
	who   standing
	scope meta.Scope // of the token or session

	bound   bool // of a route without a workspace: a token for one workspace may use it too
	self    bool // of a route about a user: that user needs to be a viewer only
	readers bool // of a guest route: a viewer's request is made a read-only one
	quiet   bool // of a route that changes something: not worth a line in the audit log
}

// rights is the one place that says who may do what: by the operation's ID for the
// REST interface, by the route's name for the guest's. What is not in it
// cannot be mounted, and TestRights holds it against a second list.
//
// An admin of the server is an owner of every workspace. To anybody who may not
// see a workspace it does not exist.
var rights = map[string]right{
	// The server.
	"version": {who: signedIn, scope: meta.ScopeRead, bound: true},
	"me":      {who: signedIn, scope: meta.ScopeRead, bound: true},
	"events":  {who: signedIn, scope: meta.ScopeRead, bound: true}, // each sees only those of workspaces that they may see

	"list-images": {who: signedIn, scope: meta.ScopeRead},

	"list-stored-snapshots": {who: signedIn, scope: meta.ScopeRead}, // the caller's own
	"build-image":           {who: admin, scope: meta.ScopeWrite},
	"pull-image":            {who: admin, scope: meta.ScopeWrite},
	"load-image":            {who: admin, scope: meta.ScopeWrite},
	"remove-image":          {who: admin, scope: meta.ScopeWrite},

	// One's own account. Tokens and sessions of others are not found.
	"set-password":  {who: signedIn, scope: meta.ScopeAdmin},
	"list-tokens":   {who: signedIn, scope: meta.ScopeRead},
	"create-token":  {who: signedIn, scope: meta.ScopeAdmin},
	"revoke-token":  {who: signedIn, scope: meta.ScopeAdmin},
	"list-sessions": {who: signedIn, scope: meta.ScopeRead},
	"end-session":   {who: signedIn, scope: meta.ScopeAdmin},
	"end-sessions":  {who: signedIn, scope: meta.ScopeAdmin},
	"create-login":  {who: signedIn, scope: meta.ScopeAdmin},
	"accept-share":  {who: signedIn, scope: meta.ScopeAdmin}, // on the page of an invitation

	// People.
	"list-users":        {who: admin, scope: meta.ScopeRead},
	"get-user":          {who: admin, scope: meta.ScopeRead},
	"update-user":       {who: admin, scope: meta.ScopeAdmin},
	"delete-user":       {who: admin, scope: meta.ScopeAdmin},
	"reset-password":    {who: admin, scope: meta.ScopeAdmin},
	"list-invitations":  {who: admin, scope: meta.ScopeRead},
	"create-invitation": {who: admin, scope: meta.ScopeAdmin},
	"revoke-invitation": {who: admin, scope: meta.ScopeAdmin},
	"list-audit":        {who: admin, scope: meta.ScopeRead},

	// Workspaces. Lists show what one may see.
	"list-workspaces":    {who: signedIn, scope: meta.ScopeRead, bound: true},
	"create-workspace":   {who: signedIn, scope: meta.ScopeWrite},
	"get-workspace":      {who: viewer, scope: meta.ScopeRead},
	"workspace-history":  {who: viewer, scope: meta.ScopeRead},
	"workspace-log":      {who: viewer, scope: meta.ScopeRead},
	"workspace-ports":    {who: viewer, scope: meta.ScopeRead},
	"list-checkpoints":   {who: viewer, scope: meta.ScopeRead},
	"list-snapshots":     {who: viewer, scope: meta.ScopeRead},
	"list-revisions":     {who: viewer, scope: meta.ScopeRead},
	"get-revision":       {who: viewer, scope: meta.ScopeRead},
	"list-revision":      {who: viewer, scope: meta.ScopeRead},
	"read-revision":      {who: viewer, scope: meta.ScopeRead},
	"diff-revisions":     {who: viewer, scope: meta.ScopeRead},
	"get-durability":     {who: viewer, scope: meta.ScopeRead},
	"sync-workspace":     {who: viewer, scope: meta.ScopeWrite, quiet: true}, // nothing of the workspace changes
	"name-revision":      {who: editor, scope: meta.ScopeWrite},
	"restore-revision":   {who: editor, scope: meta.ScopeWrite},
	"list-members":       {who: viewer, scope: meta.ScopeRead},
	"wake-workspace":     {who: viewer, scope: meta.ScopeWrite, quiet: true}, // to look at it, it has to run
	"resume-workspace":   {who: viewer, scope: meta.ScopeWrite},
	"suspend-workspace":  {who: editor, scope: meta.ScopeWrite},
	"stop-workspace":     {who: editor, scope: meta.ScopeWrite},
	"create-checkpoint":  {who: editor, scope: meta.ScopeWrite},
	"verify-checkpoint":  {who: editor, scope: meta.ScopeWrite, quiet: true},
	"delete-checkpoint":  {who: owner, scope: meta.ScopeWrite},
	"rollback-workspace": {who: owner, scope: meta.ScopeWrite},
	"fork-workspace":     {who: owner, scope: meta.ScopeWrite},
	"delete-workspace":   {who: owner, scope: meta.ScopeWrite},
	"set-member":         {who: owner, scope: meta.ScopeAdmin},
	"remove-member":      {who: owner, scope: meta.ScopeAdmin, self: true},
	"create-share-link":  {who: owner, scope: meta.ScopeAdmin},
	"list-share-links":   {who: owner, scope: meta.ScopeRead},
	"revoke-share-link":  {who: owner, scope: meta.ScopeAdmin},

	// Into a workspace. A raw stream to a port could do anything there.
	"port-tunnel": {who: editor, scope: meta.ScopeWrite},
	"port-view":   {who: viewer, scope: meta.ScopeWrite}, // requests that change nothing (RFC 9110, 9.2.1)
	"port-use":    {who: editor, scope: meta.ScopeWrite},

	guestRight(guestwire.RouteTerminals):      {who: viewer, scope: meta.ScopeWrite},
	guestRight(guestwire.RouteTerminalAttach): {who: viewer, scope: meta.ScopeWrite, readers: true},
	guestRight(guestwire.RouteTerminalCreate): {who: editor, scope: meta.ScopeWrite},
	guestRight(guestwire.RouteTerminalDelete): {who: editor, scope: meta.ScopeWrite},
	guestRight(guestwire.RouteExec):           {who: editor, scope: meta.ScopeWrite},
	guestRight(guestwire.RouteFileStat):       {who: viewer, scope: meta.ScopeWrite},
	guestRight(guestwire.RouteFileList):       {who: viewer, scope: meta.ScopeWrite},
	guestRight(guestwire.RouteFileRead):       {who: viewer, scope: meta.ScopeWrite},
	guestRight(guestwire.RouteFileArchive):    {who: viewer, scope: meta.ScopeWrite},
	guestRight(guestwire.RouteFileWatch):      {who: viewer, scope: meta.ScopeWrite},
	guestRight(guestwire.RouteFileSearch):     {who: viewer, scope: meta.ScopeWrite},
	guestRight(guestwire.RouteFileWrite):      {who: editor, scope: meta.ScopeWrite},
	guestRight(guestwire.RouteFileRename):     {who: editor, scope: meta.ScopeWrite},
	guestRight(guestwire.RouteFileMkdir):      {who: editor, scope: meta.ScopeWrite},
	guestRight(guestwire.RouteFileRemove):     {who: editor, scope: meta.ScopeWrite},
	guestRight(guestwire.RouteFileChmod):      {who: editor, scope: meta.ScopeWrite},
	guestRight(guestwire.RouteFileExtract):    {who: editor, scope: meta.ScopeWrite},
	guestRight(guestwire.RouteDocument):       {who: viewer, scope: meta.ScopeWrite, readers: true},
	guestRight(guestwire.RoutePresence):       {who: viewer, scope: meta.ScopeWrite, readers: true},
	guestRight(guestwire.RouteMux):            {who: viewer, scope: meta.ScopeWrite, readers: true},
	guestRight(guestwire.RoutePorts):          {who: viewer, scope: meta.ScopeWrite},

	// Pages and what they post. Each is a way to sign in, or shows nothing of anybody.
	"health": {who: anyone}, "openapi": {who: anyone}, "pages": {who: anyone}, "login-page": {who: anyone}, "login": {who: anyone}, "login-script": {who: anyone},
	"external": {who: anyone}, // begins and ends a login at an identity provider
	"logout":   {who: anyone}, "welcome-page": {who: anyone}, "welcome": {who: anyone}, "invite-page": {who: anyone}, "invite": {who: anyone},
	"no-route":  {who: anyone}, // says that there is none
	"guest":     {who: anyone}, // finds the guest's route, which has a right of its own
	"port-auth": {who: anyone}, // asks for port-view
}

// guestRight returns the key of a guest route in rights.
func guestRight(route string) string { return "guest-" + route }

// roleOf is the role in a workspace that a standing needs.
var roleOf = map[standing]meta.WorkspaceRole{viewer: meta.WorkspaceViewer, editor: meta.WorkspaceEditor, owner: meta.WorkspaceOwner}

// access is a request that was permitted.
type access struct {
	auth.Identity
	need right

	Workspace meta.Workspace     // of a route with a workspace in its path
	Seat      meta.WorkspaceRole // of the caller in it
}

// readOnly reports whether the caller may look only.
func (a access) readOnly() bool { return a.Seat == meta.WorkspaceViewer }

// permit decides whether id may use a route that needs need, on the workspace of
// that name or ID and about that user, each "" if the route has none.
func (g *Gateway) permit(ctx context.Context, id auth.Identity, need right, nameOrID, user string) (access, error) {
	a := access{Identity: id, need: need}
	if err := id.Allow(need.scope); err != nil {
		return a, err
	}
	role, inside := roleOf[need.who]
	switch {
	case !inside && id.Workspace != "" && !need.bound:
		return a, holt.Errorf(holt.KindForbidden, "this token is for one workspace only: use another one for this")
	case need.who == admin && id.Role != meta.RoleAdmin:
		return a, holt.Errorf(holt.KindForbidden, "only an admin of this server may do this")
	case !inside:
		return a, nil
	}
	ws, err := g.cfg.Workspaces.Get(ctx, nameOrID)
	if holt.IsKind(err, holt.KindNotFound) {
		return a, g.missing(ctx, id, nameOrID, err)
	}
	if err != nil {
		return a, err
	}
	if a.Seat, err = g.seat(ctx, id, ws.ID); err != nil {
		return a, err
	}
	if a.Seat == "" {
		return a, &unseen{noWorkspace(nameOrID)}
	}
	a.Workspace = ws
	if need.self && (user == string(id.User) || user == id.Name) {
		return a, nil
	}
	if a.Seat.Rank() < role.Rank() {
		return a, holt.Errorf(holt.KindForbidden, "you are %s of %s: this needs %s of it", article[a.Seat], ws.Name, article[role])
	}
	return a, nil
}

var article = map[meta.WorkspaceRole]string{
	meta.WorkspaceViewer: "a viewer", meta.WorkspaceEditor: "an editor", meta.WorkspaceOwner: "the owner",
}

// seat returns the role of a caller in a workspace, or "".
func (g *Gateway) seat(ctx context.Context, id auth.Identity, ws holt.WorkspaceID) (meta.WorkspaceRole, error) {
	switch {
	case id.Workspace != "" && id.Workspace != ws:
		return "", nil
	case id.Role == meta.RoleAdmin:
		return meta.WorkspaceOwner, nil
	}
	return g.cfg.Members.RoleOf(ctx, ws, id.User)
}

// unseen is the refusal of a workspace that the caller may not know of. It reads
// like that of one that does not exist.
type unseen struct{ error }

func (u *unseen) Unwrap() error { return u.error }

func noWorkspace(nameOrID string) error {
	return holt.Errorf(holt.KindNotFound, "there is no workspace %.100q", nameOrID)
}

// missing returns why a workspace was not found: whoever had a part in it may hear
// that it was deleted.
func (g *Gateway) missing(ctx context.Context, id auth.Identity, nameOrID string, err error) error {
	role, e := g.seat(ctx, id, holt.WorkspaceID(nameOrID))
	if e != nil {
		return e
	}
	if role == "" {
		return noWorkspace(nameOrID)
	}
	return err
}

// permitted returns what the request that is being handled may do.
func permitted(ctx context.Context) access {
	a, _ := ctx.Value(keyAccess).(access)
	return a
}

// target returns the workspace of the request that is being handled: the very one
// that the right was checked for.
func target(ctx context.Context) meta.Workspace { return permitted(ctx).Workspace }

// viewable reports whether a request to a forwarded port changes nothing.
func viewable(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions) && r.Header.Get("Upgrade") == ""
}
