package web

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

func TestHandler(t *testing.T) {
	built := fstest.MapFS{
		".gitkeep":            {},
		"index.html":          {Data: []byte("<!doctype html>the page")},
		"assets/app-1234a.js": {Data: []byte("code()")},
	}
	empty := fstest.MapFS{".gitkeep": {}}
	for _, c := range []struct {
		name, method, path string
		fs                 fstest.MapFS
		status             int
		cache, body        string
	}{
		{"page", "GET", "/", built, 200, "no-cache", "the page"},
		{"hashed file", "GET", "/assets/app-1234a.js", built, 200, "public, max-age=31536000, immutable", "code()"},
		{"missing file", "GET", "/assets/app-old.js", built, 404, "", "no such page"},
		{"directory", "GET", "/assets", built, 404, "", "no such page"},
		{"hidden file", "GET", "/.gitkeep", built, 404, "", "no such page"},
		{"outside", "GET", "/../embed.go", built, 404, "", "no such page"},
		{"write", "POST", "/", built, 405, "", "GET"},
		{"not built", "GET", "/", empty, 503, "", "make build"},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(c.method, "/", nil)
		r.URL.Path = c.path
		handler(c.fs).ServeHTTP(w, r)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.body) {
			t.Errorf("%s: %d %q, want %d with %q", c.name, w.Code, w.Body, c.status, c.body)
		}
		if got := w.Header().Get("Cache-Control"); c.status == http.StatusOK && got != c.cache {
			t.Errorf("%s: Cache-Control %q, want %q", c.name, got, c.cache)
		}
	}
}

// The embedded directory exists whether or not the bundler ran.
func TestEmbedded(t *testing.T) {
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 200 && w.Code != 503 {
		t.Errorf("status %d", w.Code)
	}
}
