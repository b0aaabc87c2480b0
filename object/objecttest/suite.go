// Package objecttest is the suite that every object store and every wrapper of one
// passes, a store in memory, and a wrapper that fails as a test scripts it.
package objecttest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
)

// Run runs the suite. open returns an empty store; it is called for each part.
func Run(t *testing.T, open func(t *testing.T) object.Store) {
	for name, part := range map[string]func(*testing.T, object.Store){
		"RoundTrip": testRoundTrip, "Ranges": testRanges, "Overwrite": testOverwrite, "Missing": testMissing,
		"HostileInput": testHostileInput, "List": testList, "Conditions": testConditions, "CreateRace": testCreateRace,
		"SwapRace": testSwapRace, "WholeBodies": testWholeBodies, "Cancelled": testCancelled, "BodiesAreCopies": testCopies,
	} {
		t.Run(name, func(t *testing.T) { part(t, open(t)) })
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func put(t *testing.T, s object.Store, key object.Key, body []byte) object.ETag {
	t.Helper()
	tag, err := s.Put(t.Context(), key, body, object.Condition{})
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	if tag == "" {
		t.Fatalf("put %s: no tag", key)
	}
	return tag
}

func get(t *testing.T, s object.Store, key object.Key, r object.Range) object.Object {
	t.Helper()
	o, err := s.Get(t.Context(), key, r)
	if err != nil {
		t.Fatalf("get %s %+v: %v", key, r, err)
	}
	return o
}

func wantKind(t *testing.T, err error, want holt.Kind, doing string, a ...any) {
	t.Helper()
	if !holt.IsKind(err, want) {
		t.Errorf("%s: %v (kind %q), want kind %q", fmt.Sprintf(doing, a...), err, holt.KindOf(err), want)
	}
}

func testRoundTrip(t *testing.T, s object.Store) {
	for _, size := range []int{0, 1, 4095, 1 << 20, 5<<20 + 13} {
		key := object.Key(fmt.Sprintf("round/trip-%d.bin", size))
		body := random(size)
		tag := put(t, s, key, body)
		for range 2 {
			o := get(t, s, key, object.Range{})
			if !bytes.Equal(o.Body, body) || o.Size != int64(size) || o.ETag != tag || o.Key != key || o.Modified.IsZero() {
				t.Errorf("%s: got %d bytes, %+v, want tag %s", key, len(o.Body), o.Info, tag)
			}
		}
		info, err := s.Stat(t.Context(), key)
		if err != nil || info.Size != int64(size) || info.ETag != tag || info.Key != key {
			t.Errorf("stat %s: %+v, %v, want tag %s", key, info, err, tag)
		}
	}
}

func testRanges(t *testing.T, s object.Store) {
	body := random(100_000)
	put(t, s, "ranges", body)
	put(t, s, "empty", nil)
	for range 2 { // the second time from a cache, if there is one
		for _, c := range []struct{ offset, length, from, to int64 }{
			{0, 1, 0, 1}, {0, 100_000, 0, 100_000}, {0, 200_000, 0, 100_000}, {99_999, 0, 99_999, 100_000},
			{99_999, 50, 99_999, 100_000}, {50_000, 0, 50_000, 100_000}, {32_768, 32_768, 32_768, 65_536}, {32_767, 2, 32_767, 32_769},
		} {
			o := get(t, s, "ranges", object.Range{Offset: c.offset, Length: c.length})
			if !bytes.Equal(o.Body, body[c.from:c.to]) || o.Size != 100_000 {
				t.Errorf("range of %d from %d: %d bytes of %d, want those from %d to %d", c.length, c.offset, len(o.Body), o.Size, c.from, c.to)
			}
		}
		for _, r := range []object.Range{{Offset: 100_000}, {Offset: 100_001, Length: 5}, {Offset: -1}, {Length: -1}} {
			_, err := s.Get(t.Context(), "ranges", r)
			wantKind(t, err, holt.KindInvalid, "range %+v", r)
		}
		if o := get(t, s, "empty", object.Range{Length: 10}); len(o.Body) != 0 || o.Size != 0 {
			t.Errorf("range of an empty object: %+v", o)
		}
	}
}

func testOverwrite(t *testing.T, s object.Store) {
	first := put(t, s, "over", []byte("first"))
	get(t, s, "over", object.Range{})
	if second := put(t, s, "over", []byte("second, longer")); second == first {
		t.Errorf("different content has the same tag %s", first)
	}
	if o := get(t, s, "over", object.Range{}); string(o.Body) != "second, longer" {
		t.Errorf("after overwriting: %q", o.Body)
	}
}

func testMissing(t *testing.T, s object.Store) {
	_, err := s.Get(t.Context(), "not/there", object.Range{})
	wantKind(t, err, holt.KindNotFound, "get")
	_, err = s.Get(t.Context(), "not/there", object.Range{Offset: 5, Length: 5})
	wantKind(t, err, holt.KindNotFound, "get range")
	_, err = s.Stat(t.Context(), "not/there")
	wantKind(t, err, holt.KindNotFound, "stat")
	put(t, s, "there/for-now", random(10))
	for range 2 {
		if err := s.Delete(t.Context(), "there/for-now"); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	_, err = s.Get(t.Context(), "there/for-now", object.Range{})
	wantKind(t, err, holt.KindNotFound, "get after delete")
	put(t, s, "there/for-now", []byte("again"))
	if o := get(t, s, "there/for-now", object.Range{}); string(o.Body) != "again" {
		t.Errorf("after delete and put: %q", o.Body)
	}
}

func testHostileInput(t *testing.T, s object.Store) {
	for _, key := range []object.Key{"", "/", "/etc/passwd", "a//b", "a/", "..", "../a", "a/../b", "a/..", ".hidden", "a/.hidden", "a b", "a\x00b",
		"a\nb", "ä", `a\b`, "a?b", "a%2e", object.Key(strings.Repeat("k", object.MaxSegment+1)),
		object.Key(strings.Repeat("k/", object.MaxKey/2) + "k")} {
		_, err := s.Put(t.Context(), key, nil, object.Condition{})
		wantKind(t, err, holt.KindInvalid, "put %.30q", key)
		_, err = s.Get(t.Context(), key, object.Range{})
		wantKind(t, err, holt.KindInvalid, "get %.30q", key)
		_, err = s.Stat(t.Context(), key)
		wantKind(t, err, holt.KindInvalid, "stat %.30q", key)
		wantKind(t, s.Delete(t.Context(), key), holt.KindInvalid, "delete %.30q", key)
	}
	for _, prefix := range []string{"/", "../", "a//", ".hidden", "a/../"} {
		var got error
		for _, err := range s.List(t.Context(), prefix) {
			got = err
		}
		wantKind(t, got, holt.KindInvalid, "list %q", prefix)
	}
	_, err := s.Put(t.Context(), "large", make([]byte, object.MaxSize+1), object.Condition{})
	wantKind(t, err, holt.KindInvalid, "put of a body that is too large")
	_, err = s.Put(t.Context(), "both", nil, object.Condition{Absent: true, Match: "x"})
	wantKind(t, err, holt.KindInvalid, "put with contradictory conditions")
	longest := object.Key(strings.Repeat(strings.Repeat("k", object.MaxSegment-1)+"/", 3) + strings.Repeat("k", object.MaxSegment-1))
	put(t, s, longest, []byte("long"))
	if o := get(t, s, longest, object.Range{}); string(o.Body) != "long" {
		t.Errorf("longest key: %q", o.Body)
	}
}

func keys(t *testing.T, s object.Store, prefix string) []string {
	t.Helper()
	var got []string
	for info, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatalf("list %q: %v", prefix, err)
		}
		got = append(got, fmt.Sprintf("%s=%d", info.Key, info.Size))
	}
	return got
}

func testList(t *testing.T, s object.Store) {
	if got := keys(t, s, ""); len(got) != 0 {
		t.Fatalf("an empty store lists %q", got)
	}
	var want []string
	for i, key := range []object.Key{"a-b/1", "a/1", "a/10", "a/2", "a.b", "ab", "b/c/d/e", "b/c/d-e", "b/c0", "B", "z_z"} {
		put(t, s, key, make([]byte, i))
		want = append(want, fmt.Sprintf("%s=%d", key, i))
	}
	for _, prefix := range []string{"", "a", "a/", "a/1", "b/c", "b/c/", "b/c/d/", "nothing", "z_z", "z_z/"} {
		var expect []string
		for _, k := range want {
			if name, _, _ := strings.Cut(k, "="); strings.HasPrefix(name, prefix) {
				expect = append(expect, k)
			}
		}
		slices.SortFunc(expect, func(a, b string) int {
			a, _, _ = strings.Cut(a, "=")
			b, _, _ = strings.Cut(b, "=")
			return strings.Compare(a, b)
		})
		if got := keys(t, s, prefix); !slices.Equal(got, expect) {
			t.Errorf("list %q: %q, want %q", prefix, got, expect)
		}
	}
	for info, err := range s.List(t.Context(), "") {
		if err != nil || info.Key != "B" {
			t.Errorf("the first of the list: %+v, %v", info, err)
		}
		break // a caller may stop early
	}
}

func testConditions(t *testing.T, s object.Store) {
	ctx := t.Context()
	_, err := s.Put(ctx, "c", []byte("x"), object.IfMatch("\"0123456789abcdef0123456789abcdef\""))
	wantKind(t, err, holt.KindConflict, "swap of an object that does not exist")
	first, err := s.Put(ctx, "c", []byte("1"), object.IfAbsent)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Put(ctx, "c", []byte("2"), object.IfAbsent)
	wantKind(t, err, holt.KindConflict, "create of an object that exists")
	second, err := s.Put(ctx, "c", []byte("3"), object.IfMatch(first))
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Put(ctx, "c", []byte("4"), object.IfMatch(first))
	wantKind(t, err, holt.KindConflict, "swap with an old tag")
	if o := get(t, s, "c", object.Range{}); string(o.Body) != "3" || o.ETag != second {
		t.Errorf("content %q with tag %s, want 3 with %s", o.Body, o.ETag, second)
	}
	if err := s.Delete(ctx, "c"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(ctx, "c", []byte("5"), object.IfAbsent); err != nil {
		t.Errorf("create after delete: %v", err)
	}
}

// Of many creations one succeeds, and its body is what is read.
func testCreateRace(t *testing.T, s object.Store) {
	for round := range 5 {
		key := object.Key(fmt.Sprintf("race/%d", round))
		var won atomic.Int64
		var winner atomic.Value
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				body := fmt.Sprintf("writer %d", i)
				_, err := s.Put(t.Context(), key, []byte(body), object.IfAbsent)
				if err == nil {
					won.Add(1)
					winner.Store(body)
				} else if !holt.IsKind(err, holt.KindConflict) && !holt.KindOf(err).Retryable() {
					t.Errorf("create: %v", err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d of 8 concurrent creations succeeded", won.Load())
		}
		if o := get(t, s, key, object.Range{}); string(o.Body) != winner.Load() {
			t.Errorf("content %q, but %q won", o.Body, winner.Load())
		}
	}
}

// A list that is extended by compare and swap has every step once. The steps are
// in the body, because a wrapper may report a success of which the answer was lost
// and that was replaced since as a conflict.
func testSwapRace(t *testing.T, s object.Store) {
	const writers, steps = 4, 10
	put(t, s, "steps", nil)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for done := 0; done < steps; {
				o, err := s.Get(t.Context(), "steps", object.Range{})
				if err != nil {
					t.Errorf("get: %v", err)
					return
				}
				step := fmt.Sprintf("%d.%d ", w, done)
				if strings.Contains(string(o.Body), step) {
					done++
					continue
				}
				_, err = s.Put(t.Context(), "steps", append(o.Body, step...), object.IfMatch(o.ETag))
				if err == nil {
					done++
				} else if !holt.IsKind(err, holt.KindConflict) && !holt.KindOf(err).Retryable() {
					t.Errorf("swap: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	list := strings.Fields(string(get(t, s, "steps", object.Range{}).Body))
	slices.Sort(list)
	if len(list) != writers*steps || len(slices.Compact(list)) != writers*steps {
		t.Errorf("%d steps are %q", writers*steps, list)
	}
}

// A reader beside writers sees one body or another, whole.
func testWholeBodies(t *testing.T, s object.Store) {
	bodies := [][]byte{bytes.Repeat([]byte("a"), 300_000), bytes.Repeat([]byte("b"), 200_000)}
	put(t, s, "whole", bodies[0])
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			if _, err := s.Put(ctx, "whole", bodies[i%2], object.Condition{}); err != nil && ctx.Err() == nil {
				t.Errorf("put: %v", err)
				return
			}
		}
	})
	for range 30 {
		o, err := s.Get(t.Context(), "whole", object.Range{})
		if err != nil {
			t.Errorf("get: %v", err)
		} else if !bytes.Equal(o.Body, bodies[0]) && !bytes.Equal(o.Body, bodies[1]) {
			t.Errorf("read a mixture of %d bytes", len(o.Body))
		}
	}
	stop()
	wg.Wait()
}

func testCancelled(t *testing.T, s object.Store) {
	put(t, s, "cancel", []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, putErr := s.Put(ctx, "cancelled", []byte("x"), object.Condition{})
	_, statErr := s.Stat(ctx, "cancel")
	var listErr error
	for _, err := range s.List(ctx, "") {
		listErr = err
	}
	for verb, err := range map[string]error{"put": putErr, "stat": statErr, "list": listErr, "delete": s.Delete(ctx, "cancel")} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s after cancel: %v", verb, err)
		}
	}
}

// What a caller does to a body that it gave or got changes nothing in the store.
func testCopies(t *testing.T, s object.Store) {
	body := []byte("mine")
	put(t, s, "copy", body)
	copy(body, "evil")
	for range 3 {
		o := get(t, s, "copy", object.Range{})
		if string(o.Body) != "mine" {
			t.Fatalf("content %q, want what was put", o.Body)
		}
		copy(o.Body, "evil")
	}
}
