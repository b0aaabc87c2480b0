package web

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

func TestHandler(t *testing.T) {
	built := fstest.MapFS{
		".gitkeep":            {},
		"index.html":          {Data: []byte("<!doctype html>the page")},
		"assets/app-1234a.js": {Data: []byte("code()")},
		"workbench.html":      {Data: []byte("<!doctype html>the workbench")},
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
		{"workbench", "GET", "/workspace/demo", built, 200, "no-cache", "the workbench"},
		{"workbench, not built", "GET", "/workspace/demo", empty, 503, "", "make build"},
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

// A file is sent in the best form that the browser takes, whichever are stored.
func TestEncodings(t *testing.T) {
	const raw = "code() // code()"
	var gz bytes.Buffer
	z := gzip.NewWriter(&gz)
	if _, err := z.Write([]byte(raw)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	h := handler(fstest.MapFS{
		"assets/a-1.js.br": {Data: []byte("brotli")},
		"assets/a-1.js.gz": {Data: gz.Bytes()},
		"assets/b-1.png":   {Data: []byte("picture")},
		"index.html":       {Data: []byte("page")},
	})
	for _, c := range []struct{ path, accept, encoding, kind, body string }{
		{"/assets/a-1.js", "gzip, deflate, br, zstd", "br", "text/javascript; charset=utf-8", "brotli"},
		{"/assets/a-1.js", "gzip", "gzip", "text/javascript; charset=utf-8", gz.String()},
		{"/assets/a-1.js", "br;q=0, gzip;q=0.5", "gzip", "text/javascript; charset=utf-8", gz.String()},
		{"/assets/a-1.js", "", "", "text/javascript; charset=utf-8", raw},
		{"/assets/b-1.png", "br", "", "image/png", "picture"},
	} {
		r := httptest.NewRequest("GET", c.path, nil)
		r.Header.Set("Accept-Encoding", c.accept)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		got := w.Header()
		if w.Code != 200 || w.Body.String() != c.body || got.Get("Content-Encoding") != c.encoding || got.Get("Content-Type") != c.kind {
			t.Errorf("%s for %q: %d %q %v", c.path, c.accept, w.Code, w.Body, got)
		}
		if got.Get("Content-Length") != strconv.Itoa(len(c.body)) || got.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s for %q: %v", c.path, c.accept, got)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("If-None-Match", w.Header().Get("ETag"))
	again := httptest.NewRecorder()
	h.ServeHTTP(again, r)
	if w.Code != 200 || again.Code != http.StatusNotModified {
		t.Errorf("page %d, and again %d", w.Code, again.Code)
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
