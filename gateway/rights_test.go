package gateway_test

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/gateway"
	"github.com/holt-ide/holt/meta"
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

// people are the callers of the tables below, in this order.
var people = []string{"admin", "owner", "editor", "viewer", "stranger", "nobody"}

// allowed says who may use each right, in the order of people: y for yes, f for 403,
// n for 404 as if the workspace were not there, u for 401. It is written out
// here a second time on purpose: to change a right takes two changes. scope is the
// least that a token needs.
var allowed = map[string]struct{ who, scope string }{
	"version": {"yyyyyu", "read"}, "me": {"yyyyyu", "read"}, "events": {"yyyyyu", "read"},
	"list-stored-snapshots": {"yyyyyu", "read"},
	"list-images":           {"yyyyyu", "read"}, "build-image": {"yffffu", "write"}, "pull-image": {"yffffu", "write"},
	"load-image": {"yffffu", "write"}, "remove-image": {"yffffu", "write"},

	"set-password": {"yyyyyu", "admin"}, "create-login": {"yyyyyu", "admin"},
	"list-tokens": {"yyyyyu", "read"}, "create-token": {"yyyyyu", "admin"}, "revoke-token": {"yyyyyu", "admin"},
	"list-sessions": {"yyyyyu", "read"}, "end-session": {"yyyyyu", "admin"}, "end-sessions": {"yyyyyu", "admin"},

	"list-users": {"yffffu", "read"}, "get-user": {"yffffu", "read"}, "update-user": {"yffffu", "admin"},
	"delete-user": {"yffffu", "admin"}, "reset-password": {"yffffu", "admin"},
	"list-invitations": {"yffffu", "read"}, "create-invitation": {"yffffu", "admin"}, "revoke-invitation": {"yffffu", "admin"},
	"list-audit": {"yffffu", "read"},

	"list-workspaces": {"yyyyyu", "read"}, "create-workspace": {"yyyyyu", "write"},
	"get-workspace": {"yyyynu", "read"}, "workspace-history": {"yyyynu", "read"}, "workspace-log": {"yyyynu", "read"},
	"workspace-ports": {"yyyynu", "read"}, "list-checkpoints": {"yyyynu", "read"}, "list-members": {"yyyynu", "read"}, "list-snapshots": {"yyyynu", "read"},
	"wake-workspace": {"yyyynu", "write"}, "resume-workspace": {"yyyynu", "write"},
	"suspend-workspace": {"yyyfnu", "write"}, "stop-workspace": {"yyyfnu", "write"},
	"create-checkpoint": {"yyyfnu", "write"}, "verify-checkpoint": {"yyyfnu", "write"},
	"list-revisions": {"yyyynu", "read"}, "get-revision": {"yyyynu", "read"}, "list-revision": {"yyyynu", "read"}, "read-revision": {"yyyynu", "read"},
	"diff-revisions": {"yyyynu", "read"}, "get-durability": {"yyyynu", "read"}, "sync-workspace": {"yyyynu", "write"},
	"name-revision": {"yyyfnu", "write"}, "restore-revision": {"yyyfnu", "write"},
	"delete-checkpoint": {"yyffnu", "write"}, "rollback-workspace": {"yyffnu", "write"}, "fork-workspace": {"yyffnu", "write"},
	"delete-workspace": {"yyffnu", "write"},
	"set-member":       {"yyffnu", "admin"}, "remove-member": {"yyffnu", "admin"}, "create-share-link": {"yyffnu", "admin"},
	"list-share-links": {"yyffnu", "read"}, "revoke-share-link": {"yyffnu", "admin"},

	"port-tunnel":     {"yyyfnu", "write"},
	"guest-terminals": {"yyyynu", "write"}, "guest-terminal-attach": {"yyyynu", "write"},
	"guest-terminal-create": {"yyyfnu", "write"}, "guest-terminal-delete": {"yyyfnu", "write"}, "guest-exec": {"yyyfnu", "write"},
	"guest-file-stat": {"yyyynu", "write"}, "guest-file-list": {"yyyynu", "write"}, "guest-file-read": {"yyyynu", "write"},
	"guest-file-archive": {"yyyynu", "write"}, "guest-file-watch": {"yyyynu", "write"}, "guest-file-search": {"yyyynu", "write"},
	"guest-file-write": {"yyyfnu", "write"}, "guest-file-rename": {"yyyfnu", "write"}, "guest-file-mkdir": {"yyyfnu", "write"},
	"guest-file-remove": {"yyyfnu", "write"}, "guest-file-chmod": {"yyyfnu", "write"}, "guest-file-extract": {"yyyfnu", "write"},
	"guest-document": {"yyyynu", "write"}, "guest-ports": {"yyyynu", "write"}, "guest-mux": {"yyyynu", "write"}, "guest-presence": {"yyyynu", "write"},

	"health": {"yyyyyy", ""}, "openapi": {"yyyyyy", ""}, "login-page": {"yyyyyy", ""}, "login-script": {"yyyyyy", ""}, "pages": {"yyyyyy", ""},
	// These answer with a page that says what is missing, never with 404.
	"login": {"ffffff", ""}, "logout": {"ffffff", ""}, "welcome": {"ffffff", ""}, "invite": {"ffffff", ""},
	"welcome-page": {"uuuuuu", ""}, "invite-page": {"uuuuuu", ""}, "port-auth": {"uuuuuu", ""},
	"guest": {"nnnnnn", ""}, "external": {"nnnnnn", ""}, "no-route": {"nnnnnn", ""},
}

