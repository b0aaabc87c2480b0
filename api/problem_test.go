package api

import (
	"errors"
	"testing"

	"github.com/holt-ide/holt"
)

// Every kind has a status and comes back from its problem.
func TestEveryKindHasAProblem(t *testing.T) {
	for _, k := range holt.Kinds() {
		p := NewProblem(&holt.Error{Kind: k, Text: "x"})
		if p.Status < 400 || p.Title == "" {
			t.Errorf("%s: %+v", k, p)
		}
		if got := holt.KindOf(p.Err()); got != k {
			t.Errorf("%s came back as %s", k, got)
		}
	}
	if len(statusOf) != len(holt.Kinds()) {
		t.Errorf("%d statuses for %d kinds", len(statusOf), len(holt.Kinds()))
	}
}

// An answer of something in between, without a problem, has a fitting kind too.
func TestKindOfStatus(t *testing.T) {
	for status, want := range map[int]holt.Kind{
		400: holt.KindInvalid, 401: holt.KindUnauthorized, 403: holt.KindForbidden, 404: holt.KindNotFound, 409: holt.KindConflict,
		412: holt.KindConflict, 413: holt.KindInvalid, 418: holt.KindInvalid, 422: holt.KindInvalid, 429: holt.KindLimit,
		500: holt.KindInternal, 501: holt.KindUnsupported, 502: holt.KindUnavailable, 503: holt.KindUnavailable, 504: holt.KindTimeout,
		507: holt.KindNoSpace, 599: holt.KindInternal,
	} {
		if got := KindOfStatus(status); got != want {
			t.Errorf("%d is %s, want %s", status, got, want)
		}
	}
}

func TestCauseIsNotShown(t *testing.T) {
	for _, err := range []error{errors.New("secret"), holt.Wrap(holt.KindUnavailable, errors.New("secret"), "try again"), holt.Wrap(holt.KindInternal, errors.New("secret"), "")} {
		if p := NewProblem(err); p.Detail == "" || p.Detail == "secret" || len(p.Detail) > 200 {
			t.Errorf("%+v", p)
		}
	}
}
