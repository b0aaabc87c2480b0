package metatest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

func user(name string, role meta.Role) meta.User {
	return meta.User{
		ID: holt.UserID("us-" + name), Name: name, Email: name + "@example.org", Role: role, Password: "$argon2id$…",
		CreatedAt: day, DisabledAt: time.Time{}, LastSeenAt: time.Time{},
	}
}

func addUser(t *testing.T, s meta.Store, name string, role meta.Role) meta.User {
	t.Helper()
	u := user(name, role)
	if err := s.Users().Create(t.Context(), u); err != nil {
		t.Fatalf("create user %s: %v", name, err)
	}
	return u
}

func testUsers(t *testing.T, open func(*testing.T) meta.Store) {
	store := start(t, open)
	s, ctx := store.Users(), t.Context()
	ada := user("ada", meta.RoleAdmin)
	id := meta.Identity{Issuer: "https://id.example.org", Subject: "1", CreatedAt: day}
	if err := s.Create(ctx, ada, id); err != nil {
		t.Fatal(err)
	}
	id.User = ada.ID
	bob := addUser(t, store, "bob", meta.RoleMember)
	same := user("bob", meta.RoleMember)
	same.ID = "us-other"
	if err := s.Create(ctx, same); !errors.Is(err, meta.ErrUserTaken) {
		t.Errorf("a name twice: %v", err)
	}
	if err := s.Create(ctx, user("eve", meta.RoleMember), id); !errors.Is(err, meta.ErrIdentityTaken) {
		t.Errorf("an identity twice: %v", err)
	}
	_, err := s.ByName(ctx, "eve")
	wantKind(t, err, holt.KindNotFound) // all or nothing
	_, err = s.Get(ctx, "us-nobody")
	wantKind(t, err, holt.KindNotFound)
	_, err = s.ByIdentity(ctx, id.Issuer, "2")
	wantKind(t, err, holt.KindNotFound)
	for what, got := range map[string]func() (meta.User, error){
		"get":         func() (meta.User, error) { return s.Get(ctx, ada.ID) },
		"by name":     func() (meta.User, error) { return s.ByName(ctx, "ada") },
		"by identity": func() (meta.User, error) { return s.ByIdentity(ctx, id.Issuer, id.Subject) },
	} {
		if u, err := got(); err != nil || u != ada {
			t.Errorf("%s: %+v, %v, want %+v", what, u, err, ada)
		}
	}
	if ids, err := s.Identities(ctx, ada.ID); err != nil || !slices.Equal(ids, []meta.Identity{id}) {
		t.Errorf("identities %+v, %v", ids, err)
	}
	if list, err := s.List(ctx); err != nil || !slices.Equal(list, []meta.User{ada, bob}) {
		t.Errorf("list %+v, %v", list, err)
	}

	got, err := s.Update(ctx, bob.ID, func(u *meta.User) error {
		u.Name, u.Role, u.Password, u.DisabledAt, u.Email = "robert", meta.RoleMember, "new", day.Add(time.Hour), ""
		return nil
	})
	want := bob
	want.Name, want.Password, want.DisabledAt, want.Email = "robert", "new", day.Add(time.Hour), ""
	if err != nil || got != want {
		t.Errorf("update: %+v, %v, want %+v", got, err, want)
	}
	if _, err := s.Update(ctx, bob.ID, func(u *meta.User) error { u.Name = "ada"; return nil }); !errors.Is(err, meta.ErrUserTaken) {
		t.Errorf("rename to a taken name: %v", err)
	}
	refuse := errors.New("no")
	if _, err := s.Update(ctx, bob.ID, func(u *meta.User) error { u.Name = "x"; return refuse }); !errors.Is(err, refuse) {
		t.Errorf("refused change: %v", err)
	}
	for _, at := range []time.Time{day.Add(2 * time.Second), day.Add(time.Second)} {
		if err := s.Seen(ctx, bob.ID, at); err != nil {
			t.Fatal(err)
		}
	}
	want.LastSeenAt = day.Add(2 * time.Second)
	if u, err := s.ByName(ctx, "robert"); err != nil || u != want {
		t.Errorf("after that %+v, %v, want %+v", u, err, want)
	}
	_, err = s.Update(ctx, "us-nobody", func(*meta.User) error { return nil })
	wantKind(t, err, holt.KindNotFound)
}

