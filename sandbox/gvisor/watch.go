package gvisor

import (
	"fmt"
	"time"
)

// watchProcess closes done when the sandbox process ends. The gofer, which
// serves the bind mounts, belongs to it: a sandbox that lost its gofer answers
// and has no files, so it is ended too.
func (m *machine) watchProcess(pid int) (err error) {
	if m.sentry, err = openProcess(pid); err != nil {
		return fmt.Errorf("watch sandbox: %w", err)
	}
	goferPID, err := m.runsc.gofer(m.spec.ID)
	if err == nil {
		m.gofer, err = openProcess(goferPID)
	}
	if err != nil {
		return fmt.Errorf("watch gofer: %w", err)
	}
	go func() {
		<-m.sentry.ended
		m.ended()
	}()
	go func() {
		<-m.gofer.ended
		m.sentry.kill() // at an ordinary end both go, and there is nobody left to kill
	}()
	return nil
}

// killPatience bounds the wait for killed processes; the runtime's own delete
// comes after it and waits longer.
const killPatience = 2 * time.Second

// kill ends the sandbox's processes. The runtime would do it too, but it looks
// only every 100 ms whether they are gone.
func (m *machine) kill() {
	m.sentry.kill()
	m.gofer.kill()
	m.sentry.await(killPatience)
	m.gofer.await(killPatience)
}