// Every route that there is, against every kind of caller and every scope of
// token. A route that is not in the table above is a failure.
func TestRights(t *testing.T) {
	s := stand.New(t, func(c *gateway.Config) {
		c.Web = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	})
	ids := map[string]holt.UserID{"admin": stand.Owner, "nobody": ""}
	for _, name := range people[1:5] {
		ids[name] = s.User(t, name, meta.RoleMember)
	}
	demo := start(t, s, s.Token(t, ids["owner"], meta.ScopeAdmin, ""), "demo")
	for name, role := range map[string]meta.WorkspaceRole{"editor": meta.WorkspaceEditor, "viewer": meta.WorkspaceViewer} {
		if err := s.Store.Members().Set(t.Context(), meta.Member{Workspace: holt.WorkspaceID(demo.ID), User: ids[name], Role: role, AddedAt: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	tokens := map[string]map[string]string{}
	for _, who := range people[:5] {
		tokens[who] = map[string]string{}
		for _, scope := range []meta.Scope{meta.ScopeRead, meta.ScopeWrite, meta.ScopeAdmin} {
			tokens[who][string(scope)] = s.Token(t, ids[who], scope, "")
		}
	}
	// What is asked for does nothing when it is allowed: things that are not there,
	// bodies that are none.
	fill := strings.NewReplacer("{workspace}", "demo", "{id}", "none", "{label}", "none", "{port}", "9", "{user}", "none-such")
	statuses := map[byte]int{'f': http.StatusForbidden, 'n': http.StatusNotFound, 'u': http.StatusUnauthorized}
	rank := map[string]int{"": 0, "read": 1, "write": 2, "admin": 3}
	seen := map[string]bool{}
	for _, r := range s.Gateway.Routes() {
		want, ok := allowed[r.Right]
		if !ok {
			t.Errorf("%s %s: the right %s is in no table of the test", r.Method, r.Pattern, r.Right)
			continue
		}
		seen[r.Right] = true
		method, path := cmp.Or(r.Method, http.MethodGet), fill.Replace(r.Pattern)
		switch r.Right {
		case "events", "guest-file-watch":
			path += "?since=x&path=/none/such" // a stream without end otherwise
		case "delete-workspace", "suspend-workspace", "stop-workspace", "resume-workspace", "wake-workspace", "create-checkpoint", "fork-workspace", "rollback-workspace":
			path += "?bad=1" // refused before it does anything
		case "end-sessions":
			path += "?bad=1"
		}
		for i, who := range people {
			for _, scope := range []string{"read", "write", "admin"} {
				token := tokens[who][scope]
				if who == "nobody" && scope != "admin" {
					continue
				}
				req := s.Request(method, path, token)
				if method != http.MethodGet && method != http.MethodDelete {
					req.Body, req.ContentLength = bodyOf("{"), 1
					req.Header.Set("Content-Type", "application/json")
				}
				upgrade(req, r.Right)
				resp := s.Do(t, req)
				must := statuses[want.who[i]] // 0: let through
				if who != "nobody" && rank[scope] < rank[want.scope] {
					must = http.StatusForbidden
				}
				got := resp.StatusCode
				switch {
				case must == 0 && (got == http.StatusForbidden || got == http.StatusUnauthorized || got == http.StatusNotFound && resp.Header.Get("Content-Type") == api.ProblemType && strings.Contains(problem(t, resp).Detail, "no workspace")):
					t.Errorf("%s %s (%s) by %s with scope %s: %d, want it let through", method, path, r.Right, who, scope, got)
				case must != 0 && got != must:
					t.Errorf("%s %s (%s) by %s with scope %s: %d, want %d", method, path, r.Right, who, scope, got, must)
				case must == http.StatusNotFound && want.scope != "":
					// Word for word what is said of a workspace that does not exist.
					other := s.Request(method, strings.Replace(path, "demo", "omed", 1), token)
					if req.ContentLength > 0 {
						other.Body, other.ContentLength, other.Header = bodyOf("{"), 1, req.Header.Clone()
					}
					upgrade(other, r.Right)
					missing := problem(t, s.Do(t, other))
					if p := problem(t, resp); p.Detail != strings.Replace(missing.Detail, "omed", "demo", 1) || missing.Status != p.Status {
						t.Errorf("%s: a stranger can tell %q from %q", r.Right, p.Detail, missing.Detail)
					}
				}
			}
		}
		if want.scope == "" {
			continue
		}
		for name, token := range map[string]string{"bad token": "holt_" + strings.Repeat("0", 52), "no token at all": "x", "expired": s.Expired} {
			req := s.Request(method, path, token)
			upgrade(req, r.Right)
			resp := s.Do(t, req)
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s %s with %s: %d, want 401", method, path, name, resp.StatusCode)
				continue
			}
			p := problem(t, resp)
			if name == "expired" && !strings.Contains(p.Detail, "expired on") {
				t.Errorf("%s %s with an expired token says %q", method, path, p.Detail)
			}
			if resp.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s %s: 401 without WWW-Authenticate", method, path)
			}
		}
	}
	for key := range allowed {
		if !seen[key] {
			t.Errorf("the right %s belongs to no route", key)
		}
	}
	if w, err := s.Client(t).Get(t.Context(), "demo"); err != nil || w.State != string(holt.Running) || w.Version != demo.Version {
		t.Errorf("the workspace is not as it was: %+v, %v", w, err)
	}
}

// upgrade makes a request one for a raw stream, where the route is that.
func upgrade(r *http.Request, right string) {
	if right == "port-tunnel" {
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", api.UpgradeTCP)
	}
}

// start makes a workspace with a token and waits until it runs.
func start(t *testing.T, s *stand.Stand, token, name string) api.Workspace {
	t.Helper()
	ctx, c := within(t), s.As(t, token)
	w, err := c.Create(ctx, api.CreateWorkspace{Name: name})
	if err == nil {
		w, err = c.Await(ctx, w, holt.Running, nil)
	}
	if err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	return w
}

// The description of the REST interface has no operation that the router does not
// tell of.
func TestRoutesAreAll(t *testing.T) {
	s := stand.New(t)
	doc, err := gateway.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	var spec struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
		}
	}
	if err := json.Unmarshal(doc, &spec); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, r := range s.Gateway.Routes() {
		known[r.Method+" "+r.Pattern+" "+r.Right] = true
	}
	n := 0
	for path, methods := range spec.Paths {
		for m, o := range methods {
			n++
			if !known[strings.ToUpper(m)+" "+path+" "+o.OperationID] {
				t.Errorf("%s %s (%s) is not among the routes", m, path, o.OperationID)
			}
		}
	}
	if n < 40 {
		t.Errorf("only %d operations are described", n)
	}
}

