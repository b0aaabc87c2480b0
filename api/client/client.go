// Package client talks to a Holt server's REST interface. It is what cmd/holt
// is built on and may be used by any Go program.
//
// Errors are [holt.Error] values of the kinds the server reported; a server
// that cannot be reached is KindUnavailable. Calls that are safe to repeat are
// repeated, with back-off, while the server cannot be reached or says that it
// is unavailable: see [Config.Patience]. A Client is safe for concurrent use.
package client

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
	"sync/atomic"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
)

// Config says which server to talk to. URL and Token are needed; the zero value
// of the rest works.
type Config struct {
	URL   string // of the server, such as http://127.0.0.1:7070
	Token string // sent with every request

	// Patience is how long a safe call is repeated while a server that answered
	// before cannot be reached: long enough for it to restart. The first call
	// waits at most a second. 0 means 30 s, negative means no repetition.
	Patience time.Duration

	// Transport carries the requests; nil means a private one with sane limits.
	Transport http.RoundTripper
}

// Client is one server as seen with one token.
type Client struct {
	base     *url.URL
	token    string
	patience time.Duration
	http     *http.Client
	answered atomic.Bool // the server has answered this client before
}

// maxAnswer bounds the JSON answers that are read into memory.
const maxAnswer = 16 << 20

// New returns a client. It does not touch the network.
func New(cfg Config) (*Client, error) {
	base, err := url.Parse(strings.TrimRight(cfg.URL, "/"))
	if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" {
		return nil, holt.Invalidf("url", "%q is not the address of a server: give one such as http://127.0.0.1:7070", cfg.URL)
	}
	if strings.ContainsFunc(cfg.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, holt.Invalid("token", "the token has characters that no token has: copy it again, without spaces")
	}
	if cfg.Patience == 0 {
		cfg.Patience = 30 * time.Second
	}
	rt := cfg.Transport
	if rt == nil {
		rt = &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout:    10 * time.Second,
			ExpectContinueTimeout:  10 * time.Second,
			IdleConnTimeout:        60 * time.Second,
			MaxIdleConnsPerHost:    8,
			MaxResponseHeaderBytes: 64 << 10,
		}
	}
	return &Client{base: base, token: cfg.Token, patience: cfg.Patience, http: &http.Client{Transport: rt}}, nil
}

// URL returns the server's address with path and query appended.
func (c *Client) URL(path string, query url.Values) string {
	u := *c.base
	u = *u.JoinPath(path)
	u.RawQuery = query.Encode()
	return u.String()
}

// HTTP returns the client that carries requests, for protocols on top of it.
func (c *Client) HTTP() *http.Client { return c.http }

// Header returns a fresh copy of the headers that authenticate a request.
func (c *Client) Header() http.Header {
	h := http.Header{}
	if c.token != "" {
		h.Set("Authorization", "Bearer "+c.token)
	}
	return h
}

// call is one request to the REST interface.
type call struct {
	method string
	path   string // below api.Prefix
	query  url.Values
	header http.Header
	body   any // sent as JSON unless nil
	source *source
	safe   bool
}

// do sends a call and decodes the answer into out, unless that is nil.
func (c *Client) do(ctx context.Context, k call, out any) error {
	resp, err := c.send(ctx, k)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer)) // so that the connection is used again
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out); err != nil {
		if ctx.Err() != nil {
			return contextError(ctx)
		}
		return fmt.Errorf("decode answer of %s %s: %w", k.method, k.path, err)
	}
	return nil
}

// send sends a call and returns its successful answer, whose body the caller
// closes. Safe calls are repeated as [Config.Patience] says.
func (c *Client) send(ctx context.Context, k call) (*http.Response, error) {
	var body []byte
	if k.body != nil {
		var err error
		if body, err = json.Marshal(k.body); err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
	}
	start := time.Now()
	for try := 0; ; try++ {
		resp, err := c.once(ctx, k, body)
		if err == nil {
			return resp, nil
		}
		patience := c.patience
		if !c.answered.Load() {
			patience = min(patience, time.Second)
		}
		wait := min(50*time.Millisecond<<min(try, 5), time.Second)
		if !k.safe || !holt.IsKind(err, holt.KindUnavailable) || time.Since(start)+wait > patience {
			return nil, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, contextError(ctx)
		}
	}
}

func (c *Client) once(ctx context.Context, k call, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, k.method, c.URL(api.Prefix+k.path, k.query), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("build request: %w", err)
	}
	req.Header = c.Header()
	if k.source != nil {
		req.Body, req.ContentLength = k.source, k.source.length()
		req.Header.Set("Content-Type", k.source.media)
		req.Header.Set("Expect", "100-continue") // a refused stream is not sent at all
	}
	for name, values := range k.header {
		req.Header[name] = values
	}
	if k.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if k.source != nil && k.source.failure() != nil {
			return nil, k.source.failure()
		}
		return nil, c.unreachable(ctx, err)
	}
	if resp.StatusCode != http.StatusBadGateway && resp.StatusCode != http.StatusServiceUnavailable {
		c.answered.Store(true)
	}
	if resp.StatusCode >= 400 {
		defer resp.Body.Close()
		return nil, ReadProblem(resp)
	}
	return resp, nil
}

// unreachable turns a transport error into one that says what to do.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return contextError(ctx)
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	return holt.Wrap(holt.KindUnavailable, err,
		fmt.Sprintf("cannot reach the server at %s: is holtd running, and is HOLT_URL right?", c.base))
}

// contextError returns why ctx ended as an error with a kind.
func contextError(ctx context.Context) error {
	err := context.Cause(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return holt.Wrap(holt.KindTimeout, err, "the server took longer than allowed")
	}
	return err
}

// ReadProblem returns the error that an answer with a status of 400 or more
// stands for. It reads the body and does not close it.
func ReadProblem(resp *http.Response) error {
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // what arrived of it is enough
	var p api.Problem
	if json.Unmarshal(data, &p) == nil && (p.Detail != "" || p.Kind != "") {
		p.Status = resp.StatusCode
		return p.Err()
	}
	// Errors of the guest agent have another shape.
	var g struct{ Kind, Field, Text string }
	if json.Unmarshal(data, &g) == nil && g.Text != "" {
		return (&api.Problem{Status: resp.StatusCode, Kind: g.Kind, Field: g.Field, Detail: g.Text}).Err()
	}
	return (&api.Problem{Status: resp.StatusCode, Title: "the server answered " + resp.Status}).Err()
}
