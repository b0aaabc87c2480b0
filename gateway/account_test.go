package gateway_test

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/gateway"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/test/stand"
	guestwire "github.com/holt-ide/holt/wire/guest"
)

const password = "correct horse battery"

// post sends a form as our own page does. It returns the answer and the session
// cookie that came with it, or nil.
func post(t *testing.T, s *stand.Stand, path string, form url.Values, cookies ...*http.Cookie) (*http.Response, *http.Cookie) {
	t.Helper()
	r := s.Request("POST", path, "")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("User-Agent", "Firefox")
	for _, c := range cookies {
		r.AddCookie(c)
	}
	body := form.Encode()
	r.Body, r.ContentLength = bodyOf(body), int64(len(body))
	resp := s.Do(t, r)
	for _, c := range resp.Cookies() {
		if c.Name == "holt_session" && c.Value != "" {
			return resp, c
		}
	}
	return resp, nil
}

var alertRE = regexp.MustCompile(`role="alert">([^<]*)<`)

// says returns what a page tells went wrong.
func says(t *testing.T, resp *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	m := alertRE.FindStringSubmatch(string(body))
	if m == nil {
		return ""
	}
	return m[1]
}

func code(t *testing.T, link string) string {
	t.Helper()
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get("code")
}

// with sends a request of our own page with a session.
func with(t *testing.T, s *stand.Stand, method, path string, session *http.Cookie) *http.Response {
	t.Helper()
	r := s.Request(method, path, "")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.AddCookie(session)
	return s.Do(t, r)
}

// signUp invites somebody, who makes an account, and returns their session.
func signUp(t *testing.T, s *stand.Stand, name string) *http.Cookie {
	t.Helper()
	i, err := s.Client(t).Invite(within(t), api.CreateInvitation{Note: "for " + name})
	if err != nil {
		t.Fatal(err)
	}
	resp, session := post(t, s, "/invite", url.Values{"code": {code(t, i.URL)}, "name": {name}, "password": {password}})
	if resp.StatusCode != http.StatusSeeOther || session == nil {
		t.Fatalf("accept: %s, %s", resp.Status, says(t, resp))
	}
	return session
}

// The first link makes the account of the server's first user, once; that user
// signs in with a password from then on.
func TestFirstUser(t *testing.T) {
	s := stand.New(t)
	setup, err := s.Auth.Setup(t.Context(), stand.Owner)
	if err != nil || setup == "" {
		t.Fatalf("%q, %v", setup, err)
	}
	page := s.Do(t, s.Request("GET", "/welcome?code="+setup, ""))
	body, _ := io.ReadAll(page.Body)
	if page.StatusCode != 200 || !strings.Contains(string(body), "Choose a name and a password") || !strings.Contains(page.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Fatalf("%s: %s", page.Status, body)
	}
	for form, want := range map[[2]string]string{
		{"grace", "short"}: "A password needs at least 10 characters", {"", password}: "Choose a name", {"two words", password}: "A name has only",
	} {
		resp, c := post(t, s, "/welcome", url.Values{"code": {setup}, "name": {form[0]}, "password": {form[1]}})
		if got := says(t, resp); resp.StatusCode != http.StatusBadRequest || c != nil || !strings.HasPrefix(got, want) {
			t.Errorf("%q: %s %q", form, resp.Status, got)
		}
	}
	// A form of another page is refused and uses nothing up.
	r := s.Request("POST", "/welcome", "")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	if resp := s.Do(t, r); resp.StatusCode != http.StatusForbidden {
		t.Errorf("foreign form: %s", resp.Status)
	}
	resp, session := post(t, s, "/welcome", url.Values{"code": {setup}, "name": {"Grace"}, "password": {password}})
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/" || session == nil {
		t.Fatalf("%s, %s", resp.Status, says(t, resp))
	}
	var me api.Me
	decode(t, with(t, s, "GET", api.Prefix+"/me", session), &me)
	if me.Name != "grace" || me.Role != "admin" || me.User != string(stand.Owner) || !me.Password {
		t.Errorf("%+v", me)
	}
	resp, _ = post(t, s, "/welcome", url.Values{"code": {setup}, "name": {"eve"}, "password": {password}})
	if got := says(t, resp); resp.StatusCode != http.StatusUnauthorized || !strings.Contains(got, "used already") {
		t.Errorf("second use: %s %q", resp.Status, got)
	}
	resp, session = post(t, s, "/login", url.Values{"name": {"grace"}, "password": {password}, "to": {"/?x=1"}})
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/?x=1" || session == nil {
		t.Errorf("login: %s to %s", resp.Status, resp.Header.Get("Location"))
	}
}

