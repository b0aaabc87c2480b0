package gateway_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/gateway"
	"github.com/holt-ide/holt/test/stand"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// problem reads an answer that has to be a problem.
func problem(t *testing.T, resp *http.Response) api.Problem {
	t.Helper()
	var p api.Problem
	if ct := resp.Header.Get("Content-Type"); ct != api.ProblemType {
		t.Errorf("content type %q, want a problem", ct)
	}
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
		t.Fatalf("decode problem: %v", err)
	}
	if p.RequestID == "" || p.RequestID != resp.Header.Get(api.HeaderRequestID) || p.Status != resp.StatusCode || p.Detail == "" {
		t.Errorf("incomplete problem %+v of status %d", p, resp.StatusCode)
	}
	return p
}

// Every route of the description, and those beside it, against every kind of
// credential. A new route is tested as soon as it exists.
func TestRights(t *testing.T) {
	s := stand.New(t)
	doc, err := gateway.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	var spec struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(doc, &spec); err != nil {
		t.Fatal(err)
	}
	type route struct{ method, path string }
	var routes []route
	fill := strings.NewReplacer("{workspace}", "nobody", "{id}", "tk-none")
	for path, methods := range spec.Paths {
		for m := range methods {
			routes = append(routes, route{strings.ToUpper(m), fill.Replace(path)})
		}
	}
	if len(routes) < 20 {
		t.Fatalf("only %d routes are described", len(routes))
	}
	enter := []route{
		{"GET", "/w/nobody/v1/terminals"}, {"GET", "/w/nobody/v1/files/content"}, {"PUT", "/w/nobody/v1/files/content"},
		{"GET", "/w/nobody/v1/exec"}, {"GET", "/w/nobody/v1/ports"},
	}
	routes = append(routes, enter...)
	ask := func(r route, token string) *http.Response {
		req := s.Request(r.method, r.path, token)
		return s.Do(t, req)
	}
	for _, r := range routes {
		for name, token := range map[string]string{
			"no token": "", "bad token": "holt_" + strings.Repeat("0", 52), "no token at all": "x", "expired": s.Expired,
		} {
			resp := ask(r, token)
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s %s with %s: %d, want 401", r.method, r.path, name, resp.StatusCode)
				continue
			}
			p := problem(t, resp)
			if name == "expired" && !strings.Contains(p.Detail, "expired on") {
				t.Errorf("%s %s with an expired token says %q", r.method, r.path, p.Detail)
			}
			if resp.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s %s: 401 without WWW-Authenticate", r.method, r.path)
			}
		}
		entering := strings.HasPrefix(r.path, "/w/")
		wantRead := r.method == "GET" && !entering
		if resp := ask(r, s.Read); (resp.StatusCode != http.StatusForbidden) != wantRead {
			t.Errorf("%s %s with a read token: %d", r.method, r.path, resp.StatusCode)
		}
		if resp := ask(r, s.Admin); resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
			t.Errorf("%s %s with an admin token: %d", r.method, r.path, resp.StatusCode)
		}
	}
	for _, r := range []route{{"GET", "/healthz"}, {"GET", api.Prefix + "/healthz"}, {"GET", api.Prefix + "/openapi.json"}, {"GET", "/login"}} {
		if resp := ask(r, ""); resp.StatusCode != http.StatusOK {
			t.Errorf("%s %s without token: %d, want 200", r.method, r.path, resp.StatusCode)
		}
	}
}

// The guest's node-only routes do not exist from outside, not even for an admin.
func TestNodeRoutesAreNotRelayed(t *testing.T) {
	s := stand.New(t)
	s.Start(t, "demo")
	for _, r := range []struct{ method, path string }{
		{"GET", "/w/demo/v1/health"}, {"GET", "/w/demo/v1/stats"}, {"POST", "/w/demo/v1/thaw"}, {"POST", "/w/demo/v1/freeze"},
		{"POST", "/w/demo/v1/shutdown"}, {"GET", "/w/demo/v1/events"}, {"GET", "/w/demo/v1/ports/80/dial"},
		{"GET", "/w/demo/v1/files%2fstat"}, {"GET", "/w/demo/v2/terminals"}, {"DELETE", "/w/demo/v1/files/content"},
	} {
		resp := s.Do(t, s.Request(r.method, r.path, s.Admin))
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s %s: %d, want 404", r.method, r.path, resp.StatusCode)
			continue
		}
		if p := problem(t, resp); !strings.Contains(p.Detail, "there is no route") {
			t.Errorf("%s %s: %q comes from the guest", r.method, r.path, p.Detail)
		}
	}
}

