package client

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// source is a request body that is sent as it is read. It keeps the error of what
// it reads apart from those of the connection.
type source struct {
	r     io.Reader
	size  int64 // 0: unknown
	media string

	mu  sync.Mutex
	err error
}

// length is what a request calls the length of its body.
func (s *source) length() int64 {
	if s.size > 0 {
		return s.size
	}
	return -1
}

// Read implements [io.Reader].
func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.mu.Lock()
		s.err = fmt.Errorf("read archive: %w", err)
		s.mu.Unlock()
	}
	return n, err
}

// Close implements [io.Closer]. What is read belongs to somebody else.
func (s *source) Close() error { return nil }

// failure returns the error of what is read, if it had one.
func (s *source) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