// A token for one workspace opens that one alone.
func TestBoundToken(t *testing.T) {
	s := stand.New(t)
	mine, other := s.Start(t, "mine"), s.Start(t, "other")
	ctx := within(t)
	made, err := s.Client(t).CreateToken(ctx, api.CreateToken{Name: "ci", Workspace: "mine"})
	if err != nil || made.Workspace != mine.ID || made.Scope != "write" {
		t.Fatalf("%+v, %v", made, err)
	}
	c := s.As(t, made.Secret)
	if list, err := c.List(ctx); err != nil || len(list) != 1 || list[0].ID != mine.ID {
		t.Errorf("it lists %+v, %v", list, err)
	}
	if _, err := c.Get(ctx, "mine"); err != nil {
		t.Error(err)
	}
	if _, err := c.Get(ctx, other.ID); !holt.IsKind(err, holt.KindNotFound) {
		t.Errorf("another workspace: %v", err)
	}
	if _, err := c.Guest("other", true).Terminals(ctx); !holt.IsKind(err, holt.KindNotFound) {
		t.Errorf("into another workspace: %v", err)
	}
	if _, err := c.Guest("mine", true).Terminals(ctx); err != nil {
		t.Errorf("into its own: %v", err)
	}
	for what, err := range map[string]error{
		"create":      func() error { _, err := c.Create(ctx, api.CreateWorkspace{Name: "third"}); return err }(),
		"token":       func() error { _, err := c.CreateToken(ctx, api.CreateToken{Name: "x"}); return err }(),
		"login":       func() error { _, err := c.Login(ctx, ""); return err }(),
		"users":       func() error { _, err := c.Users(ctx); return err }(),
		"audit":       func() error { _, err := c.Audit(ctx, nil); return err }(),
		"invitations": func() error { _, err := c.Invitations(ctx); return err }(),
	} {
		if !holt.IsKind(err, holt.KindForbidden) {
			t.Errorf("%s: %v", what, err)
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
