package guest

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/wire/guest"
)

// secret is the one value that opens the agent, kept as its digest so that
// comparing takes the same time for every guess.
type secret struct{ sum atomic.Pointer[[32]byte] }

func (s *secret) set(v string) {
	sum := sha256.Sum256([]byte(v))
	s.sum.Store(&sum)
}

func (s *secret) matches(v string) bool {
	sum := sha256.Sum256([]byte(v))
	return subtle.ConstantTimeCompare(sum[:], s.sum.Load()[:]) == 1
}

// endpoint handles one request. An error before the first byte of the answer
// becomes its status and body.
type endpoint func(w http.ResponseWriter, r *http.Request) error

// handler serves every route of the protocol. A route without an endpoint is a
// fault of this source and panics at the start.
func (a *Agent) handler() http.Handler {
	endpoints := a.endpoints()
	mux := http.NewServeMux()
	for _, route := range guestwire.Routes() {
		do, ok := endpoints[route.Name]
		if !ok {
			panic("guest: no endpoint for route " + route.Name)
		}
		mux.HandleFunc(route.Method+" "+route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			if route.Public {
				a.counts.requests.Add(1)
			}
			if err := do(w, r); err != nil {
				a.fail(w, r, err)
			}
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		a.fail(w, r, holt.Errorf(holt.KindNotFound, "the guest agent has no %s %s", r.Method, r.URL.Path))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.active.Add(1)
		defer a.active.Done()
		if !a.secret.matches(r.Header.Get(guestwire.SecretHeader)) {
			a.fail(w, r, holt.Errorf(holt.KindUnauthorized, "the guest agent wants its current secret in the header %s", guestwire.SecretHeader))
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (a *Agent) endpoints() map[string]endpoint {
	return map[string]endpoint{
		guestwire.RouteTerminals:      a.listTerminals,
		guestwire.RouteTerminalCreate: a.createTerminal,
		guestwire.RouteTerminalDelete: a.deleteTerminal,
		guestwire.RouteTerminalAttach: a.attachTerminal,
		guestwire.RouteExec:           a.exec,
		guestwire.RouteFileStat:       a.statFile,
		guestwire.RouteFileList:       a.listFiles,
		guestwire.RouteFileRead:       a.readFile,
		guestwire.RouteFileWrite:      a.writeFile,
		guestwire.RouteFileRename:     a.renameFile,
		guestwire.RouteFileMkdir:      a.mkdir,
		guestwire.RouteFileRemove:     a.removeFile,
		guestwire.RouteFileChmod:      a.chmod,
		guestwire.RouteFileArchive:    a.archive,
		guestwire.RouteFileExtract:    a.extract,
		guestwire.RouteFileWatch:      a.watch,
		guestwire.RouteFileSearch:     a.search,
		guestwire.RouteDocument:       a.attachDocument,
		guestwire.RoutePresence:       a.attachPresence,
		guestwire.RouteMux:            a.mux,
		guestwire.RoutePorts:          a.listPorts,
		guestwire.RoutePortDial:       a.dialPort,
		guestwire.RouteStats:          a.stats,
		guestwire.RouteEvents:         a.streamEvents,
		guestwire.RouteJournal:        a.feedJournal,
		guestwire.RouteJournalReplay:  a.replayJournal,
		guestwire.RouteDocumentsWrite: a.writeDocuments,
		guestwire.RouteFreeze:         a.freeze,
		guestwire.RouteUnfreeze:       a.unfreeze,
		guestwire.RouteThaw:           a.thaw,
		guestwire.RouteHealth:         a.health,
		guestwire.RouteShutdown:       a.shutdown,
	}
}

func (a *Agent) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // nobody reads it
	}
	status := guestwire.Status(err)
	if e, ok := errors.AsType[*holt.Error](err); ok && e.Kind == holt.KindUnsupported && e.Limit != "" {
		w.Header().Set(guestwire.ReasonHeader, e.Limit)
	}
	if status == http.StatusInternalServerError {
		a.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(guestwire.BodyOf(err)) // the client is gone: nobody to tell
}

// reply answers with v as JSON.
func reply(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	return nil
}

// done answers that it worked and there is nothing to say.
func done(w http.ResponseWriter) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// read decodes a bounded JSON body into v. Unknown fields are allowed: the other
// end may be newer.
func read(w http.ResponseWriter, r *http.Request, v any) error {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, guestwire.MaxJSON)).Decode(v)
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return holt.Invalidf("body", "the body has more than %d bytes", tooLarge.Limit)
	}
	if err != nil {
		return &holt.Error{Kind: holt.KindInvalid, Field: "body", Text: "the body is not the JSON expected", Err: err}
	}
	return nil
}

// flag reads a query parameter that is 1, or absent.
func flag(r *http.Request, name string) bool {
	switch r.URL.Query().Get(name) {
	case "", "0", "false":
		return false
	}
	return true
}

// upgrade turns a request into a WebSocket. The secret stands in for the check
// of the origin, which the gateway makes.
func upgrade(w http.ResponseWriter, r *http.Request) (*websocket.Conn, error) {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return nil, nil // Accept has answered
	}
	ws.SetReadLimit(guestwire.MaxFrame)
	return ws, nil
}

// lines writes a stream of JSON lines, each within a time in which a reader that
// still lives takes it.
type lines struct {
	w   http.ResponseWriter
	ctl *http.ResponseController
	enc *json.Encoder
}

const lineTimeout = time.Minute

func newLines(w http.ResponseWriter) *lines {
	w.Header().Set("Content-Type", "application/x-ndjson")
	return &lines{w, http.NewResponseController(w), json.NewEncoder(w)}
}

func (l *lines) send(v any) error {
	_ = l.ctl.SetWriteDeadline(time.Now().Add(lineTimeout))
	if err := l.enc.Encode(v); err != nil {
		return err
	}
	return l.ctl.Flush()
}
