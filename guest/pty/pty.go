// Package pty opens pseudo-terminals for the guest's terminals and commands.
//
// It exists beside well-known libraries because those switch the master to
// blocking mode with their first ioctl: a read could then not be interrupted,
// and each terminal would hold a thread.
package pty

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// The group that owns terminals on every Linux distribution that has one.
const ttyGroup = 5

// Open returns both ends of a new pseudo-terminal. The slave belongs to uid
// where this process may give it away. Reads of the master honour deadlines and
// Close.
func Open(uid int) (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open pseudo-terminal: %w", err)
	}
	var n int
	err = control(master, func(fd int) error {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return fmt.Errorf("unlock: %w", err)
		}
		n, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		return err
	})
	if err == nil {
		slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		master.Close()
		return nil, nil, fmt.Errorf("open pseudo-terminal: %w", err)
	}
	if os.Geteuid() == 0 {
		// A terminal that stays root's works, except for programs that reopen it.
		if slave.Chown(uid, ttyGroup) == nil {
			_ = slave.Chmod(0o620) // as login does; some kernels refuse
		}
	}
	return master, slave, nil
}

// SetSize sets the size in characters; the kernel tells the foreground group.
func SetSize(master *os.File, cols, rows uint16) error {
	return control(master, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	})
}

// Interrupt is for an input queue so full that the interrupt character char could
// not get in. In a mode in which char interrupts it signals the foreground group.
// Where only a process of the terminal may ask for that group (gVisor), it
// throws the queue away instead: then char has room and must be written.
func Interrupt(master *os.File, char byte) (signalled, flushed bool) {
	_ = control(master, func(fd int) error {
		tio, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil || tio.Lflag&unix.ISIG == 0 || tio.Cc[unix.VINTR] != char {
			return err
		}
		group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
		if err != nil || group <= 1 {
			flushed = unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCOFLUSH) == nil
			return err
		}
		signalled = unix.Kill(-group, unix.SIGINT) == nil
		return nil
	})
	return signalled, flushed
}

func control(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = do(int(fd)) }); err != nil {
		return err
	}
	return inner
}