// Somebody can always govern the server, whatever happens at the same time.
func testLastAdmin(t *testing.T, open func(*testing.T) meta.Store) {
	store := start(t, open)
	s, ctx := store.Users(), t.Context()
	demote := func(u *meta.User) error { u.Role = meta.RoleMember; return nil }
	disable := func(u *meta.User) error { u.DisabledAt = day; return nil }
	ada := addUser(t, store, "ada", meta.RoleAdmin)
	addUser(t, store, "bob", meta.RoleMember)
	off := user("off", meta.RoleAdmin)
	off.DisabledAt = day
	if err := s.Create(ctx, off); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*meta.User) error{"demote": demote, "disable": disable} {
		if _, err := s.Update(ctx, ada.ID, change); !errors.Is(err, meta.ErrLastAdmin) {
			t.Errorf("%s the last admin: %v", what, err)
		}
	}
	if err := s.Remove(ctx, ada.ID); !errors.Is(err, meta.ErrLastAdmin) {
		t.Errorf("remove the last admin: %v", err)
	}
	if err := s.Remove(ctx, off.ID); err != nil {
		t.Errorf("remove a disabled admin: %v", err)
	}
	var all []holt.UserID
	for n := range 4 {
		all = append(all, addUser(t, store, fmt.Sprintf("admin%d", n), meta.RoleAdmin).ID)
	}
	all = append(all, ada.ID)
	var wg sync.WaitGroup
	var refused atomic.Int32
	for i, id := range all {
		wg.Go(func() {
			var err error
			switch i % 3 {
			case 0:
				_, err = s.Update(ctx, id, demote)
			case 1:
				_, err = s.Update(ctx, id, disable)
			default:
				err = s.Remove(ctx, id)
			}
			if errors.Is(err, meta.ErrLastAdmin) {
				refused.Add(1)
			} else if err != nil {
				t.Errorf("%s: %v", id, err)
			}
		})
	}
	wg.Wait()
	if n := refused.Load(); n != 1 {
		t.Errorf("%d of %d were refused, want 1", n, len(all))
	}
}

func testUserRemove(t *testing.T, open func(*testing.T) meta.Store) {
	store := start(t, open)
	s, ctx := store.Users(), t.Context()
	addUser(t, store, "root", meta.RoleAdmin)
	bob := addUser(t, store, "bob", meta.RoleMember)
	w := sample("demo")
	w.Owner = bob.ID
	w = create(t, store, w)
	k := token(1)
	k.Owner = bob.ID
	if err := errors.Join(store.Tokens().Create(ctx, k), s.Link(ctx, meta.Identity{Issuer: "i", Subject: "s", User: bob.ID, CreatedAt: day}),
		store.Members().Set(ctx, meta.Member{Workspace: "ws-other", User: bob.ID, Role: meta.WorkspaceViewer, AddedAt: day})); err != nil {
		t.Fatal(err)
	}
	wantKind(t, s.Remove(ctx, bob.ID), holt.KindConflict)
	w.State = holt.Deleted
	if _, err := store.Workspaces().Update(ctx, w); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(ctx, bob.ID); err != nil {
		t.Fatal(err)
	}
	wantKind(t, s.Remove(ctx, bob.ID), holt.KindNotFound)
	_, err := store.Tokens().ByHash(ctx, k.Hash)
	wantKind(t, err, holt.KindNotFound)
	_, err = s.ByIdentity(ctx, "i", "s")
	wantKind(t, err, holt.KindNotFound)
	if list, err := store.Members().ByUser(ctx, bob.ID); err != nil || len(list) != 0 {
		t.Errorf("memberships left: %v, %v", list, err)
	}
}

func invitation(n int) meta.Invitation {
	return meta.Invitation{
		ID: fmt.Sprintf("in-%d", n), Hash: fmt.Sprintf("hash%d", n), Note: "for Bob", Role: meta.RoleMember, Workspace: "", CreatedBy: "us-ada",
		CreatedAt: day.Add(time.Duration(n) * time.Second), ExpiresAt: day.Add(time.Hour),
	}
}

