package s3_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
	"github.com/holt-ide/holt/object/cache"
	"github.com/holt-ide/holt/object/objecttest"
	"github.com/holt-ide/holt/object/retry"
	"github.com/holt-ide/holt/object/s3"
	"github.com/holt-ide/holt/object/s3/s3test"
)

func TestSuite(t *testing.T) {
	server := s3test.Start(t)
	open := func(t *testing.T) object.Store {
		cfg := server.Config(t, server.URL)
		cfg.PageSize = 3 // so that a few keys make several pages
		return s3test.Open(t, cfg)
	}
	t.Run("alone", func(t *testing.T) { objecttest.Run(t, open) })
	t.Run("retry and cache", func(t *testing.T) {
		objecttest.Run(t, func(t *testing.T) object.Store {
			c, err := cache.Open(retry.New(open(t), retry.Policy{}), cache.Config{Dir: t.TempDir(), Limit: 10 << 20})
			if err != nil {
				t.Fatal(err)
			}
			return c
		})
	})
	// Every third request fails; package retry hides it.
	for name, fault := range map[string]s3test.Fault{"500": s3test.Refuse, "slow down": s3test.SlowDown, "lost answers": s3test.LoseAnswer, "truncated": s3test.Truncate} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int64
			proxy := s3test.NewProxy(t, server.URL, func(*http.Request) s3test.Fault {
				if n.Add(1)%3 == 0 {
					return fault
				}
				return s3test.None
			})
			objecttest.Run(t, func(t *testing.T) object.Store {
				return retry.New(s3test.Open(t, server.Config(t, proxy.URL)), retry.Policy{Attempts: 40, Base: time.Millisecond})
			})
		})
	}
}

// Each fault of the server has its kind, and none is taken for success.
func TestFaults(t *testing.T) {
	server := s3test.Start(t)
	proxy := s3test.NewProxy(t, server.URL, nil)
	s := s3test.Open(t, server.Config(t, proxy.URL))
	ctx := t.Context()
	body := make([]byte, 100_000)
	if _, err := s.Put(ctx, "k", body, object.Condition{}); err != nil {
		t.Fatal(err)
	}
	for _, fault := range []s3test.Fault{s3test.Refuse, s3test.SlowDown, s3test.LoseAnswer, s3test.Truncate} {
		proxy.SetFault(func(*http.Request) s3test.Fault { return fault })
		_, err := s.Get(ctx, "k", object.Range{})
		wantUnavailable(t, fault, "get", err)
		_, err = s.Get(ctx, "k", object.Range{Offset: 10, Length: 50_000})
		wantUnavailable(t, fault, "get range", err)
		if fault == s3test.Truncate {
			continue // what follows has answers without a body
		}
		_, err = s.Stat(ctx, "k")
		wantUnavailable(t, fault, "stat", err)
		_, err = s.Put(ctx, "k2", body, object.Condition{})
		wantUnavailable(t, fault, "put", err)
		wantUnavailable(t, fault, "delete", s.Delete(ctx, "k2"))
		for _, e := range s.List(ctx, "") {
			err = e
		}
		wantUnavailable(t, fault, "list", err)
	}
	proxy.SetFault(func(*http.Request) s3test.Fault { return s3test.Hang })
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := s.Get(short, "k", object.Range{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("get from a server that hangs: %v", err)
	}
	proxy.SetFault(nil)
	if o, err := s.Get(ctx, "k", object.Range{}); err != nil || len(o.Body) != len(body) {
		t.Errorf("afterwards: %d bytes, %v", len(o.Body), err)
	}
}

func wantUnavailable(t *testing.T, fault s3test.Fault, verb string, err error) {
	t.Helper()
	if !holt.IsKind(err, holt.KindUnavailable) {
		t.Errorf("%s under fault %d: %v", verb, fault, err)
	}
}

// The proxy's stale listing is what it says: the tests of those who list rely on it.
func TestStaleList(t *testing.T) {
	server := s3test.Start(t)
	proxy := s3test.NewProxy(t, server.URL, func(*http.Request) s3test.Fault { return s3test.StaleList })
	s := s3test.Open(t, server.Config(t, proxy.URL))
	list := func() (keys []object.Key) {
		for info, err := range s.List(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, info.Key)
		}
		return keys
	}
	for _, k := range []object.Key{"a", "b"} {
		if _, err := s.Put(t.Context(), k, nil, object.Condition{}); err != nil {
			t.Fatal(err)
		}
		if got := list(); !slices.Equal(got, []object.Key{"a"}) {
			t.Errorf("listed %q, want the first listing", got)
		}
	}
	proxy.SetFault(nil)
	if got := list(); len(got) != 2 {
		t.Errorf("listed %q", got)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	server := s3test.Start(t)
	good := server.Config(t, server.URL)
	for name, c := range map[string]struct {
		change func(*s3.Config)
		kind   holt.Kind
		says   string
	}{
		"no bucket":      {func(c *s3.Config) { c.Bucket = "" }, holt.KindInvalid, "bucket"},
		"unknown bucket": {func(c *s3.Config) { c.Bucket = "elsewhere" }, holt.KindNotFound, "elsewhere"},
		"wrong secret":   {func(c *s3.Config) { c.SecretKey = "guess" }, holt.KindForbidden, "credentials"},
		"bad prefix":     {func(c *s3.Config) { c.Prefix = "../" }, holt.KindInvalid, "prefix"},
		"no slash":       {func(c *s3.Config) { c.Prefix = "a" }, holt.KindInvalid, "prefix"},
		"nobody listens": {func(c *s3.Config) { c.Endpoint = "http://127.0.0.1:1" }, holt.KindUnavailable, ""},
	} {
		cfg := good
		c.change(&cfg)
		if _, err := s3.Open(t.Context(), cfg); !holt.IsKind(err, c.kind) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %s", name, err, c.kind)
		}
	}
}
