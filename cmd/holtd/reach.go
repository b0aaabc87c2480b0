package main

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/holt-ide/holt/node/depot"
	"github.com/holt-ide/holt/object"
)

// reached is an object store that is reached for when it is first needed, and again
// after that failed: a server starts while its store is away.
type reached struct {
	connect func(ctx context.Context) (depot.Objects, error)

	mu     sync.Mutex // held while the store is being reached
	store  object.Store
	failed time.Time
	cause  error
}

var _ object.Store = (*reached)(nil)

// reachAfter is how long nobody asks again after the store could not be reached.
const reachAfter = 2 * time.Second

func (r *reached) get(ctx context.Context) (object.Store, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.store != nil:
		return r.store, nil
	case r.cause != nil && time.Since(r.failed) < reachAfter:
		return nil, r.cause
	}
	o, err := r.connect(ctx)
	if err != nil {
		if ctx.Err() == nil {
			r.failed, r.cause = time.Now(), err
		}
		return nil, err
	}
	r.store, r.cause = o.Origin, nil
	return r.store, nil
}

func (r *reached) Put(ctx context.Context, key object.Key, body []byte, cond object.Condition) (object.ETag, error) {
	s, err := r.get(ctx)
	if err != nil {
		return "", err
	}
	return s.Put(ctx, key, body, cond)
}

func (r *reached) Get(ctx context.Context, key object.Key, part object.Range) (object.Object, error) {
	s, err := r.get(ctx)
	if err != nil {
		return object.Object{}, err
	}
	return s.Get(ctx, key, part)
}

func (r *reached) Stat(ctx context.Context, key object.Key) (object.Info, error) {
	s, err := r.get(ctx)
	if err != nil {
		return object.Info{}, err
	}
	return s.Stat(ctx, key)
}

func (r *reached) List(ctx context.Context, prefix string) iter.Seq2[object.Info, error] {
	return func(yield func(object.Info, error) bool) {
		s, err := r.get(ctx)
		if err != nil {
			yield(object.Info{}, err)
			return
		}
		s.List(ctx, prefix)(yield)
	}
}

func (r *reached) Delete(ctx context.Context, key object.Key) error {
	s, err := r.get(ctx)
	if err != nil {
		return err
	}
	return s.Delete(ctx, key)
}
