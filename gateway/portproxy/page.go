package portproxy

import (
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strings"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
)

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
{{if .Again}}<meta http-equiv="refresh" content="2">{{end}}
<title>{{.Title}} · Holt</title><style>
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}
body{margin:0;min-height:100vh;display:grid;place-items:center}
main{max-width:32rem;padding:2rem}
h1{font-size:1.4rem;margin:0 0 .5rem}
p{margin:.5rem 0;opacity:.8}
</style></head><body><main>
<h1>{{.Title}}</h1>
<p>{{.Text}}</p>
{{if .Again}}<p>This page tries again by itself.</p>{{end}}
</main></body></html>
`))

type view struct {
	Title, Text string
	Again       bool
}

// unanswered tells that the program behind a port could not be reached.
func (p *Proxy) unanswered(w http.ResponseWriter, r *http.Request, t place, err error) {
	p.cfg.Log.Debug("forwarded port", "port", t.port, "workspace", t.name, "err", err)
	title := fmt.Sprintf("nothing listens on port %d in %s yet", t.port, t.name)
	p.answer(w, r, &api.Problem{
		Status: http.StatusBadGateway, Title: http.StatusText(http.StatusBadGateway), Kind: string(holt.KindUnavailable), Field: "port", Detail: title,
	}, view{Title: title, Text: "Start a server in the workspace, on 127.0.0.1 or on all addresses.", Again: true})
}

// fail answers with what err says.
func (p *Proxy) fail(w http.ResponseWriter, r *http.Request, t place, err error) {
	prob := api.NewProblem(err)
	v := view{Title: prob.Title, Text: prob.Detail, Again: holt.Kind(prob.Kind).Retryable()}
	if t.name != "" && v.Again {
		v.Title = fmt.Sprintf("%s is not ready yet", t.name)
	}
	p.answer(w, r, prob, v)
}

func (p *Proxy) answer(w http.ResponseWriter, r *http.Request, prob *api.Problem, v view) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	prob.RequestID = h.Get(api.HeaderRequestID)
	if !wantsPage(r) {
		h.Set("Content-Type", api.ProblemType)
		w.WriteHeader(prob.Status)
		_ = json.NewEncoder(w).Encode(prob) // the asker is gone otherwise
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	w.WriteHeader(prob.Status)
	_ = page.Execute(w, v) // the browser is gone otherwise
}

func wantsPage(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// navigates reports whether a browser opens r as a page, so that a redirect to
// another origin and back works.
func navigates(r *http.Request) bool {
	mode := r.Header.Get("Sec-Fetch-Mode")
	return wantsPage(r) && r.Header.Get("Upgrade") == "" && (mode == "" || mode == "navigate")
}
