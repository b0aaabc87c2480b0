package auth_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/auth"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/meta/sql"
)

const good = "correct horse battery"

var browser = auth.Browser{Agent: "Firefox", Address: "192.0.2.1"}

// invited makes an account by way of an invitation.
func invited(t *testing.T, s *auth.Service, name string) auth.Session {
	t.Helper()
	secret, _, err := s.Invite(t.Context(), auth.InviteRequest{By: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	session, err := s.Join(t.Context(), secret, name, good, browser)
	if err != nil {
		t.Fatal(err)
	}
	return session
}

func invalid(t *testing.T, err error, field string) {
	t.Helper()
	if e, ok := errors.AsType[*holt.Error](err); !ok || e.Kind != holt.KindInvalid || e.Field != field {
		t.Errorf("got %v, want an invalid %s", err, field)
	}
}

func TestInvitation(t *testing.T) {
	s, c, _ := open(t)
	ctx := t.Context()
	secret, i, err := s.Invite(ctx, auth.InviteRequest{Note: " Bob ", By: "ada"})
	if err != nil || i.Role != meta.RoleMember || i.Note != "Bob" || !i.ExpiresAt.Equal(c.now().Add(auth.InviteLife)) || strings.Contains(i.Hash, secret[6:20]) {
		t.Fatalf("%+v, %v", i, err)
	}
	for password, name := range map[string]string{
		"short": "bob", "aaaaaaaaaaaaaaaa": "bob", strings.Repeat("long ", 200): "bob", "robert2026": "robert", "\xff\xfe" + good: "bob",
	} {
		_, err := s.Join(ctx, secret, name, password, browser)
		invalid(t, err, "password")
	}
	for _, name := range []string{"", "a b", "-x", "us-x", strings.Repeat("x", 33), "ünïcode", "x/../y"} {
		_, err := s.Join(ctx, secret, name, good, browser)
		invalid(t, err, "name")
	}
	if _, err := s.Join(ctx, secret, " ADA", good, browser); !errors.Is(err, meta.ErrUserTaken) {
		t.Errorf("a taken name in capitals: %v", err)
	}
	// None of that has used it up.
	session, err := s.Join(ctx, secret, "Bob", good, browser)
	if err != nil || session.Identity.Name != "bob" || session.Identity.Role != meta.RoleMember {
		t.Fatalf("%+v, %v", session.Identity, err)
	}
	if id, err := s.Authenticate(ctx, session.Secret); err != nil || id.User != session.Identity.User {
		t.Fatalf("%+v, %v", id, err)
	}
	_, err = s.Join(ctx, secret, "eve", good, browser)
	refused(t, err, "used or taken back already")

	late, _, err := s.Invite(ctx, auth.InviteRequest{By: "ada", Life: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	revoked, r, err := s.Invite(ctx, auth.InviteRequest{By: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RevokeInvitation(ctx, r.ID); err != nil {
		t.Fatal(err)
	}
	c.advance(time.Hour)
	_, err = s.Join(ctx, late, "eve", good, browser)
	refused(t, err, "expired on 2026-04-01 13:00 UTC")
	_, err = s.Join(ctx, revoked, "eve", good, browser)
	refused(t, err, "taken back")
	for _, bad := range []string{"", "x", late[:20], strings.ToUpper(late), "holt_" + late[6:] + "0"} {
		_, err = s.Join(ctx, bad, "eve", good, browser)
		refused(t, err, "not known here")
	}
	for field, req := range map[string]auth.InviteRequest{
		"role": {Role: "root"}, "note": {Note: "a\nb"}, "expires": {Life: 91 * 24 * time.Hour},
	} {
		_, _, err := s.Invite(ctx, req)
		invalid(t, err, field)
	}
	_, _, err = s.Invite(ctx, auth.InviteRequest{Workspace: "ws-1", WorkspaceRole: meta.WorkspaceOwner})
	invalid(t, err, "role")
}

func TestPasswordLogin(t *testing.T) {
	s, c, _ := open(t)
	ctx := t.Context()
	bob := invited(t, s, "bob").Identity.User
	session, err := s.PasswordLogin(ctx, " Bob", good, browser)
	if err != nil || session.Identity.User != bob || session.Identity.Scope != meta.ScopeAdmin {
		t.Fatalf("%+v, %v", session.Identity, err)
	}
	list, err := s.Sessions(ctx, bob)
	if err != nil || len(list) != 2 || list[1].Agent != "Firefox" || list[1].Address != "192.0.2.1" || !list[1].StartedAt.Equal(c.now()) {
		t.Fatalf("sessions %+v, %v", list, err)
	}
	// Unknown, without a password, and wrong: one answer.
	for _, name := range []string{"nobody", "ada", "bob", "no such/name"} {
		_, err := s.PasswordLogin(ctx, name, "wrong password", auth.Browser{Address: "192.0.2." + name})
		refused(t, err, "the name or the password is wrong")
	}
	_, err = s.PasswordLogin(ctx, "bob", strings.Repeat("x", 1<<20), browser)
	refused(t, err, "is wrong")
	_, err = s.PasswordLogin(ctx, "ada", "", browser)
	refused(t, err, "is wrong")

	if err := s.EndSession(ctx, "ada", list[1].ID); !holt.IsKind(err, holt.KindNotFound) {
		t.Errorf("somebody else's session: %v", err)
	}
	if err := s.EndSession(ctx, bob, list[1].ID); err != nil {
		t.Fatal(err)
	}
	_, err = s.Authenticate(ctx, session.Secret)
	refused(t, err, "log in again")
}

func TestThrottle(t *testing.T) {
	s, c, _ := open(t)
	ctx := t.Context()
	invited(t, s, "bob")
	try := func(name, password, address string) (wait time.Duration, err error) {
		_, err = s.PasswordLogin(ctx, name, password, auth.Browser{Address: address})
		if th, ok := errors.AsType[*auth.Throttled](err); ok {
			wait = th.RetryAfter()
		}
		return wait, err
	}
	for n := range 5 {
		if _, err := try("bob", "wrong password", "192.0.2.1"); !holt.IsKind(err, holt.KindUnauthorized) {
			t.Fatalf("try %d: %v", n, err)
		}
	}
	wait, err := try("bob", good, "192.0.2.1")
	if wait != time.Second || !holt.IsKind(err, holt.KindLimit) || !strings.Contains(err.Error(), "try again in 1 second") {
		t.Fatalf("the right password too early: %v, %v", wait, err)
	}
	// Its owner, somewhere else, is not concerned.
	if _, err := try("bob", good, "198.51.100.7"); err != nil {
		t.Fatalf("from elsewhere: %v", err)
	}
	// Waits double, to a quarter of an hour.
	for _, want := range []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second} {
		c.advance(want / 2)
		if _, err := try("bob", "wrong password", "192.0.2.1"); !holt.IsKind(err, holt.KindUnauthorized) {
			t.Fatal(err)
		}
		if wait, err = try("bob", good, "192.0.2.1"); wait != want {
			t.Fatalf("waits %v, want %v: %v", wait, want, err)
		}
	}
	c.advance(8 * time.Second)
	if _, err := try("bob", good, "192.0.2.1"); err != nil {
		t.Fatalf("the right password in time: %v", err)
	}
	if _, err := try("bob", "wrong password", "192.0.2.1"); !holt.IsKind(err, holt.KindUnauthorized) {
		t.Fatalf("the count does not begin anew: %v", err)
	}

	// Many tries at once gain nothing.
	var tried atomic.Int32
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			if _, err := try("bob", "wrong password", "203.0.113.9"); holt.IsKind(err, holt.KindUnauthorized) {
				tried.Add(1)
			}
		})
	}
	wg.Wait()
	if n := tried.Load(); n != 5 {
		t.Errorf("%d of 40 tries at once were judged, want 5", n)
	}
	// One guesser with many names, and in one IPv6 network with many addresses.
	var stopped error
	for n := 0; n < 200 && stopped == nil; n++ {
		if _, err := try(fmt.Sprintf("user%d", n), "wrong password", fmt.Sprintf("2001:db8::%x", n)); holt.IsKind(err, holt.KindLimit) {
			stopped = err
		}
	}
	if stopped == nil {
		t.Error("200 names from one network were judged")
	}
}

// The account itself slows down when many addresses guess, but never for long.
func TestThrottleOfAccount(t *testing.T) {
	s, c, _ := open(t)
	invited(t, s, "bob")
	n := 0
	for ; n < 100; n++ {
		_, err := s.PasswordLogin(t.Context(), "bob", "wrong password", auth.Browser{Address: fmt.Sprintf("192.0.2.%d", n)})
		if holt.IsKind(err, holt.KindLimit) {
			break
		}
	}
	if n != 50 {
		t.Errorf("slowed down after %d", n)
	}
	c.advance(30 * time.Second)
	if _, err := s.PasswordLogin(t.Context(), "bob", good, browser); err != nil {
		t.Errorf("its owner half a minute later: %v", err)
	}
}

func TestSetPassword(t *testing.T) {
	s, _, _ := open(t)
	ctx := t.Context()
	first := invited(t, s, "bob")
	second, err := s.PasswordLogin(ctx, "bob", good, browser)
	if err != nil {
		t.Fatal(err)
	}
	const fresh = "another fine password"
	invalid(t, s.SetPassword(ctx, second.Identity, "wrong", fresh, ""), "current")
	invalid(t, s.SetPassword(ctx, second.Identity, good, "short", ""), "password")
	if err := s.SetPassword(ctx, second.Identity, good, fresh, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Authenticate(ctx, second.Secret); err != nil {
		t.Errorf("the session that changed it: %v", err)
	}
	_, err = s.Authenticate(ctx, first.Secret)
	refused(t, err, "log in again")
	_, err = s.PasswordLogin(ctx, "bob", good, browser)
	refused(t, err, "is wrong")
	if _, err := s.PasswordLogin(ctx, "bob", fresh, browser); err != nil {
		t.Error(err)
	}
	var stopped bool
	for range 10 {
		stopped = stopped || holt.IsKind(s.SetPassword(ctx, second.Identity, "guess", fresh, ""), holt.KindLimit)
	}
	if !stopped {
		t.Error("a stolen session may guess the password freely")
	}
}

func TestFirstUser(t *testing.T) {
	db, err := sql.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s := auth.New(auth.Config{Users: db.Users(), Invitations: db.Invitations(), Tokens: db.Tokens(), Cost: cheap})
	ctx := t.Context()
	token, err := s.Bootstrap(ctx, "", "owner")
	if err != nil {
		t.Fatal(err)
	}
	earlier, err := s.Setup(ctx, "owner")
	if err != nil || earlier == "" {
		t.Fatalf("%q, %v", earlier, err)
	}
	code, err := s.Setup(ctx, "owner") // as after a restart
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = s.ResetOf(ctx, earlier)
	refused(t, err, "used already")
	if u, fresh, err := s.ResetOf(ctx, code); err != nil || !fresh || u.ID != "owner" {
		t.Fatalf("%+v, %v, %v", u, fresh, err)
	}
	_, err = s.Reset(ctx, code, "", good, browser)
	invalid(t, err, "name")
	session, err := s.Reset(ctx, code, "Grace", good, browser)
	if err != nil || session.Identity.User != "owner" || session.Identity.Name != "grace" || session.Identity.Role != meta.RoleAdmin {
		t.Fatalf("%+v, %v", session.Identity, err)
	}
	_, err = s.Reset(ctx, code, "eve", good, browser)
	refused(t, err, "used already")
	if code, err := s.Setup(ctx, "owner"); err != nil || code != "" {
		t.Fatalf("a second owner can be made: %q, %v", code, err)
	}
	if id, err := s.Authenticate(ctx, token); err != nil || id.Name != "grace" {
		t.Errorf("the token of the command line: %+v, %v", id, err)
	}
	if _, err := s.PasswordLogin(ctx, "grace", good, browser); err != nil {
		t.Error(err)
	}
	// Later on such a link changes the password alone.
	again, _, err := s.NewReset(ctx, "owner")
	if err != nil {
		t.Fatal(err)
	}
	if session, err = s.Reset(ctx, again, "eve", "a new and long password", browser); err != nil || session.Identity.Name != "grace" {
		t.Fatalf("%+v, %v", session.Identity, err)
	}
}

func TestDisabled(t *testing.T) {
	s, _, _ := open(t)
	ctx := t.Context()
	session := invited(t, s, "bob")
	bob := session.Identity.User
	token, _, err := s.Create(ctx, auth.TokenRequest{Name: "ci", Owner: bob})
	if err != nil {
		t.Fatal(err)
	}
	link, _, err := s.NewReset(ctx, bob)
	if err != nil {
		t.Fatal(err)
	}
	yes, no := true, false
	if u, err := s.Change(ctx, bob, auth.UserChange{Disabled: &yes}); err != nil || u.DisabledAt.IsZero() {
		t.Fatalf("%+v, %v", u, err)
	}
	for what, err := range map[string]error{
		"session":  func() error { _, err := s.Authenticate(ctx, session.Secret); return err }(),
		"token":    func() error { _, err := s.Authenticate(ctx, token); return err }(),
		"link":     func() error { _, err := s.Reset(ctx, link, "", good, browser); return err }(),
		"password": func() error { _, err := s.PasswordLogin(ctx, "bob", good, browser); return err }(),
		"still":    func() error { _, err := s.Still(ctx, session.Identity); return err }(),
	} {
		if !holt.IsKind(err, holt.KindUnauthorized) {
			t.Errorf("%s of a disabled user: %v", what, err)
		}
	}
	_, err = s.PasswordLogin(ctx, "bob", good, browser)
	refused(t, err, "the account bob is disabled: ask an admin")
	if u, err := s.Change(ctx, bob, auth.UserChange{Disabled: &no}); err != nil || !u.DisabledAt.IsZero() {
		t.Fatalf("%+v, %v", u, err)
	}
	if _, err := s.Authenticate(ctx, token); err != nil {
		t.Errorf("token of an enabled user: %v", err)
	}
	_, err = s.Authenticate(ctx, session.Secret)
	refused(t, err, "log in again")

	if _, err := s.Change(ctx, "ada", auth.UserChange{Disabled: &yes}); !errors.Is(err, meta.ErrLastAdmin) {
		t.Errorf("disable the last admin: %v", err)
	}
	root := meta.Role("root")
	_, err = s.Change(ctx, bob, auth.UserChange{Role: &root})
	invalid(t, err, "role")
	mail := "not an address"
	_, err = s.Change(ctx, bob, auth.UserChange{Email: &mail})
	invalid(t, err, "email")
	if err := s.Remove(ctx, bob); err != nil {
		t.Fatal(err)
	}
	_, err = s.Authenticate(ctx, token)
	refused(t, err, "not known here")
}

// A long stream is checked again by its identity, over the replacement of its session.
func TestStill(t *testing.T) {
	s, c, _ := open(t)
	ctx := t.Context()
	session := invited(t, s, "bob")
	c.advance(24 * time.Hour)
	fresh, err := s.Rotate(ctx, session.Secret)
	if err != nil || fresh == nil {
		t.Fatal(fresh, err)
	}
	c.advance(time.Hour)
	if id, err := s.Still(ctx, session.Identity); err != nil || id.Name != "bob" {
		t.Errorf("of a session that was replaced: %+v, %v", id, err)
	}
	if err := s.Logout(ctx, fresh.Secret); err != nil {
		t.Fatal(err)
	}
	_, err = s.Still(ctx, session.Identity)
	refused(t, err, "session")
	if list, err := s.Sessions(ctx, session.Identity.User); err != nil || len(list) != 0 {
		t.Errorf("sessions %+v, %v", list, err)
	}
}

// A hash of another cost is made anew when its password is there.
func TestRehash(t *testing.T) {
	s, _, db := open(t)
	ctx := t.Context()
	id := invited(t, s, "bob").Identity.User
	before, err := db.Users().Get(ctx, id)
	if err != nil || !strings.HasPrefix(before.Password, "$argon2id$v=19$m=64,t=1,p=1$") {
		t.Fatalf("%q, %v", before.Password, err)
	}
	costlier := auth.New(auth.Config{Users: db.Users(), Invitations: db.Invitations(), Tokens: db.Tokens(), Cost: auth.Cost{Memory: 128, Passes: 2, Threads: 2}})
	for range 2 {
		if _, err := costlier.PasswordLogin(ctx, "bob", good, browser); err != nil {
			t.Fatal(err)
		}
	}
	after, err := db.Users().Get(ctx, id)
	if err != nil || !strings.HasPrefix(after.Password, "$argon2id$v=19$m=128,t=2,p=2$") {
		t.Fatalf("%q, %v", after.Password, err)
	}
	for _, damaged := range []string{"plain", "$argon2id$v=19$m=4294967295,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "$argon2id$v=19$m=64,t=1,p=1 x$AAAA$AAAA", "$bcrypt$v=19$m=64,t=1,p=1$AAAA$AAAA"} {
		if _, err := db.Users().Update(ctx, id, func(u *meta.User) error { u.Password = damaged; return nil }); err != nil {
			t.Fatal(err)
		}
		if _, err := s.PasswordLogin(ctx, "bob", good, auth.Browser{Address: damaged}); !holt.IsKind(err, holt.KindCorrupt) {
			t.Errorf("%q: %v", damaged, err)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	s, _, _ := open(t)
	invited(t, s, "bob")
	var wg sync.WaitGroup
	for n := range 30 {
		wg.Go(func() {
			if _, err := s.PasswordLogin(t.Context(), "bob", good, auth.Browser{Address: fmt.Sprintf("192.0.2.%d", n)}); err != nil {
				t.Errorf("login: %v", err)
			}
		})
	}
	wg.Wait()
}

// What one login costs; decision 0011 tells what it was. Run with -benchmem.
func BenchmarkPasswordLogin(b *testing.B) {
	db, err := sql.Open(b.Context(), "sqlite:"+filepath.Join(b.TempDir(), "x.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	for _, cost := range []auth.Cost{{19 << 10, 2, 1}, {46 << 10, 1, 1}, auth.DefaultCost, {64 << 10, 2, 1}, {64 << 10, 3, 4}} {
		s := auth.New(auth.Config{Users: db.Users(), Invitations: db.Invitations(), Tokens: db.Tokens(), Cost: cost})
		secret, _, err := s.Invite(b.Context(), auth.InviteRequest{})
		if err != nil {
			b.Fatal(err)
		}
		name := fmt.Sprintf("m%d-t%d-p%d", cost.Memory>>10, cost.Passes, cost.Threads)
		if _, err := s.Join(b.Context(), secret, name, good, browser); err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.PasswordLogin(b.Context(), name, good, browser); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
