package portproxy

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func proxy() *Proxy {
	u, _ := url.Parse("https://holt.test:8443")
	return New(Config{Domain: "apps.holt.test", PublicURL: u, Key: []byte("key")})
}

func TestHosts(t *testing.T) {
	p := proxy()
	for host, want := range map[string]string{
		"8000--demo.apps.holt.test":       "8000--demo",
		"8000--demo.apps.holt.test:8443":  "8000--demo",
		"8000--DEMO.Apps.Holt.Test.:8443": "8000--demo",
		"8000--a-b.apps.holt.test":        "8000--a-b",
		"0--demo.apps.holt.test":          "bad",
		"8000--a--b.apps.holt.test":       "bad",
		"x.8000--demo.apps.holt.test":     "bad",
		"8000--demo.evil.test":            "",
		"apps.holt.test":                  "",
		"holt.test:8443":                  "",
		"8000--demo.apps.holt.test.evil":  "",
		"":                                "",
	} {
		if got := p.Match(host); got != (want != "") {
			t.Errorf("%q: match %v", host, got)
			continue
		}
		if want == "" {
			continue
		}
		at, err := p.parse(host)
		if (err != nil) != (want == "bad") || (err == nil && at.label() != want) {
			t.Errorf("%q: %+v, %v; want %s", host, at, err, want)
		}
	}
	if got := p.URL("demo", 80); got != "https://80--demo.apps.holt.test:8443/" {
		t.Errorf("URL %s", got)
	}
}

func valid(p *Proxy, value string, t place, now time.Time) bool {
	pass, ok := p.passOf(value, t, now)
	return ok && pass == "owner"
}

// A cookie is good for its port, its workspace, its time and its key, and every
// change of one character makes it bad.
func TestCookie(t *testing.T) {
	p, here, now := proxy(), place{80, "demo"}, time.Now()
	c := p.sign(here, "owner", now.Add(time.Hour))
	if !valid(p, c, here, now) {
		t.Fatal("a fresh cookie is refused")
	}
	other := proxy()
	other.cfg.Key = []byte("other key")
	if valid(other, c, here, now) || valid(p, c, place{81, "demo"}, now) || valid(p, c, place{80, "dem"}, now) || valid(p, c, here, now.Add(2*time.Hour)) {
		t.Error("a cookie opens what it is not for")
	}
	for i := range c {
		for _, r := range "A0.z" {
			if bad := c[:i] + string(r) + c[i+1:]; bad != c && valid(p, bad, here, now) && !sameBits(bad, c) {
				t.Errorf("changed at %d: %s is taken for %s", i, bad, c)
			}
		}
	}
}

// sameBits reports whether two values differ only in the unused bits at the end
// of their base64.
func sameBits(a, b string) bool {
	return len(a) == len(b) && a[:len(a)-1] == b[:len(b)-1]
}

func FuzzCookie(f *testing.F) {
	p, here, now := proxy(), place{80, "demo"}, time.Now()
	good := p.sign(here, "owner", now.Add(time.Hour))
	f.Add(good)
	f.Add("..")
	f.Add("b3duZXI.99999999999.")
	f.Fuzz(func(t *testing.T, s string) {
		if valid(p, s, here, now) && !sameBits(s, good) {
			t.Errorf("forged: %q", s)
		}
	})
}

func TestCodesWorkOnceAndExpire(t *testing.T) {
	c, here, now := newCodes(), place{80, "demo"}, time.Now()
	code, err := c.issue(here, "owner", now)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := c.redeem(code, place{81, "demo"}, now); ok {
		t.Error("a code works for another port")
	}
	if _, ok := c.redeem(code, here, now); ok {
		t.Error("a code that was tried at the wrong place still works")
	}
	code, _ = c.issue(here, "owner", now)
	if _, ok := c.redeem(code, here, now.Add(codeLife)); ok {
		t.Error("an old code works")
	}
	for range maxCodes {
		if _, err = c.issue(here, "owner", now); err != nil {
			break
		}
	}
	if _, err := c.issue(here, "owner", now); err == nil {
		t.Error("codes are not bounded")
	}
	if _, err := c.issue(here, "owner", now.Add(2*codeLife)); err != nil {
		t.Errorf("old codes are not forgotten: %v", err)
	}
}

func TestCleanResponse(t *testing.T) {
	h := http.Header{"Set-Cookie": {
		"a=1; Domain=holt.test; Path=/", "b=2; domain = holt.test; Secure", "holt_port=x", "__Host-holt_session=x", "holt_session=x; Path=/", "=bad", "c=3",
	}}
	cleanResponse(h)
	if got := strings.Join(h["Set-Cookie"], "|"); got != "a=1; Path=/|b=2; Secure|c=3" {
		t.Errorf("left %q", got)
	}
}