func TestLoginGoesNowhereElse(t *testing.T) {
	s := stand.New(t)
	signUp(t, s, "bob")
	for to, want := range map[string]string{
		"//evil.test/": "/", "https://evil.test/": "/", `/\evil.test`: "/", "javascript:alert(1)": "/", "/logout": "/", "": "/", "/workspace/demo?x=1": "/workspace/demo?x=1",
		"/\nx": "/", "/" + strings.Repeat("x", 2000): "/",
	} {
		resp, _ := post(t, s, "/login", url.Values{"name": {"bob"}, "password": {password}, "to": {to}})
		if got := resp.Header.Get("Location"); resp.StatusCode != http.StatusSeeOther || got != want {
			t.Errorf("%.30q: %s to %q, want %q", to, resp.Status, got, want)
		}
	}
}

// A browser that signs in as somebody else is signed out before.
func TestLoginReplacesSession(t *testing.T) {
	s := stand.New(t)
	bob := signUp(t, s, "bob")
	signUp(t, s, "eve")
	_, eve := post(t, s, "/login", url.Values{"name": {"eve"}, "password": {password}}, bob)
	if resp := with(t, s, "GET", api.Prefix+"/me", bob); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("the session before: %s", resp.Status)
	}
	if resp := with(t, s, "GET", api.Prefix+"/me", eve); resp.StatusCode != 200 {
		t.Errorf("the new session: %s", resp.Status)
	}
}

func TestThrottledLogin(t *testing.T) {
	s := stand.New(t)
	signUp(t, s, "bob")
	for range 5 {
		resp, _ := post(t, s, "/login", url.Values{"name": {"bob"}, "password": {"wrong password"}})
		if got := says(t, resp); resp.StatusCode != http.StatusUnauthorized || got != "The name or the password is wrong." {
			t.Fatalf("%s %q", resp.Status, got)
		}
	}
	resp, c := post(t, s, "/login", url.Values{"name": {"bob"}, "password": {password}})
	if got := says(t, resp); resp.StatusCode != http.StatusTooManyRequests || c != nil || resp.Header.Get("Retry-After") != "1" || got != "Too many wrong passwords: try again in 1 second." {
		t.Errorf("%s after %q: %q", resp.Status, resp.Header.Get("Retry-After"), got)
	}
	log, err := s.Client(t).Audit(within(t), url.Values{"action": {"login"}, "limit": {"10"}})
	if err != nil || len(log.Items) != 6 || log.Items[0].Outcome != "refused" || log.Items[0].Target != "bob" || log.Items[0].Address != "127.0.0.1" || log.Items[0].Actor != "" {
		t.Errorf("audit %+v, %v", log, err)
	}
}

// Who types a password into the field for the name does not find it in the log.
func TestAuditKeepsNoSecrets(t *testing.T) {
	s := stand.New(t)
	post(t, s, "/login", url.Values{"name": {"hunter2hunter2"}, "password": {"x"}})
	i, err := s.Client(t).Invite(within(t), api.CreateInvitation{})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := s.Client(t).CreateToken(within(t), api.CreateToken{Name: "ci"})
	if err != nil {
		t.Fatal(err)
	}
	resp := s.Do(t, s.Request("GET", api.Prefix+"/audit", s.Admin))
	body, _ := io.ReadAll(resp.Body)
	for _, s := range []string{"hunter2", code(t, i.URL), secret.Secret, secret.Secret[6:]} {
		if strings.Contains(string(body), s) {
			t.Errorf("the audit log holds %s", s)
		}
	}
	if !strings.Contains(string(body), `"create-token"`) || !strings.Contains(string(body), `"login"`) {
		t.Errorf("the audit log lacks lines: %s", body)
	}
}

