//go:build faults

package fault

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Enabled reports whether this build can crash at its points.
const Enabled = true

// plan is what the environment asks for, read at the first passing.
type plan struct {
	name string
	list *os.File

	mu   sync.Mutex
	left int // passings of name until the crash
}

var current = sync.OnceValue(func() *plan {
	p, err := read(os.Getenv("HOLT_FAULT"), os.Getenv("HOLT_FAULT_LIST"))
	if err != nil {
		panic(err) // a test asked for something that cannot be done
	}
	return p
})

func read(spec, list string) (*plan, error) {
	p := &plan{name: spec, left: 1}
	if name, n, ok := strings.Cut(spec, ":"); ok {
		left, err := strconv.Atoi(n)
		if err != nil || left < 1 {
			return nil, fmt.Errorf("read HOLT_FAULT: %q is not NAME or NAME:N", spec)
		}
		p.name, p.left = name, left
	}
	if list != "" {
		f, err := os.OpenFile(list, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open HOLT_FAULT_LIST: %w", err)
		}
		p.list = f
	}
	return p, nil
}

// Point marks a place at which a test may crash the process.
func Point(name string) {
	p := current()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.list != nil {
		if _, err := p.list.WriteString(name + "\n"); err != nil {
			panic(err)
		}
	}
	if name != p.name {
		return
	}
	if p.left--; p.left == 0 {
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			panic(err)
		}
		select {} // the signal is on its way
	}
}
