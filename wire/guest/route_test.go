package guestwire

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/holt-ide/holt"
)

// nodeOnly is written out here a second time on purpose: making a route public
// takes two changes.
var nodeOnly = map[string]bool{
	RoutePortDial: true, RouteStats: true, RouteEvents: true, RouteFreeze: true, RouteThaw: true, RouteHealth: true, RouteShutdown: true,
	RouteJournal: true, RouteJournalReplay: true, RouteDocumentsWrite: true, RouteUnfreeze: true,
}

func TestPublic(t *testing.T) {
	methods := []string{"GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "CONNECT", "get", ""}
	names := map[string]bool{}
	allowed := map[string]bool{}
	for _, r := range Routes() {
		if names[r.Name] {
			t.Errorf("two routes %s", r.Name)
		}
		names[r.Name] = true
		if r.Public == nodeOnly[r.Name] {
			t.Errorf("%s: public is %v", r.Name, r.Public)
		}
		allowed[r.Method+" "+r.Pattern] = r.Public
	}
	for _, r := range Routes() {
		path := strings.NewReplacer("{id}", "main", "{port}", "8080").Replace(r.Pattern)
		for _, m := range methods {
			if got, want := Public(m, path), allowed[m+" "+r.Pattern]; got != want {
				t.Errorf("%s %s: public is %v, want %v", m, path, got, want)
			}
		}
		for _, odd := range []string{path + "/", "/" + path, path + "/..", path + "%2f", path + "?x", strings.ToUpper(path),
			strings.Replace(path, "/v1/", "/v1//", 1), strings.Replace(path, "/v1/", "/v1/./", 1),
			strings.Replace(path, "/v1/", "/v1/x/../", 1), path[1:], path + "\x00", path + " ", "/v2" + path[3:]} {
			if Public(r.Method, odd) {
				t.Errorf("%s %q is public", r.Method, odd)
			}
		}
	}
	for _, path := range []string{"", "/", "/v1", "/v1/terminals//attach", "/v1/terminals/../attach", "/v1/terminals/./attach",
		"/v1/terminals/a/b/attach", "/v1/terminals/a%2e/attach", "/v1/terminals/ä/attach", `/v1/terminals/a\b/attach`} {
		if Public("GET", path) {
			t.Errorf("GET %q is public", path)
		}
	}
}

func FuzzPublic(f *testing.F) {
	for _, r := range Routes() {
		f.Add(r.Method, r.Pattern)
	}
	f.Add("GET", "/v1/ports/80/dial/../../../ports")
	f.Fuzz(func(t *testing.T, method, path string) {
		if !Public(method, path) {
			return
		}
		// What is public must lead a standard router to a public route as well.
		seen := ""
		mux := http.NewServeMux()
		for _, r := range Routes() {
			mux.HandleFunc(r.Method+" "+r.Pattern, func(http.ResponseWriter, *http.Request) {
				if !r.Public {
					t.Errorf("%s %q reaches %s", method, path, r.Name)
				}
				seen = r.Name
			})
		}
		req, err := http.NewRequest(method, "http://guest"+path, nil)
		if err != nil {
			t.Fatalf("%s %q is public and no request: %v", method, path, err)
		}
		mux.ServeHTTP(nopWriter{}, req)
		if seen == "" {
			t.Errorf("%s %q is public and reaches nothing", method, path)
		}
	})
}

type nopWriter struct{}

func (nopWriter) Header() http.Header         { return http.Header{} }
func (nopWriter) Write(b []byte) (int, error) { return len(b), nil }
func (nopWriter) WriteHeader(int)             {}

func TestErrorsKeepTheirKind(t *testing.T) {
	for _, k := range holt.Kinds() {
		err := &holt.Error{Kind: k, Field: "f", Text: "do this"}
		status := Status(err)
		if status < 400 {
			t.Errorf("%s: status %d", k, status)
		}
		b, _ := json.Marshal(BodyOf(err))
		var got *holt.Error
		back := ResponseError(&http.Response{StatusCode: status, Status: fmt.Sprint(status), Body: io.NopCloser(strings.NewReader(string(b)))})
		if !errors.As(back, &got) || got.Kind != k || got.Field != "f" || got.Text != "do this" {
			t.Errorf("%s came back as %#v", k, back)
		}
	}
	conflict := &holt.Error{Kind: holt.KindConflict, Text: "changed", Err: ErrPrecondition}
	if got := Status(conflict); got != http.StatusPreconditionFailed {
		t.Errorf("precondition: status %d", got)
	}
	for code, want := range map[int]holt.Kind{502: holt.KindUnavailable, 503: holt.KindUnavailable, 418: holt.KindInvalid, 416: holt.KindInvalid,
		500: holt.KindInternal, 301: holt.KindInternal, 404: holt.KindNotFound, 401: holt.KindUnauthorized} {
		err := ResponseError(&http.Response{StatusCode: code, Status: fmt.Sprint(code), Body: io.NopCloser(strings.NewReader("<html>"))})
		if holt.KindOf(err) != want {
			t.Errorf("%d of a proxy: %v", code, err)
		}
	}
	if err := (ErrorBody{Kind: "made-up", Text: "x"}).Err(); holt.KindOf(err) != holt.KindInternal {
		t.Errorf("unknown kind: %v", err)
	}
}
