package metatest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

var day = time.Date(2026, 6, 1, 8, 0, 0, 1000, time.UTC)

func token(n int) meta.Token {
	return meta.Token{ID: fmt.Sprintf("t%d", n), Hash: fmt.Sprintf("hash%d", n), Name: "laptop", Kind: meta.TokenAPI, Scope: meta.ScopeRead,
		Owner: "ada", CreatedAt: day.Add(time.Duration(n) * time.Second), ExpiresAt: day.Add(time.Hour)}
}

func testTokens(t *testing.T, open func(*testing.T) meta.Store) {
	s := start(t, open).Tokens()
	ctx := t.Context()
	want := token(1)
	if err := s.Create(ctx, want); err != nil {
		t.Fatal(err)
	}
	if got, err := s.ByHash(ctx, want.Hash); err != nil || got != want {
		t.Fatalf("by hash\n%+v, %v, want\n%+v", got, err, want)
	}
	same := token(2)
	same.Hash = want.Hash
	wantKind(t, s.Create(ctx, same), holt.KindConflict)
	_, err := s.ByHash(ctx, "nothing")
	wantKind(t, err, holt.KindNotFound)

	forever := token(2)
	forever.ExpiresAt = time.Time{}
	session := token(3)
	session.Kind = meta.TokenSession
	for _, k := range []meta.Token{forever, session} {
		if err := s.Create(ctx, k); err != nil {
			t.Fatal(err)
		}
	}
	list, err := s.List(ctx, meta.TokenAPI)
	if err != nil || len(list) != 2 || list[0] != want || list[1] != forever {
		t.Fatalf("list %+v, %v", list, err)
	}

	for _, at := range []time.Time{day.Add(2 * time.Second), day.Add(time.Second)} {
		if err := s.Touch(ctx, want.ID, at); err != nil {
			t.Fatal(err)
		}
	}
	if first, err := s.Revoke(ctx, want.ID, day); err != nil || !first {
		t.Fatalf("revoke: %v, %v", first, err)
	}
	if first, err := s.Revoke(ctx, want.ID, day.Add(time.Hour)); err != nil || first {
		t.Fatalf("second revoke: %v, %v", first, err)
	}
	_, err = s.Revoke(ctx, "nobody", day)
	wantKind(t, err, holt.KindNotFound)
	want.LastUsedAt, want.RevokedAt = day.Add(2*time.Second), day
	if got, err := s.ByHash(ctx, want.Hash); err != nil || got != want {
		t.Fatalf("after use and revocation\n%+v, %v, want\n%+v", got, err, want)
	}
}

func testTokenRevokeRace(t *testing.T, open func(*testing.T) meta.Store) {
	s := start(t, open).Tokens()
	if err := s.Create(t.Context(), token(1)); err != nil {
		t.Fatal(err)
	}
	var firsts atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			first, err := s.Revoke(t.Context(), "t1", day)
			if err != nil {
				t.Errorf("revoke: %v", err)
			}
			if first {
				firsts.Add(1)
			}
		})
	}
	wg.Wait()
	if n := firsts.Load(); n != 1 {
		t.Errorf("%d callers were first", n)
	}
}