func TestInvitationPages(t *testing.T) {
	s := stand.New(t)
	ctx, c := within(t), s.Client(t)
	used, err := c.Invite(ctx, api.CreateInvitation{})
	if err != nil {
		t.Fatal(err)
	}
	if resp := s.Do(t, s.Request("GET", strings.TrimPrefix(used.URL, s.URL), "")); resp.StatusCode != 200 {
		t.Errorf("page: %s", resp.Status)
	}
	form := url.Values{"code": {code(t, used.URL)}, "name": {"bob"}, "password": {password}}
	if resp, session := post(t, s, "/invite", form); session == nil {
		t.Fatalf("accept: %s", resp.Status)
	}
	revoked, err := c.Invite(ctx, api.CreateInvitation{})
	if err == nil {
		err = c.RevokeInvitation(ctx, revoked.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	expired, err := c.Invite(ctx, api.CreateInvitation{ExpiresInSeconds: 1})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		all, err := c.Invitations(ctx)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%+v, %v", all, err)
		}
		if all[0].State == "expired" && all[1].State == "revoked" && all[2].State == "used" && all[2].UsedBy == "bob" && all[2].CreatedBy == "root" {
			break
		}
	}
	for _, x := range []struct{ name, link, says string }{
		{"used", used.URL, "used or taken back already: ask for a new one, or sign in if it was you"}, {"revoked", revoked.URL, "taken back"},
		{"expired", expired.URL, "expired on"}, {"unknown", s.URL + "/invite?code=x", "not known here"}, {"none", s.URL + "/invite", "not known here"},
	} {
		resp := s.Do(t, s.Request("GET", strings.TrimPrefix(x.link, s.URL), ""))
		if got := says(t, resp); resp.StatusCode != http.StatusUnauthorized || !strings.Contains(got, x.says) {
			t.Errorf("page of a link that is %s: %s %q", x.name, resp.Status, got)
		}
		form.Set("code", code(t, x.link))
		form.Set("name", "eve")
		resp, session := post(t, s, "/invite", form)
		if got := says(t, resp); session != nil || !strings.Contains(got, x.says) {
			t.Errorf("form of a link that is %s: %s %q", x.name, resp.Status, got)
		}
	}
}

// A link to a workspace: for somebody new from an admin, for somebody with an
// account from its owner.
func TestShareLinks(t *testing.T) {
	s := stand.New(t)
	ctx := within(t)
	bob, eve := signUp(t, s, "bob"), signUp(t, s, "eve")
	mine := s.Token(t, userID(t, s, "bob"), meta.ScopeAdmin, "")
	start(t, s, mine, "demo")
	link, err := s.As(t, mine).ShareLink(ctx, "demo", api.CreateShareLink{Role: "viewer"})
	if err != nil || link.Role != "" {
		t.Fatalf("%+v, %v", link, err)
	}
	form := url.Values{"code": {code(t, link.URL)}, "name": {"new"}, "password": {password}}
	if resp, c := post(t, s, "/invite", form); resp.StatusCode != http.StatusForbidden || c != nil {
		t.Errorf("a member's link made an account: %s", resp.Status)
	}
	form = url.Values{"code": {code(t, link.URL)}}
	page := s.Request("GET", "/invite?code="+code(t, link.URL), "")
	page.AddCookie(eve)
	body, _ := io.ReadAll(s.Do(t, page).Body)
	if !strings.Contains(string(body), "bob shares the workspace demo with you, to look at it") || !strings.Contains(string(body), "Accept as eve") {
		t.Errorf("%s", body)
	}
	if resp, _ := post(t, s, "/invite", form, eve); resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/#demo" {
		t.Errorf("accept: %s to %s: %s", resp.Status, resp.Header.Get("Location"), says(t, resp))
	}
	var list api.WorkspaceList
	decode(t, with(t, s, "GET", api.Prefix+"/workspaces", eve), &list)
	if len(list.Items) != 1 || list.Items[0].Role != "viewer" || list.Items[0].Owner != "bob" {
		t.Errorf("eve sees %+v", list)
	}
	_ = bob
	// An admin's link makes an account that has the workspace.
	link, err = s.Client(t).ShareLink(ctx, "demo", api.CreateShareLink{Role: "editor"})
	if err != nil {
		t.Fatal(err)
	}
	form = url.Values{"code": {code(t, link.URL)}, "name": {"new"}, "password": {password}}
	resp, fresh := post(t, s, "/invite", form)
	if fresh == nil || resp.Header.Get("Location") != "/#demo" {
		t.Fatalf("%s to %s: %s", resp.Status, resp.Header.Get("Location"), says(t, resp))
	}
	members, err := s.As(t, mine).Members(ctx, "demo")
	if err != nil || len(members) != 3 || members[0].User != "bob" || members[0].Role != "owner" || members[2].User != "new" || members[2].Role != "editor" || members[2].AddedBy != "root" {
		t.Errorf("%+v, %v", members, err)
	}
}

