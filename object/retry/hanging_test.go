package retry_test

import (
	"context"

	"github.com/holt-ide/holt/object"
)

// hanging is a store whose puts, while hang says so, end with their context only.
type hanging struct {
	object.Store
	hang func() bool
}

func (h *hanging) Put(ctx context.Context, key object.Key, body []byte, cond object.Condition) (object.ETag, error) {
	if h.hang() {
		<-ctx.Done()
		return "", ctx.Err()
	}
	return h.Store.Put(ctx, key, body, cond)
}
