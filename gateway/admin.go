package gateway

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/auth"
	"github.com/holt-ide/holt/meta"
)

func (g *Gateway) registerAdmin(rest huma.API) {
	op(rest, "GET", "/version", "version", "Tell what the server is", g.version)
	op(rest, "GET", "/me", "me", "Tell whom the token belongs to", g.me)
	op(rest, "GET", "/tokens", "list-tokens", "List API tokens", g.listTokens)
	op(rest, "POST", "/tokens", "create-token", "Make an API token", g.createToken, answers(http.StatusCreated))
	op(rest, "DELETE", "/tokens/{id}", "revoke-token", "End a token at once", g.revokeToken)
	op(rest, "POST", "/logins", "create-login", "Make a link that signs a browser in, once", g.newLogin, answers(http.StatusCreated))
}

func (g *Gateway) version(context.Context, *struct{}) (*answer[api.Version], error) {
	return &answer[api.Version]{api.Version{Version: g.cfg.Version, API: "v1", Node: string(g.cfg.NodeID)}}, nil
}

func (g *Gateway) me(ctx context.Context, _ *struct{}) (*answer[api.Me], error) {
	id := caller(ctx)
	return &answer[api.Me]{api.Me{User: string(id.User), Kind: string(id.Kind), Scope: string(id.Scope), TokenID: id.TokenID, ExpiresAt: id.Expires}}, nil
}

func (g *Gateway) listTokens(ctx context.Context, _ *struct{}) (*answer[api.TokenList], error) {
	all, err := g.cfg.Tokens.List(ctx)
	if err != nil {
		return nil, err
	}
	out := api.TokenList{Items: make([]api.Token, 0, len(all))}
	for _, t := range all {
		out.Items = append(out.Items, toToken(t))
	}
	return &answer[api.TokenList]{out}, nil
}

func (g *Gateway) createToken(ctx context.Context, in *struct{ Body api.CreateToken }) (*answer[api.NewToken], error) {
	const most = int64(100 * 365 * 24 * time.Hour / time.Second) // more would overflow a duration
	if s := in.Body.ExpiresInSeconds; s < 0 || s > most {
		return nil, holt.Invalidf("expires_in_seconds", "%d: a token lives for some seconds, or with 0 until it is revoked", s)
	}
	secret, t, err := g.cfg.Tokens.Create(ctx, auth.TokenRequest{
		Name: in.Body.Name, Scope: meta.Scope(in.Body.Scope), Life: time.Duration(in.Body.ExpiresInSeconds) * time.Second, Owner: caller(ctx).User,
	})
	if err != nil {
		return nil, err
	}
	return &answer[api.NewToken]{api.NewToken{Token: toToken(t), Secret: secret}}, nil
}

func (g *Gateway) revokeToken(ctx context.Context, in *struct {
	ID string `path:"id" doc:"ID of the token"`
}) (*struct{}, error) {
	return nil, g.cfg.Tokens.Revoke(ctx, in.ID)
}
