package gateway

import (
	"cmp"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/meta"
)

// defaultImage is what a workspace is made from that asks for no image.
const defaultImage = "default"

// These functions are the border between inner types and edge types.

func toWorkspace(w meta.Workspace, owner string, role meta.WorkspaceRole) api.Workspace {
	return api.Workspace{
		ID: string(w.ID), Name: w.Name, Owner: owner, Role: string(role), State: string(w.State), Goal: string(w.Goal), Version: w.Version, Message: w.Message,
		Image: cmp.Or(w.ImageRef, defaultImage), ImageID: string(w.Image), Limits: toLimits(w.Limits), Git: w.Git, Egress: string(w.Egress),
		ForkedFrom: string(w.ForkedFrom), RollingBack: w.FromSnapshot != "" && w.State != holt.Queued, IdleAfterSeconds: int64(w.IdleAfter / time.Second),
		CreatedAt: w.CreatedAt, UpdatedAt: w.UpdatedAt, LastActiveAt: w.LastActiveAt,
	}
}

func toLimits(l holt.Limits) api.Limits {
	return api.Limits{
		CPUs: l.CPUs, MemoryBytes: l.Memory, DiskBytes: l.Disk, RootBytes: l.Root, Processes: l.Processes, BandwidthBytes: l.Bandwidth,
	}
}

func fromLimits(l api.Limits) holt.Limits {
	return holt.Limits{
		CPUs: l.CPUs, Memory: l.MemoryBytes, Disk: l.DiskBytes, Root: l.RootBytes, Processes: l.Processes, Bandwidth: l.BandwidthBytes,
	}
}

func toChange(e meta.Event) api.StateChange {
	return api.StateChange{
		Seq: e.Seq, At: e.At, From: string(e.From), State: string(e.State), Goal: string(e.Goal), Reason: e.Name, Text: e.Text,
	}
}

func toEvent(e meta.Event) api.Event {
	return api.Event{
		Seq: e.Seq, Type: string(e.Kind), At: e.At, WorkspaceID: string(e.Workspace), Workspace: e.Label,
		From: string(e.From), State: string(e.State), Goal: string(e.Goal), Name: e.Name, Text: e.Text,
	}
}

func toCheckpoint(c meta.Checkpoint) api.Checkpoint {
	return api.Checkpoint{
		ID: string(c.Snapshot), Label: c.Label, Automatic: c.Automatic, Bytes: c.Bytes, PauseMS: c.Pause.Milliseconds(), CreatedAt: c.CreatedAt,
	}
}

func toKept(s KeptSnapshot) api.KeptSnapshot {
	on := []string{}
	if s.OnNode {
		on = append(on, "node")
	}
	if s.InStore {
		on = append(on, "store")
	}
	return api.KeptSnapshot{
		ID: string(s.ID), Label: s.Label, Current: s.Current, Bytes: s.Bytes, StoredBytes: s.Stored, On: on,
		CreatedAt: s.CreatedAt, DurableAt: s.DurableAt, Damage: s.Damage,
	}
}

func toToken(t meta.Token, user string) api.Token {
	return api.Token{
		ID: t.ID, Name: t.Name, Scope: string(t.Scope), User: user, Workspace: string(t.Workspace),
		CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt, LastUsedAt: t.LastUsedAt, RevokedAt: t.RevokedAt,
	}
}

func toAudit(e meta.AuditEntry) api.AuditEntry {
	return api.AuditEntry{
		Seq: e.Seq, At: e.At, Actor: e.ActorName, ActorID: string(e.Actor), TokenID: e.Token, Action: e.Action, Target: e.Label, TargetID: e.Target,
		Address: e.Address, Outcome: string(e.Outcome), Detail: e.Detail, Request: e.Request,
	}
}

func toSession(t meta.Token, current string) api.Session {
	return api.Session{
		ID: t.ID, Current: t.ID == current, Agent: t.Agent, Address: t.Address, StartedAt: t.StartedAt, LastUsedAt: t.LastUsedAt, ExpiresAt: t.ExpiresAt,
	}
}

func toInvitation(i meta.Invitation, names func(holt.UserID) string, now time.Time) api.Invitation {
	state := "open"
	switch {
	case !i.UsedAt.IsZero():
		state = "used"
	case !i.RevokedAt.IsZero():
		state = "revoked"
	case !now.Before(i.ExpiresAt):
		state = "expired"
	}
	return api.Invitation{
		ID: i.ID, Note: i.Note, Role: string(i.Role), WorkspaceID: string(i.Workspace), WorkspaceRole: string(i.WorkspaceRole), State: state,
		CreatedBy: names(i.CreatedBy), UsedBy: names(i.UsedBy), CreatedAt: i.CreatedAt, ExpiresAt: i.ExpiresAt,
	}
}
