package guestwire

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/wire/status"
)

// ErrPrecondition is in the chain of a conflict that was found by If-Match or
// If-None-Match. Its status is 412 and not 409.
var ErrPrecondition = errors.New("precondition failed")

// FieldPrecondition is the field of an [ErrorBody] in a mux session, which has no
// status, for [ErrPrecondition].
const FieldPrecondition = "if_match"

// Status returns the HTTP status of err: that of its kind, or 412 for
// [ErrPrecondition].
func Status(err error) int {
	if errors.Is(err, ErrPrecondition) {
		return http.StatusPreconditionFailed
	}
	return status.Of(holt.KindOf(err))
}

// BodyOf returns the JSON form of err.
func BodyOf(err error) ErrorBody {
	b := ErrorBody{Kind: holt.KindOf(err), Text: err.Error()}
	if e, ok := errors.AsType[*holt.Error](err); ok {
		b.Field = e.Field
	}
	return b
}

// Err returns the body as a [holt.Error]. A kind that this source does not know
// becomes internal.
func (b ErrorBody) Err() error {
	if !slices.Contains(holt.Kinds(), b.Kind) {
		b.Kind = holt.KindInternal
	}
	return &holt.Error{Kind: b.Kind, Field: b.Field, Text: b.Text}
}

// ResponseError returns the error in an answer whose status is not 2xx, and
// consumes at most 64 KiB of its body. It does not close the body.
func ResponseError(resp *http.Response) error {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return holt.Wrap(holt.KindUnavailable, err, "the guest agent's answer broke off")
	}
	var body struct {
		ErrorBody
		Detail string `json:"detail"` // the text in a problem of the gateway, between us and the agent
	}
	err = json.Unmarshal(raw, &body)
	b := body.ErrorBody
	b.Text = cmp.Or(b.Text, body.Detail)
	if err != nil || b.Kind == "" {
		// Not the agent's words: a proxy's, or those of net/http.
		b = ErrorBody{Kind: status.Kind(resp.StatusCode), Text: fmt.Sprintf("guest agent: %s", resp.Status)}
	}
	if resp.StatusCode == http.StatusPreconditionFailed {
		return &holt.Error{Kind: b.Kind, Field: b.Field, Text: b.Text, Err: ErrPrecondition}
	}
	return b.Err()
}
