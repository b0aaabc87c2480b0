package node

import (
	"bufio"
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/sandbox"
	hostwire "github.com/holt-ide/holt/wire/host"
)

// reserve keeps units with a prepared sandbox for the next machines, of the kind
// that was asked for last: most machines of a host are of one kind.
type reserve struct {
	node  *Node
	size  int
	maker sandbox.Preparer // nil if the driver cannot
	kick  chan struct{}

	mu    sync.Mutex
	units []*unit // oldest first
	want  kind    // what was asked for last; the zero value before that
	busy  int     // machines being made
}

// refillAfter is how long the host must have been making no machine before the
// reserve is filled: that must not slow down those who wait for one.
const refillAfter = 300 * time.Millisecond

// leastMemory is the part of the host's memory that must be available for a
// sandbox to be prepared; below half of that the reserve is given up.
const leastMemory = 0.15

func newReserve(n *Node, size int) *reserve {
	r := &reserve{node: n, size: size, kick: make(chan struct{}, 1)}
	if p, ok := n.driver.(sandbox.Preparer); ok && n.driver.Capabilities().Prepare {
		r.maker = p
	}
	return r
}

// take returns a unit of kind k: a prepared one if there is one.
func (r *reserve) take(ctx context.Context, k kind) (*unit, error) {
	r.mu.Lock()
	r.want = k
	i := slices.IndexFunc(r.units, func(u *unit) bool { return u.kind == k && lives(u) })
	var u *unit
	if i >= 0 {
		u = r.units[i]
		r.units = slices.Delete(r.units, i, i+1)
	}
	r.mu.Unlock()
	if u != nil {
		return u, nil
	}
	return r.node.newUnit(ctx, k)
}

// expect says of which kind the next machine probably is.
func (r *reserve) expect(k kind) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.want = k
}

// Expect prepares for a machine like spec, which needs neither names nor IDs, if
// nothing better is known: on a new server nobody has asked for anything yet.
func (n *Node) Expect(spec hostwire.Spec) {
	n.reserve.mu.Lock()
	defer n.reserve.mu.Unlock()
	if n.reserve.want == (kind{}) {
		n.reserve.want = kindOf(record{Image: spec.Image, Agent: n.agent, Limits: spec.Limits}, n.driver.Capabilities().Toolchain, spec.Egress)
		n.reserve.wake()
	}
}

// making tells the reserve that a machine is being made, until the returned
// function is called.
func (r *reserve) making() (done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy++
	return func() {
		r.mu.Lock()
		r.busy--
		r.mu.Unlock()
		r.wake()
	}
}

// isBusy reports whether a machine is being made or frozen.
func (r *reserve) isBusy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.busy > 0
}

func (r *reserve) wake() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// run fills the reserve whenever the host has been quiet for a moment.
func (r *reserve) run() {
	if r.size == 0 || r.maker == nil {
		return
	}
	look := time.NewTicker(5 * time.Second)
	defer look.Stop()
	quiet := time.NewTimer(refillAfter)
	for {
		select {
		case <-r.node.run.Done():
			return
		case <-r.kick:
			quiet.Reset(refillAfter)
		case <-look.C:
			r.tidy(r.node.run)
		case <-quiet.C:
			if more, err := r.fill(r.node.run); err != nil && r.node.run.Err() == nil {
				r.node.log.Warn("cannot prepare a sandbox", "err", err)
			} else if more {
				quiet.Reset(refillAfter)
			}
		}
	}
}

// fill prepares at most one sandbox and reports whether there is room for another.
func (r *reserve) fill(ctx context.Context) (more bool, err error) {
	r.mu.Lock()
	k, have := r.want, 0
	for _, u := range r.units {
		if u.kind == k {
			have++
		}
	}
	idle := r.busy == 0
	r.mu.Unlock()
	if !idle || k == (kind{}) || have >= r.size || availableMemory() < leastMemory {
		return false, nil
	}
	u, err := r.node.newUnit(ctx, k)
	if err != nil {
		return false, err
	}
	s, err := r.node.spec(ctx, u, "")
	if err == nil {
		u.prepared, err = r.maker.Prepare(ctx, s)
	}
	if err != nil {
		return false, errors.Join(err, r.node.dispose(context.WithoutCancel(ctx), u))
	}
	r.mu.Lock()
	r.units = append(r.units, u)
	surplus := len(r.units) - r.size
	var old []*unit
	if surplus > 0 { // of another kind, or they would not have been too few
		old = slices.Clone(r.units[:surplus])
		r.units = slices.Delete(r.units, 0, surplus)
	}
	r.mu.Unlock()
	return have+1 < r.size, r.disposeAll(context.WithoutCancel(ctx), old)
}

// tidy gives units up that have died, whose image is gone, or that cost memory
// which is short.
func (r *reserve) tidy(ctx context.Context) {
	short := availableMemory() < leastMemory/2
	r.mu.Lock()
	var old []*unit
	r.units = slices.DeleteFunc(r.units, func(u *unit) bool {
		_, _, err := r.node.cfg.Images.Base(ctx, u.kind.image)
		drop := short || !lives(u) || holt.IsKind(err, holt.KindNotFound)
		if drop {
			old = append(old, u)
		}
		return drop
	})
	r.mu.Unlock()
	if err := r.disposeAll(context.WithoutCancel(ctx), old); err != nil {
		r.node.log.Warn("cannot give a prepared sandbox up", "err", err)
	}
	if len(old) > 0 {
		r.wake()
	}
}

// empty disposes of every unit.
func (r *reserve) empty(ctx context.Context) error {
	r.mu.Lock()
	units := r.units
	r.units = nil
	r.mu.Unlock()
	return r.disposeAll(ctx, units)
}

func (r *reserve) disposeAll(ctx context.Context, units []*unit) error {
	var errs []error
	for _, u := range units {
		errs = append(errs, r.node.dispose(ctx, u))
	}
	return errors.Join(errs...)
}

func lives(u *unit) bool {
	select {
	case <-u.prepared.Done():
		return false
	default:
		return true
	}
}

// availableMemory returns the part of the host's memory that programs could still
// take, from 0 to 1; 1 where the kernel does not tell.
func availableMemory() float64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 1
	}
	defer f.Close()
	var total, available float64
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		v, err := strconv.ParseFloat(number, 64)
		if err != nil {
			continue
		}
		switch name {
		case "MemTotal":
			total = v
		case "MemAvailable":
			available = v
		}
	}
	if total == 0 {
		return 1
	}
	return available / total
}
