package guest

import (
	"context"
	"net"
	"sync"
)

// maxConns bounds the connections that are open at a time. The guest's own
// processes can connect too, without a secret.
const maxConns = 4096

// conns knows every open connection, hijacked ones too.
type conns struct {
	mu   sync.Mutex
	open map[*conn]struct{}
}

// conn forgets itself when it is closed.
type conn struct {
	net.Conn
	set *conns
}

type connKey struct{}

func newConns() *conns { return &conns{open: map[*conn]struct{}{}} }

func (s *conns) listen(ln net.Listener) net.Listener { return listener{ln, s} }

type listener struct {
	net.Listener
	set *conns
}

// Accept returns the next connection; those beyond the bound are closed at once.
func (l listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if w, ok := l.set.add(c); ok {
			return w, nil
		}
		c.Close()
	}
}

func (s *conns) add(c net.Conn) (*conn, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &conn{c, s}
	if len(s.open) >= maxConns {
		return nil, false
	}
	s.open[w] = struct{}{}
	return w, true
}

// Close closes the connection. It may be called more than once.
func (c *conn) Close() error {
	c.set.mu.Lock()
	delete(c.set.open, c)
	c.set.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite tells the other end that no more comes, where the stream can.
func (c *conn) CloseWrite() error {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return nil
}

// context lets a handler find the connection of its request.
func (s *conns) context(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// closeAll closes every connection but that of the request with context keep
// (context.Background for none) and returns how many.
func (s *conns) closeAll(keep context.Context) int {
	except := keep.Value(connKey{})
	s.mu.Lock()
	var victims []*conn
	for c := range s.open {
		if any(c) != except {
			victims = append(victims, c)
		}
	}
	s.mu.Unlock()
	for _, c := range victims {
		// A close must not wait to send what a dead peer will never take.
		if tcp, ok := c.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // the connection may be gone already
		}
		c.Close()
	}
	return len(victims)
}
