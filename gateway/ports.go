package gateway

import (
	"context"
	"net"
	"net/http"
	"strings"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/auth"
	"github.com/holt-ide/holt/gateway/portproxy"
	"github.com/holt-ide/holt/meta"
)

// A pass is what the cookie of a forwarded port says of its bearer: the user and
// the session that it came from, separated by a space. It is worth what that
// session still is.
func passOf(id auth.Identity) string { return string(id.User) + " " + id.TokenID }

// bearerOf returns who shows c.
func (g *Gateway) bearerOf(ctx context.Context, c portproxy.Credential) (auth.Identity, error) {
	if c.Bearer != "" {
		return g.cfg.Auth.Authenticate(ctx, c.Bearer)
	}
	user, session, _ := strings.Cut(c.Pass, " ")
	return g.cfg.Auth.Still(ctx, auth.Identity{User: holt.UserID(user), TokenID: session, Kind: meta.TokenSession})
}

// enterPort checks the right to a forwarded port, wakes the workspace of that name
// and returns the machine. Ports are private: who may not see the workspace learns
// nothing of them, and a viewer's requests are those that change nothing.
func (g *Gateway) enterPort(r *http.Request, name string, c portproxy.Credential) (portproxy.Machine, error) {
	id, err := g.bearerOf(r.Context(), c)
	if err != nil {
		return portproxy.Machine{}, err
	}
	need := rights["port-use"]
	if viewable(r) {
		need = rights["port-view"]
	}
	a, err := g.permit(r.Context(), id, need, name, "")
	if err != nil {
		return portproxy.Machine{}, err
	}
	held, leave, err := g.admit(r.Context(), &a, true)
	if err != nil {
		return portproxy.Machine{}, err
	}
	guest := g.guest(a.Workspace.Sandbox)
	return portproxy.Machine{
		ID:      string(a.Workspace.Sandbox),
		Dial:    func(ctx context.Context, port uint16) (net.Conn, error) { return guest.DialPort(ctx, port) },
		Context: held,
		Close:   leave,
	}, nil
}
