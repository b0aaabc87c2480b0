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
}

func TestCauseIsNotShown(t *testing.T) {
	for _, err := range []error{errors.New("secret"), holt.Wrap(holt.KindUnavailable, errors.New("secret"), "try again"), holt.Wrap(holt.KindInternal, errors.New("secret"), "")} {
		if p := NewProblem(err); p.Detail == "" || p.Detail == "secret" || len(p.Detail) > 200 {
			t.Errorf("%+v", p)
		}
	}
}
