// Package oidc asks an OpenID Connect provider who somebody is: discovery, the
// authorization code flow with PKCE (RFC 7636), state and nonce. What the answer is
// worth, and for which account, package auth decides. The provider is asked for the
// first time when somebody signs in, so that the server starts without it.
package oidc

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/auth"
)

// Config says which provider to ask. Issuer and ClientID are required.
type Config struct {
	Name         string // as the button shows it; "" means "single sign-on"
	Issuer       string // URL, as its discovery document has it
	ClientID     string
	ClientSecret string // "" for a public client
}

// patience bounds what one question to the provider takes.
const patience = 15 * time.Second

// Provider is one identity provider. Its methods may be called concurrently.
type Provider struct {
	cfg  Config
	http *http.Client

	mu    sync.Mutex
	found *oidc.Provider // once discovery worked
}

// New returns a provider. It does not touch the network.
func New(cfg Config) *Provider {
	if cfg.Name == "" {
		cfg.Name = "single sign-on"
	}
	return &Provider{cfg: cfg, http: &http.Client{Timeout: patience}}
}

// Name is what the button says.
func (p *Provider) Name() string { return p.cfg.Name }

// Flow is one login that is under way. The browser keeps it, signed by the caller.
type Flow struct {
	State    string `json:"s"` // comes back with the answer
	Nonce    string `json:"n"` // is in the ID token
	Verifier string `json:"v"` // of PKCE
}

// Start begins a login that comes back to redirect, and returns where to send the
// browser.
func (p *Provider) Start(ctx context.Context, redirect string) (url string, f Flow, err error) {
	c, _, err := p.config(ctx, redirect)
	if err != nil {
		return "", f, err
	}
	f = Flow{State: holt.NewSecret(), Nonce: holt.NewSecret(), Verifier: oauth2.GenerateVerifier()}
	return c.AuthCodeURL(f.State, oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)), f, nil
}

// Finish exchanges the code of an answer for who it was, after a look at everything
// that could be wrong with it.
func (p *Provider) Finish(ctx context.Context, redirect string, f Flow, state, code string) (auth.External, error) {
	if f.State == "" || subtle.ConstantTimeCompare([]byte(f.State), []byte(state)) != 1 {
		return auth.External{}, holt.Errorf(holt.KindUnauthorized, "this answer belongs to another login: begin again")
	}
	c, found, err := p.config(ctx, redirect)
	if err != nil {
		return auth.External{}, err
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.http), patience)
	defer cancel()
	token, err := c.Exchange(ctx, code, oauth2.VerifierOption(f.Verifier))
	if err != nil {
		return auth.External{}, refused(err)
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := found.Verifier(&oidc.Config{ClientID: p.cfg.ClientID}).Verify(ctx, raw)
	if err != nil {
		return auth.External{}, refused(err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(f.Nonce)) != 1 {
		return auth.External{}, holt.Errorf(holt.KindUnauthorized, "this answer belongs to another login: begin again")
	}
	var claims struct {
		Email    string `json:"email"`
		Verified bool   `json:"email_verified"`
		Name     string `json:"preferred_username"`
	}
	if err := id.Claims(&claims); err != nil {
		return auth.External{}, refused(err)
	}
	if claims.Email == "" { // some providers tell it only when asked
		if info, err := found.UserInfo(ctx, c.TokenSource(ctx, token)); err == nil && info.Subject == id.Subject {
			if err := info.Claims(&claims); err != nil {
				return auth.External{}, refused(err)
			}
		}
	}
	return auth.External{Issuer: id.Issuer, Subject: id.Subject, Email: claims.Email, Verified: claims.Verified, Name: claims.Name}, nil
}

func refused(err error) error {
	return holt.Wrap(holt.KindUnauthorized, err, "the identity provider's answer was not accepted: begin again")
}

// config returns the settings of a flow, after discovery.
func (p *Provider) config(ctx context.Context, redirect string) (*oauth2.Config, *oidc.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found == nil {
		// The provider keeps the context for its later questions.
		found, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.http), p.cfg.Issuer)
		if err != nil {
			return nil, nil, holt.Wrap(holt.KindUnavailable, fmt.Errorf("discover %s: %w", p.cfg.Issuer, err), "the identity provider does not answer: try again, or sign in with a password")
		}
		p.found = found
	}
	return &oauth2.Config{
		ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret, Endpoint: p.found.Endpoint(), RedirectURL: redirect,
		Scopes: []string{oidc.ScopeOpenID, "profile", "email"},
	}, p.found, nil
}
