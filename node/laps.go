package node

import "time"

// laps measures the steps of one long operation, for the log.
type laps struct {
	begin, last time.Time
	steps       []any
}

func newLaps() *laps {
	now := time.Now()
	return &laps{begin: now, last: now}
}

// lap ends a step.
func (l *laps) lap(step string) {
	now := time.Now()
	l.steps = append(l.steps, step+"_ms", now.Sub(l.last).Milliseconds())
	l.last = now
}

// attrs returns the steps as attributes of a log line, after more and the sum.
func (l *laps) attrs(more ...any) []any {
	return append(append(more, "took_ms", time.Since(l.begin).Milliseconds()), l.steps...)
}
