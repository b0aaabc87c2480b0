package guestwire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/holt-ide/holt"
)

// Client speaks to one guest agent. It is safe for concurrent use. Errors of
// the agent are [holt.Error] values with the agent's kind; an agent that cannot
// be reached is [holt.KindUnavailable].
type Client struct {
	base   string
	http   *http.Client
	header func(http.Header)
	dial   func(ctx context.Context) (net.Conn, error)
}

// Options says how a [Client] reaches the agent.
type Options struct {
	// Base is the URL before /v1, such as the gateway's relay. Required.
	Base string
	// HTTP sends the requests; nil means http.DefaultClient. It must not have
	// a Timeout, which would end sessions.
	HTTP *http.Client
	// Header adds credentials to each request; nil adds none.
	Header func(http.Header)
}

// New returns a client that reaches the agent's public routes through a relay.
func New(o Options) *Client {
	c := &Client{base: strings.TrimSuffix(o.Base, "/"), http: o.HTTP, header: o.Header}
	if c.http == nil {
		c.http = http.DefaultClient
	}
	if c.header == nil {
		c.header = func(http.Header) {}
	}
	return c
}

// NewDial returns a client on streams that lead straight to the agent: it can
// use every route. The secret is asked for at each request, so that a thaw can
// change it.
func NewDial(dial func(ctx context.Context) (net.Conn, error), secret func() string) *Client {
	tr := &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableCompression:  true,
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     30 * time.Second,
	}
	c := New(Options{
		Base:   "http://guest",
		HTTP:   &http.Client{Transport: tr},
		Header: func(h http.Header) { h.Set(SecretHeader, secret()) },
	})
	c.dial = dial
	return c
}

// CloseIdle drops the connections that no request is using. Call it after a
// restore, which leaves the old ones dead, and when the client is done with.
func (c *Client) CloseIdle() { c.http.CloseIdleConnections() }

// do sends one request and returns an answer with status 2xx, whose body the
// caller closes.
func (c *Client) do(ctx context.Context, method, path string, q url.Values, body io.Reader, h http.Header) (*http.Response, error) {
	u := c.base + path
	if len(q) > 0 {
		u += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	for k, v := range h {
		req.Header[k] = v
	}
	c.header(req.Header)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, unreachable(ctx, err)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		return nil, ResponseError(resp)
	}
	return resp, nil
}

// unreachable keeps the caller's own cancellation visible as such.
func unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("guest agent: %w", ctx.Err())
	}
	return holt.Wrap(holt.KindUnavailable, err, "the guest agent does not answer")
}

// call sends in as JSON where it is not nil and reads the answer into out where
// it is not nil.
func (c *Client) call(ctx context.Context, method, path string, q url.Values, in, out any) error {
	var body io.Reader
	h := http.Header{}
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(b)
		h.Set("Content-Type", "application/json")
	}
	resp, err := c.do(ctx, method, path, q, body, h)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	// Lists are the largest answers: a page of entries, each with two names.
	limited := io.LimitReader(resp.Body, 16*MaxJSON)
	if out == nil {
		_, err = io.Copy(io.Discard, limited)
	} else {
		err = json.NewDecoder(limited).Decode(out)
	}
	if err != nil {
		return unreachable(ctx, err)
	}
	return nil
}

// socket opens a WebSocket.
func (c *Client) socket(ctx context.Context, path string, q url.Values) (*websocket.Conn, error) {
	h := http.Header{}
	c.header(h)
	u := "ws" + strings.TrimPrefix(c.base, "http") + path
	if len(q) > 0 {
		u += "?" + q.Encode()
	}
	ws, resp, err := websocket.Dial(ctx, u, &websocket.DialOptions{HTTPClient: c.http, HTTPHeader: h}) //nolint:bodyclose // the library closes it
	if err != nil {
		if resp != nil && resp.StatusCode >= 300 && resp.Body != nil {
			return nil, ResponseError(resp)
		}
		return nil, unreachable(ctx, err)
	}
	ws.SetReadLimit(MaxFrame)
	return ws, nil
}

// Session is the client's end of a terminal or exec session. One goroutine may
// receive while others send.
type Session struct {
	ws    *websocket.Conn
	exec  bool
	acked chan uint64 // exec: holds the newest acknowledgement of stdin
}

func newSession(ws *websocket.Conn, exec bool) *Session {
	return &Session{ws: ws, exec: exec, acked: make(chan uint64, 1)}
}

// Receive returns the next frame. Its Data belongs to the caller. The error is
// io.EOF after a session that ended in order; [holt.KindUnavailable] means that
// the connection broke, and a terminal can be attached again. Acknowledgements of
// stdin are for [Session.SendStdin] and are not returned.
func (s *Session) Receive(ctx context.Context) (Frame, error) {
	for {
		typ, b, err := s.ws.Read(ctx)
		switch {
		case websocket.CloseStatus(err) == websocket.StatusNormalClosure:
			return Frame{}, io.EOF
		case err != nil:
			return Frame{}, unreachable(ctx, err)
		case typ != websocket.MessageBinary:
			return Frame{}, fmt.Errorf("%w: a text message", ErrFrame)
		}
		f, err := Decode(b)
		if err != nil || !s.exec || f.Type != TypeAck {
			return f, err
		}
		select { // an older acknowledgement says nothing more
		case <-s.acked:
		default:
		}
		s.acked <- f.Seq
	}
}

// Send sends one frame. Data beyond [MaxChunk] must be split by the caller. A
// context that ends while a frame is being sent ends the session.
func (s *Session) Send(ctx context.Context, f Frame) error {
	if err := s.ws.Write(ctx, websocket.MessageBinary, f.Append(nil)); err != nil {
		return unreachable(ctx, err)
	}
	return nil
}

// Ping waits until the agent has answered a ping. A goroutine must be receiving.
func (s *Session) Ping(ctx context.Context) error {
	if err := s.ws.Ping(ctx); err != nil {
		return unreachable(ctx, err)
	}
	return nil
}

// Close ends the session in order: a terminal lives on, a command gets SIGHUP.
func (s *Session) Close() error {
	err := s.ws.Close(websocket.StatusNormalClosure, "")
	if errors.Is(err, net.ErrClosed) || websocket.CloseStatus(err) != -1 {
		return nil
	}
	return err
}

// Abort drops the connection at once.
func (s *Session) Abort() { s.ws.CloseNow() }
