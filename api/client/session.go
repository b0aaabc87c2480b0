package client

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	guestwire "github.com/holt-ide/holt/wire/guest"
)

// Guest returns a client for the public routes of a workspace's guest agent,
// through the server's relay. With wake, a request wakes a workspace that does
// not run; without, it fails with KindConflict.
func (c *Client) Guest(nameOrID string, wake bool) *guestwire.Client {
	return guestwire.New(guestwire.Options{
		Base: c.URL("/w/"+url.PathEscape(nameOrID), nil),
		HTTP: c.http,
		Header: func(h http.Header) {
			for name, values := range c.Header() {
				h[name] = values
			}
			if !wake {
				h.Set(api.HeaderWake, api.NoWake)
			}
		},
	})
}

// Explain returns err of a session, put so that it says what to do when not the
// guest agent but the server itself could not be reached.
func (c *Client) Explain(ctx context.Context, err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" && ctx.Err() == nil {
		return c.unreachable(ctx, op)
	}
	return err
}

// DialPort opens a byte stream to a TCP port inside a workspace, and wakes the
// workspace if it sleeps. The connection has CloseWrite. ctx bounds the dial
// alone.
func (c *Client) DialPort(ctx context.Context, nameOrID string, port uint16) (net.Conn, error) {
	u := c.URL(fmt.Sprintf("/w/%s/port/%d", url.PathEscape(nameOrID), port), nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, fmt.Errorf("build request: %w", err)
	}
	req.Header = c.Header()
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", api.UpgradeTCP)
	conn, err := c.dialServer(ctx)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	up, err := c.upgrade(ctx, conn, req)
	if !stop() && err == nil {
		err = contextError(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return up, nil
}

func (c *Client) upgrade(ctx context.Context, conn net.Conn, req *http.Request) (net.Conn, error) {
	if err := req.Write(conn); err != nil {
		return nil, c.unreachable(ctx, err)
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer resp.Body.Close()
		if resp.StatusCode < 400 {
			return nil, holt.Errorf(holt.KindUnsupported, "the server does not forward ports: it answered %s", resp.Status)
		}
		return nil, ReadProblem(resp)
	}
	return &stream{Conn: conn, r: r}, nil
}

// dialServer opens a connection to the server, past any HTTP proxy: a raw
// stream with half-close does not survive most of them.
func (c *Client) dialServer(ctx context.Context) (net.Conn, error) {
	port := c.base.Port()
	if c.base.Scheme == "https" {
		if port == "" {
			port = "443"
		}
		d := tls.Dialer{Config: &tls.Config{ServerName: c.base.Hostname(), NextProtos: []string{"http/1.1"}}}
		return d.DialContext(ctx, "tcp", net.JoinHostPort(c.base.Hostname(), port))
	}
	if port == "" {
		port = "80"
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", net.JoinHostPort(c.base.Hostname(), port))
}

// stream is a connection whose first bytes may have been read with the answer.
type stream struct {
	net.Conn
	r *bufio.Reader
}

func (s *stream) Read(b []byte) (int, error) { return s.r.Read(b) }

// CloseWrite tells the other end that no more comes.
func (s *stream) CloseWrite() error {
	if cw, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return nil
}
