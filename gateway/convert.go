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

func toWorkspace(w meta.Workspace) api.Workspace {
	return api.Workspace{
		ID: string(w.ID), Name: w.Name, State: string(w.State), Goal: string(w.Goal), Version: w.Version, Message: w.Message,
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

func toToken(t meta.Token) api.Token {
	return api.Token{
		ID: t.ID, Name: t.Name, Scope: string(t.Scope), User: string(t.Owner),
		CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt, LastUsedAt: t.LastUsedAt, RevokedAt: t.RevokedAt,
	}
}
