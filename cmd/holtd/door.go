package main

import (
	"context"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/gateway"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/workspace"
)

// door is the lifecycle as the gateway sees it: the two rooms do not know each
// other's types.
type door struct{ *workspace.Manager }

func (d door) Create(ctx context.Context, r gateway.CreateRequest) (meta.Workspace, error) {
	return d.Manager.Create(ctx, workspace.CreateRequest(r))
}

func (d door) Line(ctx context.Context, nameOrID string) ([]gateway.KeptSnapshot, string, error) {
	line, trouble, err := d.Manager.Line(ctx, nameOrID)
	list := make([]gateway.KeptSnapshot, len(line))
	for i, e := range line {
		list[i] = gateway.KeptSnapshot(e)
	}
	return list, trouble, err
}

func (d door) Durability(ctx context.Context, id holt.WorkspaceID) (gateway.Durability, error) {
	got, err := d.Manager.Durability(ctx, id)
	return gateway.Durability(got), err
}
