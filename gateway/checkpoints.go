package gateway

import (
	"context"
	"net/http"

	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/meta"
)

func (g *Gateway) registerCheckpoints(rest *rest) {
	const path = "/workspaces/{workspace}/checkpoints"
	op(rest, "POST", path, "create-checkpoint", "Keep a workspace as it is now, under a label", g.createCheckpoint, answers(http.StatusCreated))
	op(rest, "GET", path, "list-checkpoints", "List the checkpoints of a workspace", g.listCheckpoints)
	op(rest, "DELETE", path+"/{label}", "delete-checkpoint", "Remove a checkpoint", g.deleteCheckpoint)
	op(rest, "POST", path+"/{label}/verify", "verify-checkpoint", "Read every byte of a checkpoint", g.verifyCheckpoint)
	op(rest, "GET", "/workspaces/{workspace}/snapshots", "list-snapshots", "List the snapshots of a workspace and where they are", g.listSnapshots)
	op(rest, "GET", "/stored-snapshots", "list-stored-snapshots", "List what the store has of your snapshots, those of other servers too", g.listStored)
	op(rest, "POST", "/workspaces/{workspace}/rollback", "rollback-workspace", "Bring a workspace back to a checkpoint and let it run on from there", g.rollback)
}

// Labelled is the input of operations on one checkpoint.
type Labelled struct {
	Named
	Label string `path:"label" doc:"Label of the checkpoint"`
}

func (g *Gateway) createCheckpoint(ctx context.Context, in *struct {
	Named
	Body api.CreateCheckpoint
}) (*answer[api.Checkpoint], error) {
	extendWrite(ctx, longestWait)
	c, err := g.cfg.Workspaces.Checkpoint(ctx, string(target(ctx).ID), in.Body.Label)
	if err != nil {
		return nil, err
	}
	note(ctx, "", "", c.Label)
	return &answer[api.Checkpoint]{toCheckpoint(c)}, nil
}

func (g *Gateway) listCheckpoints(ctx context.Context, _ *Named) (*answer[api.CheckpointList], error) {
	list, err := g.cfg.Workspaces.Checkpoints(ctx, string(target(ctx).ID))
	if err != nil {
		return nil, err
	}
	out := api.CheckpointList{Items: make([]api.Checkpoint, 0, len(list))}
	for _, c := range list {
		out.Items = append(out.Items, toCheckpoint(c))
	}
	return &answer[api.CheckpointList]{out}, nil
}

// KeptSnapshot is one snapshot of a workspace and where it is.
type KeptSnapshot struct {
	meta.Snapshot
	Label   string // of the checkpoint that it is, or ""
	Current bool   // the workspace resumes from it
	OnNode  bool   // its files are on the node
	InStore bool   // the store has it
}

func (g *Gateway) listSnapshots(ctx context.Context, _ *Named) (*answer[api.KeptSnapshotList], error) {
	line, trouble, err := g.cfg.Workspaces.Line(ctx, string(target(ctx).ID))
	if err != nil {
		return nil, err
	}
	out := api.KeptSnapshotList{Items: make([]api.KeptSnapshot, 0, len(line)), Trouble: trouble}
	for _, s := range line {
		out.Items = append(out.Items, toKept(s))
	}
	return &answer[api.KeptSnapshotList]{out}, nil
}

func (g *Gateway) listStored(ctx context.Context, _ *struct{}) (*answer[api.StoredSnapshotList], error) {
	list, err := g.cfg.Workspaces.Stored(ctx, caller(ctx).User)
	if err != nil {
		return nil, err
	}
	out := api.StoredSnapshotList{Items: make([]api.StoredSnapshot, 0, len(list))}
	for _, s := range list {
		item := api.StoredSnapshot{
			ID: string(s.ID), WorkspaceID: string(s.Workspace), Bytes: s.Bytes, StoredBytes: s.Stored, CreatedAt: s.CreatedAt, Damage: s.Damage,
		}
		if d := s.Describe; d != nil {
			item.Workspace, item.Label, item.Image = d.Name, d.Label, string(d.Image)
		}
		out.Items = append(out.Items, item)
	}
	return &answer[api.StoredSnapshotList]{out}, nil
}

func (g *Gateway) deleteCheckpoint(ctx context.Context, in *Labelled) (*struct{}, error) {
	note(ctx, "", "", in.Label)
	return nil, g.cfg.Workspaces.RemoveCheckpoint(ctx, string(target(ctx).ID), in.Label)
}

func (g *Gateway) verifyCheckpoint(ctx context.Context, in *Labelled) (*answer[api.Checkpoint], error) {
	extendWrite(ctx, longestWait)
	c, err := g.cfg.Workspaces.VerifyCheckpoint(ctx, string(target(ctx).ID), in.Label)
	if err != nil {
		return nil, err
	}
	return &answer[api.Checkpoint]{toCheckpoint(c)}, nil
}

func (g *Gateway) rollback(ctx context.Context, in *struct {
	Named
	Body api.Rollback
}) (*answer[api.Workspace], error) {
	note(ctx, "", "", in.Body.Label)
	w, err := g.cfg.Workspaces.Rollback(ctx, string(target(ctx).ID), in.Body.Label)
	if err != nil {
		return nil, err
	}
	return g.shown(ctx, w)
}