func userID(t *testing.T, s *stand.Stand, name string) holt.UserID {
	t.Helper()
	u, err := s.Store.Users().ByName(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return u.ID
}

// attach opens a terminal and returns its connection.
func attach(t *testing.T, s *stand.Stand, token, query string) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, s.URL+"/w/demo/v1/terminals/main/attach?"+query, &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}, Subprotocols: nil,
	})
	if err != nil {
		t.Fatalf("attach: %v", err)
	}
	t.Cleanup(func() { c.CloseNow() })
	return c
}

// ended waits until the server has ended a connection.
func ended(t *testing.T, what string, c *websocket.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		if _, _, err := c.Read(ctx); err != nil {
			if ctx.Err() != nil {
				t.Errorf("%s: the stream is still open", what)
			}
			return
		}
	}
}

// Streams that are open end when the right to them does: no wait for the next
// request, which may never come.
func TestLostRightsEndStreams(t *testing.T) {
	s := stand.New(t)
	s.Start(t, "demo")
	ctx, admin := within(t), s.Client(t)
	yes := true
	var token api.NewToken
	for _, x := range []struct {
		what string
		lose func(name string) error
	}{
		{"disabled", func(n string) error { _, err := admin.UpdateUser(ctx, n, api.UpdateUser{Disabled: &yes}); return err }},
		{"removed", func(n string) error { return admin.RemoveUser(ctx, n) }},
		{"unshared", func(n string) error { return admin.Unshare(ctx, "demo", n) }},
		{"made a viewer", func(n string) error { _, err := admin.Share(ctx, "demo", n, "viewer"); return err }},
		{"token revoked", func(string) error { return admin.RevokeToken(ctx, token.ID) }},
	} {
		name := strings.ReplaceAll(x.what, " ", "-")
		id := s.User(t, name, meta.RoleMember)
		if _, err := admin.Share(ctx, "demo", name, "editor"); err != nil {
			t.Fatal(err)
		}
		var err error
		if token, err = s.As(t, s.Token(t, id, meta.ScopeAdmin, "")).CreateToken(ctx, api.CreateToken{Name: "x"}); err != nil {
			t.Fatal(err)
		}
		c := attach(t, s, token.Secret, "create=1")
		if err := x.lose(name); err != nil {
			t.Errorf("%s: %v", x.what, err)
			continue
		}
		ended(t, x.what, c)
	}
	for deadline := time.Now().Add(10 * time.Second); s.Gateway.Connections(holt.WorkspaceID(get(t, s, "demo").ID)) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("relays are still counted")
		}
	}
}

func get(t *testing.T, s *stand.Stand, name string) api.WorkspaceDetail {
	t.Helper()
	w, err := s.Client(t).Get(within(t), name)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// A viewer watches a terminal and cannot type into it, whatever is asked for, and
// makes none.
func TestViewerOnlyLooks(t *testing.T) {
	s := stand.New(t)
	s.Start(t, "demo")
	ctx, admin := within(t), s.Client(t)
	viewer := s.Token(t, s.User(t, "viewer", meta.RoleMember), meta.ScopeAdmin, "")
	if _, err := admin.Share(ctx, "demo", "viewer", "viewer"); err != nil {
		t.Fatal(err)
	}
	look := s.As(t, viewer).Guest("demo", true)
	if _, err := look.Write(ctx, "x", strings.NewReader("x"), guestwire.WriteOptions{}); !holt.IsKind(err, holt.KindForbidden) || !strings.Contains(err.Error(), "you are a viewer of demo: this needs an editor") {
		t.Errorf("write: %v", err)
	}
	// A terminal that does not exist is not made by looking.
	if c, _, err := websocket.Dial(ctx, s.URL+"/w/demo/v1/terminals/fresh/attach?create=1", &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"Bearer " + viewer}}}); err == nil {
		c.CloseNow()
		t.Error("a viewer made a terminal")
	}
	term, err := admin.Guest("demo", true).Attach(ctx, "main", guestwire.Attach{Create: true, Cols: 80, Rows: 24})
	if err != nil {
		t.Fatal(err)
	}
	defer term.Abort()
	spy, err := look.Attach(ctx, "main", guestwire.Attach{Cols: 10, Rows: 5})
	if err != nil {
		t.Fatal(err)
	}
	defer spy.Abort()
	if err := spy.Send(ctx, guestwire.Frame{Type: guestwire.TypeInput, Data: []byte("touch typed-by-viewer\n")}); err != nil {
		t.Fatal(err)
	}
	if err := term.Send(ctx, guestwire.Frame{Type: guestwire.TypeInput, Data: []byte("stty size; echo done-$((1+1))\n")}); err != nil {
		t.Fatal(err)
	}
	if got := until(t, spy, "done-2"); !strings.Contains(got, "24 80") {
		t.Errorf("a viewer resized the terminal: %q", got)
	}
	if _, err := admin.Guest("demo", true).Stat(ctx, "typed-by-viewer"); !holt.IsKind(err, holt.KindNotFound) {
		t.Errorf("a viewer typed into a terminal: %v", err)
	}
}

