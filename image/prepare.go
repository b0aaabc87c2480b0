package image

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	holt "github.com/holt-ide/holt"
)

// What every image has, because the sandbox and the guest agent rely on it.
const (
	UserName   = "dev"        // the user of a workspace
	UserID     = 1000         // its uid and gid
	UserHome   = "/home/dev"  // on the workspace's volume
	ProjectDir = "/workspace" // on the workspace's volume
	AgentDir   = "/.holt"     // empty; the guest agent is mounted here
)

// madeTime is the modification time of everything [Prepare] writes, so that the
// same tree prepared twice gives the same image: 2020-01-01.
var madeTime = time.Unix(1577836800, 0)

// maxAccounts bounds /etc/passwd and /etc/group, in bytes.
const maxAccounts = 1 << 20

// Prepare makes the tree at root usable as the base of a workspace: the user
// dev (uid 1000), /home/dev, /workspace, /.holt, the mount points of a system,
// and /etc files that can be rewritten when a machine starts or is forked
// (hostname, hosts, machine-id, resolv.conf). It is idempotent.
//
// The tree may be hostile (a pulled container image): nothing outside root is
// read or written, whatever links it holds.
func Prepare(root *os.Root) error {
	for _, d := range []struct {
		name     string
		mode     fs.FileMode
		uid, gid int
	}{
		{"etc", 0o755, 0, 0}, {"dev", 0o755, 0, 0}, {"proc", 0o555, 0, 0}, {"sys", 0o555, 0, 0},
		{"run", 0o755, 0, 0}, {"home", 0o755, 0, 0}, {"root", 0o700, 0, 0}, {"var", 0o755, 0, 0},
		{"tmp", 0o777 | fs.ModeSticky, 0, 0},
		{"var/tmp", 0o777 | fs.ModeSticky, 0, 0},
		{UserHome[1:], 0o755, UserID, UserID},
		{ProjectDir[1:], 0o755, UserID, UserID},
		{AgentDir[1:], 0o755, 0, 0},
	} {
		if err := ensureDir(root, d.name, d.mode, d.uid, d.gid); err != nil {
			return fmt.Errorf("prepare /%s: %w", d.name, err)
		}
	}
	if err := ensureAccounts(root); err != nil {
		return err
	}
	for _, f := range []struct{ name, text string }{
		{"etc/hostname", "holt\n"},
		{"etc/hosts", "127.0.0.1\tlocalhost holt\n::1\tlocalhost ip6-localhost ip6-loopback\n"},
		{"etc/machine-id", ""},
		{"etc/resolv.conf", ""},
	} {
		if err := replaceFile(root, f.name, []byte(f.text)); err != nil {
			return fmt.Errorf("prepare /%s: %w", f.name, err)
		}
	}
	return nil
}

// ensureDir makes the directory unless it is there. One that is there keeps its
// mode and owner, except that those of the workspace get theirs. A link to a
// directory within the tree is fine where a system may have one.
func ensureDir(root *os.Root, name string, mode fs.FileMode, uid, gid int) error {
	ours := uid == UserID || name == AgentDir[1:]
	fi, err := root.Lstat(name)
	switch {
	case err == nil && !fi.IsDir():
		if target, serr := root.Stat(name); !ours && serr == nil && target.IsDir() {
			return nil
		}
		return holt.Errorf(holt.KindInvalid, "the image has /%s as something other than a directory: Holt needs a directory there", name)
	case err == nil && !ours:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		if err := root.Mkdir(name, 0o700); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	if err := root.Chown(name, uid, gid); err != nil {
		return err
	}
	if err := root.Chmod(name, mode); err != nil {
		return err
	}
	if err := root.Chtimes(name, madeTime, madeTime); err != nil {
		return err
	}
	return touchParent(root, name)
}

// ensureAccounts makes sure that uid and gid 1000 are called dev. Another name
// for uid 1000, which many images have, stays as a second name after it. The
// password field is "*", not "x": nobody logs in with a password, and sudo does
// not look for a line in /etc/shadow, which it would take for a locked account.
func ensureAccounts(root *os.Root) error {
	shell := "/bin/sh"
	for _, sh := range []string{"bin/bash", "usr/bin/bash"} {
		if fi, err := root.Stat(sh); err == nil && fi.Mode().IsRegular() {
			shell = "/" + sh
			break
		}
	}
	id := strconv.Itoa(UserID)
	for _, f := range []struct {
		name, base, line string
		idField          int
	}{
		{"etc/passwd", "root:x:0:0:root:/root:" + shell + "\n", UserName + ":*:" + id + ":" + id + ":Holt:" + UserHome + ":" + shell, 2},
		{"etc/group", "root:x:0:\n", UserName + ":x:" + id + ":", 2},
	} {
		old, err := readRegular(root, f.name, maxAccounts)
		if errors.Is(err, fs.ErrNotExist) {
			old, err = []byte(f.base), nil
		}
		if err != nil {
			return fmt.Errorf("prepare /%s: %w", f.name, err)
		}
		text, err := withAccount(old, f.line, f.idField)
		if err != nil {
			return fmt.Errorf("prepare /%s: %w", f.name, err)
		}
		if text == nil {
			continue
		}
		if err := replaceFile(root, f.name, text); err != nil {
			return fmt.Errorf("prepare /%s: %w", f.name, err)
		}
	}
	return nil
}

// withAccount returns the account file with line in it, in front of any other
// line with the same id, or nil when it needs no change.
func withAccount(old []byte, line string, idField int) ([]byte, error) {
	want := strings.Split(line, ":")
	var lines []string
	at := -1
	sc := bufio.NewScanner(bytes.NewReader(old))
	sc.Buffer(nil, maxAccounts+1)
	for sc.Scan() {
		have := strings.Split(sc.Text(), ":")
		sameID := len(have) > idField && have[idField] == want[idField]
		switch {
		case have[0] == want[0] && sameID && at < 0:
			return nil, nil
		case have[0] == want[0]:
			return nil, holt.Errorf(holt.KindInvalid, "the image has a %q with another id than %s: Holt runs workspaces as %s with that id", want[0], want[idField], want[0])
		case sameID && at < 0:
			at = len(lines)
		}
		lines = append(lines, sc.Text())
	}
	if err := sc.Err(); err != nil {
		return nil, err
	}
	if at < 0 {
		at = len(lines)
	}
	lines = slices.Insert(lines, at, line)
	return []byte(strings.Join(lines, "\n") + "\n"), nil
}

// readRegular reads a regular file of at most limit bytes. Links are followed
// within root.
func readRegular(root *os.Root, name string, limit int64) ([]byte, error) {
	fi, err := root.Stat(name) // before opening: a FIFO would block
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > limit {
		return nil, holt.Errorf(holt.KindInvalid, "the image's /%s is not a regular file of at most %s", name, holt.FormatSize(limit))
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// replaceFile makes name a new regular file, mode 0644, owned by root, whatever
// was there.
func replaceFile(root *os.Root, name string, text []byte) error {
	if err := root.RemoveAll(name); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Chown(0, 0), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	if err := root.Chtimes(name, madeTime, madeTime); err != nil {
		return err
	}
	return touchParent(root, name)
}

// touchParent gives the directory that holds name a fixed time again.
func touchParent(root *os.Root, name string) error {
	return root.Chtimes(path.Dir(name), madeTime, madeTime)
}
