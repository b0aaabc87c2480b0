package gateway

import (
	"errors"
	"io"
	"net/http/httptest"
	"testing"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
)

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestUploadIsBounded(t *testing.T) {
	u := newUpload(httptest.NewRecorder(), httptest.NewRequest("POST", "/", zeros{}))
	u.n = api.MaxImageArchive - 1000
	n, err := io.Copy(io.Discard, u)
	e, ok := errors.AsType[*holt.Error](err)
	if n > 1000 || !ok || e.Kind != holt.KindInvalid || e.Limit != "20 GiB" {
		t.Errorf("read %d bytes more, then %+v", n, err)
	}
}
