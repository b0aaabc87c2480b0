package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
)

// Create makes a workspace and returns at once; see [Client.Await]. The request
// carries an idempotency key, so that repeating it inside makes no second one.
func (c *Client) Create(ctx context.Context, req api.CreateWorkspace) (api.Workspace, error) {
	var w api.Workspace
	h := http.Header{}
	h.Set(api.HeaderIdempotencyKey, holt.NewID())
	err := c.do(ctx, call{method: "POST", path: "/workspaces", header: h, body: req, safe: true}, &w)
	return w, err
}

// Get returns the workspace of that name or ID.
func (c *Client) Get(ctx context.Context, nameOrID string) (api.WorkspaceDetail, error) {
	var w api.WorkspaceDetail
	err := c.do(ctx, call{method: "GET", path: workspacePath(nameOrID), safe: true}, &w)
	return w, err
}

// List returns all workspaces, oldest first.
func (c *Client) List(ctx context.Context) ([]api.Workspace, error) {
	var all []api.Workspace
	for cursor := ""; ; {
		var page api.WorkspaceList
		q := url.Values{}
		if cursor != "" {
			q.Set("cursor", cursor)
		}
		if err := c.do(ctx, call{method: "GET", path: "/workspaces", query: q, safe: true}, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if cursor = page.Next; cursor == "" {
			return all, nil
		}
	}
}

// Delete removes a workspace and everything it owns; a running one only with
// force. It returns when the removal has been accepted.
func (c *Client) Delete(ctx context.Context, nameOrID string, force bool) error {
	q := url.Values{}
	if force {
		q.Set("force", "true")
	}
	return c.do(ctx, call{method: "DELETE", path: workspacePath(nameOrID), query: q, safe: true}, nil)
}

// Snapshots lists the snapshots of a workspace and where they are, the latest first.
func (c *Client) Snapshots(ctx context.Context, nameOrID string) (api.KeptSnapshotList, error) {
	var list api.KeptSnapshotList
	err := c.do(ctx, call{method: "GET", path: workspacePath(nameOrID) + "/snapshots", safe: true}, &list)
	return list, err
}

// Stored lists what the store has of the caller's snapshots, the latest first.
func (c *Client) Stored(ctx context.Context) ([]api.StoredSnapshot, error) {
	var list api.StoredSnapshotList
	err := c.do(ctx, call{method: "GET", path: "/stored-snapshots", safe: true}, &list)
	return list.Items, err
}

// Suspend asks for the machine to be frozen.
func (c *Client) Suspend(ctx context.Context, nameOrID string) (api.Workspace, error) {
	return c.verb(ctx, nameOrID, "suspend")
}

// Resume asks for the machine to run.
func (c *Client) Resume(ctx context.Context, nameOrID string) (api.Workspace, error) {
	return c.verb(ctx, nameOrID, "resume")
}

// Stop asks for the machine's processes to be ended; files stay.
func (c *Client) Stop(ctx context.Context, nameOrID string) (api.Workspace, error) {
	return c.verb(ctx, nameOrID, "stop")
}

// Wake makes sure that the machine runs and returns when it does.
func (c *Client) Wake(ctx context.Context, nameOrID string) (api.Workspace, error) {
	return c.verb(ctx, nameOrID, "wake")
}

// Fork copies a workspace, running processes included, and returns the copy's
// row at once.
func (c *Client) Fork(ctx context.Context, nameOrID string, r api.ForkWorkspace) (api.Workspace, error) {
	var w api.Workspace
	err := c.do(ctx, call{method: "POST", path: workspacePath(nameOrID) + "/fork", body: r}, &w)
	return w, err
}

// Checkpoint keeps a workspace as it is now; it returns when that is done.
func (c *Client) Checkpoint(ctx context.Context, nameOrID, label string) (api.Checkpoint, error) {
	var out api.Checkpoint
	err := c.do(ctx, call{method: "POST", path: workspacePath(nameOrID) + "/checkpoints", body: api.CreateCheckpoint{Label: label}}, &out)
	return out, err
}

// Checkpoints lists the checkpoints of a workspace, oldest first.
func (c *Client) Checkpoints(ctx context.Context, nameOrID string) ([]api.Checkpoint, error) {
	var out api.CheckpointList
	err := c.do(ctx, call{method: "GET", path: workspacePath(nameOrID) + "/checkpoints", safe: true}, &out)
	return out.Items, err
}

// VerifyCheckpoint reads every byte of a checkpoint. KindCorrupt says what is damaged.
func (c *Client) VerifyCheckpoint(ctx context.Context, nameOrID, label string) (api.Checkpoint, error) {
	var out api.Checkpoint
	err := c.do(ctx, call{method: "POST", path: checkpointPath(nameOrID, label) + "/verify", safe: true}, &out)
	return out, err
}

// DeleteCheckpoint removes a checkpoint.
func (c *Client) DeleteCheckpoint(ctx context.Context, nameOrID, label string) error {
	return c.do(ctx, call{method: "DELETE", path: checkpointPath(nameOrID, label)}, nil)
}

func checkpointPath(nameOrID, label string) string {
	return workspacePath(nameOrID) + "/checkpoints/" + url.PathEscape(label)
}

// Rollback brings a workspace back to a checkpoint; it returns the row at once.
// [Client.Await] waits until it runs there.
func (c *Client) Rollback(ctx context.Context, nameOrID, label string) (api.Workspace, error) {
	var w api.Workspace
	err := c.do(ctx, call{method: "POST", path: workspacePath(nameOrID) + "/rollback", body: api.Rollback{Label: label}}, &w)
	return w, err
}

// History returns the latest changes of state, oldest first.
func (c *Client) History(ctx context.Context, nameOrID string) ([]api.StateChange, error) {
	var h api.History
	err := c.do(ctx, call{method: "GET", path: workspacePath(nameOrID) + "/history", safe: true}, &h)
	return h.Items, err
}

// Log returns the events of a workspace with a number above since, oldest first.
func (c *Client) Log(ctx context.Context, nameOrID string, since int64) ([]api.Event, error) {
	var l api.Log
	q := url.Values{"since": {strconv.FormatInt(since, 10)}}
	err := c.do(ctx, call{method: "GET", path: workspacePath(nameOrID) + "/log", query: q, safe: true}, &l)
	return l.Items, err
}

// Ports returns the ports on which processes of the workspace listen.
func (c *Client) Ports(ctx context.Context, nameOrID string) ([]api.Port, error) {
	var l api.PortList
	err := c.do(ctx, call{method: "GET", path: workspacePath(nameOrID) + "/ports", safe: true}, &l)
	return l.Items, err
}

// pollTime is how long one question for a newer version stays open.
const pollTime = 25 * time.Second

// Await follows w until it is in state want, and returns it then. Every version
// it sees is given to seen, which may be nil. It fails when the workspace
// becomes FAILED, or when its goal is no longer want, because the step failed
// cleanly or because somebody asked for something else; the error has the
// workspace's message. It may end with ctx.
func (c *Client) Await(ctx context.Context, w api.Workspace, want holt.State, seen func(api.Workspace)) (api.Workspace, error) {
	first := w.Version
	for {
		if seen != nil {
			seen(w)
		}
		if done, err := outcome(w, want, first); done {
			return w, err
		}
		q := url.Values{"newer_than": {strconv.FormatInt(w.Version, 10)}, "timeout": {pollTime.String()}}
		var next api.WorkspaceDetail
		err := c.do(ctx, call{method: "GET", path: workspacePath(w.ID), query: q, safe: true}, &next)
		if err != nil {
			return w, err
		}
		w = next.Workspace
	}
}

// outcome judges one version of a workspace on its way to want. FAILED in the
// first version is the past that the request asked to leave.
func outcome(w api.Workspace, want holt.State, first int64) (done bool, err error) {
	text := w.Message
	if text == "" {
		text = "see: holt logs " + w.Name
	}
	switch {
	case w.State == string(want) && !w.RollingBack:
		return true, nil
	case w.State == string(holt.Failed) && w.Version > first:
		return true, holt.Errorf(holt.KindInternal, "workspace %s failed: %s", w.Name, text)
	case w.State == string(holt.Deleted):
		return true, holt.Errorf(holt.KindNotFound, "workspace %s was deleted meanwhile", w.Name)
	case w.Goal != string(want):
		return true, holt.Errorf(holt.KindConflict, "workspace %s is %s and did not become %s: %s", w.Name, w.State, want, text)
	}
	return false, nil
}

func (c *Client) verb(ctx context.Context, nameOrID, verb string) (api.Workspace, error) {
	var w api.Workspace
	err := c.do(ctx, call{method: "POST", path: workspacePath(nameOrID) + "/" + verb, safe: true}, &w)
	return w, err
}

func workspacePath(nameOrID string) string { return "/workspaces/" + url.PathEscape(nameOrID) }
