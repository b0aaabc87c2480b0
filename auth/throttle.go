package auth

import (
	"container/list"
	"fmt"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/holt-ide/holt"
)

// Guessing passwords gets slow: each key below may fail some times freely, then
// each further failure doubles the wait for the next try. A try counts as a failure
// from its start, so that many at once gain nothing; a right password takes it back.
// What failed is forgotten after an hour of quiet.
//
//	account and address   5 free, up to 15 minutes   one guesser, one account
//	account              50 free, up to 30 seconds   many guessers; its owner is not locked out for long
//	address             100 free, up to 1 minute     one guesser, many accounts; a classroom shares an address
//
// Memory is bounded: when the table is full, what was quiet for longest goes.

const (
	throttleKeys   = 20_000
	throttleForget = time.Hour
)

type rule struct {
	prefix string
	free   int
	most   time.Duration
}

var (
	perBoth    = rule{"b ", 5, 15 * time.Minute}
	perAccount = rule{"n ", 50, 30 * time.Second}
	perAddress = rule{"a ", 100, time.Minute}
)

// Throttled is the refusal of a login after too many failures. It is KindLimit.
type Throttled struct {
	Wait time.Duration // until the next try, at least a second
	err  *holt.Error
}

// Error tells when to try again.
func (e *Throttled) Error() string { return e.err.Error() }

// Unwrap returns the error with its kind.
func (e *Throttled) Unwrap() error { return e.err }

// RetryAfter returns the time until the next try.
func (e *Throttled) RetryAfter() time.Duration { return e.Wait }

func throttled(wait time.Duration) error {
	wait = max(time.Second, wait.Round(time.Second))
	unit, n := "seconds", int(wait.Seconds())
	switch {
	case n >= 120:
		unit, n = "minutes", int(math.Ceil(wait.Minutes()))
	case n == 1:
		unit = "second"
	}
	return &Throttled{Wait: wait, err: &holt.Error{Kind: holt.KindLimit,
		Text: fmt.Sprintf("too many wrong passwords: try again in %d %s", n, unit)}}
}

// throttle counts failures.
type throttle struct {
	mu    sync.Mutex
	known map[string]*list.Element // of *failures
	order *list.List               // by time of the last try, the latest in front
}

type failures struct {
	key   string
	count int
	last  time.Time
}

func newThrottle() *throttle { return &throttle{known: map[string]*list.Element{}, order: list.New()} }

// try counts one try of an account from an address as a failure, or returns a
// [Throttled] if it comes too early, which counts nothing.
func (t *throttle) try(account, address string, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	rules := keys(account, address)
	var wait time.Duration
	for key, r := range rules {
		wait = max(wait, t.wait(key, r, now))
	}
	if wait > 0 {
		return throttled(wait)
	}
	for key := range rules {
		t.count(key, now)
	}
	return nil
}

// forgive takes back what try counted, after a right password, and forgets the
// failures of the account from this address.
func (t *throttle) forgive(account, address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, r := range keys(account, address) {
		e := t.known[key]
		if e == nil {
			continue
		}
		f := e.Value.(*failures)
		if f.count--; f.count <= 0 || r == perBoth {
			t.order.Remove(e)
			delete(t.known, key)
		}
	}
}

func keys(account, address string) map[string]rule {
	address = network(address)
	return map[string]rule{
		perBoth.prefix + account + " " + address: perBoth,
		perAccount.prefix + account:              perAccount,
		perAddress.prefix + address:              perAddress,
	}
}

// network returns what one guesser has of addresses: of IPv6 a /64.
func network(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil || a.Unmap().Is4() {
		return address
	}
	p, err := a.Prefix(64)
	if err != nil {
		return address
	}
	return p.String()
}

func (t *throttle) wait(key string, r rule, now time.Time) time.Duration {
	e := t.known[key]
	if e == nil {
		return 0
	}
	f := e.Value.(*failures)
	if now.Sub(f.last) >= throttleForget || f.count < r.free {
		return 0
	}
	pause := min(r.most, time.Second<<min(f.count-r.free, 20))
	return max(0, f.last.Add(pause).Sub(now))
}

func (t *throttle) count(key string, now time.Time) {
	e := t.known[key]
	if e == nil {
		e = t.order.PushFront(&failures{key: key})
		t.known[key] = e
		if t.order.Len() > throttleKeys {
			oldest := t.order.Back()
			t.order.Remove(oldest)
			delete(t.known, oldest.Value.(*failures).key)
		}
	}
	f := e.Value.(*failures)
	if now.Sub(f.last) >= throttleForget {
		f.count = 0
	}
	f.count++
	f.last = now
	t.order.MoveToFront(e)
}
