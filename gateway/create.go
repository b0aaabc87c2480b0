package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/meta"
)

// keepReplies is how long the answer to an idempotency key is remembered.
const keepReplies = 24 * time.Hour

type createInput struct {
	Key     string `header:"Idempotency-Key" maxLength:"255" doc:"Any text; the same text and body give the same answer for a day, without a second workspace"`
	Body    api.CreateWorkspace
	RawBody []byte
}

type createOutput struct {
	Replayed string `header:"Idempotency-Replayed" doc:"true when this answer was given before"`
	Location string `header:"Location"`
	Body     api.Workspace
}

// create makes a workspace, once per idempotency key.
func (g *Gateway) create(ctx context.Context, in *createInput) (*createOutput, error) {
	note(ctx, "", in.Body.Name, "")
	req, err := g.createRequest(ctx, in.Body)
	if err != nil {
		return nil, err
	}
	if in.Key == "" {
		return g.createOnce(ctx, req)
	}
	key := meta.Key{Token: caller(ctx).TokenID, Value: in.Key}
	sum := sha256.Sum256(in.RawBody)
	now := time.Now()
	claim, err := g.cfg.Idempotency.Claim(ctx, key, hex.EncodeToString(sum[:]), now, now.Add(keepReplies))
	switch {
	case err != nil:
		return nil, err
	case claim.Reply != nil:
		return replay(*claim.Reply)
	case !claim.First:
		return nil, holt.Errorf(holt.KindUnavailable, "a request with this idempotency key is being handled at this moment: try again")
	}
	// From here on the client may be gone: what was begun is finished.
	ctx = context.WithoutCancel(ctx)
	out, err := g.createOnce(ctx, req)
	if holt.IsKind(err, holt.KindConflict) && !claim.Since.IsZero() {
		out, err = g.madeSince(ctx, req, claim.Since, err)
	}
	if err != nil {
		return nil, errors.Join(err, g.cfg.Idempotency.Abandon(ctx, key))
	}
	body, err := json.Marshal(out.Body)
	if err != nil {
		return nil, fmt.Errorf("encode reply: %w", err)
	}
	reply := meta.Reply{Status: http.StatusCreated, Type: "application/json", Body: body}
	if err := g.cfg.Idempotency.Complete(ctx, key, reply); err != nil {
		return nil, fmt.Errorf("keep reply: %w", err)
	}
	return out, nil
}

// madeSince returns the workspace that an earlier handler of the same request
// made before it died, or the conflict if the name is somebody else's.
func (g *Gateway) madeSince(ctx context.Context, req CreateRequest, since time.Time, conflict error) (*createOutput, error) {
	w, err := g.cfg.Workspaces.Get(ctx, req.Name)
	if err != nil || w.Owner != req.Owner || w.CreatedAt.Before(since) {
		return nil, conflict
	}
	return g.created(ctx, w)
}

func (g *Gateway) createOnce(ctx context.Context, req CreateRequest) (*createOutput, error) {
	w, err := g.cfg.Workspaces.Create(ctx, req)
	if err != nil {
		return nil, limitField(err)
	}
	return g.created(ctx, w)
}

func (g *Gateway) created(ctx context.Context, w meta.Workspace) (*createOutput, error) {
	note(ctx, string(w.ID), w.Name, "")
	shown, err := g.shown(ctx, w)
	if err != nil {
		return nil, err
	}
	return &createOutput{Location: api.Prefix + "/workspaces/" + string(w.ID), Body: shown.Body}, nil
}

func replay(r meta.Reply) (*createOutput, error) {
	out := &createOutput{Replayed: "true"}
	if err := json.Unmarshal(r.Body, &out.Body); err != nil {
		return nil, fmt.Errorf("decode kept reply: %w", err)
	}
	out.Location = api.Prefix + "/workspaces/" + out.Body.ID
	return out, nil
}

func (g *Gateway) createRequest(ctx context.Context, b api.CreateWorkspace) (CreateRequest, error) {
	req := CreateRequest{Name: b.Name, Image: b.Image, Git: b.Git, Egress: holt.Egress(b.Egress), Owner: caller(ctx).User, Snapshot: holt.SnapshotID(b.Snapshot)}
	if b.Limits != nil {
		req.Limits = fromLimits(*b.Limits)
	}
	if s := b.IdleAfterSeconds; s != nil {
		if *s < 0 || *s > int64(10*365*24*time.Hour/time.Second) {
			return req, holt.Invalidf("idle_after_seconds", "%d seconds make no sense: use 0 for never, or a number up to ten years", *s)
		}
		d := time.Duration(*s) * time.Second
		req.IdleAfter = &d
	}
	return req, nil
}

// limitFields maps the names of limits inside to those of the request.
var limitFields = map[string]string{
	"cpus": "limits.cpus", "memory": "limits.memory_bytes", "disk": "limits.disk_bytes",
	"root": "limits.root_bytes", "processes": "limits.processes", "bandwidth": "limits.bandwidth_bytes",
}

// limitField returns err with its field named as in the request.
func limitField(err error) error {
	e, ok := errors.AsType[*holt.Error](err)
	if !ok {
		return err
	}
	name, ok := limitFields[e.Field]
	if !ok {
		return err
	}
	c := *e
	c.Field = name
	return &c
}
