package main

import (
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/term"
)

// tty is our own terminal, if we have one. All methods work without.
type tty struct{ f *os.File }

// openTTY returns the terminal behind a stream.
func openTTY(stream any) *tty {
	if f, ok := stream.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &tty{f: f}
	}
	return &tty{}
}

func (t *tty) present() bool { return t.f != nil }

// size returns columns and rows, 0 and 0 where there is no terminal.
func (t *tty) size() (cols, rows uint16) {
	if t.f == nil {
		return 0, 0
	}
	c, r, err := term.GetSize(int(t.f.Fd()))
	if err != nil || c < 0 || r < 0 || c > 0xffff || r > 0xffff {
		return 0, 0
	}
	return uint16(c), uint16(r)
}

// raw hands every key to us unchanged until restore is called, any number of
// times.
func (t *tty) raw() (restore func(), err error) {
	if t.f == nil {
		return func() {}, nil
	}
	old, err := term.MakeRaw(int(t.f.Fd()))
	if err != nil {
		return nil, fmt.Errorf("set terminal to raw mode: %w", err)
	}
	return sync.OnceFunc(func() { _ = term.Restore(int(t.f.Fd()), old) }), nil // nobody is left to tell
}

// resized delivers a value whenever the window's size has changed, until stop.
func (t *tty) resized() (changes <-chan os.Signal, stop func()) {
	ch := make(chan os.Signal, 1)
	if t.f != nil {
		signal.Notify(ch, syscall.SIGWINCH)
	}
	return ch, func() { signal.Stop(ch) }
}
