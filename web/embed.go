// Package web holds the front end: the TypeScript sources beside this file, and
// their built form embedded for the server. Only cmd/holtd imports it.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
)

// dist is what the bundler writes; before its first run it holds one empty file,
// so that Go builds without it. Most files are there only as NAME.br and NAME.gz.
//
//go:embed all:dist
var dist embed.FS

// workbenchPath is where the workbench of each workspace is: the name follows.
const workbenchPath = "workspace/"

// notBuilt is shown in place of the front end.
const notBuilt = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Holt</title>
<p>This holtd was built without its pages. Run <code>make build</code> and start it again; the API and the CLI work meanwhile.</p>
`

// Handler serves the front end. Files whose names carry a hash of their content
// may be kept for ever, all others are asked for again each time.
func Handler() http.Handler {
	root, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // the directory is part of the program
	}
	return handler(root)
}

func handler(root fs.FS) http.Handler {
	p := &pages{root: root}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
		page := false
		switch {
		case name == "" || name == ".":
			name, page = "index.html", true
		case strings.HasPrefix(name, workbenchPath):
			name, page = "workbench.html", true
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "pages are read with GET", http.StatusMethodNotAllowed)
			return
		}
		if !strings.HasPrefix(path.Base(name), ".") && p.serve(w, r, name) {
			return
		}
		if page {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(notBuilt)) // the browser is gone otherwise
			return
		}
		http.Error(w, "there is no such page", http.StatusNotFound)
	})
}

type pages struct {
	root fs.FS
	tags sync.Map // name of a file that is no asset: its ETag
}

// encodings are the forms in which a file may be stored, the best first.
var encodings = []struct{ name, suffix string }{{"br", ".br"}, {"gzip", ".gz"}, {"", ""}}

// serve sends a file in the best form that the browser takes, and reports whether
// there is such a file.
func (p *pages) serve(w http.ResponseWriter, r *http.Request, name string) bool {
	accepted := accepted(r.Header.Get("Accept-Encoding"))
	stored := ""
	for _, e := range encodings {
		info, err := fs.Stat(p.root, name+e.suffix)
		if err != nil || info.IsDir() {
			continue
		}
		stored = name + e.suffix
		if e.name != "" && !accepted[e.name] {
			continue
		}
		b, err := fs.ReadFile(p.root, stored)
		if err != nil {
			return false
		}
		p.send(w, r, name, e.name, b)
		return true
	}
	if stored == "" {
		return false
	}
	// Only compressed forms, and the browser takes none of them; gzip is the last found.
	b, err := fs.ReadFile(p.root, stored)
	if err != nil {
		return false
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return false
	}
	if b, err = io.ReadAll(z); err != nil {
		return false
	}
	p.send(w, r, name, "", b)
	return true
}

func (p *pages) send(w http.ResponseWriter, r *http.Request, name, encoding string, b []byte) {
	h := w.Header()
	kind := mime.TypeByExtension(path.Ext(name))
	switch path.Ext(name) { // as hosts have different tables
	case ".js":
		kind = "text/javascript; charset=utf-8"
	case ".wasm":
		kind = "application/wasm"
	case ".json":
		kind = "application/json"
	case ".ttf":
		kind = "font/ttf"
	case ".woff":
		kind = "font/woff"
	case ".md", "":
		kind = "text/plain; charset=utf-8"
	}
	h.Set("Content-Type", kind)
	h.Set("Vary", "Accept-Encoding")
	if encoding != "" {
		h.Set("Content-Encoding", encoding)
	}
	if strings.HasPrefix(name, "assets/") {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", p.tag(name+encoding, b))
	}
	if encoding != "" {
		// ServeContent leaves the length of encoded bodies to net/http, which would
		// send them in chunks, so that no progress can be shown.
		h.Set("Content-Length", strconv.Itoa(len(b)))
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

func (p *pages) tag(key string, b []byte) string {
	if t, ok := p.tags.Load(key); ok {
		return t.(string)
	}
	sum := sha256.Sum256(b)
	t := `"` + hex.EncodeToString(sum[:12]) + `"`
	p.tags.Store(key, t)
	return t
}

// accepted returns the encodings that a browser names and does not refuse.
func accepted(header string) map[string]bool {
	m := map[string]bool{}
	for part := range strings.SplitSeq(header, ",") {
		name, params, _ := strings.Cut(part, ";")
		q := strings.TrimSpace(params)
		if v, ok := strings.CutPrefix(q, "q="); ok {
			if f, err := strconv.ParseFloat(v, 64); err == nil && f == 0 {
				continue
			}
		}
		m[strings.ToLower(strings.TrimSpace(name))] = true
	}
	return m
}