func testTokenPurge(t *testing.T, open func(*testing.T) meta.Store) {
	s := start(t, open).Tokens()
	ctx := t.Context()
	for n := range 4 {
		k := token(n)
		switch n {
		case 0:
			k.ExpiresAt = time.Time{}
		case 1:
			k.ExpiresAt = day.Add(-time.Second)
		case 2:
			k.RevokedAt = day.Add(-time.Second)
		}
		if err := s.Create(ctx, k); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.Purge(ctx, day); err != nil || n != 2 {
		t.Fatalf("purged %d, %v", n, err)
	}
	list, err := s.List(ctx, meta.TokenAPI)
	if err != nil || len(list) != 2 || list[0].ID != "t0" || list[1].ID != "t3" {
		t.Fatalf("left: %+v, %v", list, err)
	}
}

func testIdempotency(t *testing.T, open func(*testing.T) meta.Store) {
	s := start(t, open).Idempotency()
	ctx := t.Context()
	key := meta.Key{Token: "t1", Value: strings.Repeat("k", 255)}
	claim := func(k meta.Key, hash string, at time.Time) meta.Claim {
		t.Helper()
		c, err := s.Claim(ctx, k, hash, at, at.Add(time.Hour))
		if err != nil {
			t.Fatalf("claim: %v", err)
		}
		return c
	}
	if c := claim(key, "h1", day); !c.First || c.Reply != nil {
		t.Fatalf("first claim: %+v", c)
	}
	if c := claim(key, "h1", day); c.First || c.Reply != nil {
		t.Fatalf("claim while the first runs: %+v", c)
	}
	if _, err := s.Claim(ctx, key, "h2", day, day.Add(time.Hour)); !errors.Is(err, meta.ErrKeyReused) {
		t.Fatalf("another request: %v", err)
	}
	if c := claim(meta.Key{Token: "t2", Value: key.Value}, "h2", day); !c.First {
		t.Fatal("another token's key collides")
	}
	reply := meta.Reply{Status: 201, Type: "application/json", Body: []byte("{\"a\":\x00\xff}")}
	if err := s.Complete(ctx, key, reply); err != nil {
		t.Fatal(err)
	}
	if err := s.Abandon(ctx, key); err != nil {
		t.Fatal(err)
	}
	c := claim(key, "h1", day.Add(time.Minute))
	if c.First || c.Reply == nil || c.Reply.Status != 201 || c.Reply.Type != reply.Type || !bytes.Equal(c.Reply.Body, reply.Body) {
		t.Fatalf("replay: %+v", c)
	}
	if c := claim(key, "h3", day.Add(time.Hour)); !c.First {
		t.Fatal("an expired key is still taken")
	}
	if c := claim(key, "h3", day.Add(time.Hour)); c.First || c.Reply != nil {
		t.Fatalf("the renewed claim kept an old reply: %+v", c)
	}
	if err := s.Abandon(ctx, key); err != nil {
		t.Fatal(err)
	}
	if c := claim(key, "h4", day.Add(time.Hour)); !c.First {
		t.Fatal("an abandoned key is still taken")
	}
	wantKind(t, s.Complete(ctx, meta.Key{Token: "t9", Value: "x"}, reply), holt.KindNotFound)
	if n, err := s.Purge(ctx, day.Add(90*time.Minute)); err != nil || n != 1 {
		t.Fatalf("purged %d, %v", n, err)
	}
}

// A claimer that died does not keep its key: exactly one caller gets it.
func testIdempotencyTakeOver(t *testing.T, open func(*testing.T) meta.Store) {
	s := start(t, open).Idempotency()
	key := meta.Key{Token: "t", Value: "v"}
	claim := func(at time.Time) meta.Claim {
		t.Helper()
		c, err := s.Claim(t.Context(), key, "h", at, at.Add(time.Hour))
		if err != nil {
			t.Fatalf("claim: %v", err)
		}
		return c
	}
	claim(day)
	if c := claim(day.Add(meta.ClaimPatience - time.Second)); c.First {
		t.Fatalf("the key of a living claimer was taken: %+v", c)
	}
	late := day.Add(meta.ClaimPatience)
	if _, err := s.Claim(t.Context(), key, "other", late, late.Add(time.Hour)); !errors.Is(err, meta.ErrKeyReused) {
		t.Fatalf("another request took the key: %v", err)
	}
	if c := claim(late); !c.First || !c.Since.Equal(day) {
		t.Fatalf("the key of a dead claimer: %+v, want First since %v", c, day)
	}
	if c := claim(late); c.First {
		t.Fatalf("the key was taken twice: %+v", c)
	}
	if err := s.Complete(t.Context(), key, meta.Reply{Status: 201}); err != nil {
		t.Fatal(err)
	}
	if c := claim(late.Add(meta.ClaimPatience)); c.First || c.Reply == nil {
		t.Fatalf("an answered key was taken: %+v", c)
	}
}

func testIdempotencyRace(t *testing.T, open func(*testing.T) meta.Store) {
	s := start(t, open).Idempotency()
	var firsts atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c, err := s.Claim(t.Context(), meta.Key{Token: "t", Value: "v"}, "h", day, day.Add(time.Hour))
			if err != nil {
				t.Errorf("claim: %v", err)
			}
			if c.First {
				firsts.Add(1)
			}
		})
	}
	wg.Wait()
	if n := firsts.Load(); n != 1 {
		t.Errorf("%d callers were first", n)
	}
}

func testRestart(t *testing.T, open func(*testing.T) meta.Store) {
	s := open(t)
	w := create(t, s, sample("demo"), meta.Event{Kind: meta.EventState})
	if err := s.Tokens().Create(t.Context(), token(1)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = start(t, open)
	if got, err := s.Workspaces().Get(t.Context(), w.ID); err != nil || got != w {
		t.Fatalf("after restart\n%+v, %v, want\n%+v", got, err, w)
	}
	if _, err := s.Tokens().ByHash(t.Context(), "hash1"); err != nil {
		t.Error(err)
	}
	if last, err := s.Events().Append(t.Context(), meta.Event{Kind: meta.EventLog}); err != nil || last != 2 {
		t.Fatalf("numbers go on with %d (%v), want 2", last, err)
	}
}

func testClosed(t *testing.T, open func(*testing.T) meta.Store) {
	s := open(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Workspaces().Get(t.Context(), "ws-x"); err == nil || holt.IsKind(err, holt.KindNotFound) {
		t.Errorf("get from a closed store: %v", err)
	}
	if _, err := s.Workspaces().Create(t.Context(), sample("demo")); err == nil {
		t.Error("create in a closed store succeeded")
	}
}