// until reads a terminal until it shows text, and returns all that it showed.
func until(t *testing.T, v *guestwire.Session, text string) string {
	t.Helper()
	ctx, got := within(t), ""
	for !strings.Contains(got, text) {
		f, err := v.Receive(ctx)
		if err != nil {
			t.Fatalf("waiting for %q: %v after %q", text, err, got)
		}
		if f.Type == guestwire.TypeOutput {
			got += string(f.Data)
		}
	}
	return got
}

// prefixes parses networks.
func prefixes(texts ...string) (out []netip.Prefix) {
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// Two people delete one workspace: both are told kindly that it is gone.
func TestDeleteTwice(t *testing.T) {
	s := stand.New(t)
	w := s.Start(t, "demo")
	ctx := within(t)
	other := s.Token(t, s.User(t, "other", meta.RoleAdmin), meta.ScopeAdmin, "")
	var wg sync.WaitGroup
	for _, token := range []string{s.Admin, other} {
		wg.Go(func() {
			err := s.As(t, token).Delete(ctx, w.ID, true)
			if err != nil && !holt.IsKind(err, holt.KindNotFound) {
				t.Errorf("delete: %v", err)
			}
		})
	}
	wg.Wait()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		_, err := s.As(t, other).Get(ctx, w.ID)
		if holt.IsKind(err, holt.KindNotFound) && strings.Contains(err.Error(), "is deleted") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("afterwards: %v", err)
		}
	}
	if err := s.Client(t).Delete(ctx, w.ID, true); !holt.IsKind(err, holt.KindNotFound) || !strings.Contains(err.Error(), "is deleted") {
		t.Errorf("delete once more: %v", err)
	}
	// A stranger learns nothing, not even by the ID.
	stranger := s.Token(t, s.User(t, "stranger", meta.RoleMember), meta.ScopeAdmin, "")
	if _, err := s.As(t, stranger).Get(ctx, w.ID); !holt.IsKind(err, holt.KindNotFound) || strings.Contains(err.Error(), "deleted") {
		t.Errorf("a stranger hears %v", err)
	}
}

