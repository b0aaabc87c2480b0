// Package status maps the kinds of error to HTTP statuses and back, once, for
// the public interface and for the protocol of the guest agent alike. It is
// imported by both and knows neither.
package status

import (
	"net/http"

	"github.com/holt-ide/holt"
)

var of = map[holt.Kind]int{
	holt.KindInvalid:      http.StatusBadRequest,
	holt.KindNotFound:     http.StatusNotFound,
	holt.KindConflict:     http.StatusConflict,
	holt.KindUnauthorized: http.StatusUnauthorized,
	holt.KindForbidden:    http.StatusForbidden,
	holt.KindLimit:        http.StatusTooManyRequests,
	holt.KindUnavailable:  http.StatusServiceUnavailable,
	holt.KindCorrupt:      http.StatusInternalServerError,
	holt.KindNoSpace:      http.StatusInsufficientStorage,
	holt.KindTimeout:      http.StatusGatewayTimeout,
	holt.KindUnsupported:  http.StatusNotImplemented,
	holt.KindInternal:     http.StatusInternalServerError,
}

// Of returns the HTTP status (RFC 9110) of a kind of error; that of an unknown
// kind is 500.
func Of(k holt.Kind) int {
	if s, ok := of[k]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// Kind returns the kind that fits a status which came without one, for instance
// from a proxy in between.
func Kind(code int) holt.Kind {
	switch code {
	case http.StatusPreconditionFailed:
		return holt.KindConflict
	case http.StatusBadGateway:
		return holt.KindUnavailable
	case http.StatusInternalServerError:
		return holt.KindInternal
	}
	for _, k := range holt.Kinds() {
		if of[k] == code {
			return k
		}
	}
	if code >= 400 && code < 500 {
		return holt.KindInvalid
	}
	return holt.KindInternal
}
