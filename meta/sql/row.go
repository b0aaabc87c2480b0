package sql

import (
	"time"

	"github.com/uptrace/bun"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// workspaceRow is a row of the table workspaces.
type workspaceRow struct {
	bun.BaseModel `bun:"table:workspaces,alias:w"`

	ID              string    `bun:"id,pk"`
	Name            string    `bun:"name"`
	Owner           string    `bun:"owner"`
	State           string    `bun:"state"`
	Goal            string    `bun:"goal"`
	Version         int64     `bun:"version"`
	ImageRef        string    `bun:"image_ref"`
	Image           string    `bun:"image"`
	CPUs            float64   `bun:"cpus"`
	Memory          int64     `bun:"memory"`
	Disk            int64     `bun:"disk"`
	Root            int64     `bun:"root"`
	Processes       int64     `bun:"processes"`
	Bandwidth       int64     `bun:"bandwidth"`
	Git             string    `bun:"git"`
	Egress          string    `bun:"egress"`
	Node            string    `bun:"node"`
	Sandbox         string    `bun:"sandbox"`
	Snapshot        string    `bun:"snapshot"`
	SnapshotBytes   int64     `bun:"snapshot_bytes"`
	SnapshotAt      time.Time `bun:"snapshot_at,nullzero"`
	PendingSnapshot string    `bun:"pending_snapshot"`
	ForkedFrom      string    `bun:"forked_from"`
	FromSnapshot    string    `bun:"from_snapshot"`
	Message         string    `bun:"message"`
	Attempts        int       `bun:"attempts"`
	Restarts        int       `bun:"restarts"`
	RestartsSince   time.Time `bun:"restarts_since,nullzero"`
	IdleAfter       int64     `bun:"idle_after"` // nanoseconds
	CreatedAt       time.Time `bun:"created_at"`
	UpdatedAt       time.Time `bun:"updated_at"`
	LastActiveAt    time.Time `bun:"last_active_at,nullzero"`
	Boots           int       `bun:"boots"`
}

func rowOf(w meta.Workspace) workspaceRow {
	return workspaceRow{
		ID: string(w.ID), Name: w.Name, Owner: string(w.Owner), State: string(w.State), Goal: string(w.Goal), Version: w.Version,
		ImageRef: w.ImageRef, Image: string(w.Image), CPUs: w.Limits.CPUs, Memory: w.Limits.Memory, Disk: w.Limits.Disk,
		Root: w.Limits.Root, Processes: w.Limits.Processes, Bandwidth: w.Limits.Bandwidth, Git: w.Git, Egress: string(w.Egress),
		Node: string(w.Node), Sandbox: string(w.Sandbox), Snapshot: string(w.Snapshot), SnapshotBytes: w.SnapshotBytes,
		SnapshotAt: stamp(w.SnapshotAt), PendingSnapshot: string(w.PendingSnapshot), ForkedFrom: string(w.ForkedFrom), FromSnapshot: string(w.FromSnapshot),
		Message: w.Message, Attempts: w.Attempts, Restarts: w.Restarts, RestartsSince: stamp(w.RestartsSince),
		IdleAfter: int64(w.IdleAfter), CreatedAt: stamp(w.CreatedAt), UpdatedAt: stamp(w.UpdatedAt),
		LastActiveAt: stamp(w.LastActiveAt), Boots: w.Boots,
	}
}

func (r *workspaceRow) workspace() meta.Workspace {
	return meta.Workspace{
		ID: holt.WorkspaceID(r.ID), Name: r.Name, Owner: holt.UserID(r.Owner), State: holt.State(r.State), Goal: holt.Goal(r.Goal),
		Version: r.Version, ImageRef: r.ImageRef, Image: holt.ImageID(r.Image),
		Limits: holt.Limits{CPUs: r.CPUs, Memory: r.Memory, Disk: r.Disk, Root: r.Root, Processes: r.Processes, Bandwidth: r.Bandwidth},
		Git:    r.Git, Egress: meta.Egress(r.Egress), Node: holt.NodeID(r.Node), Sandbox: holt.SandboxID(r.Sandbox),
		Snapshot: holt.SnapshotID(r.Snapshot), SnapshotBytes: r.SnapshotBytes, SnapshotAt: stamp(r.SnapshotAt),
		PendingSnapshot: holt.SnapshotID(r.PendingSnapshot), ForkedFrom: holt.WorkspaceID(r.ForkedFrom), FromSnapshot: holt.SnapshotID(r.FromSnapshot), Message: r.Message,
		Attempts: r.Attempts, Restarts: r.Restarts, RestartsSince: stamp(r.RestartsSince), IdleAfter: time.Duration(r.IdleAfter),
		CreatedAt: stamp(r.CreatedAt), UpdatedAt: stamp(r.UpdatedAt), LastActiveAt: stamp(r.LastActiveAt), Boots: r.Boots,
	}
}

// checkpointRow is a row of the table checkpoints.
type checkpointRow struct {
	bun.BaseModel `bun:"table:checkpoints,alias:c"`

	Snapshot  string    `bun:"snapshot,pk"`
	Workspace string    `bun:"workspace"`
	Label     string    `bun:"label"`
	Automatic bool      `bun:"automatic"`
	Ready     bool      `bun:"ready"`
	Bytes     int64     `bun:"bytes"`
	Pause     int64     `bun:"pause"` // nanoseconds
	CreatedAt time.Time `bun:"created_at"`
}

func checkpointRowOf(c meta.Checkpoint) checkpointRow {
	return checkpointRow{
		Snapshot: string(c.Snapshot), Workspace: string(c.Workspace), Label: c.Label, Automatic: c.Automatic, Ready: c.Ready,
		Bytes: c.Bytes, Pause: int64(c.Pause), CreatedAt: stamp(c.CreatedAt),
	}
}

func (r *checkpointRow) checkpoint() meta.Checkpoint {
	return meta.Checkpoint{
		Snapshot: holt.SnapshotID(r.Snapshot), Workspace: holt.WorkspaceID(r.Workspace), Label: r.Label, Automatic: r.Automatic, Ready: r.Ready,
		Bytes: r.Bytes, Pause: time.Duration(r.Pause), CreatedAt: stamp(r.CreatedAt),
	}
}

// eventRow is a row of the table events.
type eventRow struct {
	bun.BaseModel `bun:"table:events,alias:e"`

	Seq       int64     `bun:"seq,pk"`
	Workspace string    `bun:"workspace"`
	Label     string    `bun:"label"`
	At        time.Time `bun:"at"`
	Kind      string    `bun:"kind"`
	StateWas  string    `bun:"state_was"`
	State     string    `bun:"state"`
	Goal      string    `bun:"goal"`
	Name      string    `bun:"name"`
	Text      string    `bun:"text"`
}

func (r *eventRow) event() meta.Event {
	return meta.Event{
		Seq: r.Seq, Workspace: holt.WorkspaceID(r.Workspace), Label: r.Label, At: stamp(r.At), Kind: meta.EventKind(r.Kind),
		From: holt.State(r.StateWas), State: holt.State(r.State), Goal: holt.Goal(r.Goal), Name: r.Name, Text: r.Text,
	}
}

// tokenRow is a row of the table tokens.
type tokenRow struct {
	bun.BaseModel `bun:"table:tokens,alias:t"`

	ID         string    `bun:"id,pk"`
	Hash       string    `bun:"hash"`
	Name       string    `bun:"name"`
	Kind       string    `bun:"kind"`
	Scope      string    `bun:"scope"`
	Owner      string    `bun:"owner"`
	Workspace  string    `bun:"workspace"`
	Agent      string    `bun:"agent"`
	Address    string    `bun:"address"`
	StartedAt  time.Time `bun:"started_at,nullzero"`
	CreatedAt  time.Time `bun:"created_at"`
	ExpiresAt  time.Time `bun:"expires_at,nullzero"`
	LastUsedAt time.Time `bun:"last_used_at,nullzero"`
	RevokedAt  time.Time `bun:"revoked_at,nullzero"`
}

func (r *tokenRow) token() meta.Token {
	return meta.Token{
		ID: r.ID, Hash: r.Hash, Name: r.Name, Kind: meta.TokenKind(r.Kind), Scope: meta.Scope(r.Scope), Owner: holt.UserID(r.Owner),
		Workspace: holt.WorkspaceID(r.Workspace), Agent: r.Agent, Address: r.Address, StartedAt: stamp(r.StartedAt),
		CreatedAt: stamp(r.CreatedAt), ExpiresAt: stamp(r.ExpiresAt), LastUsedAt: stamp(r.LastUsedAt), RevokedAt: stamp(r.RevokedAt),
	}
}

// userRow is a row of the table users.
type userRow struct {
	bun.BaseModel `bun:"table:users,alias:u"`

	ID         string    `bun:"id,pk"`
	Name       string    `bun:"name"`
	Email      string    `bun:"email"`
	Role       string    `bun:"role"`
	Password   string    `bun:"password"`
	CreatedAt  time.Time `bun:"created_at"`
	DisabledAt time.Time `bun:"disabled_at,nullzero"`
	LastSeenAt time.Time `bun:"last_seen_at,nullzero"`
}

func userRowOf(u meta.User) userRow {
	return userRow{
		ID: string(u.ID), Name: u.Name, Email: u.Email, Role: string(u.Role), Password: u.Password,
		CreatedAt: stamp(u.CreatedAt), DisabledAt: stamp(u.DisabledAt), LastSeenAt: stamp(u.LastSeenAt),
	}
}

func (r *userRow) user() meta.User {
	return meta.User{
		ID: holt.UserID(r.ID), Name: r.Name, Email: r.Email, Role: meta.Role(r.Role), Password: r.Password,
		CreatedAt: stamp(r.CreatedAt), DisabledAt: stamp(r.DisabledAt), LastSeenAt: stamp(r.LastSeenAt),
	}
}

// identityRow is a row of the table identities.
type identityRow struct {
	bun.BaseModel `bun:"table:identities,alias:i"`

	Issuer    string    `bun:"issuer,pk"`
	Subject   string    `bun:"subject,pk"`
	User      string    `bun:"user_id"`
	CreatedAt time.Time `bun:"created_at"`
}

// invitationRow is a row of the table invitations.
type invitationRow struct {
	bun.BaseModel `bun:"table:invitations,alias:i"`

	ID            string    `bun:"id,pk"`
	Hash          string    `bun:"hash"`
	Note          string    `bun:"note"`
	Role          string    `bun:"role"`
	Workspace     string    `bun:"workspace"`
	WorkspaceRole string    `bun:"workspace_role"`
	CreatedBy     string    `bun:"created_by"`
	CreatedAt     time.Time `bun:"created_at"`
	ExpiresAt     time.Time `bun:"expires_at"`
	UsedAt        time.Time `bun:"used_at,nullzero"`
	UsedBy        string    `bun:"used_by"`
	RevokedAt     time.Time `bun:"revoked_at,nullzero"`
}

func invitationRowOf(i meta.Invitation) invitationRow {
	return invitationRow{
		ID: i.ID, Hash: i.Hash, Note: i.Note, Role: string(i.Role), Workspace: string(i.Workspace), WorkspaceRole: string(i.WorkspaceRole),
		CreatedBy: string(i.CreatedBy), CreatedAt: stamp(i.CreatedAt), ExpiresAt: stamp(i.ExpiresAt), UsedAt: stamp(i.UsedAt),
		UsedBy: string(i.UsedBy), RevokedAt: stamp(i.RevokedAt),
	}
}

func (r *invitationRow) invitation() meta.Invitation {
	return meta.Invitation{
		ID: r.ID, Hash: r.Hash, Note: r.Note, Role: meta.Role(r.Role), Workspace: holt.WorkspaceID(r.Workspace), WorkspaceRole: meta.WorkspaceRole(r.WorkspaceRole),
		CreatedBy: holt.UserID(r.CreatedBy), CreatedAt: stamp(r.CreatedAt), ExpiresAt: stamp(r.ExpiresAt), UsedAt: stamp(r.UsedAt),
		UsedBy: holt.UserID(r.UsedBy), RevokedAt: stamp(r.RevokedAt),
	}
}

// memberRow is a row of the table members.
type memberRow struct {
	bun.BaseModel `bun:"table:members,alias:m"`

	Workspace string    `bun:"workspace,pk"`
	User      string    `bun:"user_id,pk"`
	Role      string    `bun:"role"`
	AddedBy   string    `bun:"added_by"`
	AddedAt   time.Time `bun:"added_at"`
}

func (r *memberRow) member() meta.Member {
	return meta.Member{
		Workspace: holt.WorkspaceID(r.Workspace), User: holt.UserID(r.User), Role: meta.WorkspaceRole(r.Role),
		AddedBy: holt.UserID(r.AddedBy), AddedAt: stamp(r.AddedAt),
	}
}

// auditRow is a row of the table audit.
type auditRow struct {
	bun.BaseModel `bun:"table:audit,alias:a"`

	Seq        int64     `bun:"seq,pk"`
	At         time.Time `bun:"at"`
	Actor      string    `bun:"actor"`
	ActorName  string    `bun:"actor_name"`
	Token      string    `bun:"token"`
	Action     string    `bun:"action"`
	Target     string    `bun:"target"`
	TargetName string    `bun:"target_name"`
	Address    string    `bun:"address"`
	Outcome    string    `bun:"outcome"`
	Detail     string    `bun:"detail"`
	Request    string    `bun:"request"`
}

func (r *auditRow) entry() meta.AuditEntry {
	return meta.AuditEntry{
		Seq: r.Seq, At: stamp(r.At), Actor: holt.UserID(r.Actor), ActorName: r.ActorName, Token: r.Token, Action: r.Action, Target: r.Target,
		Label: r.TargetName, Address: r.Address, Outcome: meta.Outcome(r.Outcome), Detail: r.Detail, Request: r.Request,
	}
}

// keyRow is a row of the table idempotency.
type keyRow struct {
	bun.BaseModel `bun:"table:idempotency,alias:i"`

	Token     string    `bun:"token,pk"`
	Value     string    `bun:"value,pk"`
	Hash      string    `bun:"hash"`
	ExpiresAt time.Time `bun:"expires_at"`
	Done      bool      `bun:"done"`
	Status    int       `bun:"status"`
	MediaType string    `bun:"media_type"`
	Body      []byte    `bun:"body"`
}
