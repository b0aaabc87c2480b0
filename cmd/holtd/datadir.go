package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/durable"
)

// layoutVersion counts incompatible changes of the data directory's layout.
//
//	1  holt.db, images/, node/ (pool, machines, tools), token
const layoutVersion = 1

// Names in the data directory that exist before its layout is complete.
const (
	lockName    = "lock"
	versionName = "version"
)

// lockPatience is how long the lock may stay taken: a program that a killed holtd
// was just starting holds a copy of it until that program runs.
const lockPatience = 3 * time.Second

func takeLock(lock *os.File) error {
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Since(begin) > lockPatience {
			return err
		}
	}
}

// openDataDir makes or checks the data directory and takes its lock, which the
// returned function gives back.
func openDataDir(dir string) (release func() error, err error) {
	if err := durable.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := takeLock(lock); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, holt.Errorf(holt.KindConflict, "data directory %s is in use by another holtd: stop that one, or choose another with --data-dir", dir)
		}
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := checkLayout(dir); err != nil {
		lock.Close()
		return nil, err
	}
	if _, err := durable.Clean(dir); err != nil {
		lock.Close()
		return nil, fmt.Errorf("clean data directory: %w", err)
	}
	return lock.Close, nil
}

// checkLayout refuses a directory that is not ours or not for us. The version is
// the first thing written and everything after it repairs itself, so a crash
// while a directory was made leaves nothing to refuse.
func checkLayout(dir string) error {
	path := filepath.Join(dir, versionName)
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := checkEmpty(dir); err != nil {
			return err
		}
		if err := durable.WriteFile(path, []byte(strconv.Itoa(layoutVersion)+"\n"), 0o644); err != nil {
			return fmt.Errorf("write version: %w", err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("read version: %w", err)
	}
	v, err := strconv.Atoi(strings.TrimSpace(string(text)))
	switch {
	case err != nil || v < 1:
		return holt.Errorf(holt.KindCorrupt, "%s is damaged: it says %q instead of a number; if this is a Holt data directory of this version, write %d into it", path, strings.TrimSpace(string(text)), layoutVersion)
	case v > layoutVersion:
		return holt.Errorf(holt.KindUnsupported, "data directory %s has layout %d, this holtd knows up to %d: it was used by a newer holtd; start that one, or choose another directory with --data-dir", dir, v, layoutVersion)
	}
	return nil
}

// checkEmpty refuses to settle in a directory with other things in it.
func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list data directory: %w", err)
	}
	for _, e := range entries {
		if e.Name() == lockName || strings.HasPrefix(e.Name(), "."+versionName) {
			continue
		}
		return holt.Errorf(holt.KindConflict, "%s has no version file but is not empty (%s): it is not a Holt data directory, or its version file was lost; choose an empty one with --data-dir", dir, e.Name())
	}
	return nil
}
