package gvisor

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// dialIn connects to address from inside the network namespace at path.
//
// A socket belongs to the namespace of the thread that makes it, for good. The
// thread is locked, moved, and given back only if it could be moved back;
// otherwise it ends with its goroutine.
func dialIn(ctx context.Context, path, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	type result struct {
		conn net.Conn
		err  error
	}
	made := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		conn, home, err := dialMoved(ctx, path, address)
		if home {
			runtime.UnlockOSThread()
		}
		made <- result{conn, err}
	}()
	r := <-made // dialMoved is bounded by ctx
	return r.conn, r.err
}

// dialMoved runs on a locked thread; home reports whether the thread is back in
// the namespace it came from.
func dialMoved(ctx context.Context, path, address string) (_ net.Conn, home bool, _ error) {
	target, err := os.Open(path)
	if err != nil {
		return nil, true, fmt.Errorf("open network namespace: %w", err)
	}
	defer target.Close()
	origin, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, true, fmt.Errorf("open own network namespace: %w", err)
	}
	defer origin.Close()
	if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, true, fmt.Errorf("enter network namespace: %w", err)
	}
	// A literal address without a fallback is dialled on this very thread.
	conn, err := (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, "tcp4", address)
	if back := unix.Setns(int(origin.Fd()), unix.CLONE_NEWNET); back != nil {
		return conn, false, err
	}
	return conn, true, err
}