func testInvitations(t *testing.T, open func(*testing.T) meta.Store) {
	store := start(t, open)
	s, ctx := store.Invitations(), t.Context()
	w := create(t, store, sample("demo"))
	first, second := invitation(1), invitation(2)
	second.Workspace, second.WorkspaceRole = w.ID, meta.WorkspaceEditor
	for _, i := range []meta.Invitation{first, second, invitation(3)} {
		if err := s.Create(ctx, i); err != nil {
			t.Fatal(err)
		}
	}
	same := invitation(4)
	same.Hash = first.Hash
	wantKind(t, s.Create(ctx, same), holt.KindConflict)
	if got, err := s.ByHash(ctx, "hash2"); err != nil || got != second {
		t.Fatalf("by hash %+v, %v, want %+v", got, err, second)
	}
	_, err := s.ByHash(ctx, "nothing")
	wantKind(t, err, holt.KindNotFound)
	if list, err := s.List(ctx); err != nil || len(list) != 3 || list[0].ID != "in-3" || list[2] != first {
		t.Fatalf("list %+v, %v", list, err)
	}

	addUser(t, store, "eve", meta.RoleMember)
	if err := s.Accept(ctx, "in-2", day, user("eve", meta.RoleMember)); !errors.Is(err, meta.ErrUserTaken) {
		t.Fatalf("accept with a taken name: %v", err)
	}
	var won atomic.Int32
	var wg sync.WaitGroup
	for n := range 6 {
		wg.Go(func() {
			err := s.Accept(ctx, "in-2", day.Add(time.Minute), user(fmt.Sprintf("bob%d", n), meta.RoleMember))
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, meta.ErrInvitationUsed) {
				t.Errorf("accept: %v", err)
			}
		})
	}
	wg.Wait()
	if n := won.Load(); n != 1 {
		t.Fatalf("%d accepted one invitation", n)
	}
	if users, err := store.Users().List(ctx); err != nil || len(users) != 2 {
		t.Fatalf("users %+v, %v", users, err)
	}
	got, err := s.ByHash(ctx, "hash2")
	if err != nil || !got.UsedAt.Equal(day.Add(time.Minute)) || got.UsedBy == "" {
		t.Fatalf("after use %+v, %v", got, err)
	}
	if role, err := store.Members().RoleOf(ctx, w.ID, got.UsedBy); err != nil || role != meta.WorkspaceEditor {
		t.Errorf("role of the invited: %q, %v", role, err)
	}
	_, err = s.Revoke(ctx, "in-2", day)
	wantKind(t, err, holt.KindConflict)
	for _, want := range []bool{true, false} {
		if first, err := s.Revoke(ctx, "in-1", day); err != nil || first != want {
			t.Errorf("revoke: %v, %v, want %v", first, err, want)
		}
	}
	_, err = s.Revoke(ctx, "in-9", day)
	wantKind(t, err, holt.KindNotFound)
	if err := s.Accept(ctx, "in-1", day, user("late", meta.RoleMember)); !errors.Is(err, meta.ErrInvitationUsed) {
		t.Errorf("accept a revoked one: %v", err)
	}
	if n, err := s.Purge(ctx, day.Add(time.Second)); err != nil || n != 1 {
		t.Errorf("purged %d, %v, want the revoked one", n, err)
	}
	if n, err := s.Purge(ctx, day.Add(2*time.Hour)); err != nil || n != 2 {
		t.Errorf("purged %d, %v", n, err)
	}
}

// An invitation never takes a role away.
func testInvitationOfMember(t *testing.T, open func(*testing.T) meta.Store) {
	store := start(t, open)
	s, ctx := store.Invitations(), t.Context()
	w := create(t, store, sample("demo"))
	if err := store.Members().Set(ctx, meta.Member{Workspace: w.ID, User: "us-bob", Role: meta.WorkspaceEditor, AddedAt: day}); err != nil {
		t.Fatal(err)
	}
	for n, u := range []holt.UserID{"us-bob", w.Owner, "us-eve"} {
		i := invitation(n)
		i.Workspace, i.WorkspaceRole = w.ID, meta.WorkspaceViewer
		if err := errors.Join(s.Create(ctx, i), s.AcceptAs(ctx, i.ID, day, u)); err != nil {
			t.Fatal(err)
		}
	}
	for u, want := range map[holt.UserID]meta.WorkspaceRole{"us-bob": meta.WorkspaceEditor, w.Owner: meta.WorkspaceOwner, "us-eve": meta.WorkspaceViewer} {
		if got, err := store.Members().RoleOf(ctx, w.ID, u); err != nil || got != want {
			t.Errorf("role of %s: %q, %v, want %q", u, got, err, want)
		}
	}
}

