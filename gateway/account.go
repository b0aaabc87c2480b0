package gateway

import (
	"context"
	"net/http"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/auth"
	"github.com/holt-ide/holt/meta"
)

// registerAccount declares what concerns the caller's own account.
func (g *Gateway) registerAccount(rest *rest) {
	op(rest, "GET", "/version", "version", "Tell what the server is", g.version)
	op(rest, "GET", "/me", "me", "Tell whom the token belongs to", g.me)
	op(rest, "PUT", "/me/password", "set-password", "Change one's own password and end one's other sessions", g.setPassword)
	op(rest, "GET", "/tokens", "list-tokens", "List one's API tokens", g.listTokens)
	op(rest, "POST", "/tokens", "create-token", "Make an API token", g.createToken, answers(http.StatusCreated))
	op(rest, "DELETE", "/tokens/{id}", "revoke-token", "End a token at once", g.revokeToken)
	op(rest, "GET", "/sessions", "list-sessions", "List the browsers in which one is signed in", g.listSessions)
	op(rest, "DELETE", "/sessions/{id}", "end-session", "Sign a browser out", g.endSession)
	op(rest, "DELETE", "/sessions", "end-sessions", "Sign all other browsers out", g.endSessions)
	op(rest, "POST", "/logins", "create-login", "Make a link that signs a browser in, once", g.newLogin, answers(http.StatusCreated))
}

func (g *Gateway) version(context.Context, *struct{}) (*answer[api.Version], error) {
	return &answer[api.Version]{api.Version{Version: g.cfg.Version, API: "v1", Node: string(g.cfg.NodeID)}}, nil
}

func (g *Gateway) me(ctx context.Context, _ *struct{}) (*answer[api.Me], error) {
	id := caller(ctx)
	u, err := g.cfg.Auth.User(ctx, string(id.User))
	if err != nil {
		return nil, err
	}
	return &answer[api.Me]{api.Me{
		User: string(id.User), Name: id.Name, Role: string(id.Role), Kind: string(id.Kind), Scope: string(id.Scope), WorkspaceID: string(id.Workspace),
		Password: u.Password != "", TokenID: id.TokenID, ExpiresAt: id.Expires,
	}}, nil
}

func (g *Gateway) setPassword(ctx context.Context, in *struct{ Body api.SetPassword }) (*struct{}, error) {
	who := caller(ctx)
	address := ""
	if rec, ok := ctx.Value(keyRecord).(*record); ok {
		address = rec.address
	}
	if err := g.cfg.Auth.SetPassword(ctx, who, in.Body.Current, in.Body.New, address); err != nil {
		return nil, err
	}
	g.lost(who.User, "")
	return nil, nil
}

func (g *Gateway) listTokens(ctx context.Context, in *struct {
	All bool `query:"all" doc:"Those of all users; for admins"`
}) (*answer[api.TokenList], error) {
	owner := caller(ctx).User
	if in.All {
		if caller(ctx).Role != meta.RoleAdmin {
			return nil, holt.Errorf(holt.KindForbidden, "only an admin of this server may see the tokens of others")
		}
		owner = ""
	}
	all, err := g.cfg.Auth.List(ctx, owner)
	if err != nil {
		return nil, err
	}
	names, err := g.names(ctx)
	if err != nil {
		return nil, err
	}
	out := api.TokenList{Items: make([]api.Token, 0, len(all))}
	for _, t := range all {
		out.Items = append(out.Items, toToken(t, names(t.Owner)))
	}
	return &answer[api.TokenList]{out}, nil
}

func (g *Gateway) createToken(ctx context.Context, in *struct{ Body api.CreateToken }) (*answer[api.NewToken], error) {
	life, err := seconds("expires_in_seconds", in.Body.ExpiresInSeconds)
	if err != nil {
		return nil, err
	}
	who := caller(ctx)
	req := auth.TokenRequest{Name: in.Body.Name, Scope: meta.Scope(in.Body.Scope), Life: life, Owner: who.User}
	if in.Body.Workspace != "" {
		if req.Scope == "" {
			req.Scope = meta.ScopeWrite
		}
		// A token for what one may not see would tell that it exists.
		a, err := g.permit(ctx, who, right{who: viewer, scope: meta.ScopeAdmin}, in.Body.Workspace, "")
		if err != nil {
			return nil, err
		}
		req.Workspace = a.Workspace.ID
	}
	secret, t, err := g.cfg.Auth.Create(ctx, req)
	if err != nil {
		return nil, err
	}
	note(ctx, t.ID, t.Name, "scope "+string(t.Scope))
	return &answer[api.NewToken]{api.NewToken{Token: toToken(t, who.Name), Secret: secret}}, nil
}

// seconds returns a duration of a request; 0 means the default.
func seconds(field string, s int64) (time.Duration, error) {
	const most = int64(100 * 365 * 24 * time.Hour / time.Second) // more would overflow a duration
	if s < 0 || s > most {
		return 0, holt.Invalidf(field, "%d: use a number of seconds, or leave it out", s)
	}
	return time.Duration(s) * time.Second, nil
}

type idInput struct {
	ID string `path:"id" doc:"ID, as lists show it" maxLength:"64"`
}

func (g *Gateway) revokeToken(ctx context.Context, in *idInput) (*struct{}, error) {
	who := caller(ctx)
	note(ctx, in.ID, "", "")
	owner := who.User
	if who.Role == meta.RoleAdmin {
		owner = ""
	}
	// Whoever holds streams open with it loses them.
	all, err := g.cfg.Auth.List(ctx, owner)
	if err != nil {
		return nil, err
	}
	if err := g.cfg.Auth.Revoke(ctx, owner, in.ID); err != nil {
		return nil, err
	}
	for _, t := range all {
		if t.ID == in.ID {
			note(ctx, "", t.Name, "")
			g.lost(t.Owner, "")
		}
	}
	return nil, nil
}

func (g *Gateway) listSessions(ctx context.Context, _ *struct{}) (*answer[api.SessionList], error) {
	who := caller(ctx)
	all, err := g.cfg.Auth.Sessions(ctx, who.User)
	if err != nil {
		return nil, err
	}
	out := api.SessionList{Items: make([]api.Session, 0, len(all))}
	for _, t := range all {
		out.Items = append(out.Items, toSession(t, who.TokenID))
	}
	return &answer[api.SessionList]{out}, nil
}

func (g *Gateway) endSession(ctx context.Context, in *idInput) (*struct{}, error) {
	who := caller(ctx)
	note(ctx, in.ID, "", "")
	if err := g.cfg.Auth.EndSession(ctx, who.User, in.ID); err != nil {
		return nil, err
	}
	g.lost(who.User, "")
	return nil, nil
}

func (g *Gateway) endSessions(ctx context.Context, _ *struct{}) (*struct{}, error) {
	who := caller(ctx)
	if err := g.cfg.Auth.EndSessions(ctx, who.User, who.TokenID); err != nil {
		return nil, err
	}
	g.lost(who.User, "")
	return nil, nil
}
