package workspace

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// What is kept: snapshots that rows and checkpoints name go to the store one after
// the other, in the background. A row of the line is there before the store has
// anything of a snapshot; that the snapshot is durable is written into it last, with
// the event that tells it. Nothing else remembers the work: after a crash the same
// plan is made again.

// keepPlan is what there is to do for the line of all workspaces.
type keepPlan struct {
	keep   []keepJob       // the oldest first
	forget []meta.Snapshot // not needed any more
	evict  []holt.SnapshotID
	later  time.Time // when the next job begins that is not due yet; zero if there is none
}

// keepJob is a snapshot to be made durable.
type keepJob struct {
	workspace meta.Workspace
	line      meta.Snapshot
	label     string
}

// keepView is what the plan is made of.
type keepView struct {
	rows        []meta.Workspace // of this node, not DELETED
	checkpoints []meta.Checkpoint
	line        []meta.Snapshot // the latest first
	now         time.Time
	after       time.Duration // how long a workspace sleeps before its snapshot is kept
	last        int           // durable snapshots of a workspace that stay, beside those that are named
}

// planKeep is pure.
func planKeep(v keepView) (p keepPlan) {
	byID := map[holt.WorkspaceID]meta.Workspace{}
	lines := map[holt.SnapshotID]meta.Snapshot{}
	for _, w := range v.rows {
		byID[w.ID] = w
	}
	for _, s := range v.line {
		lines[s.ID] = s
	}
	named := namedSnapshots(v.rows, v.checkpoints)
	add := func(w meta.Workspace, id holt.SnapshotID, at time.Time, bytes int64, label string) {
		s, ok := lines[id]
		if ok && (!s.DurableAt.IsZero() || s.Damage != "") {
			return
		}
		if !ok {
			s = meta.Snapshot{ID: id, Workspace: w.ID, Bytes: bytes, CreatedAt: at}
		}
		p.keep = append(p.keep, keepJob{w, s, label})
	}
	for _, c := range v.checkpoints {
		if w, ok := byID[c.Workspace]; ok && c.Ready {
			add(w, c.Snapshot, c.CreatedAt, c.Bytes, c.Label)
		}
	}
	for _, w := range v.rows {
		if w.State != holt.Suspended || w.Snapshot == "" || w.Sandbox != "" || w.PendingSnapshot != "" ||
			slices.ContainsFunc(p.keep, func(j keepJob) bool { return j.line.ID == w.Snapshot }) {
			continue
		}
		if due := w.UpdatedAt.Add(v.after); due.After(v.now) {
			if p.later.IsZero() || due.Before(p.later) {
				p.later = due
			}
			continue
		}
		add(w, w.Snapshot, w.SnapshotAt, w.SnapshotBytes, "")
	}
	begun, durable := map[holt.WorkspaceID]int{}, map[holt.WorkspaceID]int{}
	for _, s := range v.line {
		w, ok := byID[s.Workspace]
		switch {
		case !ok:
			p.forget = append(p.forget, s)
		case named[s.ID]:
			if s.Durable() && s.ID == w.Snapshot { // checkpoints are kept beside the line
				durable[s.Workspace]++
			}
		case s.Durable():
			if durable[s.Workspace]++; durable[s.Workspace] > v.last {
				p.forget = append(p.forget, s)
			} else {
				p.evict = append(p.evict, s.ID) // nobody is about to resume it
			}
		case s.Damage != "":
			p.forget = append(p.forget, s)
		default:
			// It was resumed before it was durable. The latest of them is the last
			// known good one as soon as it is.
			if begun[s.Workspace]++; begun[s.Workspace] > 1 || durable[s.Workspace] > 0 {
				p.forget = append(p.forget, s)
			} else {
				p.keep = append(p.keep, keepJob{w, s, ""})
			}
		}
	}
	slices.SortFunc(p.keep, func(a, b keepJob) int { return a.line.CreatedAt.Compare(b.line.CreatedAt) })
	return p
}

// namedSnapshots returns what rows and checkpoints need.
func namedSnapshots(rows []meta.Workspace, checkpoints []meta.Checkpoint) map[holt.SnapshotID]bool {
	named := map[holt.SnapshotID]bool{}
	for _, w := range rows {
		for _, id := range []holt.SnapshotID{w.Snapshot, w.PendingSnapshot, w.FromSnapshot} {
			if id != "" {
				named[id] = true
			}
		}
	}
	for _, c := range checkpoints {
		named[c.Snapshot] = true
	}
	return named
}

