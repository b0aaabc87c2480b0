package objecttest

import (
	"context"
	"iter"

	"github.com/holt-ide/holt/object"
)

// Verb is a method of [object.Store].
type Verb string

// The verbs.
const (
	Put    Verb = "put"
	Get    Verb = "get"
	Stat   Verb = "stat"
	List   Verb = "list"
	Delete Verb = "delete"
)

// Script is a store that fails as it is told, in front of another one. Nil
// functions do nothing. They may be called concurrently.
type Script struct {
	Next object.Store

	// Before is called before an operation; its error is returned in place of
	// doing it.
	Before func(verb Verb, key object.Key) error
	// After is called when an operation has succeeded; its error is returned
	// although the operation took effect: a lost acknowledgement.
	After func(verb Verb, key object.Key) error
	// Body may replace what a Get read.
	Body func(key object.Key, body []byte) []byte
	// Listed may replace what a List found.
	Listed func(prefix string, found []object.Info) []object.Info
}

var _ object.Store = (*Script)(nil)

func (s *Script) do(verb Verb, key object.Key, f func() error) error {
	if s.Before != nil {
		if err := s.Before(verb, key); err != nil {
			return err
		}
	}
	if err := f(); err != nil {
		return err
	}
	if s.After != nil {
		return s.After(verb, key)
	}
	return nil
}

// Put implements [object.Store].
func (s *Script) Put(ctx context.Context, key object.Key, body []byte, cond object.Condition) (tag object.ETag, err error) {
	err = s.do(Put, key, func() (err error) {
		tag, err = s.Next.Put(ctx, key, body, cond)
		return err
	})
	return tag, err
}

// Get implements [object.Store].
func (s *Script) Get(ctx context.Context, key object.Key, r object.Range) (o object.Object, err error) {
	err = s.do(Get, key, func() (err error) {
		o, err = s.Next.Get(ctx, key, r)
		if err == nil && s.Body != nil {
			o.Body = s.Body(key, o.Body)
		}
		return err
	})
	return o, err
}

// Stat implements [object.Store].
func (s *Script) Stat(ctx context.Context, key object.Key) (info object.Info, err error) {
	err = s.do(Stat, key, func() (err error) {
		info, err = s.Next.Stat(ctx, key)
		return err
	})
	return info, err
}

// List implements [object.Store].
func (s *Script) List(ctx context.Context, prefix string) iter.Seq2[object.Info, error] {
	return func(yield func(object.Info, error) bool) {
		var found []object.Info
		err := s.do(List, object.Key(prefix), func() error {
			for info, err := range s.Next.List(ctx, prefix) {
				if err != nil {
					return err
				}
				found = append(found, info)
			}
			return nil
		})
		if s.Listed != nil {
			found = s.Listed(prefix, found)
		}
		for _, info := range found {
			if !yield(info, nil) {
				return
			}
		}
		if err != nil {
			yield(object.Info{}, err)
		}
	}
}

// Delete implements [object.Store].
func (s *Script) Delete(ctx context.Context, key object.Key) error {
	return s.do(Delete, key, func() error { return s.Next.Delete(ctx, key) })
}
