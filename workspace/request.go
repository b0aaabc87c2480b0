package workspace

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// CreateRequest asks for a workspace. Only Name is required.
type CreateRequest struct {
	Name      string
	Image     string         // reference; "" means the default image
	Git       string         // URL to clone into /workspace
	Limits    holt.Limits    // zero fields mean the defaults
	IdleAfter *time.Duration // nil means the server's default, zero never
	Egress    holt.Egress    // "" means the internet
	Owner     holt.UserID

	// Snapshot is one that the store has, perhaps of another server: the workspace
	// goes on from it, with the image and limits that it had. "" means a fresh one.
	Snapshot holt.SnapshotID
}

// Create checks the request, stores the workspace as QUEUED with the goal
// RUNNING, and returns at once. A wrong request is KindInvalid and names the
// field, an unknown image has the error of [Images], a taken name is
// [meta.ErrNameTaken].
func (m *Manager) Create(ctx context.Context, r CreateRequest) (meta.Workspace, error) {
	if r.Snapshot != "" {
		return m.createFromStore(ctx, r)
	}
	if err := m.check(&r); err != nil {
		return meta.Workspace{}, err
	}
	m.images.RLock()
	defer m.images.RUnlock()
	image, err := m.cfg.Images.Resolve(ctx, r.Image)
	if err != nil {
		return meta.Workspace{}, err
	}
	return m.add(ctx, meta.Workspace{
		Name: r.Name, Owner: r.Owner, ImageRef: r.Image, Image: image, Limits: r.Limits, Git: r.Git, Egress: r.Egress, IdleAfter: *r.IdleAfter,
	})
}

// Usual returns what a request that asks for nothing would become, without names
// and IDs: what the next machine will probably be like.
func (m *Manager) Usual(ctx context.Context) (Spec, error) {
	image, err := m.cfg.Images.Resolve(ctx, "")
	if err != nil {
		return Spec{}, err
	}
	return Spec{Image: image, Limits: withDefaults(holt.Limits{}, unbounded(m.cfg.Most)), Egress: holt.EgressInternet}, nil
}

// check validates r and fills the defaults in.
func (m *Manager) check(r *CreateRequest) error {
	if err := holt.CheckName(r.Name); err != nil {
		return err
	}
	most := unbounded(m.cfg.Most)
	r.Limits = withDefaults(r.Limits, most)
	if err := r.Limits.Check(most); err != nil {
		return err
	}
	if err := checkGit(r.Git); err != nil {
		return err
	}
	switch r.Egress {
	case "":
		r.Egress = holt.EgressInternet
	case holt.EgressInternet, holt.EgressNone:
	default:
		return holt.Invalidf("egress", "%q is not an egress policy: use internet or none", string(r.Egress))
	}
	if r.IdleAfter == nil {
		r.IdleAfter = &m.cfg.IdleAfter
	}
	if d := *r.IdleAfter; d < 0 || d > 0 && d < time.Second {
		return holt.Invalidf("idle_after", "%v is not a time to wait: use at least 1s, or 0 for never", d)
	}
	return nil
}

// withDefaults fills the zero fields of l with the defaults, or with the server's
// bounds where those are smaller: who asks for nothing is never refused.
func withDefaults(l, most holt.Limits) holt.Limits {
	d := l.WithDefaults()
	for _, f := range []struct {
		asked int64
		got   *int64
		bound int64
	}{
		{l.Memory, &d.Memory, most.Memory}, {l.Disk, &d.Disk, most.Disk},
		{l.Root, &d.Root, most.Root}, {l.Processes, &d.Processes, most.Processes},
	} {
		if f.asked == 0 {
			*f.got = min(*f.got, f.bound)
		}
	}
	if l.CPUs == 0 {
		d.CPUs = min(d.CPUs, most.CPUs)
	}
	return d
}

// unbounded replaces the zero fields of most by bounds that no request exceeds.
func unbounded(most holt.Limits) holt.Limits {
	for _, f := range []*int64{&most.Memory, &most.Disk, &most.Root, &most.Processes} {
		if *f == 0 {
			*f = 1 << 60
		}
	}
	if most.CPUs == 0 {
		most.CPUs = 1 << 20
	}
	return most
}

// checkGit accepts URLs that git fetches over a network.
func checkGit(s string) error {
	if s == "" {
		return nil
	}
	const use = "use an address such as https://example.com/project.git"
	u, err := url.Parse(s)
	if err != nil || len(s) > 2048 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return holt.Invalidf("git", "%.100q is not a URL: %s", s, use)
	}
	if !slices.Contains([]string{"https", "http", "ssh", "git"}, u.Scheme) || u.Host == "" || strings.HasPrefix(u.Host, "-") {
		return holt.Invalidf("git", "%.100q cannot be cloned: %s", s, use)
	}
	if _, secret := u.User.Password(); secret {
		return holt.Invalid("git", "an address that is stored must not hold a password: leave it out")
	}
	return nil
}

