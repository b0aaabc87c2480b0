package gateway

import (
	"context"
	"net/http"
	"time"
	"unicode"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
	"github.com/holt-ide/holt/meta"
)

func (g *Gateway) registerAdmin(rest huma.API) {
	op(rest, "GET", "/version", "version", "Tell what the server is", g.version)
	op(rest, "GET", "/me", "me", "Tell whom the token belongs to", g.me)
	op(rest, "GET", "/tokens", "list-tokens", "List API tokens", g.listTokens)
	op(rest, "POST", "/tokens", "create-token", "Make an API token", g.createToken, status(http.StatusCreated))
	op(rest, "DELETE", "/tokens/{id}", "revoke-token", "End a token at once", g.revokeToken)
}

func (g *Gateway) version(context.Context, *struct{}) (*answer[api.Version], error) {
	return &answer[api.Version]{api.Version{Version: g.cfg.Version, API: "v1", Node: string(g.cfg.NodeID)}}, nil
}

func (g *Gateway) me(ctx context.Context, _ *struct{}) (*answer[api.Me], error) {
	t := tokenOf(ctx)
	return &answer[api.Me]{api.Me{User: string(t.Owner), Kind: string(t.Kind), Scope: string(t.Scope), TokenID: t.ID, ExpiresAt: t.ExpiresAt}}, nil
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

// maxTokenName is the longest name of a token, in bytes.
const maxTokenName = 64

func (g *Gateway) createToken(ctx context.Context, in *struct{ Body api.CreateToken }) (*answer[api.NewToken], error) {
	b := in.Body
	if b.Name == "" || len(b.Name) > maxTokenName {
		return nil, &holt.Error{Kind: holt.KindInvalid, Field: "name", Limit: "64", Text: "a token needs a name of 1 to 64 bytes that tells its use"}
	}
	for _, r := range b.Name {
		if !unicode.IsPrint(r) {
			return nil, holt.Invalid("name", "the name of a token has only printable characters")
		}
	}
	scope := meta.Scope(b.Scope)
	switch scope {
	case "":
		scope = meta.ScopeAdmin
	case meta.ScopeAdmin, meta.ScopeRead:
	default:
		return nil, holt.Invalidf("scope", "%q is not a scope: use admin or read", b.Scope)
	}
	const most = int64(100 * 365 * 24 * time.Hour / time.Second)
	if b.ExpiresInSeconds < 0 || b.ExpiresInSeconds > most {
		return nil, holt.Invalidf("expires_in_seconds", "a token lasts from 1 to %d seconds, or for ever with 0", most)
	}
	t, secret, err := g.cfg.Tokens.Create(ctx, tokenOf(ctx).Owner, b.Name, scope, time.Duration(b.ExpiresInSeconds)*time.Second)
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
