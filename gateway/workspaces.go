package gateway

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/meta"
)

// historyShown is how many changes of state an answer holds: the latest.
const historyShown = 200

// longestWait is the most that one request waits for a workspace to change.
const longestWait = 5 * time.Minute

func (g *Gateway) registerWorkspaces(rest *rest) {
	op(rest, "POST", "/workspaces", "create-workspace", "Make a workspace and start it", g.create, answers(http.StatusCreated))
	op(rest, "GET", "/workspaces", "list-workspaces", "List workspaces", g.list)
	op(rest, "GET", "/workspaces/{workspace}", "get-workspace", "Show a workspace", g.get)
	op(rest, "DELETE", "/workspaces/{workspace}", "delete-workspace", "Remove a workspace and all its files", g.delete, answers(http.StatusAccepted))
	op(rest, "POST", "/workspaces/{workspace}/suspend", "suspend-workspace", "Freeze a workspace", g.goal(holt.WantSuspended))
	op(rest, "POST", "/workspaces/{workspace}/resume", "resume-workspace", "Continue or start a workspace", g.goal(holt.WantRunning))
	op(rest, "POST", "/workspaces/{workspace}/stop", "stop-workspace", "End a workspace's processes and keep its files", g.goal(holt.WantStopped))
	op(rest, "POST", "/workspaces/{workspace}/wake", "wake-workspace", "Make sure that a workspace runs, and wait until it does", g.wakeUp)
	op(rest, "POST", "/workspaces/{workspace}/fork", "fork-workspace", "Copy a workspace, running processes included", g.fork, answers(http.StatusCreated))
	g.registerCheckpoints(rest)
	op(rest, "GET", "/workspaces/{workspace}/history", "workspace-history", "List the changes of a workspace's state", g.history)
	op(rest, "GET", "/workspaces/{workspace}/ports", "workspace-ports", "List the listening ports of a running workspace", g.listPorts)
}

// Named is the input of operations on one workspace. It is exported, as are the
// other embedded inputs, because the REST library sees no fields otherwise.
type Named struct {
	Workspace string `path:"workspace" doc:"Name or ID of the workspace"`
}

// Patient is the input of operations that may wait for a state.
type Patient struct {
	Wait    string `query:"wait" doc:"Answer when the workspace is in one of these states, separated by commas, or FAILED or DELETED, or when timeout is over" example:"RUNNING"`
	Timeout string `query:"timeout" doc:"How long to wait, at most 5m" example:"30s"`
}

type listInput struct {
	Cursor string `query:"cursor" doc:"As returned with the page before"`
	Limit  int    `query:"limit" minimum:"0" maximum:"1000" doc:"Most items; absent: 100"`
	State  string `query:"state" doc:"Only those in one of these states, separated by commas"`
}

func (g *Gateway) list(ctx context.Context, in *listInput) (*answer[api.WorkspaceList], error) {
	states, err := parseStates("state", in.State)
	if err != nil {
		return nil, err
	}
	who := caller(ctx)
	p := meta.Page{Cursor: in.Cursor, Limit: in.Limit, States: states}
	if who.Role != meta.RoleAdmin {
		p.Visible = who.User
	}
	rows, next, err := g.cfg.Workspaces.List(ctx, p)
	if err != nil {
		return nil, err
	}
	if who.Workspace != "" {
		rows = slices.DeleteFunc(rows, func(w meta.Workspace) bool { return w.ID != who.Workspace })
	}
	items, err := g.showAll(ctx, rows)
	if err != nil {
		return nil, err
	}
	return &answer[api.WorkspaceList]{api.WorkspaceList{Items: items, Next: next}}, nil
}

type getInput struct {
	Named
	Patient
	NewerThan int64 `query:"newer_than" minimum:"0" doc:"Answer when the version is above this one, or when timeout is over"`
}

func (g *Gateway) get(ctx context.Context, in *getInput) (*answer[api.WorkspaceDetail], error) {
	w := target(ctx)
	var err error
	if in.NewerThan > 0 {
		w, err = g.await(ctx, w, in.Timeout, func(w meta.Workspace) bool { return w.Version > in.NewerThan })
	} else {
		w, err = g.awaitStates(ctx, w, in.Patient)
	}
	if err != nil {
		return nil, err
	}
	return g.detail(ctx, w)
}

