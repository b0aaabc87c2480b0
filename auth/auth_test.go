package auth_test

import (
	"errors"
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

// clock is a time that tests move.
type clock struct{ ns atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(0, c.ns.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }

func open(t *testing.T) (*auth.Service, *clock, meta.Store) {
	t.Helper()
	db, err := sql.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	c := &clock{}
	c.ns.Store(time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	s := auth.New(auth.Config{Users: db.Users(), Invitations: db.Invitations(), Tokens: db.Tokens(), Now: c.now, Cost: cheap})
	if err := db.Users().Create(t.Context(), meta.User{ID: "ada", Name: "ada", Role: meta.RoleAdmin, CreatedAt: c.now()}); err != nil {
		t.Fatal(err)
	}
	return s, c, db
}

// cheap is a cost that makes tests fast.
var cheap = auth.Cost{Memory: 64, Passes: 1, Threads: 1}

func refused(t *testing.T, err error, text string) {
	t.Helper()
	if !holt.IsKind(err, holt.KindUnauthorized) || !strings.Contains(err.Error(), text) {
		t.Fatalf("got %v, want a refusal that says %q", err, text)
	}
}

func TestTokenLife(t *testing.T) {
	s, c, store := open(t)
	ctx := t.Context()
	secret, tok, err := s.Create(ctx, auth.TokenRequest{Name: " ci ", Scope: meta.ScopeRead, Life: time.Hour, Owner: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(secret, "holt_") || strings.Contains(tok.Hash, secret[5:20]) || tok.Name != "ci" {
		t.Fatalf("token %q with row %+v", secret, tok)
	}
	id, err := s.Authenticate(ctx, secret)
	want := auth.Identity{User: "ada", Name: "ada", Role: meta.RoleAdmin, Scope: meta.ScopeRead, Kind: meta.TokenAPI, TokenID: tok.ID, Expires: c.now().Add(time.Hour)}
	if err != nil || id != want {
		t.Fatalf("identity %+v, %v, want %+v", id, err, want)
	}
	if list, err := s.List(ctx, "ada"); err != nil || len(list) != 1 || !list[0].LastUsedAt.Equal(c.now()) {
		t.Fatalf("list %+v, %v", list, err)
	}
	c.advance(time.Hour - time.Microsecond)
	if _, err := s.Authenticate(ctx, secret); err != nil {
		t.Fatalf("just before its end: %v", err)
	}
	c.advance(time.Microsecond)
	_, err = s.Authenticate(ctx, secret)
	refused(t, err, "expired on 2026-04-01 13:00 UTC")
	refused(t, err, "holt token create")

	forever, tok, err := s.Create(ctx, auth.TokenRequest{Name: "x", Owner: "ada"})
	if err != nil || tok.Scope != meta.ScopeAdmin {
		t.Fatal(tok, err)
	}
	c.advance(100 * 365 * 24 * time.Hour)
	if _, err := s.Authenticate(ctx, forever); err != nil {
		t.Fatal(err)
	}
	if err := s.Revoke(ctx, "ada", tok.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.Revoke(ctx, "ada", tok.ID); err != nil {
		t.Fatalf("second revoke: %v", err)
	}
	_, err = s.Authenticate(ctx, forever)
	refused(t, err, "was revoked on")
	if err := s.Revoke(ctx, "", "tk-nobody"); !holt.IsKind(err, holt.KindNotFound) {
		t.Fatalf("revoke of an unknown token: %v", err)
	}

	c.advance(8 * 24 * time.Hour)
	if n, err := s.Purge(ctx); err != nil || n != 2 {
		t.Fatalf("purged %d, %v", n, err)
	}
	if list, err := store.Tokens().List(ctx, meta.TokenAPI); err != nil || len(list) != 0 {
		t.Fatalf("left %v, %v", list, err)
	}
}

func TestWrongSecrets(t *testing.T) {
	s, _, _ := open(t)
	ctx := t.Context()
	secret, _, err := s.Create(ctx, auth.TokenRequest{Name: "x", Owner: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	code, _, err := s.NewLogin(ctx, auth.Identity{User: "ada", Scope: meta.ScopeAdmin})
	if err != nil {
		t.Fatal(err)
	}
	flipped := secret[:len(secret)-1] + map[bool]string{true: "0", false: "1"}[secret[len(secret)-1] != '0']
	for _, bad := range []string{
		"x", secret[:len(secret)-1], secret + "0", flipped, strings.ToUpper(secret), " " + secret, secret[5:],
		"holts_" + secret[5:], "holt_" + strings.Repeat("0", 1<<20), code, "holt_" + code[6:], "holt_\x00",
	} {
		_, err := s.Authenticate(ctx, bad)
		if !holt.IsKind(err, holt.KindUnauthorized) {
			t.Errorf("%.80q: %v", bad, err)
		}
		if err != nil && len(bad) > 20 && strings.Contains(err.Error(), bad[6:20]) {
			t.Errorf("the error repeats the secret: %v", err)
		}
	}
	_, err = s.Authenticate(ctx, "")
	refused(t, err, "HOLT_TOKEN")
	if _, err := s.Login(ctx, secret, auth.Browser{}); !holt.IsKind(err, holt.KindUnauthorized) {
		t.Errorf("an API token as login code: %v", err)
	}
}

func TestBadRequests(t *testing.T) {
	s, _, _ := open(t)
	for field, r := range map[string]auth.TokenRequest{
		"name":    {Name: "a\nb"},
		"scope":   {Name: "x", Scope: "root"},
		"expires": {Name: "x", Life: -time.Second},
	} {
		_, _, err := s.Create(t.Context(), r)
		e, ok := errors.AsType[*holt.Error](err)
		if !ok || e.Kind != holt.KindInvalid || e.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	for _, name := range []string{"", "  ", strings.Repeat("x", 65)} {
		if _, _, err := s.Create(t.Context(), auth.TokenRequest{Name: name}); !holt.IsKind(err, holt.KindInvalid) {
			t.Errorf("name %q: %v", name, err)
		}
	}
}

func TestAllow(t *testing.T) {
	for _, c := range []struct {
		have, need meta.Scope
		ok         bool
	}{
		{meta.ScopeAdmin, meta.ScopeAdmin, true}, {meta.ScopeAdmin, meta.ScopeRead, true},
		{meta.ScopeAdmin, meta.ScopeWrite, true}, {meta.ScopeWrite, meta.ScopeWrite, true}, {meta.ScopeWrite, meta.ScopeRead, true},
		{meta.ScopeWrite, meta.ScopeAdmin, false}, {meta.ScopeRead, meta.ScopeWrite, false},
		{meta.ScopeRead, meta.ScopeRead, true}, {meta.ScopeRead, meta.ScopeAdmin, false},
		{"", meta.ScopeRead, false}, {"", "", false},
	} {
		err := auth.Identity{Scope: c.have}.Allow(c.need)
		if (err == nil) != c.ok || !c.ok && !holt.IsKind(err, holt.KindForbidden) {
			t.Errorf("%s for %s: %v", c.have, c.need, err)
		}
	}
}

func TestLogin(t *testing.T) {
	s, c, _ := open(t)
	ctx := t.Context()
	code, expires, err := s.NewLogin(ctx, auth.Identity{User: "ada", Scope: meta.ScopeAdmin})
	if err != nil || !expires.Equal(c.now().Add(15*time.Minute)) {
		t.Fatal(code, expires, err)
	}
	var won atomic.Int32
	var session auth.Session
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			got, err := s.Login(ctx, code, auth.Browser{})
			switch {
			case err == nil:
				session = got
				won.Add(1)
			case !holt.IsKind(err, holt.KindUnauthorized):
				t.Errorf("login: %v", err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d logins with one code", won.Load())
	}
	id, err := s.Authenticate(ctx, session.Secret)
	if err != nil || id.User != "ada" || id.Scope != meta.ScopeAdmin || id.Kind != meta.TokenSession {
		t.Fatalf("session of %+v, %v", id, err)
	}
	_, err = s.Login(ctx, code, auth.Browser{})
	refused(t, err, "used already")

	late, _, err := s.NewLogin(ctx, auth.Identity{User: "ada", Scope: meta.ScopeRead})
	if err != nil {
		t.Fatal(err)
	}
	c.advance(15 * time.Minute)
	_, err = s.Login(ctx, late, auth.Browser{})
	refused(t, err, "expired on")

	if err := s.Logout(ctx, session.Secret); err != nil {
		t.Fatal(err)
	}
	_, err = s.Authenticate(ctx, session.Secret)
	refused(t, err, "log in again")
	if err := s.Logout(ctx, session.Secret); err != nil {
		t.Fatalf("second logout: %v", err)
	}
}

func TestRotate(t *testing.T) {
	s, c, _ := open(t)
	ctx := t.Context()
	code, _, err := s.NewLogin(ctx, auth.Identity{User: "ada", Scope: meta.ScopeRead})
	if err != nil {
		t.Fatal(err)
	}
	old, err := s.Login(ctx, code, auth.Browser{})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := s.Rotate(ctx, old.Secret); err != nil || n != nil {
		t.Fatalf("rotated at once: %v, %v", n, err)
	}
	c.advance(24 * time.Hour)
	fresh, err := s.Rotate(ctx, old.Secret)
	if err != nil || fresh == nil || fresh.Secret == old.Secret || !fresh.Expires.Equal(c.now().Add(auth.SessionLife)) {
		t.Fatalf("after a day: %+v, %v", fresh, err)
	}
	if n, err := s.Rotate(ctx, old.Secret); err != nil || n != nil {
		t.Fatalf("rotated twice: %v, %v", n, err)
	}
	for _, secret := range []string{old.Secret, fresh.Secret} {
		if id, err := s.Authenticate(ctx, secret); err != nil || id.Scope != meta.ScopeRead {
			t.Fatalf("within the grace: %+v, %v", id, err)
		}
	}
	c.advance(time.Minute)
	_, err = s.Authenticate(ctx, old.Secret)
	refused(t, err, "log in again")
	if _, err := s.Authenticate(ctx, fresh.Secret); err != nil {
		t.Fatal(err)
	}
}

func TestBootstrap(t *testing.T) {
	s, _, _ := open(t)
	ctx := t.Context()
	first, err := s.Bootstrap(ctx, "", "ada")
	if err != nil {
		t.Fatal(err)
	}
	if id, err := s.Authenticate(ctx, first); err != nil || id.Scope != meta.ScopeAdmin || id.User != "ada" {
		t.Fatalf("%+v, %v", id, err)
	}
	if again, err := s.Bootstrap(ctx, first+"\n", "ada"); err != nil || again != first {
		t.Fatalf("a token that works was replaced: %v", err)
	}
	for _, damaged := range []string{"", first[:20], "nonsense"} {
		fresh, err := s.Bootstrap(ctx, damaged, "ada")
		if err != nil || fresh == first {
			t.Fatalf("%q: %v", damaged, err)
		}
		if _, err := s.Authenticate(ctx, first); !holt.IsKind(err, holt.KindUnauthorized) {
			t.Fatalf("%q: the earlier token still works", damaged)
		}
		first = fresh
	}
}