// keepLoop makes snapshots durable until the manager ends.
func (m *Manager) keepLoop() {
	failures := 0
	maintained, scrubbed := m.cfg.Now(), m.cfg.Now()
	for {
		next, err := m.keepRound(m.ctx)
		wait := m.cfg.KeepEvery
		switch {
		case m.ctx.Err() != nil:
			return
		case err != nil:
			failures++
			wait = min(m.cfg.Backoff<<min(failures, 12), 5*time.Minute)
			if failures == 1 || !holt.KindOf(err).Retryable() {
				m.cfg.Log.Warn("keep snapshots in the store", "failures", failures, "err", err)
			}
		default:
			failures = 0
			if !next.IsZero() {
				wait = max(min(wait, next.Sub(m.cfg.Now())), time.Millisecond)
			}
		}
		if err == nil && m.cfg.Now().Sub(maintained) >= m.cfg.Maintain {
			maintained = m.cfg.Now()
			m.maintain(m.ctx)
		}
		if err == nil && m.cfg.Now().Sub(scrubbed) >= m.cfg.Scrub {
			scrubbed = m.cfg.Now()
			m.scrub(m.ctx)
		}
		pause := time.NewTimer(wait)
		select {
		case <-pause.C:
		case <-m.keepBell:
			pause.Stop()
		case <-m.ctx.Done():
			pause.Stop()
			return
		}
	}
}

// wakeKeeper makes the keeper look again.
func (m *Manager) wakeKeeper() {
	select {
	case m.keepBell <- struct{}{}:
	default:
	}
}

func (m *Manager) keepView(ctx context.Context) (v keepView, err error) {
	// The line comes first: what is added to it later is not judged by rows that
	// are older.
	if v.line, err = m.cfg.Store.Snapshots().All(ctx); err != nil {
		return v, fmt.Errorf("read snapshots: %w", err)
	}
	if v.rows, err = m.all(ctx); err != nil {
		return v, fmt.Errorf("read workspaces: %w", err)
	}
	if v.checkpoints, err = m.cfg.Store.Checkpoints().All(ctx); err != nil {
		return v, fmt.Errorf("read checkpoints: %w", err)
	}
	v.line, err = m.ofThisNode(ctx, v.line, v.rows)
	v.now, v.after, v.last = m.cfg.Now(), m.cfg.KeepAfter, m.cfg.KeepLast
	return v, err
}

// ofThisNode leaves the snapshots out whose workspace is another node's.
func (m *Manager) ofThisNode(ctx context.Context, line []meta.Snapshot, rows []meta.Workspace) ([]meta.Snapshot, error) {
	own := map[holt.WorkspaceID]bool{}
	for _, w := range rows {
		own[w.ID] = true
	}
	var list []meta.Snapshot
	for _, s := range line {
		mine, known := own[s.Workspace]
		if !known {
			w, err := m.cfg.Store.Workspaces().Get(ctx, s.Workspace)
			if err != nil && !holt.IsKind(err, holt.KindNotFound) {
				return nil, fmt.Errorf("read workspace: %w", err)
			}
			mine = err == nil && w.Node == m.cfg.NodeID
			own[s.Workspace] = mine
		}
		if mine {
			list = append(list, s)
		}
	}
	return list, nil
}

// keepRound does what there is to do now and returns when there will be more.
func (m *Manager) keepRound(ctx context.Context) (next time.Time, err error) {
	v, err := m.keepView(ctx)
	if err != nil {
		return next, err
	}
	p := planKeep(v)
	if len(p.forget) > 0 {
		// The rows were read one after the other, and somebody may have removed a
		// checkpoint in between: only what a second look finds too is given up.
		again, err := m.keepView(ctx)
		if err != nil {
			return next, err
		}
		sure := planKeep(again).forget
		p.forget = slices.DeleteFunc(p.forget, func(s meta.Snapshot) bool {
			return !slices.ContainsFunc(sure, func(o meta.Snapshot) bool { return o.ID == s.ID })
		})
	}
	for _, s := range p.forget { // what is here goes, wherever the store is
		m.cfg.Fault("forget.before")
		if err := m.cfg.Node.DiscardSnapshot(ctx, s.ID); err != nil {
			return next, fmt.Errorf("discard snapshot: %w", err)
		}
	}
	for _, s := range p.forget {
		if err := m.forgetSnapshot(ctx, s); err != nil {
			return next, err
		}
	}
	for _, id := range p.evict {
		if err := m.cfg.Snapshots.EvictSnapshot(ctx, id); err != nil {
			return next, fmt.Errorf("evict snapshot: %w", err)
		}
	}
	for _, j := range p.keep {
		if err := m.keepOne(ctx, j, v.line); err != nil {
			m.keepFailed(j.line.ID, err)
			return next, err
		}
		m.keepFailed(j.line.ID, nil)
	}
	if len(p.keep) > 0 {
		m.wakeKeeper() // what they replace can go
	}
	return p.later, nil
}

