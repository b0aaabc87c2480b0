package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/wire/status"
)

// The REST library makes its errors through these variables; they exist for
// being set. All of them become problems of package api.
func init() {
	huma.NewErrorWithContext = func(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
		p := restProblem(status, msg, errs)
		if ctx == nil {
			return p
		}
		return problemOf(ctx.Context(), p)
	}
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError { return restProblem(status, msg, errs) }
}

// restProblem turns what the REST library found wrong with a request into a
// problem that names the first field at fault.
func restProblem(code int, msg string, errs []error) *api.Problem {
	switch {
	case code == 0: // asked for its type alone
		return &api.Problem{}
	case code == http.StatusInternalServerError && len(errs) == 1:
		return api.NewProblem(errs[0])
	case code == http.StatusUnprocessableEntity:
		code = http.StatusBadRequest
	}
	p := &api.Problem{Status: code, Title: http.StatusText(code), Kind: string(status.Kind(code)), Detail: msg}
	if code == http.StatusRequestEntityTooLarge {
		p.Field, p.Limit = "body", holt.FormatSize(api.MaxBody)
		p.Detail = "the request body is too large: at most " + p.Limit
	}
	for _, err := range errs {
		d, ok := err.(huma.ErrorDetailer)
		if !ok {
			p.Detail = msg + ": " + err.Error()
			continue
		}
		detail := d.ErrorDetail()
		p.Field = fieldName(detail.Location)
		p.Detail = detail.Message
		if detail.Message == "unexpected property" {
			p.Detail = "there is no field of this name: see " + api.Prefix + "/openapi.json"
		}
		if name, ok := strings.CutPrefix(detail.Message, "expected required property "); ok {
			name, _, _ = strings.Cut(name, " ")
			p.Field = strings.TrimPrefix(p.Field+"."+name, "body.")
			p.Detail = "this field is required"
		}
		if p.Field != "" {
			p.Detail = p.Field + ": " + p.Detail
		}
		break
	}
	return p
}

// fieldName strips the part of the request from a location: "body.limits.cpus"
// is known to the user as "limits.cpus".
func fieldName(location string) string {
	part, rest, ok := strings.Cut(location, ".")
	if ok && (part == "body" || part == "query" || part == "path" || part == "header") {
		return rest
	}
	return location
}

// restConfig describes the interface as a whole.
func restConfig(version string) huma.Config {
	cfg := huma.DefaultConfig("Holt", version)
	cfg.Info.Description = "Development machines that hibernate. Errors are RFC 9457 problems."
	cfg.OpenAPIPath = api.Prefix + "/openapi"
	cfg.DocsPath, cfg.SchemasPath = "", ""
	cfg.CreateHooks = nil // no $schema fields in answers
	cfg.RejectUnknownQueryParameters = true
	cfg.Formats = map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat}
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token":   {Type: "http", Scheme: "bearer", Description: "An API token"},
		"session": {Type: "apiKey", In: "cookie", Name: "holt_session", Description: "A browser's session"},
	}
	cfg.Security = []map[string][]string{{"token": {}}, {"session": {}}}
	return cfg
}

// rest is the REST interface of a gateway, as it is put together.
type rest struct {
	huma.API
	g *Gateway
}

func (g *Gateway) register(mux *http.ServeMux, version string) *rest {
	rest := &rest{humago.New(mux, restConfig(version)), g}
	g.registerWorkspaces(rest)
	g.registerRevisions(rest)
	g.registerMembers(rest)
	g.registerEvents(rest)
	g.registerImages(rest)
	g.registerAccount(rest)
	g.registerPeople(rest)
	g.registerAudit(rest)
	return rest
}

// mountREST puts the REST interface on mux, behind the check of rights.
func (g *Gateway) mountREST(mux *http.ServeMux) {
	inner := http.NewServeMux()
	g.register(inner, g.cfg.Version)
	inner.HandleFunc("/", g.noRoute)
	mux.Handle(api.Prefix+"/", g.guarded(inner))
	g.handle(mux, "GET "+api.Prefix+"/openapi.json", "openapi", inner.ServeHTTP)
	g.handle(mux, "GET "+api.Prefix+"/healthz", "health", g.health)
}

// OpenAPI returns the description of the REST interface as indented JSON.
func OpenAPI() ([]byte, error) {
	rest := (&Gateway{}).register(http.NewServeMux(), "1")
	data, err := json.MarshalIndent(rest.OpenAPI(), "", "  ")
	if err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
}

// answer is the output of an operation whose body is T.
type answer[T any] struct{ Body T }

// writeTime bounds how long a client may take to read an ordinary answer.
const writeTime = 30 * time.Second

// op declares one operation of the REST interface. Whoever may not use it, as
// rights says, does not reach handle; whoever changes something leaves a line in
// the audit log.
func op[I, O any](rest *rest, method, path, id, summary string, handle func(context.Context, *I) (*O, error), more ...func(*huma.Operation)) {
	g, need := rest.g, rest.g.declare(method, api.Prefix+path, id)
	o := huma.Operation{OperationID: id, Method: method, Path: api.Prefix + path, Summary: summary, MaxBodyBytes: api.MaxBody}
	o.Middlewares = huma.Middlewares{func(ctx huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(ctx)
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTime)) // a writer without deadlines is a test's
		who := permitted(ctx.Context()).Identity
		if changes(&o) && !need.quiet {
			defer g.audit(r, who, id)
		}
		a, err := g.permit(ctx.Context(), who, need, ctx.Param("workspace"), ctx.Param("user"))
		note(ctx.Context(), string(a.Workspace.ID), a.Workspace.Name, "")
		if err != nil {
			if a.Workspace.ID == "" {
				note(ctx.Context(), "", cmp.Or(ctx.Param("workspace"), ctx.Param("user"), ctx.Param("id")), "")
			}
			writeProblem(w, r, err)
			return
		}
		next(huma.WithValue(ctx, keyAccess, a))
	}}
	for _, f := range more {
		f(&o)
	}
	huma.Register(rest.API, o, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, in)
		if err != nil {
			return nil, problemOf(ctx, err)
		}
		return out, nil
	})
}

// schemaOf returns the description of T, for answers that the REST library does
// not write itself.
func schemaOf[T any](rest *rest) *huma.Schema {
	t := reflect.TypeFor[T]()
	return rest.OpenAPI().Components.Schemas.Schema(t, true, t.Name())
}

// answers sets the status of success.
func answers(code int) func(*huma.Operation) {
	return func(o *huma.Operation) { o.DefaultStatus = code }
}

// parseWait reads a duration such as "20s" between 0 and most.
func parseWait(field, s string, fallback, most time.Duration) (time.Duration, error) {
	if s == "" {
		return fallback, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, holt.Invalidf(field, "%q is not a duration such as 20s", s)
	}
	if d > most {
		return 0, &holt.Error{Kind: holt.KindInvalid, Field: field, Limit: most.String(), Text: "this is too long to wait in one request: at most " + most.String()}
	}
	return d, nil
}