// add stores a new row.
func (m *Manager) add(ctx context.Context, w meta.Workspace, notes ...note) (meta.Workspace, error) {
	w.ID = cmp.Or(w.ID, holt.NewWorkspaceID())
	w.Node, w.State, w.Goal = m.cfg.NodeID, holt.Queued, holt.WantRunning
	w.CreatedAt = m.cfg.Now()
	w.LastActiveAt = w.CreatedAt
	m.cfg.Fault("create.before-write")
	got, err := m.cfg.Store.Workspaces().Create(ctx, w, m.events(meta.Workspace{}, w, notes)...)
	if err != nil {
		return meta.Workspace{}, err
	}
	m.cfg.Fault("create.after-write")
	m.bell.ring()
	m.kick(got.ID)
	return got, nil
}

// Fork makes a new workspace with the memory, files and limits of another, as it
// is now or as its checkpoint from holds it, and returns at once. The source keeps
// its state; a running one stands still for a moment, unless a checkpoint is
// named. A source that has nothing to copy is KindConflict.
func (m *Manager) Fork(ctx context.Context, nameOrID, newName, from string) (meta.Workspace, error) {
	if err := holt.CheckName(newName); err != nil {
		return meta.Workspace{}, err
	}
	m.images.RLock() // the source may be deleted before the fork is stored
	defer m.images.RUnlock()
	src, err := m.Get(ctx, nameOrID)
	if err != nil {
		return meta.Workspace{}, err
	}
	var c meta.Checkpoint
	if from != "" {
		if _, c, err = m.checkpoint(ctx, string(src.ID), from); err != nil {
			return meta.Workspace{}, err
		}
	}
	switch src.State {
	case holt.Queued, holt.Failed:
		if from != "" {
			break
		}
		fallthrough
	case holt.Deleting:
		return meta.Workspace{}, holt.Errorf(holt.KindConflict, "%s is %s and cannot be forked: fork it when it is RUNNING, SUSPENDED or STOPPED", src.Name, src.State)
	}
	return m.add(ctx, meta.Workspace{
		Name: newName, Owner: src.Owner, ImageRef: src.ImageRef, Image: src.Image, Limits: src.Limits, Git: src.Git, Egress: src.Egress,
		IdleAfter: src.IdleAfter, ForkedFrom: src.ID, FromSnapshot: c.Snapshot, PendingSnapshot: holt.NewSnapshotID(),
	})
}

// Get returns the workspace that has the ID or the name, unless it is DELETED.
func (m *Manager) Get(ctx context.Context, nameOrID string) (meta.Workspace, error) {
	w, err := m.find(ctx, nameOrID)
	if err == nil && w.State == holt.Deleted {
		return meta.Workspace{}, holt.Errorf(holt.KindNotFound, "workspace %q is deleted", nameOrID)
	}
	return w, err
}

// find is Get that returns DELETED workspaces by their ID too.
func (m *Manager) find(ctx context.Context, nameOrID string) (meta.Workspace, error) {
	if len(nameOrID) == 29 && strings.HasPrefix(nameOrID, "ws-") {
		return m.cfg.Store.Workspaces().Get(ctx, holt.WorkspaceID(nameOrID))
	}
	return m.cfg.Store.Workspaces().ByName(ctx, nameOrID)
}

// List returns a page of workspaces; see [meta.Workspaces].
func (m *Manager) List(ctx context.Context, p meta.Page) ([]meta.Workspace, string, error) {
	return m.cfg.Store.Workspaces().List(ctx, p)
}

// History returns the newest 1000 changes of state and goal of a workspace, in
// order.
func (m *Manager) History(ctx context.Context, id holt.WorkspaceID) ([]meta.Event, error) {
	const keep = 1000
	var all []meta.Event
	for seq := int64(0); ; {
		evs, err := m.cfg.Store.Events().Of(ctx, id, seq, keep, meta.EventState)
		if err != nil {
			return nil, err
		}
		all = append(all, evs...)
		if len(all) > keep {
			all = all[len(all)-keep:]
		}
		if len(evs) < keep {
			return all, nil
		}
		seq = evs[len(evs)-1].Seq
	}
}