func (g *Gateway) detail(ctx context.Context, w meta.Workspace) (*answer[api.WorkspaceDetail], error) {
	changes, err := g.changes(ctx, w.ID)
	if err != nil {
		return nil, err
	}
	shown, err := g.shown(ctx, w)
	if err != nil {
		return nil, err
	}
	out := api.WorkspaceDetail{
		Workspace: shown.Body, SandboxID: string(w.Sandbox), Node: string(w.Node), Boots: w.Boots, StateHistory: changes,
	}
	if out.Durability, err = g.durabilityOf(ctx, w.ID); err != nil {
		return nil, err
	}
	if w.Snapshot != "" {
		out.Snapshot = &api.Snapshot{ID: string(w.Snapshot), Bytes: w.SnapshotBytes, CreatedAt: w.SnapshotAt}
	}
	return &answer[api.WorkspaceDetail]{out}, nil
}

func (g *Gateway) history(ctx context.Context, _ *Named) (*answer[api.History], error) {
	changes, err := g.changes(ctx, target(ctx).ID)
	if err != nil {
		return nil, err
	}
	return &answer[api.History]{api.History{Items: changes}}, nil
}

// changes returns the latest changes of state, oldest first.
func (g *Gateway) changes(ctx context.Context, id holt.WorkspaceID) ([]api.StateChange, error) {
	out := []api.StateChange{}
	for seq := int64(0); ; {
		page, err := g.cfg.Events.Of(ctx, id, seq, meta.MaxPage, meta.EventState)
		if err != nil {
			return nil, err
		}
		for _, e := range page {
			seq = e.Seq
			out = append(out, toChange(e))
		}
		out = out[max(0, len(out)-historyShown):]
		if len(page) < meta.MaxPage {
			return out, nil
		}
	}
}

// goal returns the operation that asks for a state.
func (g *Gateway) goal(goal holt.Goal) func(context.Context, *goalInput) (*answer[api.Workspace], error) {
	return func(ctx context.Context, in *goalInput) (*answer[api.Workspace], error) {
		w, err := g.cfg.Workspaces.SetGoal(ctx, target(ctx).ID, goal, "requested")
		if err != nil {
			return nil, err
		}
		w, err = g.awaitStates(ctx, w, in.Patient)
		if err != nil {
			return nil, err
		}
		return g.shown(ctx, w)
	}
}

type goalInput struct {
	Named
	Patient
}

func (g *Gateway) wakeUp(ctx context.Context, _ *Named) (*answer[api.Workspace], error) {
	ctx, cancel := context.WithTimeout(ctx, longestWait)
	defer cancel()
	extendWrite(ctx, longestWait)
	w, err := g.cfg.Workspaces.Wake(ctx, target(ctx).ID)
	if err != nil {
		return nil, err
	}
	return g.shown(ctx, w)
}

func (g *Gateway) fork(ctx context.Context, in *struct {
	Named
	Body api.ForkWorkspace
}) (*answer[api.Workspace], error) {
	note(ctx, "", "", "as "+in.Body.Name)
	if in.Body.Revision != 0 {
		if in.Body.From != "" {
			return nil, holt.Invalid("revision", "a fork is made of a checkpoint or of a revision, not of both")
		}
		w, err := g.cfg.Workspaces.ForkRevision(ctx, string(target(ctx).ID), in.Body.Name, in.Body.Revision)
		if err != nil {
			return nil, err
		}
		return g.shown(ctx, w)
	}
	w, err := g.cfg.Workspaces.Fork(ctx, string(target(ctx).ID), in.Body.Name, in.Body.From)
	if err != nil {
		return nil, err
	}
	return g.shown(ctx, w)
}

func (g *Gateway) delete(ctx context.Context, in *struct {
	Named
	Force bool `query:"force" doc:"Remove it even if it runs"`
}) (*struct{}, error) {
	return nil, g.cfg.Workspaces.Delete(ctx, target(ctx).ID, in.Force)
}

