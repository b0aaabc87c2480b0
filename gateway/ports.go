package gateway

import (
	"context"
	"net"
	"net/http"

	"github.com/holt-ide/holt/gateway/portproxy"
	"github.com/holt-ide/holt/meta"
)

// admitToPort checks a bearer token sent to a forwarded port.
func (g *Gateway) admitToPort(r *http.Request, secret string) error {
	id, err := g.cfg.Tokens.Authenticate(r.Context(), secret)
	if err != nil {
		return err
	}
	return id.Allow(meta.ScopeAdmin)
}

// openPort wakes a workspace and returns the machine behind a forwarded port.
func (g *Gateway) openPort(ctx context.Context, name string) (portproxy.Machine, error) {
	ws, leave, err := g.admit(ctx, name, true)
	if err != nil {
		return portproxy.Machine{}, err
	}
	guest := g.guest(ws.Sandbox)
	return portproxy.Machine{
		ID:    string(ws.Sandbox),
		Dial:  func(ctx context.Context, port uint16) (net.Conn, error) { return guest.DialPort(ctx, port) },
		Close: leave,
	}, nil
}
