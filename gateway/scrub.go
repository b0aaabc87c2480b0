package gateway

import (
	"mime"
	"net/http"
	"net/url"

	"github.com/holt-ide/holt/api"
	guestwire "github.com/holt-ide/holt/wire/guest"
)

// maxGuestHeader bounds the header of an agent's answer, in bytes.
const maxGuestHeader = 64 << 10

// Between browser and guest only these headers pass. Cookies, credentials and
// everything else that means something to our origin stay on their side.
var (
	toGuest = []string{
		"Content-Type", "Content-Length", "Accept", "Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since",
		"Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Protocol", "Sec-Websocket-Extensions",
	}
	fromGuest = []string{
		"Content-Length", "Content-Range", "Accept-Ranges", "Etag", "Last-Modified",
		"Sec-Websocket-Accept", "Sec-Websocket-Protocol", "Sec-Websocket-Extensions",
	}
	// inert lists the media types that no browser executes.
	inert = map[string]bool{
		"application/json": true, "application/problem+json": true, "application/x-ndjson": true,
		"application/octet-stream": true, "application/x-tar": true, "application/gzip": true,
	}
)

// guestHeader returns the header with which an agent gets a request that was
// permitted: what of the client's it may see, and who the client is.
func guestHeader(r *http.Request, secret string) http.Header {
	out := pick(r.Header, toGuest)
	out.Set(guestwire.SecretHeader, secret)
	a := permitted(r.Context())
	out.Set(guestwire.UserHeader, guestwire.User{ID: string(a.User), Name: a.Name, Role: string(a.Seat)}.String())
	return out
}

// guestQuery returns the query without our own parameters.
func guestQuery(q url.Values) string {
	q.Del(api.QueryWake)
	return q.Encode()
}

// safeHeader returns the header under which an agent's answer may travel on our
// origin: whatever the bytes are, a browser stores them and does not run them.
func safeHeader(in http.Header) http.Header {
	out := pick(in, fromGuest)
	kind, _, err := mime.ParseMediaType(in.Get("Content-Type"))
	if err != nil || !inert[kind] {
		kind = "application/octet-stream"
	}
	out.Set("Content-Type", kind)
	out.Set("Content-Disposition", "attachment")
	out.Set("X-Content-Type-Options", "nosniff")
	out.Set("Content-Security-Policy", "sandbox; default-src 'none'; frame-ancestors 'none'")
	out.Set("Cache-Control", "no-store")
	return out
}

func pick(in http.Header, names []string) http.Header {
	out := http.Header{}
	for _, n := range names {
		if v := in.Values(n); len(v) > 0 {
			out[n] = v[:1:1]
		}
	}
	return out
}
