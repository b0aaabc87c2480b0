package attack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/holt-ide/holt/api/client"
	guestwire "github.com/holt-ide/holt/wire/guest"
)

const (
	// bound is the neighbour's promise: 99 of 100 commands answer within it.
	bound = 250 * time.Millisecond
	// pace is the pause between two commands, so that the watcher itself is no load.
	pace = 15 * time.Millisecond
	// least is how many commands a judgement needs.
	least = 100
)

// watcher runs `true` in one workspace over and over, through the gateway.
type watcher struct {
	stop context.CancelFunc
	done sync.WaitGroup

	mu   sync.Mutex
	took []time.Duration
	errs []error
}

// watch starts a watcher that runs until finish.
func watch(t *testing.T, c *client.Client, name string) *watcher {
	ctx, stop := context.WithCancel(t.Context())
	w := &watcher{stop: stop}
	w.done.Go(func() {
		for ctx.Err() == nil {
			took, err := execTrue(ctx, c, name)
			if ctx.Err() != nil {
				return
			}
			w.mu.Lock()
			w.took = append(w.took, took)
			if err != nil {
				w.errs = append(w.errs, err)
			}
			w.mu.Unlock()
			select {
			case <-ctx.Done():
			case <-time.After(pace):
			}
		}
	})
	return w
}

// execTrue runs `true` and returns how long it took, connection included.
func execTrue(ctx context.Context, c *client.Client, name string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	begin := time.Now()
	exit, err := c.Guest(name, false).Run(ctx, guestwire.Exec{Cmd: []string{"true"}}, nil, nil, nil)
	if err == nil && exit.Code != 0 {
		err = fmt.Errorf("true ended with code %d", exit.Code)
	}
	return time.Since(begin), err
}

// enough returns nil when there is enough to judge by.
func (w *watcher) enough() error {
	if n := w.count(); n < least {
		return fmt.Errorf("%d commands came to an end, %d are needed", n, least)
	}
	return nil
}

func (w *watcher) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.took)
}

// finish stops the watcher and returns what it saw.
func (w *watcher) finish() (latency, error) {
	w.stop()
	w.done.Wait()
	slices.Sort(w.took)
	if len(w.took) == 0 {
		return latency{}, errors.New("not one command came to an end")
	}
	return latency{
		n: len(w.took), p50: quantile(w.took, 0.5), p99: quantile(w.took, 0.99), most: w.took[len(w.took)-1],
	}, errors.Join(w.errs...)
}

// latency sums up what a watcher saw.
type latency struct {
	n              int
	p50, p99, most time.Duration
}

// String shows milliseconds.
func (l latency) String() string {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return fmt.Sprintf("p50 %.1f ms, p99 %.1f ms, most %.1f ms of %d", ms(l.p50), ms(l.p99), ms(l.most), l.n)
}

// quantile returns the smallest value that the share q of all values does not exceed.
func quantile(sorted []time.Duration, q float64) time.Duration {
	i := int(q*float64(len(sorted))+0.9999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// atRest measures the neighbour while nothing attacks.
func atRest(t *testing.T, c *client.Client, name string) latency {
	t.Helper()
	w := watch(t, c, name)
	await(t, time.Minute, w.enough)
	l, err := w.finish()
	if err != nil {
		t.Fatalf("%s at rest: %v", name, err)
	}
	return l
}

// judge fails the test when the neighbour felt an attack. The machine may be
// shared: where commands are slow with nothing going on, it is the change that
// counts, and the log says so.
func judge(t *testing.T, rest, during latency) {
	t.Helper()
	most := max(bound, 3*rest.p99)
	t.Logf("neighbour: %v; at rest: %v", during, rest)
	if most > bound {
		t.Logf("this machine is too busy for the bound of %v: with nothing going on p99 is %v, so %v is asked for", bound, rest.p99, most)
	}
	if during.p99 >= most {
		t.Errorf("neighbour's exec: p99 %v during the attack, want less than %v", during.p99, most)
	}
	if during.n < least {
		t.Errorf("only %d commands were measured, want %d", during.n, least)
	}
}

// await calls f until it returns nil, and fails the test when it does not in time.
func await(t *testing.T, within time.Duration, f func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatal(err)
}
