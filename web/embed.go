// Package web holds the front end: the TypeScript sources beside this file, and
// their built form embedded for the server. Only cmd/holtd imports it.
package web

import (
	"embed"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

// dist is what the bundler writes; before its first run it holds one empty file,
// so that Go builds without it.
//
//go:embed all:dist
var dist embed.FS

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
	files := http.FileServerFS(root)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
		if name == "" || name == "." {
			name = "index.html"
		}
		info, err := fs.Stat(root, name)
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "pages are read with GET", http.StatusMethodNotAllowed)
		case name == "index.html" && err != nil:
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(notBuilt)) // the browser is gone otherwise
		case err != nil || info.IsDir() || strings.HasPrefix(path.Base(name), "."):
			http.Error(w, "there is no such page", http.StatusNotFound)
		default:
			w.Header().Set("Cache-Control", caching(name))
			files.ServeHTTP(w, r)
		}
	})
}

// caching returns how long a browser may keep a file.
func caching(name string) string {
	if strings.HasPrefix(name, "assets/") {
		return "public, max-age=31536000, immutable"
	}
	return "no-cache"
}
