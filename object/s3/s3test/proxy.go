package s3test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// Fault is what a [Proxy] does to one request.
type Fault int

// The faults.
const (
	None       Fault = iota // the request is passed on, and the answer back
	Refuse                  // 500, and nothing is passed on
	SlowDown                // 503 with the code SlowDown, and nothing is passed on
	Hang                    // no answer until the client gives up; nothing is passed on
	LoseAnswer              // passed on, then the connection is cut
	Truncate                // passed on; the answer's body is cut in the middle
	StaleList               // a listing is answered as the same one was the first time
)

// Proxy stands between a client and an S3 server.
type Proxy struct {
	URL string

	server string
	mu     sync.Mutex
	fault  func(*http.Request) Fault
	lists  map[string]answer
}

// answer is a whole HTTP answer.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// NewProxy starts a proxy that ends with the test. fault decides about each
// request; nil passes all.
func NewProxy(t testing.TB, server string, fault func(*http.Request) Fault) *Proxy {
	t.Helper()
	p := &Proxy{server: server, fault: fault, lists: map[string]answer{}}
	front := httptest.NewServer(p)
	t.Cleanup(front.Close)
	p.URL = front.URL
	return p
}

// SetFault changes who decides.
func (p *Proxy) SetFault(fault func(*http.Request) Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = fault
}

func (p *Proxy) decide(r *http.Request) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault == nil {
		return None
	}
	return p.fault(r)
}

// ServeHTTP implements [http.Handler].
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault := p.decide(r)
	switch fault {
	case Refuse:
		http.Error(w, "<Error><Code>InternalError</Code></Error>", http.StatusInternalServerError)
		return
	case SlowDown:
		http.Error(w, "<Error><Code>SlowDown</Code></Error>", http.StatusServiceUnavailable)
		return
	case Hang:
		_, _ = io.Copy(io.Discard, r.Body) // or the server would not notice that the client left
		<-r.Context().Done()
		return
	}
	a, err := p.pass(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	if r.Method == http.MethodGet && r.URL.Query().Get("list-type") != "" {
		a = p.list(r, a, fault)
	}
	switch {
	case fault == LoseAnswer:
		panic(http.ErrAbortHandler) // cuts the connection
	case fault == Truncate && len(a.body) > 0:
		a.header.Set("Content-Length", fmt.Sprint(len(a.body)))
		a.body = a.body[:len(a.body)/2]
	}
	for k, v := range a.header {
		w.Header()[k] = v
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // the client may have gone
	if fault == Truncate {
		panic(http.ErrAbortHandler)
	}
}

// pass sends a request on. The host name is signed, so it stays the proxy's.
func (p *Proxy) pass(r *http.Request) (answer, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return answer{}, fmt.Errorf("read request: %w", err)
	}
	// Not cancelled with the client: its request has been sent.
	req, err := http.NewRequest(r.Method, p.server+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return answer{}, fmt.Errorf("make request: %w", err)
	}
	req.Header, req.Host, req.ContentLength = r.Header.Clone(), r.Host, r.ContentLength
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return answer{}, fmt.Errorf("pass request on: %w", err)
	}
	defer res.Body.Close()
	a := answer{status: res.StatusCode, header: res.Header}
	if a.body, err = io.ReadAll(res.Body); err != nil {
		return answer{}, fmt.Errorf("read answer: %w", err)
	}
	return a, nil
}

// list remembers the first answer to each listing.
func (p *Proxy) list(r *http.Request, a answer, fault Fault) answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	first, ok := p.lists[r.URL.RequestURI()]
	if !ok {
		p.lists[r.URL.RequestURI()] = a
	} else if fault == StaleList {
		return first
	}
	return a
}