func testMembers(t *testing.T, open func(*testing.T) meta.Store) {
	store := start(t, open)
	s, ctx := store.Members(), t.Context()
	mine, shared, other := sample("mine"), sample("shared"), sample("other")
	mine.Owner = "bob"
	mine, shared, other = create(t, store, mine), create(t, store, shared), create(t, store, other)
	m := meta.Member{Workspace: shared.ID, User: "bob", Role: meta.WorkspaceViewer, AddedBy: "ada", AddedAt: day}
	if err := s.Set(ctx, m); err != nil {
		t.Fatal(err)
	}
	eve := meta.Member{Workspace: shared.ID, User: "eve", Role: meta.WorkspaceEditor, AddedBy: "ada", AddedAt: day.Add(time.Second)}
	if err := s.Set(ctx, eve); err != nil {
		t.Fatal(err)
	}
	m.Role, m.AddedBy = meta.WorkspaceEditor, "eve"
	if err := s.Set(ctx, m); err != nil {
		t.Fatal(err)
	}
	if list, err := s.Of(ctx, shared.ID); err != nil || !slices.Equal(list, []meta.Member{m, eve}) {
		t.Errorf("members %+v, %v", list, err)
	}
	if list, err := s.ByUser(ctx, "bob"); err != nil || !slices.Equal(list, []meta.Member{m}) {
		t.Errorf("memberships %+v, %v", list, err)
	}
	role := func(w meta.Workspace, u holt.UserID, want meta.WorkspaceRole) {
		t.Helper()
		if got, err := s.RoleOf(ctx, w.ID, u); err != nil || got != want {
			t.Errorf("role of %s in %s: %q, %v, want %q", u, w.Name, got, err, want)
		}
	}
	role(mine, "bob", meta.WorkspaceOwner)
	role(shared, "bob", meta.WorkspaceEditor)
	role(other, "bob", "")
	role(shared, "", "")
	role(meta.Workspace{ID: "ws-none", Name: "none"}, "bob", "")
	names := func(p meta.Page) (out []string) {
		t.Helper()
		rows, _, err := store.Workspaces().List(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range rows {
			out = append(out, w.Name)
		}
		slices.Sort(out)
		return out
	}
	if got := names(meta.Page{Visible: "bob"}); !slices.Equal(got, []string{"mine", "shared"}) {
		t.Errorf("bob sees %v", got)
	}
	if got := names(meta.Page{Visible: "bob", States: []holt.State{holt.Running}}); len(got) != 0 {
		t.Errorf("bob sees %v running", got)
	}
	if got := names(meta.Page{Visible: "nobody"}); len(got) != 0 {
		t.Errorf("nobody sees %v", got)
	}
	if err := s.Remove(ctx, shared.ID, "bob"); err != nil {
		t.Fatal(err)
	}
	wantKind(t, s.Remove(ctx, shared.ID, "bob"), holt.KindNotFound)
	role(shared, "bob", "")

	// Of a deleted one the members still may hear that it is gone.
	shared.State = holt.Deleted
	if _, err := store.Workspaces().Update(ctx, shared); err != nil {
		t.Fatal(err)
	}
	role(shared, "eve", meta.WorkspaceEditor)
	role(shared, shared.Owner, meta.WorkspaceOwner)
	if n, err := s.Purge(ctx, time.Now().Add(time.Hour)); err != nil || n != 1 {
		t.Errorf("purged %d, %v", n, err)
	}
	role(shared, "eve", "")
}

func testAudit(t *testing.T, open func(*testing.T) meta.Store) {
	s, ctx := start(t, open).Audit(), t.Context()
	full := meta.AuditEntry{
		At: day, Actor: "us-ada", ActorName: "ada", Token: "tk-1", Action: "delete-workspace", Target: "ws-1", Label: "demo", Address: "192.0.2.1",
		Outcome: meta.OutcomeRefused, Detail: "it's \"not\" allowed", Request: "r1",
	}
	if err := s.Append(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(ctx, full, meta.AuditEntry{At: day.Add(time.Minute), Action: "login", Outcome: meta.OutcomeDone}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := s.Append(ctx, meta.AuditEntry{Actor: "us-bob", Action: "share", Target: "ws-1", Outcome: meta.OutcomeDone}); err != nil {
				t.Errorf("append: %v", err)
			}
		})
	}
	wg.Wait()
	var seqs []int64
	for p := (meta.AuditPage{Limit: 3}); ; {
		page, err := s.List(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			seqs = append(seqs, e.Seq)
		}
		p.Before = page[len(page)-1].Seq
	}
	if want := []int64{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}; !reflect.DeepEqual(seqs, want) {
		t.Fatalf("paged %v, want %v", seqs, want)
	}
	full.Seq = 1
	for what, p := range map[string]meta.AuditPage{"actor": {Actor: "us-ada"}, "action": {Action: full.Action}, "before": {Before: 2}} {
		if got, err := s.List(ctx, p); err != nil || len(got) != 1 || got[0] != full {
			t.Errorf("by %s: %+v, %v", what, got, err)
		}
	}
	if got, err := s.List(ctx, meta.AuditPage{Target: "ws-1"}); err != nil || len(got) != 9 || got[0].At.IsZero() {
		t.Errorf("by target: %d, %v", len(got), err)
	}
	if n, err := s.Purge(ctx, day.Add(time.Second)); err != nil || n != 1 {
		t.Errorf("purged %d, %v", n, err)
	}
	if err := s.Append(ctx, meta.AuditEntry{Action: "login"}); err != nil {
		t.Fatal(err)
	}
	if got, err := s.List(ctx, meta.AuditPage{Limit: 1}); err != nil || len(got) != 1 || got[0].Seq != 11 {
		t.Errorf("after a purge: %+v, %v", got, err)
	}
}

