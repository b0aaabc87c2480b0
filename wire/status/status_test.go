package status_test

import (
	"testing"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/wire/status"
)

func TestEveryKindHasAStatusAndComesBack(t *testing.T) {
	for _, k := range holt.Kinds() {
		code := status.Of(k)
		if code < 400 || code > 599 {
			t.Errorf("%s has status %d", k, code)
		}
		if back := status.Kind(code); back != k && code != 500 {
			t.Errorf("%s becomes %d becomes %s", k, code, back)
		}
	}
	for code, want := range map[int]holt.Kind{
		400: holt.KindInvalid, 401: holt.KindUnauthorized, 403: holt.KindForbidden, 404: holt.KindNotFound, 409: holt.KindConflict,
		412: holt.KindConflict, 413: holt.KindInvalid, 418: holt.KindInvalid, 422: holt.KindInvalid, 429: holt.KindLimit,
		500: holt.KindInternal, 501: holt.KindUnsupported, 502: holt.KindUnavailable, 503: holt.KindUnavailable, 504: holt.KindTimeout,
		507: holt.KindNoSpace, 599: holt.KindInternal,
	} {
		if got := status.Kind(code); got != want {
			t.Errorf("%d means %s, want %s", code, got, want)
		}
	}
}
