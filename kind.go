package holt

import (
	"errors"
	"fmt"
)

// Kind is the closed set of ways in which things go wrong. It decides, in one
// place each, the HTTP status (package api), the exit code (cmd/holt) and
// whether trying again can help.
type Kind string

// The kinds of error.
const (
	KindInvalid      Kind = "invalid"      // the request can never work: bad name, bad flag, limit too large
	KindNotFound     Kind = "not-found"    // the named thing does not exist
	KindConflict     Kind = "conflict"     // the thing exists already, or is in a state that forbids this
	KindUnauthorized Kind = "unauthorized" // no valid token
	KindForbidden    Kind = "forbidden"    // the token does not allow this
	KindLimit        Kind = "limit"        // a quota or rate is used up
	KindUnavailable  Kind = "unavailable"  // not now; trying again may help
	KindCorrupt      Kind = "corrupt"      // stored bytes fail their checksum
	KindNoSpace      Kind = "no-space"     // the disk is full
	KindTimeout      Kind = "timeout"      // it took longer than allowed
	KindUnsupported  Kind = "unsupported"  // this machine or driver cannot do it
	KindInternal     Kind = "internal"     // a fault of ours
)

// Kinds lists every kind.
func Kinds() []Kind {
	return []Kind{KindInvalid, KindNotFound, KindConflict, KindUnauthorized, KindForbidden, KindLimit,
		KindUnavailable, KindCorrupt, KindNoSpace, KindTimeout, KindUnsupported, KindInternal}
}

// Error is an error with a kind and a text for the user, apart from its cause.
type Error struct {
	Kind  Kind
	Field string // the request field at fault, "" where none is
	Limit string // the bound that was crossed, "" where none was
	Text  string // one sentence for the user that says what to do
	Err   error  // the cause, for the log; nil where Text says everything
}

// Error returns the user's text and the cause.
func (e *Error) Error() string {
	switch {
	case e.Err == nil:
		return e.Text
	case e.Text == "":
		return e.Err.Error()
	}
	return e.Text + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an error of kind k with a formatted text for the user.
func Errorf(k Kind, format string, a ...any) error {
	return &Error{Kind: k, Text: fmt.Sprintf(format, a...)}
}

// Wrap returns an error of kind k with the text for the user and its cause.
// It returns nil when err is nil.
func Wrap(k Kind, err error, text string) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: k, Text: text, Err: err}
}

// Invalid returns a [KindInvalid] error about one field of a request.
func Invalid(field, text string) error { return &Error{Kind: KindInvalid, Field: field, Text: text} }

// Invalidf is [Invalid] with a formatted text.
func Invalidf(field, format string, a ...any) error {
	return &Error{Kind: KindInvalid, Field: field, Text: fmt.Sprintf(format, a...)}
}

// KindOf returns the kind of the first [Error] in err's chain, [KindInternal]
// when there is none, and "" when err is nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return KindInternal
}

// IsKind reports whether err is of kind k.
func IsKind(err error, k Kind) bool { return err != nil && KindOf(err) == k }

// Retryable reports whether the same call may succeed later.
func (k Kind) Retryable() bool { return k == KindUnavailable || k == KindLimit || k == KindTimeout }
