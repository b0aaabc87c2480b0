package guestwire

import (
	"net/http"
	"strings"
)

// Route is one entry of the agent's interface.
type Route struct {
	Name    string // unique, for the agent's handler table
	Method  string
	Pattern string // a path; a segment in braces matches any one segment
	Public  bool   // the gateway may relay it for a browser or the CLI
	Stream  bool   // answers with a WebSocket, an upgrade or an endless body
}

// Names of the routes.
const (
	RouteTerminals      = "terminals"
	RouteTerminalCreate = "terminal-create"
	RouteTerminalDelete = "terminal-delete"
	RouteTerminalAttach = "terminal-attach"
	RouteExec           = "exec"
	RouteFileStat       = "file-stat"
	RouteFileList       = "file-list"
	RouteFileRead       = "file-read"
	RouteFileWrite      = "file-write"
	RouteFileRename     = "file-rename"
	RouteFileMkdir      = "file-mkdir"
	RouteFileRemove     = "file-remove"
	RouteFileChmod      = "file-chmod"
	RouteFileArchive    = "file-archive"
	RouteFileExtract    = "file-extract"
	RouteFileWatch      = "file-watch"
	RouteFileSearch     = "file-search"
	RouteDocument       = "document"
	RoutePresence       = "presence"
	RouteMux            = "mux"
	RouteJournal        = "journal"
	RouteJournalReplay  = "journal-replay"
	RoutePorts          = "ports"
	RoutePortDial       = "port-dial"
	RouteStats          = "stats"
	RouteEvents         = "events"
	RouteDocumentsWrite = "documents-write"
	RouteFreeze         = "freeze"
	RouteUnfreeze       = "unfreeze"
	RouteThaw           = "thaw"
	RouteHealth         = "health"
	RouteShutdown       = "shutdown"
)

// Routes lists the agent's whole interface. A route is node-only unless it is
// marked public here, and nowhere else.
func Routes() []Route {
	return []Route{
		{RouteTerminals, http.MethodGet, "/v1/terminals", true, false},
		{RouteTerminalCreate, http.MethodPost, "/v1/terminals", true, false},
		{RouteTerminalDelete, http.MethodDelete, "/v1/terminals/{id}", true, false},
		{RouteTerminalAttach, http.MethodGet, "/v1/terminals/{id}/attach", true, true},
		{RouteExec, http.MethodGet, "/v1/exec", true, true},
		{RouteFileStat, http.MethodGet, "/v1/files/stat", true, false},
		{RouteFileList, http.MethodGet, "/v1/files/list", true, false},
		{RouteFileRead, http.MethodGet, "/v1/files/content", true, false},
		{RouteFileWrite, http.MethodPut, "/v1/files/content", true, false},
		{RouteFileRename, http.MethodPost, "/v1/files/rename", true, false},
		{RouteFileMkdir, http.MethodPost, "/v1/files/mkdir", true, false},
		{RouteFileRemove, http.MethodDelete, "/v1/files", true, false},
		{RouteFileChmod, http.MethodPost, "/v1/files/chmod", true, false},
		{RouteFileArchive, http.MethodGet, "/v1/files/archive", true, false},
		{RouteFileExtract, http.MethodPost, "/v1/files/extract", true, false},
		{RouteFileWatch, http.MethodGet, "/v1/files/watch", true, true},
		{RouteFileSearch, http.MethodGet, "/v1/files/search", true, false},
		{RouteDocument, http.MethodGet, "/v1/document", true, true},
		{RoutePresence, http.MethodGet, "/v1/presence", true, true},
		{RouteMux, http.MethodGet, "/v1/mux", true, true},
		{RoutePorts, http.MethodGet, "/v1/ports", true, false},
		{RoutePortDial, http.MethodGet, "/v1/ports/{port}/dial", false, true},
		{RouteStats, http.MethodGet, "/v1/stats", false, false},
		{RouteEvents, http.MethodGet, "/v1/events", false, true},
		{RouteJournal, http.MethodGet, "/v1/journal", false, true},
		{RouteJournalReplay, http.MethodPost, "/v1/journal", false, false},
		{RouteDocumentsWrite, http.MethodPost, "/v1/documents/write", false, false},
		{RouteFreeze, http.MethodPost, "/v1/freeze", false, false},
		{RouteUnfreeze, http.MethodPost, "/v1/unfreeze", false, false},
		{RouteThaw, http.MethodPost, "/v1/thaw", false, false},
		{RouteHealth, http.MethodGet, "/v1/health", false, false},
		{RouteShutdown, http.MethodPost, "/v1/shutdown", false, false},
	}
}

var routes = Routes()

// Find returns the route that a request matches. The path is the request's
// escaped path, without query. A path that is not in its shortest form, or that
// contains an escape or a control character, matches nothing.
func Find(method, path string) (Route, bool) {
	for _, r := range routes {
		if r.Method == method && match(r.Pattern, path) {
			return r, true
		}
	}
	return Route{}, false
}

// Public reports whether the gateway may relay a request for a browser or the
// CLI. Everything that is not a known public route is refused. See [Find] for
// what path is.
func Public(method, path string) bool {
	r, ok := Find(method, path)
	return ok && r.Public
}

func match(pattern, path string) bool {
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`%?#\`, c) >= 0 {
			return false
		}
	}
	for {
		p, prest, pmore := strings.Cut(pattern, "/")
		s, srest, smore := strings.Cut(path, "/")
		wild := strings.HasPrefix(p, "{")
		switch {
		case pmore != smore, !wild && p != s, wild && (s == "" || s == "." || s == ".."):
			return false
		case !pmore:
			return true
		}
		pattern, path = prest, srest
	}
}