// Log returns up to 1000 log lines of a workspace with a Seq above since.
func (m *Manager) Log(ctx context.Context, id holt.WorkspaceID, since int64) ([]meta.Event, error) {
	return m.cfg.Store.Events().Of(ctx, id, since, 1000, meta.EventLog)
}

// SetGoal wants the workspace RUNNING (resume, start, retry after FAILED),
// SUSPENDED or STOPPED, for a reason such as "user", and returns the row at once;
// [Manager.Wait] waits for the state. A goal that cannot be reached from the
// present state is KindConflict. Deleting has its own method.
func (m *Manager) SetGoal(ctx context.Context, id holt.WorkspaceID, goal holt.Goal, reason string) (meta.Workspace, error) {
	if !slices.Contains([]holt.Goal{holt.WantRunning, holt.WantSuspended, holt.WantStopped}, goal) {
		return meta.Workspace{}, holt.Invalidf("goal", "%q is not a goal: use RUNNING, SUSPENDED or STOPPED", string(goal))
	}
	return m.aim(ctx, id, goal, reason, func(w meta.Workspace) error { return reachable(w, goal) })
}

// reachable reports why w cannot be brought to goal.
func reachable(w meta.Workspace, goal holt.Goal) error {
	conflict := func(format string, a ...any) error { return holt.Errorf(holt.KindConflict, format, a...) }
	switch {
	case w.State == holt.Deleted:
		return holt.Errorf(holt.KindNotFound, "workspace %q is deleted", w.Name)
	case w.State == holt.Deleting || w.Goal == holt.WantDeleted:
		return conflict("%s is being deleted", w.Name)
	case w.State == holt.Failed && w.PendingSnapshot != "" && w.ForkedFrom == "":
		return conflict("%s could not be taken from the store and is empty: delete it and create it again", w.Name)
	case w.State == holt.Failed && w.PendingSnapshot != "":
		return conflict("%s could not be forked and is empty: delete it and fork again", w.Name)
	case goal != holt.WantSuspended:
		return nil
	case w.State == holt.Queued, w.State == holt.Stopping, w.State == holt.Stopped, w.State == holt.Failed:
		return conflict("%s is %s: there is no running machine to suspend", w.Name, w.State)
	case w.Goal == holt.WantStopped:
		return conflict("%s is about to stop: there will be no machine to suspend", w.Name)
	}
	return nil
}

// errSame ends a change that would change nothing.
var errSame = errors.New("nothing to change")

// aim sets the goal if allowed agrees with the newest row.
func (m *Manager) aim(ctx context.Context, id holt.WorkspaceID, goal holt.Goal, reason string, allowed func(meta.Workspace) error) (meta.Workspace, error) {
	var interrupt bool
	w, err := m.change(ctx, id, "goal", func(w *meta.Workspace) ([]note, error) {
		if err := allowed(*w); err != nil {
			return nil, err
		}
		if w.Goal == goal && (w.State != holt.Failed || w.Attempts == 0) {
			return nil, errSame
		}
		interrupt = interrupts(w.State, goal) && w.Goal != goal
		w.Goal = goal
		if goal == holt.WantStopped && w.State != holt.Queued {
			w.FromSnapshot = "" // who stops it does not want to go back any more
		}
		if w.State == holt.Failed {
			w.Attempts, w.Restarts = 0, 0
		}
		return []note{{name: "goal-" + strings.ToLower(string(goal)), text: reason, quiet: true}}, nil
	})
	if errors.Is(err, errSame) {
		err = nil
	}
	if err != nil {
		return meta.Workspace{}, err
	}
	m.hurry(id, interrupt)
	return w, nil
}

// interrupts reports whether what is under way in state s is pointless for goal.
func interrupts(s holt.State, goal holt.Goal) bool {
	switch goal {
	case holt.WantDeleted:
		return s != holt.Deleting
	case holt.WantStopped:
		return s == holt.Provisioning || s == holt.Resuming
	}
	return false
}

// Delete wants the workspace and everything it owns removed, whatever is under
// way, and returns at once. One that has a machine is KindConflict without force.
// Deleting a workspace that is being deleted is not an error.
func (m *Manager) Delete(ctx context.Context, id holt.WorkspaceID, force bool) error {
	_, err := m.aim(ctx, id, holt.WantDeleted, "user", func(w meta.Workspace) error {
		switch {
		case w.State == holt.Deleted:
			return holt.Errorf(holt.KindNotFound, "workspace %q is deleted", w.Name)
		case w.Goal == holt.WantDeleted || force || !occupies(w.State):
			return nil
		}
		return holt.Errorf(holt.KindConflict, "%s is %s: stop it first, or delete it by force (holt rm --force %s)", w.Name, w.State, w.Name)
	})
	return err
}
