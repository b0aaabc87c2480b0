package origin

import (
	"net/http/httptest"
	"testing"
)

func TestAllowed(t *testing.T) {
	for _, c := range []struct {
		name, method, site, origin, upgrade string
		want                                bool
	}{
		{"own page reads", "GET", "same-origin", "", "", true},
		{"typed address", "GET", "none", "", "", true},
		{"program without headers reads", "GET", "", "", "", true},
		{"sibling page reads", "GET", "same-site", "", "", false},
		{"foreign page reads", "GET", "cross-site", "", "", false},
		{"old browser, foreign page reads", "GET", "", "http://evil.test", "", false},
		{"own page writes", "POST", "same-origin", "http://holt.test:7070", "", true},
		{"old browser, own page writes", "POST", "", "http://holt.test:7070", "", true},
		{"write that says nothing", "POST", "", "", "", false},
		{"write typed by nobody", "POST", "none", "", "", false},
		{"foreign page writes", "DELETE", "cross-site", "http://evil.test", "", false},
		{"forwarded port's page writes", "POST", "same-site", "http://8000--demo.holt.test:7070", "", false},
		{"other port writes", "POST", "", "http://holt.test:9", "", false},
		{"sandboxed page writes", "POST", "", "null", "", false},
		{"own websocket", "GET", "", "http://holt.test:7070", "websocket", true},
		{"foreign websocket", "GET", "", "http://evil.test", "websocket", false},
		{"websocket that says nothing", "GET", "", "", "websocket", false},
	} {
		r := httptest.NewRequest(c.method, "http://holt.test:7070/", nil)
		for k, v := range map[string]string{"Sec-Fetch-Site": c.site, "Origin": c.origin, "Upgrade": c.upgrade} {
			if v != "" {
				r.Header.Set(k, v)
			}
		}
		if got := Allowed(r); got != c.want {
			t.Errorf("%s: allowed %v, want %v", c.name, got, c.want)
		}
	}
}