func TestCookieNeedsOwnOrigin(t *testing.T) {
	s := stand.New(t)
	session := login(t, s)
	for _, c := range []struct {
		name, method, path, site string
		want                     int
	}{
		{"own page reads", "GET", api.Prefix + "/workspaces", "same-origin", 200},
		{"foreign page reads", "GET", api.Prefix + "/workspaces", "cross-site", 403},
		{"forwarded port reads", "GET", api.Prefix + "/workspaces", "same-site", 403},
		{"foreign page deletes", "DELETE", api.Prefix + "/workspaces/demo", "cross-site", 403},
		{"own page deletes", "DELETE", api.Prefix + "/workspaces/demo", "same-origin", 404},
		{"nobody says where it is from", "DELETE", api.Prefix + "/workspaces/demo", "", 403},
		{"foreign page enters", "GET", "/w/demo/v1/terminals", "cross-site", 403},
	} {
		r := s.Request(c.method, c.path, "")
		r.AddCookie(session)
		if c.site != "" {
			r.Header.Set("Sec-Fetch-Site", c.site)
		}
		if resp := s.Do(t, r); resp.StatusCode != c.want {
			t.Errorf("%s: %d, want %d", c.name, resp.StatusCode, c.want)
		}
	}
}

// login signs a browser in and returns its cookie.
func login(t *testing.T, s *stand.Stand) *http.Cookie {
	t.Helper()
	link, err := s.Client(t).Login(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(link.URL, "code=")
	resp := redeem(t, s, code, "same-origin")
	if resp.StatusCode != http.StatusSeeOther || len(resp.Cookies()) != 1 {
		t.Fatalf("login: %s with %d cookies", resp.Status, len(resp.Cookies()))
	}
	return resp.Cookies()[0]
}

func redeem(t *testing.T, s *stand.Stand, code, site string) *http.Response {
	t.Helper()
	r := s.Request("POST", "/login", "")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", site)
	body := "code=" + code + "&open=demo"
	r.Body, r.ContentLength = bodyOf(body), int64(len(body))
	return s.Do(t, r)
}

func TestLoginLink(t *testing.T) {
	s := stand.New(t)
	s.Start(t, "demo")
	link, err := s.Client(t).Login(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(link.URL, s.URL+"/login?") || !strings.Contains(link.URL, "open=demo") {
		t.Errorf("link %s", link.URL)
	}
	_, rest, _ := strings.Cut(link.URL, "code=")
	code, _, _ := strings.Cut(rest, "&")

	// Looking at the link does not use it up, and a foreign page cannot use it.
	if resp := s.Do(t, s.Request("GET", strings.TrimPrefix(link.URL, s.URL), "")); resp.StatusCode != 200 {
		t.Errorf("page of the link: %s", resp.Status)
	}
	if resp := redeem(t, s, code, "cross-site"); resp.StatusCode != http.StatusForbidden {
		t.Errorf("foreign form: %s", resp.Status)
	}
	resp := redeem(t, s, code, "same-origin")
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/#demo" {
		t.Fatalf("login: %s to %q", resp.Status, resp.Header.Get("Location"))
	}
	c := resp.Cookies()[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
		t.Errorf("weak cookie: %v", c)
	}
	if resp := redeem(t, s, code, "same-origin"); resp.StatusCode != http.StatusUnauthorized || len(resp.Cookies()) != 0 {
		t.Errorf("second use: %s", resp.Status)
	}

	me := s.Request("GET", api.Prefix+"/me", "")
	me.AddCookie(c)
	if resp := s.Do(t, me); resp.StatusCode != 200 {
		t.Errorf("session: %s", resp.Status)
	}
	out := s.Request("POST", "/logout", "")
	out.AddCookie(c)
	out.Header.Set("Sec-Fetch-Site", "same-origin")
	if resp := s.Do(t, out); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("logout: %s", resp.Status)
	}
	if resp := s.Do(t, me); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("session after logout: %s", resp.Status)
	}
}
