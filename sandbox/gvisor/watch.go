package gvisor

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// watchProcess closes done when the sandbox process ends. The gofer, which
// serves the bind mounts, belongs to it: a sandbox that lost its gofer answers
// and has no files, so it is ended too.
func (m *machine) watchProcess(pid int) error {
	process, err := openProcess(pid)
	if err != nil {
		return fmt.Errorf("watch sandbox: %w", err)
	}
	victim, err := openProcess(pid)
	if err != nil {
		return errors.Join(fmt.Errorf("watch sandbox: %w", err), process.Close())
	}
	goferPID, err := m.runsc.gofer(m.spec.ID)
	var gofer *os.File
	if err == nil {
		gofer, err = openProcess(goferPID)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("watch gofer: %w", err), process.Close(), victim.Close())
	}
	go func() {
		defer process.Close()
		waitReadable(process)
		m.ended()
	}()
	go func() {
		defer victim.Close()
		defer gofer.Close()
		waitReadable(gofer)
		// At an ordinary end both go, and there is nobody left to kill.
		_ = unix.PidfdSendSignal(int(victim.Fd()), unix.SIGKILL, nil, 0)
	}()
	return nil
}

// openProcess returns a pidfd of a living process.
func openProcess(pid int) (*os.File, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open process: %w", err)
	}
	process := os.NewFile(uintptr(fd), "pidfd")
	if hasEnded(uintptr(fd)) { // nobody has collected the dead process yet
		return nil, errors.Join(errors.New("process has ended"), process.Close())
	}
	return process, nil
}

// waitReadable returns when a pidfd reports the end of its process, which makes
// it readable. It waits in the Go runtime's poller and so costs no thread.
func waitReadable(process *os.File) {
	raw, err := process.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(hasEnded) // an error means the file was closed
}

// hasEnded asks a pidfd, without waiting.
func hasEnded(fd uintptr) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return n > 0 || (err != nil && !errors.Is(err, unix.EINTR))
}
