// Package retry wraps an object store so that what may work at a second attempt
// is attempted again: after growing, jittered pauses, and each attempt bounded in
// time.
//
// # Lost acknowledgements
//
// A conditional put may succeed and its answer be lost; the second attempt is then
// refused because of the first. So when a put is refused after an attempt of
// unknown outcome, the object is read: if it has this put's body, the put has
// succeeded. Two writers that send the same body under the same condition can
// therefore both be told that they succeeded: whoever needs a single winner puts
// something unique into the body. When a successful put was replaced before it
// could be recognised, it is reported as a conflict.
//
// # Short bodies
//
// A body whose length does not fit the object's size counts as a failed attempt,
// whatever the implementation made of it.
package retry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
)

// Policy says how often and how long. Zero fields have defaults.
type Policy struct {
	Attempts int           // in all; default 6
	Base     time.Duration // the longest pause after the first attempt; doubles with each; default 50 ms
	Max      time.Duration // bounds a pause; default 5 s
	Attempt  time.Duration // bounds one attempt; default 60 s
}

// Store is the wrapped store.
type Store struct {
	next object.Store
	p    Policy
}

var _ object.Store = (*Store)(nil)

// New wraps next.
func New(next object.Store, p Policy) *Store {
	if p.Attempts == 0 {
		p.Attempts = 6
	}
	if p.Base == 0 {
		p.Base = 50 * time.Millisecond
	}
	if p.Max == 0 {
		p.Max = 5 * time.Second
	}
	if p.Attempt == 0 {
		p.Attempt = time.Minute
	}
	return &Store{next, p}
}

// do calls f until it succeeds, fails for good, or the attempts are used up.
// uncertain is whether an earlier attempt may have taken effect.
func (s *Store) do(ctx context.Context, f func(ctx context.Context, uncertain bool) error) error {
	for n := 0; ; n++ {
		err := s.attempt(ctx, n > 0, f)
		switch {
		case err == nil || !again(err):
			return err
		case ctx.Err() != nil:
			return errors.Join(ctx.Err(), err)
		}
		if n+1 >= s.p.Attempts {
			return fmt.Errorf("after %d attempts: %w", n+1, err)
		}
		// A pause that is random in full keeps many clients from coming back at once.
		pause := time.NewTimer(rand.N(min(s.p.Max, s.p.Base<<min(n, 20))) + 1)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return errors.Join(ctx.Err(), err)
		}
	}
}

func (s *Store) attempt(ctx context.Context, uncertain bool, f func(ctx context.Context, uncertain bool) error) error {
	bounded, cancel := context.WithTimeout(ctx, s.p.Attempt)
	defer cancel()
	err := f(bounded, uncertain)
	if err != nil && ctx.Err() == nil && bounded.Err() != nil {
		return holt.Wrap(holt.KindUnavailable, err, fmt.Sprintf("the object store did not answer within %v", s.p.Attempt))
	}
	return err
}

func again(err error) bool { return holt.KindOf(err).Retryable() }

// Put implements [object.Store].
func (s *Store) Put(ctx context.Context, key object.Key, body []byte, cond object.Condition) (tag object.ETag, err error) {
	err = s.do(ctx, func(ctx context.Context, uncertain bool) error {
		tag, err = s.next.Put(ctx, key, body, cond)
		if !uncertain || !holt.IsKind(err, holt.KindConflict) {
			return err
		}
		there, getErr := s.next.Get(ctx, key, object.Range{})
		switch {
		case getErr != nil && again(getErr):
			return getErr
		case getErr == nil && bytes.Equal(there.Body, body):
			tag = there.ETag
			return nil
		}
		return err
	})
	return tag, err
}

// Get implements [object.Store].
func (s *Store) Get(ctx context.Context, key object.Key, r object.Range) (o object.Object, err error) {
	err = s.do(ctx, func(ctx context.Context, _ bool) error {
		if o, err = s.next.Get(ctx, key, r); err != nil {
			return err
		}
		_, length, err := r.Clip(key, o.Size)
		if err == nil && int64(len(o.Body)) != length {
			return holt.Errorf(holt.KindUnavailable, "the object store cut %s short: %d of %d bytes", key, len(o.Body), length)
		}
		return err
	})
	return o, err
}

// Stat implements [object.Store].
func (s *Store) Stat(ctx context.Context, key object.Key) (info object.Info, err error) {
	err = s.do(ctx, func(ctx context.Context, _ bool) error {
		info, err = s.next.Stat(ctx, key)
		return err
	})
	return info, err
}

// List implements [object.Store]. After a failure it starts again and passes over
// what it has yielded.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[object.Info, error] {
	return func(yield func(object.Info, error) bool) {
		var last object.Key
		stopped := false
		err := s.do(ctx, func(context.Context, bool) error {
			// Not bounded in time: how long it takes is up to who receives.
			for info, err := range s.next.List(ctx, prefix) {
				if err != nil {
					return err
				}
				if info.Key <= last {
					continue
				}
				last = info.Key
				if !yield(info, nil) {
					stopped = true
					return nil
				}
			}
			return nil
		})
		if err != nil && !stopped {
			yield(object.Info{}, err)
		}
	}
}

// Delete implements [object.Store].
func (s *Store) Delete(ctx context.Context, key object.Key) error {
	return s.do(ctx, func(ctx context.Context, _ bool) error { return s.next.Delete(ctx, key) })
}
