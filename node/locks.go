package node

import "sync"

// locks is a mutex for every name. Its zero value works.
type locks struct {
	mu   sync.Mutex
	held map[string]*lockEntry
}

type lockEntry struct {
	mu    sync.Mutex
	users int
}

// lock locks a name and returns what unlocks it.
func (l *locks) lock(name string) (unlock func()) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*lockEntry{}
	}
	e := l.held[name]
	if e == nil {
		e = &lockEntry{}
		l.held[name] = e
	}
	e.users++
	l.mu.Unlock()
	e.mu.Lock()
	return func() {
		e.mu.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if e.users--; e.users == 0 {
			delete(l.held, name)
		}
	}
}