func (g *Gateway) listPorts(ctx context.Context, _ *Named) (*answer[api.PortList], error) {
	w := target(ctx)
	out := api.PortList{Items: []api.Port{}}
	if w.State != holt.Running { // nothing listens, and looking wakes nobody
		return &answer[api.PortList]{out}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	guest := g.guest(w.Sandbox)
	defer guest.CloseIdle()
	ports, err := guest.Ports(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range ports {
		out.Items = append(out.Items, api.Port{
			Port: int(p.Port), Address: p.Address, Process: p.Process, PID: p.PID, URL: g.ports.URL(w.Name, p.Port),
		})
	}
	return &answer[api.PortList]{out}, nil
}

// awaitStates waits as p asks; without a wish it returns at once.
func (g *Gateway) awaitStates(ctx context.Context, w meta.Workspace, p Patient) (meta.Workspace, error) {
	states, err := parseStates("wait", p.Wait)
	if err != nil || len(states) == 0 {
		return w, err
	}
	first := w.Version
	return g.await(ctx, w, p.Timeout, func(w meta.Workspace) bool {
		return slices.Contains(states, w.State) || w.State == holt.Deleted || w.State == holt.Failed && w.Version > first
	})
}

// await waits until the row fulfils until, and returns it; when the time is over
// it returns the row as it is then.
func (g *Gateway) await(ctx context.Context, w meta.Workspace, timeout string, until func(meta.Workspace) bool) (meta.Workspace, error) {
	d, err := parseWait("timeout", timeout, 30*time.Second, longestWait)
	if err != nil {
		return w, err
	}
	if until(w) {
		return w, nil
	}
	extendWrite(ctx, d)
	waitCtx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	now, err := g.cfg.Workspaces.Wait(waitCtx, w.ID, until)
	if err != nil && waitCtx.Err() != nil && ctx.Err() == nil {
		return g.cfg.Workspaces.Get(ctx, string(w.ID))
	}
	return now, err
}

// extendWrite moves the deadline for the answer by what the request waits.
func extendWrite(ctx context.Context, d time.Duration) {
	if rec, ok := ctx.Value(keyRecord).(*record); ok {
		_ = http.NewResponseController(rec).SetWriteDeadline(time.Now().Add(d + writeTime)) // a writer without deadlines is a test's
	}
}

func parseStates(field, s string) ([]holt.State, error) {
	if s == "" {
		return nil, nil
	}
	var out []holt.State
	for name := range strings.SplitSeq(s, ",") {
		st := holt.State(strings.ToUpper(strings.TrimSpace(name)))
		if !st.Valid() {
			return nil, holt.Invalidf(field, "%q is not a state of a workspace", name)
		}
		out = append(out, st)
	}
	return out, nil
}

// shown is the answer with one workspace, as its asker may see it.
func (g *Gateway) shown(ctx context.Context, w meta.Workspace) (*answer[api.Workspace], error) {
	all, err := g.showAll(ctx, []meta.Workspace{w})
	if err != nil {
		return nil, err
	}
	return &answer[api.Workspace]{all[0]}, nil
}

// showAll returns workspaces that the asker may see, with their owners' names and
// the asker's role.
func (g *Gateway) showAll(ctx context.Context, rows []meta.Workspace) ([]api.Workspace, error) {
	names, err := g.names(ctx)
	if err != nil {
		return nil, err
	}
	who, seats := caller(ctx), map[holt.WorkspaceID]meta.WorkspaceRole{}
	if who.Role != meta.RoleAdmin {
		shared, err := g.cfg.Members.ByUser(ctx, who.User)
		if err != nil {
			return nil, err
		}
		for _, m := range shared {
			seats[m.Workspace] = m.Role
		}
	}
	out := make([]api.Workspace, 0, len(rows))
	for _, w := range rows {
		role := seats[w.ID]
		if who.Role == meta.RoleAdmin || w.Owner == who.User {
			role = meta.WorkspaceOwner
		}
		out = append(out, toWorkspace(w, names(w.Owner), role))
	}
	return out, nil
}

// names returns what tells the names of users. Of one who was removed the ID is left.
func (g *Gateway) names(ctx context.Context) (func(holt.UserID) string, error) {
	all, err := g.cfg.Auth.Users(ctx)
	if err != nil {
		return nil, err
	}
	known := make(map[holt.UserID]string, len(all))
	for _, u := range all {
		known[u.ID] = u.Name
	}
	return func(id holt.UserID) string { return cmp.Or(known[id], string(id)) }, nil
}