// Everybody hears of their own workspaces and of those shared with them, from the
// moment on at which they are.
func TestEventsOfOthers(t *testing.T) {
	s := stand.New(t)
	bob := s.Token(t, s.User(t, "bob", meta.RoleMember), meta.ScopeAdmin, "")
	ctx := within(t)
	var mu sync.Mutex
	heard := map[string]bool{}
	following, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e, err := range s.As(t, bob).Events(following, 0) {
			if err != nil {
				return
			}
			mu.Lock()
			heard[e.Workspace+" "+e.Name] = true
			mu.Unlock()
		}
	}()
	defer func() { stop(); <-done }()
	s.Start(t, "secret")
	s.Start(t, "shared")
	if _, err := s.Client(t).Share(ctx, "shared", "bob", "viewer"); err != nil {
		t.Fatal(err)
	}
	hears := func(what string) {
		t.Helper()
		for {
			mu.Lock()
			ok := heard[what]
			mu.Unlock()
			if ok {
				return
			}
			if ctx.Err() != nil {
				t.Fatalf("bob did not hear %q", what)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	hears("shared shared")
	if err := s.Client(t).Unshare(ctx, "shared", "bob"); err != nil {
		t.Fatal(err)
	}
	hears("shared unshared")
	mu.Lock()
	defer mu.Unlock()
	for what := range heard {
		if strings.HasPrefix(what, "secret") {
			t.Errorf("bob heard of %s", what)
		}
	}
}

func TestSessionsAndPassword(t *testing.T) {
	s := stand.New(t)
	first := signUp(t, s, "bob")
	_, second := post(t, s, "/login", url.Values{"name": {"bob"}, "password": {password}})
	var list api.SessionList
	decode(t, with(t, s, "GET", api.Prefix+"/sessions", second), &list)
	if len(list.Items) != 2 || list.Items[0].Current || !list.Items[1].Current || list.Items[1].Agent != "Firefox" || list.Items[1].Address != "127.0.0.1" {
		t.Fatalf("%+v", list)
	}
	if resp := with(t, s, "DELETE", api.Prefix+"/sessions/"+list.Items[0].ID, second); resp.StatusCode != http.StatusNoContent {
		t.Errorf("end the other: %s", resp.Status)
	}
	resp := with(t, s, "GET", api.Prefix+"/me", first)
	if p := problem(t, resp); resp.StatusCode != http.StatusUnauthorized || !strings.Contains(p.Detail, "log in again") {
		t.Errorf("the other afterwards: %+v", p)
	}
	// Of somebody else's there are none.
	eve := signUp(t, s, "eve")
	if resp := with(t, s, "DELETE", api.Prefix+"/sessions/"+list.Items[1].ID, eve); resp.StatusCode != http.StatusNotFound {
		t.Errorf("eve ended bob's session: %s", resp.Status)
	}

	link, err := s.Client(t).ResetPassword(within(t), "bob")
	if err != nil {
		t.Fatal(err)
	}
	resp, fresh := post(t, s, "/welcome", url.Values{"code": {code(t, link.URL)}, "password": {"a new and long password"}})
	if fresh == nil {
		t.Fatalf("reset: %s %s", resp.Status, says(t, resp))
	}
	if resp := with(t, s, "GET", api.Prefix+"/me", second); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a session from before the reset: %s", resp.Status)
	}
}

// A disabled user with a page open reads why it stopped.
func TestDisabledUserIsTold(t *testing.T) {
	s := stand.New(t)
	bob := signUp(t, s, "bob")
	yes := true
	if _, err := s.Client(t).UpdateUser(within(t), "bob", api.UpdateUser{Disabled: &yes}); err != nil {
		t.Fatal(err)
	}
	resp, c := post(t, s, "/login", url.Values{"name": {"bob"}, "password": {password}})
	if got := says(t, resp); c != nil || !strings.Contains(got, "The account bob is disabled: ask an admin") {
		t.Errorf("%s %q", resp.Status, got)
	}
	if resp := with(t, s, "GET", api.Prefix+"/workspaces", bob); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("open page: %s", resp.Status)
	}
	if _, err := s.Client(t).UpdateUser(within(t), "root", api.UpdateUser{Disabled: &yes}); !holt.IsKind(err, holt.KindConflict) || !strings.Contains(err.Error(), "last admin") {
		t.Errorf("the last admin disabled: %v", err)
	}
}

// A proxy in front that is trusted tells the address; others tell nothing.
func TestAddressBehindProxies(t *testing.T) {
	for trust, want := range map[bool]string{true: "203.0.113.9", false: "127.0.0.1"} {
		s := stand.New(t, func(c *gateway.Config) {
			if trust {
				c.TrustedProxies = prefixes("127.0.0.0/8", "10.0.0.0/8")
			}
		})
		r := s.Request("POST", "/login", "")
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.Header.Set("X-Forwarded-For", "6.6.6.6, 203.0.113.9, 10.1.2.3")
		r.Body, r.ContentLength = bodyOf("name=x"), 6
		s.Do(t, r)
		log, err := s.Client(t).Audit(within(t), url.Values{"action": {"login"}})
		if err != nil || len(log.Items) != 1 || log.Items[0].Address != want {
			t.Errorf("trusted %v: %+v, %v", trust, log.Items, err)
		}
	}
}
