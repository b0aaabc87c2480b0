package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
	guestwire "github.com/holt-ide/holt/wire/guest"
)

// handshakeTime bounds how long an agent may take to answer an upgrade.
const handshakeTime = 20 * time.Second

// takeover asks an agent for an upgrade to protocol, and then joins the client's
// connection and the agent's: bytes pass unread in both directions, each ends on
// its own, and both end with the gateway. It returns an error only as long as
// nothing is written to the client.
func (g *Gateway) takeover(w http.ResponseWriter, r *http.Request, ws meta.Workspace, path, protocol string) error {
	secret, err := g.cfg.Node.Secret(ws.Sandbox)
	if err != nil {
		return holt.Wrap(holt.KindUnavailable, err, "the machine is changing at this moment: try again")
	}
	guest, err := g.dial(r.Context(), ws.Sandbox)
	if err != nil {
		return err
	}
	defer guest.Close()
	resp, rest, err := handshake(r, guest, path, protocol, secret)
	if err != nil {
		return holt.Wrap(holt.KindUnavailable, err, "the connection to the machine broke: try again")
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer resp.Body.Close()
		return guestwire.ResponseError(resp)
	}
	g.track(func() { err = join(w, r, resp, protocol, guest, rest) })
	if err != nil {
		g.log.Debug("relay ended", "workspace", ws.ID, "path", path, "err", err)
	}
	return nil
}

// track runs f so that Shutdown waits for its end.
func (g *Gateway) track(f func()) {
	g.streams.Add(1)
	defer g.streams.Done()
	f()
}

// handshake sends the upgrade and reads its answer. rest delivers what the agent
// sends after that.
func handshake(r *http.Request, guest net.Conn, path, protocol, secret string) (resp *http.Response, rest io.Reader, err error) {
	ctx, cancel := context.WithTimeout(r.Context(), handshakeTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = guest.SetDeadline(time.Unix(1, 0)) }) // a dead connection needs none
	defer stop()
	out := &http.Request{
		Method: http.MethodGet, Host: "guest", Header: guestHeader(r, secret),
		URL: &url.URL{Scheme: "http", Host: "guest", Path: path, RawQuery: guestQuery(r.URL.Query())},
	}
	out.Header.Set("Connection", "Upgrade")
	out.Header.Set("Upgrade", protocol)
	if err := out.Write(guest); err != nil {
		return nil, nil, fmt.Errorf("ask agent: %w", err)
	}
	head := &io.LimitedReader{R: guest, N: maxGuestHeader}
	buf := bufio.NewReader(head)
	if resp, err = http.ReadResponse(buf, out); err != nil {
		return nil, nil, fmt.Errorf("read agent's answer: %w", err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		if resp.Header.Get("Upgrade") != protocol && protocol != "websocket" {
			return nil, nil, fmt.Errorf("agent upgraded to %q", resp.Header.Get("Upgrade"))
		}
		head.N = 1 << 62
	}
	return resp, buf, nil
}

// join takes the client's connection over and copies until both directions have
// ended, one has failed, or the request's context ends.
func join(w http.ResponseWriter, r *http.Request, resp *http.Response, protocol string, guest net.Conn, rest io.Reader) error {
	client, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return fmt.Errorf("take connection over: %w", err)
	}
	defer client.Close()
	defer context.AfterFunc(r.Context(), func() { client.Close(); guest.Close() })()
	if err := client.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("clear deadline: %w", err)
	}
	// What came early is taken out of buf, and buf is read no more: at the end of
	// the stream it would cancel the request's context, and with it what still
	// comes the other way.
	early, err := buf.Reader.Peek(buf.Reader.Buffered())
	if err != nil {
		return fmt.Errorf("take connection over: %w", err)
	}
	h := safeHeader(resp.Header)
	for _, name := range []string{"Content-Type", "Content-Length", "Content-Disposition"} {
		h.Del(name)
	}
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", protocol)
	answer := &http.Response{StatusCode: http.StatusSwitchingProtocols, ProtoMajor: 1, ProtoMinor: 1, Header: h}
	if err := answer.Write(buf); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	if err := buf.Flush(); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	var wg sync.WaitGroup
	var up error
	wg.Go(func() { up = pour(guest, io.MultiReader(bytes.NewReader(early), client), client) })
	down := pour(client, rest, guest)
	wg.Wait()
	return errors.Join(up, down)
}

// pour copies src to dst and passes its end on. After a failure both connections
// are closed, so that the other direction ends too.
func pour(dst net.Conn, src io.Reader, srcConn net.Conn) error {
	_, err := io.Copy(dst, src)
	if err == nil {
		cw, ok := dst.(interface{ CloseWrite() error })
		if ok && cw.CloseWrite() == nil {
			return nil
		}
	}
	dst.Close()
	srcConn.Close()
	return err
}
