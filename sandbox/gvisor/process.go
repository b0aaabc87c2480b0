package gvisor

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// process is a handle of one of the runtime's processes, which is not our child
// after a restart. It never means another process that got the same number.
type process struct {
	fd    *os.File      // pidfd
	ended chan struct{} // closed when the process has ended
}

// openProcess watches a living process.
func openProcess(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open process: %w", err)
	}
	p := &process{fd: os.NewFile(uintptr(fd), "pidfd"), ended: make(chan struct{})}
	if hasEnded(uintptr(fd)) { // nobody has collected the dead process yet
		return nil, errors.Join(errors.New("process has ended"), p.fd.Close())
	}
	go func() {
		defer close(p.ended)
		defer p.fd.Close()
		// A pidfd becomes readable when its process ends. The wait is the Go
		// runtime's and costs no thread.
		if raw, err := p.fd.SyscallConn(); err == nil {
			_ = raw.Read(hasEnded) // an error means the file was closed
		}
	}()
	return p, nil
}

// kill ends the process. One that has ended is no error, nor is nil.
func (p *process) kill() {
	if p == nil {
		return
	}
	raw, err := p.fd.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { // an error means that it has ended and the file is closed
		_ = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0)
	})
}

// await returns when the process has ended, or after patience.
func (p *process) await(patience time.Duration) {
	if p == nil {
		return
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
	}
}

// hasEnded asks a pidfd, without waiting.
func hasEnded(fd uintptr) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return n > 0 || (err != nil && !errors.Is(err, unix.EINTR))
}