// keepOne makes one snapshot durable.
func (m *Manager) keepOne(ctx context.Context, j keepJob, line []meta.Snapshot) error {
	w, s := j.workspace, j.line
	for _, older := range line { // the latest first
		if older.Workspace == w.ID && older.Durable() && older.ID != s.ID {
			s.Parent = older.ID
			break
		}
	}
	m.cfg.Fault("keep.before-write")
	if err := m.cfg.Store.Snapshots().Put(ctx, s); err != nil {
		return fmt.Errorf("write line of snapshots: %w", err)
	}
	m.cfg.Fault("keep.after-write")
	kept, err := m.cfg.Snapshots.KeepSnapshot(ctx, Keep{Tenant: tenantOf(w.Owner), Snapshot: s.ID, Parent: s.Parent, Describe: describe(w, j.label)})
	m.cfg.Fault("keep.after")
	var told note
	switch {
	case err == nil:
		s.DurableAt, s.Bytes, s.Stored, s.Damage = m.cfg.Now(), kept.Bytes, kept.Stored, ""
		told = note{name: "durable", text: fmt.Sprintf("the snapshot of %s is durable: %s in the store, %s of it new", stampText(s.CreatedAt), holt.FormatSize(s.Bytes), holt.FormatSize(s.Stored))}
	case ctx.Err() != nil:
		return ctx.Err()
	case holt.IsKind(err, holt.KindCorrupt):
		m.cfg.Log.Error("a snapshot is damaged", "workspace", w.ID, "snapshot", s.ID, "err", err)
		s.Damage = reason(err)
		told = note{name: "snapshot-damaged", text: "the snapshot of " + stampText(s.CreatedAt) + " is damaged, and is not in the store: " + s.Damage}
	case holt.IsKind(err, holt.KindNotFound):
		// It was discarded meanwhile; what names it goes with the next plan.
		return m.cfg.Store.Snapshots().Remove(ctx, s.ID)
	default:
		return fmt.Errorf("keep snapshot %s of %s: %w", s.ID, w.Name, err)
	}
	// As it is called now, and only if nobody has removed it meanwhile: nothing is
	// done with the workspace while that is decided.
	leave, err := m.gates.enter(ctx, w.ID)
	if err != nil {
		return err
	}
	defer leave()
	line, err = m.cfg.Store.Snapshots().Of(ctx, w.ID)
	if err != nil {
		return fmt.Errorf("read snapshots: %w", err)
	}
	if i := slices.IndexFunc(line, func(o meta.Snapshot) bool { return o.ID == s.ID }); i < 0 || line[i].Damage == removedText {
		return nil // what the store has of it goes with the next plan, or the next tidying
	}
	now, err := m.cfg.Store.Workspaces().Get(ctx, w.ID)
	if err != nil {
		return fmt.Errorf("read workspace: %w", err)
	}
	m.cfg.Fault("keep.before-durable")
	err = m.cfg.Store.Snapshots().Put(ctx, s, meta.Event{
		Workspace: now.ID, Label: now.Name, At: m.cfg.Now(), Kind: meta.EventLog, State: now.State, Goal: now.Goal, Name: told.name, Text: told.text,
	})
	if err != nil {
		return fmt.Errorf("write line of snapshots: %w", err)
	}
	m.cfg.Fault("keep.after-durable")
	m.bell.ring()
	return nil
}

