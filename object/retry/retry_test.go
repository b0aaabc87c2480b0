package retry_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
	"github.com/holt-ide/holt/object/objecttest"
	"github.com/holt-ide/holt/object/retry"
)

func TestSuite(t *testing.T) {
	objecttest.Run(t, func(*testing.T) object.Store { return retry.New(new(objecttest.Memory), retry.Policy{}) })
}

var errAway = holt.Errorf(holt.KindUnavailable, "away")

// The suite passes over a store of which every third call fails: before it does
// anything, after it did it, or with half of the body.
func TestSuiteOverAFailingStore(t *testing.T) {
	for name, fail := range map[string]func(*objecttest.Script, *atomic.Int64){
		"before": func(s *objecttest.Script, n *atomic.Int64) {
			s.Before = func(objecttest.Verb, object.Key) error { return everyThird(n) }
		},
		"lost acknowledgement": func(s *objecttest.Script, n *atomic.Int64) {
			s.After = func(objecttest.Verb, object.Key) error { return everyThird(n) }
		},
		"short bodies": func(s *objecttest.Script, n *atomic.Int64) {
			s.Body = func(_ object.Key, body []byte) []byte {
				if everyThird(n) != nil {
					return body[:len(body)/2]
				}
				return body
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			objecttest.Run(t, func(*testing.T) object.Store {
				s := &objecttest.Script{Next: new(objecttest.Memory)}
				fail(s, new(atomic.Int64))
				return retry.New(s, retry.Policy{Attempts: 40, Base: time.Nanosecond})
			})
		})
	}
}

func everyThird(n *atomic.Int64) error {
	if n.Add(1)%3 == 1 {
		return errAway
	}
	return nil
}

func TestLostAcknowledgementIsToldFromAConflict(t *testing.T) {
	lost := 0
	s := &objecttest.Script{Next: new(objecttest.Memory)}
	s.After = func(verb objecttest.Verb, _ object.Key) error {
		if verb == objecttest.Put && lost > 0 {
			lost--
			return errAway
		}
		return nil
	}
	r := retry.New(s, retry.Policy{Base: time.Nanosecond})
	lost = 1
	tag, err := r.Put(t.Context(), "k", []byte("mine"), object.IfAbsent)
	if err != nil {
		t.Fatalf("create whose answer was lost: %v", err)
	}
	if info, err := r.Stat(t.Context(), "k"); err != nil || info.ETag != tag {
		t.Errorf("tag %s, the object has %s (%v)", tag, info.ETag, err)
	}
	lost = 1
	if _, err = r.Put(t.Context(), "k", []byte("mine again"), object.IfMatch(tag)); err != nil {
		t.Fatalf("swap whose answer was lost: %v", err)
	}
	// Somebody else's success is a conflict, even if the bodies are equal.
	if _, err := r.Put(t.Context(), "k", []byte("mine again"), object.IfAbsent); !holt.IsKind(err, holt.KindConflict) {
		t.Errorf("create of what exists: %v", err)
	}
}

func TestGivesUpAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		s := &objecttest.Script{Next: new(objecttest.Memory), Before: func(objecttest.Verb, object.Key) error { calls++; return errAway }}
		begin := time.Now()
		_, err := retry.New(s, retry.Policy{Attempts: 7, Base: time.Second, Max: 4 * time.Second}).Get(t.Context(), "k", object.Range{})
		if !errors.Is(err, errAway) || !strings.Contains(err.Error(), "7 attempts") || calls != 7 {
			t.Errorf("%v after %d calls", err, calls)
		}
		if d := time.Since(begin); d > (1+2+4+4+4+4)*time.Second {
			t.Errorf("paused for %v", d)
		}
		calls = 0
		s.Before = func(objecttest.Verb, object.Key) error { calls++; return holt.Errorf(holt.KindForbidden, "no") }
		if _, err := retry.New(s, retry.Policy{}).Stat(t.Context(), "k"); !holt.IsKind(err, holt.KindForbidden) || calls != 1 {
			t.Errorf("what cannot succeed was tried %d times: %v", calls, err)
		}
	})
}

// A store that does not answer is left after the time of one attempt.
func TestSlowAttemptIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		s := &hanging{Store: new(objecttest.Memory), hang: func() bool { return calls.Add(1) < 3 }}
		r := retry.New(s, retry.Policy{Attempt: time.Minute})
		if _, err := r.Put(t.Context(), "k", []byte("x"), object.Condition{}); err != nil {
			t.Errorf("put: %v", err)
		}
		if calls.Load() != 3 {
			t.Errorf("%d calls, want 3", calls.Load())
		}
		s.hang = func() bool { return true }
		if _, err := r.Put(t.Context(), "k", []byte("x"), object.Condition{}); !holt.IsKind(err, holt.KindUnavailable) {
			t.Errorf("put to a store that never answers: %v", err)
		}
	})
}

func TestListGoesOnWhereItBroke(t *testing.T) {
	m := new(objecttest.Memory)
	for _, k := range []object.Key{"a", "b", "c", "d"} {
		if _, err := m.Put(t.Context(), k, nil, object.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	failures := 3
	s := &objecttest.Script{Next: m}
	s.After = func(verb objecttest.Verb, _ object.Key) error {
		if failures > 0 {
			failures--
			return errAway
		}
		return nil
	}
	s.Listed = func(_ string, found []object.Info) []object.Info { return found[:4-failures] }
	var got string
	for info, err := range retry.New(s, retry.Policy{Base: time.Nanosecond}).List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		got += string(info.Key)
	}
	if got != "abcd" {
		t.Errorf("listed %q", got)
	}
}
