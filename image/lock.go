package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	holt "github.com/holt-ide/holt"
)

// lockPoll is how often a waiting process asks for the lock again: flock has no
// form that waits and can be cancelled.
const lockPoll = 200 * time.Millisecond

// lockDir locks the store directory for this process; closing the file unlocks.
func lockDir(ctx context.Context, dir string, wait bool) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock of image store: %w", err)
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock image store: %w", err), f.Close())
		}
		if !wait {
			return nil, errors.Join(holt.Errorf(holt.KindConflict, "another process uses the image store %s: stop that holtd first", dir), f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("wait for the image store %s: %w", dir, ctx.Err()), f.Close())
		case <-time.After(lockPoll):
		}
	}
}

// begin waits for the right to build, pack or adopt; the caller defers the
// returned function.
func (s *Store) begin(ctx context.Context) (func(), error) {
	select {
	case s.work <- struct{}{}:
		return func() { <-s.work }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for another image to be made: %w", ctx.Err())
	}
}

// noSpace gives a full disk its kind.
func noSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return holt.Wrap(holt.KindNoSpace, err, "the disk that holds the images is full: free some space, for instance with `holt image rm`")
	}
	return err
}