func testTokensOf(t *testing.T, open func(*testing.T) meta.Store) {
	s, ctx := start(t, open).Tokens(), t.Context()
	var ids []string
	for n := range 5 {
		k := token(n)
		k.Kind = meta.TokenSession
		k.Workspace, k.Agent, k.Address, k.StartedAt = "ws-1", "Firefox ünïcode", "192.0.2.1", day
		switch n {
		case 3:
			k.Owner = "bob"
		case 4:
			k.Kind = meta.TokenAPI
		}
		if err := s.Create(ctx, k); err != nil {
			t.Fatal(err)
		}
		if got, err := s.ByHash(ctx, k.Hash); err != nil || got != k {
			t.Fatalf("stored %+v, %v, want %+v", got, err, k)
		}
		ids = append(ids, k.ID)
	}
	// One is over already, one still works for a moment.
	if _, err := s.Revoke(ctx, ids[0], day.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Revoke(ctx, ids[1], day.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := s.RevokeOf(ctx, "ada", meta.TokenSession, day, ids[2]); err != nil {
		t.Fatal(err)
	}
	list, err := s.Of(ctx, "ada", meta.TokenSession)
	if err != nil || len(list) != 3 {
		t.Fatalf("sessions of ada: %+v, %v", list, err)
	}
	for i, want := range []time.Time{day.Add(-time.Hour), day, {}} {
		if !list[i].RevokedAt.Equal(want) {
			t.Errorf("%s revoked at %v, want %v", list[i].ID, list[i].RevokedAt, want)
		}
	}
	for owner, kind := range map[holt.UserID]meta.TokenKind{"bob": meta.TokenSession, "ada": meta.TokenAPI} {
		if list, err := s.Of(ctx, owner, kind); err != nil || len(list) != 1 || !list[0].RevokedAt.IsZero() {
			t.Errorf("tokens of %s: %+v, %v", owner, list, err)
		}
	}
}
