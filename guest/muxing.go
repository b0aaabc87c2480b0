package guest

import (
	"net/http"

	"github.com/coder/websocket"
	"github.com/holt-ide/holt/guest/mux"
	"github.com/holt-ide/holt/wire/guest"
)

// mux serves a page's session.
func (a *Agent) mux(w http.ResponseWriter, r *http.Request) error {
	readOnly := flag(r, "readonly")
	ws, err := upgrade(w, r)
	if ws == nil {
		return err
	}
	defer ws.CloseNow()
	s := mux.Server{
		Files:   a.files,
		Saved:   a.documents.Saved,
		Ports:   a.listening,
		Watches: func(n int64) { a.counts.watches.Add(n) },
		Welcome: guestwire.MuxWelcome{Dir: a.cfg.Dir, Home: a.cfg.Home, User: a.cfg.User, BootID: a.bootID},
	}
	if err := s.Serve(r.Context(), ws, readOnly); err != nil {
		reason := err.Error()
		ws.Close(websocket.StatusPolicyViolation, reason[:min(len(reason), 120)])
	}
	return nil
}