func stampText(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05 UTC") }

// forgetSnapshot removes a snapshot that nobody needs from the store. Its row goes
// last.
func (m *Manager) forgetSnapshot(ctx context.Context, s meta.Snapshot) error {
	w, err := m.cfg.Store.Workspaces().Get(ctx, s.Workspace)
	if err != nil {
		return fmt.Errorf("read workspace: %w", err)
	}
	m.cfg.Fault("forget.discarded")
	if err := m.cfg.Snapshots.ForgetSnapshots(ctx, tenantOf(w.Owner), s.ID); err != nil {
		return fmt.Errorf("forget snapshot: %w", err)
	}
	m.cfg.Fault("forget.after")
	return m.cfg.Store.Snapshots().Remove(ctx, s.ID)
}

// maintain gives back what no row names in the store, and what the store itself
// does not need. It lists first and reads the rows after, which name snapshots
// before they exist.
func (m *Manager) maintain(ctx context.Context) {
	tenants, err := m.tenants(ctx)
	for _, t := range tenants {
		if err = m.tidy(ctx, t); err == nil {
			err = m.cfg.Snapshots.MaintainStore(ctx, t)
		}
		if err != nil {
			break
		}
	}
	if err != nil && ctx.Err() == nil {
		m.cfg.Log.Warn("maintain the store of snapshots", "err", err)
	}
}

// tidy forgets what the store has of this node's workspaces and nothing names.
// Snapshots of workspaces that the database does not know are somebody else's.
func (m *Manager) tidy(ctx context.Context, tenant string) error {
	stored, err := m.cfg.Snapshots.StoredSnapshots(ctx, tenant, false)
	if err != nil {
		return err
	}
	v, err := m.keepView(ctx)
	if err != nil {
		return err
	}
	named := namedSnapshots(v.rows, v.checkpoints)
	for _, s := range v.line {
		named[s.ID] = true
	}
	var drop []holt.SnapshotID
	for _, s := range stored {
		if named[s.ID] {
			continue
		}
		w, err := m.cfg.Store.Workspaces().Get(ctx, s.Workspace)
		if holt.IsKind(err, holt.KindNotFound) || err == nil && w.Node != m.cfg.NodeID {
			continue
		} else if err != nil {
			return fmt.Errorf("read workspace: %w", err)
		}
		m.cfg.Log.Info("forget a snapshot in the store that nothing names", "snapshot", s.ID, "workspace", s.Workspace)
		drop = append(drop, s.ID)
	}
	return m.cfg.Snapshots.ForgetSnapshots(ctx, tenant, drop...)
}

// tenants returns everybody who may have something in the store.
func (m *Manager) tenants(ctx context.Context) ([]string, error) {
	rows, err := m.all(ctx, holt.States()...)
	if err != nil {
		return nil, fmt.Errorf("read workspaces: %w", err)
	}
	var list []string
	for _, w := range rows {
		if t := tenantOf(w.Owner); !slices.Contains(list, t) {
			list = append(list, t)
		}
	}
	return list, nil
}

// scrub reads everything that the store has and tells what is damaged.
func (m *Manager) scrub(ctx context.Context) {
	tenants, err := m.tenants(ctx)
	for _, t := range tenants {
		var damaged map[holt.SnapshotID]string
		if damaged, err = m.cfg.Snapshots.ScrubStore(ctx, t); err != nil {
			break
		}
		if err = m.noteDamage(ctx, damaged); err != nil {
			break
		}
		m.cfg.Log.Info("store of snapshots read", "tenant", t, "damaged", len(damaged))
	}
	if err != nil && ctx.Err() == nil {
		m.cfg.Log.Warn("read the store of snapshots", "err", err)
	}
}

// noteDamage writes what was found damaged into the line. A snapshot whose raw files
// are still there is stored once more.
func (m *Manager) noteDamage(ctx context.Context, damaged map[holt.SnapshotID]string) error {
	if len(damaged) == 0 {
		return nil
	}
	inv, err := m.cfg.Node.Inventory(ctx)
	if err != nil {
		return fmt.Errorf("list what exists: %w", err)
	}
	line, err := m.cfg.Store.Snapshots().All(ctx)
	if err != nil {
		return fmt.Errorf("read snapshots: %w", err)
	}
	for _, s := range line {
		how, ok := damaged[s.ID]
		if !ok || s.DurableAt.IsZero() || s.Damage != "" {
			continue
		}
		w, err := m.cfg.Store.Workspaces().Get(ctx, s.Workspace)
		if err != nil {
			return fmt.Errorf("read workspace: %w", err)
		}
		text := "the store's copy of the snapshot of " + stampText(s.CreatedAt) + " is damaged: " + how
		if slices.Contains(inv.Snapshots, s.ID) && !slices.Contains(inv.Evicted, s.ID) {
			s.DurableAt = time.Time{}
			text += "; it is stored once more from this machine's"
		} else {
			s.Damage = how
		}
		m.cfg.Log.Error("a snapshot is damaged in the store", "workspace", w.ID, "snapshot", s.ID, "how", how)
		err = m.cfg.Store.Snapshots().Put(ctx, s, meta.Event{
			Workspace: w.ID, Label: w.Name, At: m.cfg.Now(), Kind: meta.EventLog, State: w.State, Goal: w.Goal, Name: "snapshot-damaged", Text: text,
		})
		if err != nil {
			return fmt.Errorf("write line of snapshots: %w", err)
		}
		m.bell.ring()
	}
	m.wakeKeeper()
	return nil
}

// describe tells whoever finds only the store what w is.
func describe(w meta.Workspace, label string) Description {
	return Description{
		Name: w.Name, Workspace: w.ID, Label: label, ImageRef: w.ImageRef, Image: w.Image, Limits: w.Limits, Git: w.Git, Egress: w.Egress, IdleAfter: w.IdleAfter,
	}
}

var tenantRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

// tenantOf names an owner's part of the store.
func tenantOf(owner holt.UserID) string {
	if tenantRE.MatchString(string(owner)) {
		return string(owner)
	}
	sum := sha256.Sum256([]byte(owner))
	return "u." + hex.EncodeToString(sum[:20]) // no owner's name has a dot
}

// Line returns the snapshots of a workspace, the latest first, and why the latest
// that is not durable yet could not be made so; "" if nothing went wrong.
func (m *Manager) Line(ctx context.Context, nameOrID string) (line []LineEntry, trouble string, err error) {
	w, err := m.Get(ctx, nameOrID)
	if err != nil {
		return nil, "", err
	}
	rows, err := m.cfg.Store.Snapshots().Of(ctx, w.ID)
	if err != nil {
		return nil, "", err
	}
	checkpoints, err := m.cfg.Store.Checkpoints().Of(ctx, w.ID)
	if err != nil {
		return nil, "", err
	}
	inv, err := m.cfg.Node.Inventory(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("list what exists: %w", err)
	}
	add := func(s meta.Snapshot) {
		if i := slices.IndexFunc(line, func(e LineEntry) bool { return e.ID == s.ID }); i < 0 {
			line = append(line, LineEntry{Snapshot: s})
		}
	}
	for _, s := range rows {
		add(s)
	}
	if w.Snapshot != "" {
		add(meta.Snapshot{ID: w.Snapshot, Workspace: w.ID, Bytes: w.SnapshotBytes, CreatedAt: w.SnapshotAt})
	}
	for _, c := range checkpoints {
		if c.Ready {
			add(meta.Snapshot{ID: c.Snapshot, Workspace: w.ID, Bytes: c.Bytes, CreatedAt: c.CreatedAt})
		}
	}
	for i := range line {
		e := &line[i]
		e.Current = e.ID == w.Snapshot
		e.OnNode = slices.Contains(inv.Snapshots, e.ID) && !slices.Contains(inv.Evicted, e.ID)
		e.InStore = !e.DurableAt.IsZero()
		for _, c := range checkpoints {
			if c.Snapshot == e.ID {
				e.Label = c.Label
			}
		}
		if t := m.keepTrouble(e.ID); t != "" && trouble == "" {
			trouble = t
		}
	}
	slices.SortStableFunc(line, func(a, b LineEntry) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return line, trouble, nil
}

// LineEntry is one snapshot of a workspace and where it is.
type LineEntry struct {
	meta.Snapshot
	Label   string // of the checkpoint that it is, or ""
	Current bool   // the workspace resumes from it
	OnNode  bool   // its files are on the node
	InStore bool   // the store has it
}

// keepFailed remembers why a snapshot is not durable yet.
func (m *Manager) keepFailed(id holt.SnapshotID, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		delete(m.troubles, id)
		return
	}
	m.troubles[id] = reason(err)
}

func (m *Manager) keepTrouble(id holt.SnapshotID) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.troubles[id]
}
