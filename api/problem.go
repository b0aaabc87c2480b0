package api

import (
	"errors"
	"net/http"
	"slices"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/wire/status"
)

// ProblemType is the media type of a [Problem] (RFC 9457).
const ProblemType = "application/problem+json"

// Problem is an error as it travels. Detail is one sentence that says what to
// do; Kind is the machine-readable cause; Field and Limit name what a wrong
// request got wrong.
type Problem struct {
	Type      string `json:"type,omitempty" doc:"Reference that names the type of problem" example:"about:blank"`
	Title     string `json:"title" doc:"The status in words"`
	Status    int    `json:"status" doc:"The HTTP status"`
	Detail    string `json:"detail" doc:"What went wrong and what to do"`
	Kind      string `json:"kind" doc:"Machine-readable cause" enum:"invalid,not-found,conflict,unauthorized,forbidden,limit,unavailable,corrupt,no-space,timeout,unsupported,internal"`
	Field     string `json:"field,omitempty" doc:"The request field at fault"`
	Limit     string `json:"limit,omitempty" doc:"The bound that was crossed"`
	RequestID string `json:"request_id,omitempty" doc:"Names the request in the server's log"`
}

// NewProblem returns the problem that err becomes. Only the text meant for the
// user travels: the cause of an internal error stays in the log.
func NewProblem(err error) *Problem {
	kind := holt.KindOf(err)
	p := &Problem{Status: status.Of(kind), Kind: string(kind), Detail: "something went wrong inside the server; its log has the cause under this request ID"}
	if e, ok := errors.AsType[*holt.Error](err); ok {
		p.Field, p.Limit = e.Field, e.Limit
		if e.Text != "" {
			p.Detail = e.Text
		}
	}
	p.Title = http.StatusText(p.Status)
	return p
}

// Err returns the problem as an error of its kind.
func (p *Problem) Err() error {
	kind := holt.Kind(p.Kind)
	if !slices.Contains(holt.Kinds(), kind) {
		kind = status.Kind(p.Status)
	}
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	if p.RequestID != "" && (kind == holt.KindInternal || kind == holt.KindCorrupt) {
		text += " (request " + p.RequestID + ")"
	}
	return &holt.Error{Kind: kind, Field: p.Field, Limit: p.Limit, Text: text}
}

// Error returns the detail; with GetStatus it lets the REST layer return
// problems as they are.
func (p *Problem) Error() string { return p.Detail }

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType returns the media type of problems in place of plain JSON.
func (p *Problem) ContentType(string) string { return ProblemType }
