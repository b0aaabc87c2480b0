package gateway

import (
	"context"
	"html/template"
	"net/http"

	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/auth"
)

// doorView is what the pages in front of the door show: signing in, choosing a
// password, accepting an invitation. They work without scripts.
type doorView struct {
	Title   string
	Intro   string
	Problem string
	Note    string

	Action string // where the form goes; "" shows none
	Code   string
	To     string // where to go afterwards
	Press  bool   // a script presses the button, because the link says it all

	Name, Password bool   // fields of the form
	Named          string // what stands in the field for the name
	Fresh          bool   // the password is a new one
	Button         string
	Providers      []provider // other ways in
	Hint           string     // below the form
	Command        string     // after the hint
}

// provider is an identity provider as the page shows it.
type provider struct{ Name, URL string }

var doorTemplate = template.Must(template.New("door").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{.Title}} · Holt</title><link rel="icon" href="data:,"><style>
:root{color-scheme:light dark;--bg:light-dark(#f4f6f4,#101315);--card:light-dark(#fff,#181c1f);--line:light-dark(#d5dcd8,#2c3338);--text:light-dark(#1c2226,#e6e9eb);
--dim:light-dark(#56616a,#9aa5ad);--accent:light-dark(#2a6a4a,#6fc498);--on:light-dark(#fff,#0d1a13);--bad:light-dark(#a81c15,#ff9a90);--badbg:light-dark(#fdeceb,#34201f);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;min-height:100dvh;display:grid;place-items:center;padding:1.5rem 1rem;background:var(--bg);color:var(--text)}
main{width:100%;max-width:25rem}
.brand{display:flex;align-items:center;gap:.55rem;margin:0 0 1.1rem .1rem;font-weight:700;font-size:1.15rem;letter-spacing:.01em}
.brand svg{width:1.7rem;height:1.7rem;color:var(--accent)}
.card{padding:1.7rem 1.7rem 1.8rem;border:1px solid var(--line);border-radius:.9rem;background:var(--card);box-shadow:0 1px 2px rgb(0 0 0/4%),0 8px 28px rgb(0 0 0/5%)}
h1{font-size:1.35rem;line-height:1.3;margin:0 0 .35rem}
p{margin:.35rem 0}
.dim{color:var(--dim)}
label{display:block;margin:1rem 0 .3rem;font-weight:550;font-size:.93rem}
input{width:100%;font:inherit;padding:.58rem .75rem;border:1px solid var(--line);border-radius:.5rem;background:var(--bg);color:inherit}
button,.button{display:block;width:100%;font:inherit;font-weight:600;text-align:center;text-decoration:none;margin-top:1.3rem;padding:.62rem 1rem;border:1px solid transparent;border-radius:.5rem;background:var(--accent);color:var(--on);cursor:pointer}
.button{margin-top:.7rem;border-color:var(--line);background:none;color:var(--text)}
button:hover{filter:brightness(1.07)}.button:hover{border-color:var(--dim)}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.problem{margin:.9rem 0 .2rem;padding:.6rem .8rem;border-radius:.5rem;background:var(--badbg);color:var(--bad)}
.or{display:flex;align-items:center;gap:.8rem;margin:1.3rem 0 .2rem;color:var(--dim);font-size:.9rem}
.or::before,.or::after{content:"";flex:1;border-top:1px solid var(--line)}
.small{font-size:.9rem;margin-top:1.1rem}
code{font:.92em ui-monospace,"Cascadia Mono",Menlo,Consolas,monospace;padding:.1em .35em;border-radius:.3em;background:var(--bg);border:1px solid var(--line);white-space:nowrap}
a{color:var(--accent)}
</style></head><body><main>
<div class="brand"><svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d="M12 3v6M12 9 7 6M12 9l5-3M4 21c2-5 5-7 8-7s6 2 8 7"/></svg>Holt</div>
<div class="card">
<h1>{{.Title}}</h1>
{{if .Intro}}<p class="dim">{{.Intro}}</p>{{end}}
{{if .Problem}}<p class="problem" role="alert">{{.Problem}}</p>{{end}}
{{if .Note}}<p role="status">{{.Note}}</p>{{end}}
{{if .Action}}<form method="post" action="{{.Action}}" id="door">
{{if .Code}}<input type="hidden" name="code" value="{{.Code}}">{{end}}{{if .To}}<input type="hidden" name="to" value="{{.To}}">{{end}}
{{if .Name}}<label for="name">Name</label><input id="name" name="name" value="{{.Named}}" autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="64" required autofocus>{{end}}
{{if .Password}}<label for="password">Password</label><input id="password" name="password" type="password" autocomplete="{{if .Fresh}}new-password{{else}}current-password{{end}}" maxlength="512" required{{if not .Name}} autofocus{{end}}{{if .Fresh}} minlength="10" aria-describedby="rule"{{end}}>
{{if .Fresh}}<p class="dim small" id="rule" style="margin-top:.35rem">At least 10 characters. A few words are easy to remember.</p>{{end}}{{end}}
<button{{if not .Password}} autofocus{{end}}>{{.Button}}</button></form>
{{if .Press}}<script src="/login.js" defer></script>{{end}}{{end}}
{{if .Providers}}{{if .Action}}<div class="or">or</div>{{end}}{{range .Providers}}<a class="button" href="{{.URL}}">Sign in with {{.Name}}</a>{{end}}{{end}}
{{if .Hint}}<p class="dim small">{{.Hint}}{{if .Command}} <code>{{.Command}}</code>{{end}}</p>{{end}}
</div></main></body></html>
`))

func showDoor(w http.ResponseWriter, status int, v doorView) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", pageCSP)
	w.WriteHeader(status)
	_ = doorTemplate.Execute(w, v) // the browser is gone otherwise
}

// loginScript presses the button.
func loginScript(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	_, _ = w.Write([]byte("document.getElementById('door').submit()\n")) // the browser is gone otherwise
}

// maxForm bounds what the pages post, in bytes, and maxCode one code in it.
const (
	maxForm = 8 << 10
	maxCode = 256
)

// form reads what a page of ours posted. Whatever it returns in problem is shown.
func form(w http.ResponseWriter, r *http.Request, same bool) (status int, problem string) {
	if !same {
		return http.StatusForbidden, "Another page sent this form. Open the link itself, or type the address of this server."
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return http.StatusBadRequest, "This form could not be read. Try again."
	}
	return 0, ""
}

// codeOf returns the code of a link, or "" if it cannot be one.
func codeOf(s string) string {
	if len(s) > maxCode {
		return ""
	}
	return s
}

// refuse shows a page again with what went wrong, and keeps the cause for the log.
func (g *Gateway) refuse(ctx context.Context, w http.ResponseWriter, v doorView, err error) {
	p := problemOf(ctx, err)
	if p.Status == http.StatusTooManyRequests || p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter(err))
	}
	v.Problem = sentence(p)
	showDoor(w, p.Status, v)
}

// sentence makes a problem's detail a sentence of a page.
func sentence(p *api.Problem) string {
	s := []byte(p.Detail)
	if len(s) > 0 && s[0] >= 'a' && s[0] <= 'z' {
		s[0] -= 'a' - 'A'
	}
	return string(s) + "."
}

// browserOf returns where a session begins.
func (g *Gateway) browserOf(r *http.Request) auth.Browser {
	return auth.Browser{Agent: r.UserAgent(), Address: g.address(r)}
}
