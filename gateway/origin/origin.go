// Package origin tells requests that a page of ours made from those that
// another page made a browser send with our cookies. The gateway and its port
// proxy use it for every request that a cookie authenticates.
package origin

import (
	"net/http"
	"net/url"
	"strings"
)

// Same reports whether the browser says that a page of the very origin that is
// asked sent r. A request that says nothing about where it comes from is not
// from the same origin.
func Same(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site == "same-origin"
	}
	o := r.Header.Get("Origin")
	if o == "" {
		return false
	}
	u, err := url.Parse(o)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

// Foreign reports whether the browser says that a page of another origin sent
// r. What a user typed, followed or reloaded is not foreign.
func Foreign(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return false
	case "":
		return r.Header.Get("Origin") != "" && !Same(r)
	}
	return true
}

// Allowed reports whether a request that a cookie authenticates may pass: one
// that changes something, or that opens a WebSocket (whose handshake no
// cross-origin rule of browsers guards), comes from the same origin; any other
// is at least not foreign.
func Allowed(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || r.Header.Get("Upgrade") != "" {
		return Same(r)
	}
	return !Foreign(r)
}
