package files

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holt-ide/holt/guest/account"
	"github.com/holt-ide/holt/wire/guest"
)

// A receiver that stops is told that it missed something, and nothing is queued
// for it but in the kernel.
func TestWatchOverflowBecomesARescan(t *testing.T) {
	limit := 16384
	if b, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events"); err == nil {
		limit, _ = strconv.Atoi(strings.TrimSpace(string(b)))
	}
	if limit > 100_000 {
		t.Skipf("the kernel queues %d events here", limit)
	}
	dir := t.TempDir()
	a := account.New(guestwire.Config{User: "me", UID: os.Geteuid(), GID: os.Getegid(), Home: dir, Dir: dir}, nil)
	rights, err := account.NewRights(a, 1, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer rights.Close()
	f := &Files{Account: a, Rights: rights, Log: slog.New(slog.DiscardHandler)}
	for i := range 2 {
		if err := os.WriteFile(fmt.Sprintf("%s/%d", dir, i), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ready, filled := make(chan struct{}), make(chan struct{})
	rescanned := errors.New("rescanned")
	ended := make(chan error, 1)
	go func() {
		ended <- f.Watch(ctx, dir, nil, func(e guestwire.WatchEvent) error {
			switch e.Op {
			case guestwire.OpReady:
				close(ready)
				<-filled // a receiver that does not read
			case guestwire.OpRescan:
				if e.Path != dir || e.Text == "" {
					return fmt.Errorf("rescan %+v", e)
				}
				return rescanned
			}
			return nil
		})
	}()
	<-ready
	for i := range 2 * limit { // some are on their way already
		// Two files in turn: the kernel merges equal events in a row.
		if err := os.Chmod(fmt.Sprintf("%s/%d", dir, i%2), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	close(filled)
	if err := <-ended; !errors.Is(err, rescanned) {
		t.Errorf("the watch ended with %v, without a rescan", err)
	}
}
