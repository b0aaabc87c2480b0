package guest

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/holt-ide/holt/guest/collab"
	"github.com/holt-ide/holt/wire/guest"
)

const (
	// documentWrite is how long a message to a document's peer may take.
	documentWrite = 15 * time.Second
	// documentPing is how often a silent peer is asked whether it lives.
	documentPing = 25 * time.Second
)

// attachDocument joins a peer of a document and a socket, as attachTerminal.
func (a *Agent) attachDocument(w http.ResponseWriter, r *http.Request) error {
	p, err := a.documents.Join(path(r), collab.Join{ReadOnly: flag(r, "readonly"), Epoch: r.URL.Query().Get("epoch"), User: user(r)})
	if err != nil {
		return err
	}
	return a.attachPeer(w, r, p)
}

// attachPresence joins one of those who are in the workspace and a socket.
func (a *Agent) attachPresence(w http.ResponseWriter, r *http.Request) error {
	p, err := a.documents.Meet(collab.Join{ReadOnly: flag(r, "readonly"), User: user(r)})
	if err != nil {
		return err
	}
	return a.attachPeer(w, r, p)
}

// user returns who sends a request, as the gateway says.
func user(r *http.Request) guestwire.User {
	u, err := guestwire.ParseUser(r.Header.Get(guestwire.UserHeader))
	if err != nil {
		return guestwire.User{}
	}
	return u
}

// attachPeer joins a peer and a socket, and closes both.
func (a *Agent) attachPeer(w http.ResponseWriter, r *http.Request, p *collab.Peer) error {
	defer p.Close()
	ws, err := upgrade(w, r)
	if ws == nil {
		return err
	}
	defer ws.CloseNow()
	ws.SetReadLimit(guestwire.MaxDocumentMessage)
	a.counts.watches.Add(1)
	defer a.counts.watches.Add(-1)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		defer cancel()
		sendDocument(ctx, ws, p)
	})
	wg.Go(func() {
		defer cancel()
		keepPinging(ctx, ws)
	})
	for {
		typ, m, err := ws.Read(ctx)
		if err != nil {
			break
		}
		if typ != websocket.MessageBinary {
			ws.Close(websocket.StatusUnsupportedData, "messages are binary")
			break
		}
		if collab.Edits(m) {
			a.counts.requests.Add(1) // typing keeps a machine awake
		}
		if p.Handle(m) != nil {
			<-ctx.Done() // the sender tells it why
			break
		}
	}
	cancel()
	return nil
}

// sendDocument sends what the peer should hear, and closes the socket when it is
// dropped. One who does not read for documentWrite is dropped.
func sendDocument(ctx context.Context, ws *websocket.Conn, p *collab.Peer) {
	for {
		m, err := p.Next(ctx)
		if closed, ok := errors.AsType[*collab.Closed](err); ok {
			ws.Close(closed.Code, closed.Reason[:min(len(closed.Reason), 120)])
		}
		if err != nil {
			return
		}
		wctx, cancel := context.WithTimeout(ctx, documentWrite)
		err = ws.Write(wctx, websocket.MessageBinary, m)
		cancel()
		if err != nil {
			return
		}
	}
}

// keepPinging returns when the peer does not answer any more.
func keepPinging(ctx context.Context, ws *websocket.Conn) {
	tick := time.NewTicker(documentPing)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		pctx, cancel := context.WithTimeout(ctx, documentWrite)
		err := ws.Ping(pctx)
		cancel()
		if err != nil {
			return
		}
	}
}
