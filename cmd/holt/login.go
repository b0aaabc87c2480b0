package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api/client"
	"github.com/holt-ide/holt/durable"
)

const defaultURL = "http://127.0.0.1:7070"

// login is what holt login stores.
type login struct {
	URL   string `json:"url"`
	Token string `json:"token"`
}

// loginPath is where the login is stored: below $XDG_CONFIG_HOME or ~/.config.
func (a *app) loginPath() (string, error) {
	dir := a.getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home := a.getenv("HOME")
		if home == "" {
			return "", holt.Errorf(holt.KindInvalid, "neither HOME nor XDG_CONFIG_HOME is set: set HOLT_URL and HOLT_TOKEN instead")
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "holt", "login.json"), nil
}

// login returns the server and token: flags of the environment first, then the
// stored login. A stored token is only used with the server it belongs to.
func (a *app) login() (login, error) {
	env := login{URL: a.getenv("HOLT_URL"), Token: a.getenv("HOLT_TOKEN")}
	if env.Token != "" {
		env.URL = cmp.Or(env.URL, defaultURL)
		return env, nil
	}
	var stored login
	if path, err := a.loginPath(); err == nil {
		data, err := os.ReadFile(path)
		switch {
		case err == nil:
			if err := json.Unmarshal(data, &stored); err != nil {
				return login{}, fmt.Errorf("read %s: %w: log in again with holt login", path, err)
			}
		case !errors.Is(err, fs.ErrNotExist):
			return login{}, fmt.Errorf("read login: %w", err)
		}
	}
	if env.URL != "" && env.URL != stored.URL {
		return env, nil
	}
	stored.URL = cmp.Or(stored.URL, defaultURL)
	return stored, nil
}

func newLogin(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "login URL TOKEN",
		Short: "Remember a server and a token",
		Long: `Check that the token opens the server, then store both for later commands, in
holt/login.json below $XDG_CONFIG_HOME or ~/.config, readable by you alone.
HOLT_URL and HOLT_TOKEN in the environment go before what is stored.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			l := login{URL: args[0], Token: args[1]}
			c, err := client.New(client.Config{URL: l.URL, Token: l.Token})
			if err != nil {
				return err
			}
			return a.storeLogin(cmd.Context(), c, l)
		},
	}
}

func (a *app) storeLogin(ctx context.Context, c *client.Client, l login) error {
	me, err := c.Me(ctx)
	if err != nil {
		return err
	}
	path, err := a.loginPath()
	if err != nil {
		return err
	}
	data, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode login: %w", err)
	}
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("store login: %w", err)
	}
	if err := durable.WriteFile(path, data, 0o600); err != nil {
		return fmt.Errorf("store login: %w", err)
	}
	if a.json {
		return a.printJSON(me)
	}
	fmt.Fprintf(a.out, "logged in to %s as %s (%s)\n", l.URL, me.Name, me.Scope)
	return nil
}
