package objecttest

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holt-ide/holt/object"
)

// Memory is an object store in memory, for tests of many thousand steps. Its zero
// value is empty.
type Memory struct {
	mu      sync.Mutex
	objects map[object.Key]object.Object
	puts    int
}

var _ object.Store = (*Memory)(nil)

// Put implements [object.Store].
func (m *Memory) Put(ctx context.Context, key object.Key, body []byte, cond object.Condition) (object.ETag, error) {
	if err := object.CheckPut(key, body, cond); err != nil {
		return "", err
	}
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("put %s: %w", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	was, exists := m.objects[key]
	if cond.Absent && exists || cond.Match != "" && was.ETag != cond.Match {
		return "", object.Conflict(key, cond)
	}
	if m.objects == nil {
		m.objects = map[object.Key]object.Object{}
	}
	m.puts++
	tag := object.ETag(fmt.Sprintf("put-%d", m.puts))
	m.objects[key] = object.Object{Info: object.Info{Key: key, Size: int64(len(body)), ETag: tag, Modified: time.Now()}, Body: bytes.Clone(body)}
	return tag, nil
}

// Clone returns a store with the same objects, for tests that damage them.
func (m *Memory) Clone() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Memory{objects: maps.Clone(m.objects), puts: m.puts} // bodies never change
}

func (m *Memory) find(ctx context.Context, key object.Key) (object.Object, error) {
	if err := object.CheckKey(key); err != nil {
		return object.Object{}, err
	}
	if err := ctx.Err(); err != nil {
		return object.Object{}, fmt.Errorf("get %s: %w", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[key]
	if !ok {
		return object.Object{}, object.NotFound(key)
	}
	return o, nil
}

// Get implements [object.Store].
func (m *Memory) Get(ctx context.Context, key object.Key, r object.Range) (object.Object, error) {
	o, err := m.find(ctx, key)
	if err != nil {
		return o, err
	}
	offset, length, err := r.Clip(key, o.Size)
	if err != nil {
		return object.Object{}, err
	}
	o.Body = slices.Concat(o.Body[offset : offset+length])
	return o, nil
}

// Stat implements [object.Store].
func (m *Memory) Stat(ctx context.Context, key object.Key) (object.Info, error) {
	o, err := m.find(ctx, key)
	return o.Info, err
}

// List implements [object.Store].
func (m *Memory) List(ctx context.Context, prefix string) iter.Seq2[object.Info, error] {
	return func(yield func(object.Info, error) bool) {
		err := object.CheckPrefix(prefix)
		if err == nil && ctx.Err() != nil {
			err = fmt.Errorf("list %s: %w", prefix, ctx.Err())
		}
		if err != nil {
			yield(object.Info{}, err)
			return
		}
		var found []object.Info
		m.mu.Lock()
		for key, o := range m.objects {
			if strings.HasPrefix(string(key), prefix) {
				o.ETag = ""
				found = append(found, o.Info)
			}
		}
		m.mu.Unlock()
		slices.SortFunc(found, func(a, b object.Info) int { return strings.Compare(string(a.Key), string(b.Key)) })
		for _, info := range found {
			if !yield(info, nil) {
				return
			}
		}
	}
}

// Delete implements [object.Store].
func (m *Memory) Delete(ctx context.Context, key object.Key) error {
	if err := object.CheckKey(key); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, key)
	return nil
}
