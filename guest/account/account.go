// Package account knows the user that a workspace belongs to: its credentials,
// its environment, and how to act with its rights ([Rights]).
package account

import (
	"bufio"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/holt-ide/holt/wire/guest"
)

// The search path of user processes where the image sets none, without the
// user's own directory.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Account is the user that a workspace belongs to. It is safe for concurrent use.
type Account struct {
	Name   string
	UID    int
	GID    int
	Groups []uint32 // supplementary
	Home   string
	Shell  string
	Dir    string // where commands start

	base      []string // the image's environment
	workspace atomic.Pointer[string]
}

// New returns the account that cfg describes, completed from the image's
// /etc/passwd and /etc/group. The environment env is that of the image.
func New(cfg guestwire.Config, env []string) *Account {
	a := &Account{Name: cfg.User, UID: cfg.UID, GID: cfg.GID, Home: cfg.Home, Dir: cfg.Dir}
	for _, f := range records("/etc/passwd", 7) {
		if f[0] == a.Name {
			a.Shell = f[6]
		}
	}
	for _, f := range records("/etc/group", 4) {
		gid, err := strconv.ParseUint(f[2], 10, 32)
		if err == nil && slices.Contains(strings.Split(f[3], ","), a.Name) {
			a.Groups = append(a.Groups, uint32(gid))
		}
	}
	for _, shell := range []string{a.Shell, "/bin/bash", "/bin/sh"} {
		if st, err := os.Stat(shell); err == nil && st.Mode()&0o111 != 0 && !strings.HasSuffix(shell, "nologin") {
			a.Shell = shell
			break
		}
	}
	for _, kv := range env {
		if !strings.HasPrefix(kv, guestwire.ConfigEnv+"=") {
			a.base = append(a.base, kv)
		}
	}
	a.SetWorkspace(cfg.Name)
	return a
}

// records reads a colon-separated file of the image, which may hold anything.
func records(path string, fields int) [][]string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var out [][]string
	for lines := bufio.NewScanner(f); lines.Scan() && len(out) < 10_000; {
		if r := strings.Split(lines.Text(), ":"); len(r) == fields {
			out = append(out, r)
		}
	}
	return out
}

// SetWorkspace changes the workspace's name for processes started later.
func (a *Account) SetWorkspace(name string) { a.workspace.Store(&name) }

// Droppable reports whether this process must and can give up its own rights to
// act as the account: it runs as root and the account is not root.
func (a *Account) Droppable() bool { return os.Geteuid() == 0 && a.UID != 0 }

// Credential returns what a child of the account runs with; nil where the
// agent's own credentials are the account's, or cannot be changed.
func (a *Account) Credential() *syscall.Credential {
	if !a.Droppable() {
		return nil
	}
	return &syscall.Credential{Uid: uint32(a.UID), Gid: uint32(a.GID), Groups: a.Groups}
}

// Env returns the environment of a process of the account: the image's, then
// the account's own, then extra.
func (a *Account) Env(extra map[string]string) []string {
	env := a.baseEnv()
	env["HOME"], env["USER"], env["LOGNAME"], env["SHELL"] = a.Home, a.Name, a.Name, a.Shell
	env["PATH"] = a.Home + "/.local/bin:" + env["PATH"]
	maps.Copy(env, extra)
	return list(env)
}

// RootEnv is [Account.Env] for the guest's root.
func (a *Account) RootEnv(extra map[string]string) []string {
	env := a.baseEnv()
	env["HOME"], env["USER"], env["LOGNAME"], env["SHELL"] = "/root", "root", "root", a.Shell
	maps.Copy(env, extra)
	return list(env)
}

func (a *Account) baseEnv() map[string]string {
	env := map[string]string{"PATH": defaultPath, "LANG": "C.UTF-8"}
	for _, kv := range a.base {
		if k, v, ok := strings.Cut(kv, "="); ok && k != "" {
			env[k] = v
		}
	}
	env["HOLT"], env["HOLT_WORKSPACE"] = "1", *a.workspace.Load()
	delete(env, "TERM")
	return env
}

func list(env map[string]string) []string {
	out := make([]string, 0, len(env))
	for _, k := range slices.Sorted(maps.Keys(env)) {
		out = append(out, k+"="+env[k])
	}
	return out
}
