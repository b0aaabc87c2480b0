package account

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Rights runs functions with the file system rights of an account.
//
// It keeps a few threads whose effective user, effective group and supplementary
// groups are the account's; with the effective user the kernel takes all
// effective capabilities away. setfsuid(2) would be the classic way but is not
// implemented in gVisor. The real and saved user stay root on purpose: the
// kernel then refuses signals and ptrace from the account's own processes, which
// a thread that is wholly the account's would be open to. The threads never fork,
// never get their rights back, and end with the Rights; the Go runtime never
// clones a thread from a locked one.
//
// A descriptor that was opened with the rights keeps them, so only opening and
// naming calls need to run here, and slow streams must not.
type Rights struct {
	acct *Account
	jobs chan func()
	wg   sync.WaitGroup
}

// NewRights returns a Rights with n threads; the caller closes it. Where the
// process is not root it runs functions as they are and says so in log.
func NewRights(a *Account, n int, log *slog.Logger) (*Rights, error) {
	r := &Rights{acct: a, jobs: make(chan func())}
	if !a.Droppable() {
		log.Info("files are accessed with the agent's own rights", "uid", os.Geteuid())
		return r, nil
	}
	ready := make(chan error, n)
	for range n {
		r.wg.Go(func() { r.thread(ready) })
	}
	var failed error
	for range n {
		if err := <-ready; err != nil {
			failed = fmt.Errorf("take the rights of %s: %w", a.Name, err)
		}
	}
	if failed != nil {
		r.Close()
		return nil, failed
	}
	return r, nil
}

// Close ends the threads. No Do may be running or follow.
func (r *Rights) Close() {
	close(r.jobs)
	r.wg.Wait()
}

// Do runs f with the account's rights and returns its error. f must not start
// goroutines that touch files, nor block on anything but the file system.
func (r *Rights) Do(f func() error) error {
	if !r.acct.Droppable() {
		return f()
	}
	done := make(chan error, 1)
	r.jobs <- func() { done <- f() }
	return <-done
}

func (r *Rights) thread(ready chan<- error) {
	runtime.LockOSThread() // never unlocked: the thread must not be reused with these rights
	err := dropThread(r.acct)
	ready <- err
	if err != nil {
		return
	}
	for f := range r.jobs {
		f()
	}
}

// dropThread changes the calling thread alone, by raw system calls: the wrappers
// of package syscall change all threads.
func dropThread(a *Account) error {
	groups := append([]uint32{}, a.Groups...)
	var list unsafe.Pointer
	if len(groups) > 0 {
		list = unsafe.Pointer(&groups[0])
	}
	if _, _, e := syscall.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(list), 0); e != 0 {
		return fmt.Errorf("setgroups: %w", e)
	}
	keep := ^uintptr(0)
	if _, _, e := syscall.RawSyscall(unix.SYS_SETRESGID, keep, uintptr(a.GID), keep); e != 0 {
		return fmt.Errorf("setresgid: %w", e)
	}
	if _, _, e := syscall.RawSyscall(unix.SYS_SETRESUID, keep, uintptr(a.UID), keep); e != 0 {
		return fmt.Errorf("setresuid: %w", e)
	}
	return nil
}
