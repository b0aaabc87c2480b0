package persist

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
	"github.com/holt-ide/holt/object/objecttest"
)

// scheduled runs a scheduler in a bubble of time of its own. Calls are recorded.
type scheduled struct {
	*Scheduler
	begin time.Time
	stop  func()

	mu    sync.Mutex
	calls []called
	busy  map[holt.WorkspaceID]bool
	fail  map[holt.WorkspaceID]int // calls that will fail
	takes time.Duration
	costs int
}

type called struct {
	Job
	at time.Duration
}

func newScheduled(t *testing.T, cfg Schedule) *scheduled {
	r := &scheduled{begin: time.Now(), busy: map[holt.WorkspaceID]bool{}, fail: map[holt.WorkspaceID]int{}, costs: 1}
	objects := counted{new(objecttest.Memory)}
	r.Scheduler = NewScheduler(cfg, func(ctx context.Context, j Job) error {
		r.mu.Lock()
		if r.busy[j.Workspace] {
			t.Errorf("two calls for %s at once", j.Workspace)
		}
		r.busy[j.Workspace] = true
		r.calls = append(r.calls, called{j, time.Since(r.begin)})
		failing := r.fail[j.Workspace] > 0
		if failing {
			r.fail[j.Workspace]--
		}
		r.mu.Unlock()
		for range r.costs {
			if _, err := objects.Put(ctx, "x", nil, object.Condition{}); err != nil && ctx.Err() == nil { // not at its end
				t.Error(err)
			}
		}
		time.Sleep(r.takes)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.busy[j.Workspace] = false
		if failing {
			return errors.New("failed")
		}
		return nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	r.stop = func() { cancel(); <-done }
	return r
}

func (r *scheduled) of(ws holt.WorkspaceID) (at []time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.calls {
		if c.Workspace == ws {
			at = append(at, c.at)
		}
	}
	return at
}

func TestChangesOfAnIntervalAreFlushedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newScheduled(t, Schedule{})
		defer r.stop()
		for range 1200 { // two minutes of typing
			r.Dirty("ws-a", "ada")
			time.Sleep(100 * time.Millisecond)
		}
		at := r.of("ws-a")
		if len(at) != 4 {
			t.Fatalf("calls at %v", at)
		}
		for i := 1; i < len(at); i++ {
			if at[i]-at[i-1] != 30*time.Second {
				t.Errorf("calls at %v", at)
			}
		}
		time.Sleep(time.Minute)
		r.Dirty("ws-a", "ada")
		time.Sleep(30 * time.Second)
		if n := len(r.of("ws-a")); n != 6 { // one for the rest of the typing
			t.Errorf("%d calls", n)
		}
	})
}

func TestUrgentIsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newScheduled(t, Schedule{})
		r.takes = 2 * time.Second
		defer r.stop()
		r.Dirty("ws-a", "ada")
		synctest.Wait()
		r.Now("ws-a", "ada")
		synctest.Wait()
		if at := r.of("ws-a"); len(at) != 1 || at[0] != 0 {
			t.Fatalf("calls at %v", at)
		}
		// What comes during a call is in the next one, and Sync waits for that.
		time.Sleep(time.Second)
		if err := r.Sync(t.Context(), "ws-a", "ada"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(r.begin); took != 4*time.Second {
			t.Errorf("synced after %v", took)
		}
		if at := r.of("ws-a"); len(at) != 2 || at[1] != 2*time.Second {
			t.Errorf("calls at %v", at)
		}
	})
}

func TestFailuresAreRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newScheduled(t, Schedule{})
		defer r.stop()
		r.fail["ws-a"] = 3
		if err := r.Sync(t.Context(), "ws-a", "ada"); err == nil {
			t.Error("a failure is none")
		}
		time.Sleep(10 * time.Minute)
		want := []time.Duration{0, 5 * time.Second, 15 * time.Second, 35 * time.Second}
		if at := r.of("ws-a"); fmt.Sprint(at) != fmt.Sprint(want) {
			t.Errorf("calls at %v, want %v", at, want)
		}
		if s := r.Stats(); s.Failed != 3 || s.Done != 1 || s.Dirty+s.Ready+s.Running != 0 || s.Requests != 4 {
			t.Errorf("%+v", s)
		}
	})
}

// One with a thousand workspaces does not keep another one waiting.
func TestTenantsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newScheduled(t, Schedule{Requests: 10})
		defer r.stop()
		for i := range 1000 {
			r.Now(holt.WorkspaceID(fmt.Sprint("many-", i)), "greedy")
		}
		time.Sleep(time.Second)
		for range 3 {
			if err := r.Sync(t.Context(), "ws-a", "ada"); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(r.begin); took > 2*time.Second {
			t.Errorf("three flushes took %v beside a greedy one", took)
		}
		// And what is urgent does not keep off for ever what is not.
		r.Dirty("ws-b", "ada")
		time.Sleep(35 * time.Second)
		if at := r.of("ws-b"); len(at) != 1 {
			t.Errorf("calls at %v", at)
		}
	})
}

// The budget holds whatever a flush costs.
func TestBudget(t *testing.T) {
	for _, costs := range []int{1, 7} {
		synctest.Test(t, func(t *testing.T) {
			r := newScheduled(t, Schedule{Requests: 20})
			defer r.stop()
			r.costs = costs
			r.takes = 10 * time.Millisecond
			for i := range 5000 {
				r.Now(holt.WorkspaceID(fmt.Sprint("ws-", i)), holt.UserID(fmt.Sprint("u-", i%17)))
			}
			time.Sleep(100 * time.Second)
			// Two seconds' worth at the start, and the calls that ran when it was used up.
			if n := r.Stats().Requests; n > 20*102+int64(4*costs) || n < 20*98 {
				t.Errorf("%d requests in 100 s at %d each", n, costs)
			}
		})
	}
}

func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newScheduled(t, Schedule{Requests: 1, Parallel: 1})
		r.takes = time.Second
		defer r.stop()
		for i := range 5 {
			r.Now(holt.WorkspaceID(fmt.Sprint("ws-", i)), "ada")
		}
		r.Dirty("ws-waiting", "bob")
		result := make(chan error, 1)
		go func() { result <- r.Sync(t.Context(), "ws-4", "ada") }()
		synctest.Wait()
		r.Forget("ws-4")
		r.Forget("ws-waiting")
		r.Forget("ws-none")
		if err := <-result; !holt.IsKind(err, holt.KindNotFound) {
			t.Errorf("sync of a workspace that goes: %v", err)
		}
		time.Sleep(time.Minute)
		if len(r.of("ws-4"))+len(r.of("ws-waiting")) > 0 || len(r.of("ws-3")) != 1 {
			t.Errorf("calls %v", r.calls)
		}
	})
}

// Ten thousand that all begin at once are spread over the interval.
func TestSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newScheduled(t, Schedule{Requests: 1e6, Parallel: 1000})
		for i := range 10_000 {
			r.Dirty(holt.WorkspaceID(fmt.Sprint("ws-", i)), "ada")
		}
		time.Sleep(31 * time.Second)
		r.stop()
		seconds := map[int]int{}
		for _, c := range r.calls {
			seconds[int(c.at/time.Second)]++
		}
		if len(r.calls) != 10_000 {
			t.Fatalf("%d calls", len(r.calls))
		}
		for s := range 30 {
			if n := seconds[s]; n < 240 || n > 430 {
				t.Errorf("%d calls in second %d, want about 333", n, s)
			}
		}
	})
}

// Those who time their flushes themselves share the budget and take turns.
func TestEnter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newScheduled(t, Schedule{Requests: 10, Parallel: 2})
		defer r.stop()
		objects := counted{new(objecttest.Memory)}
		var wg sync.WaitGroup
		for i := range 300 {
			wg.Go(func() {
				ctx, leave, err := r.Enter(t.Context(), Job{Workspace: holt.WorkspaceID(fmt.Sprint("ws-", i)), Tenant: "greedy"})
				if err != nil {
					t.Error(err)
					return
				}
				defer leave()
				for range 2 {
					if _, err := objects.Put(ctx, "x", nil, object.Condition{}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		synctest.Wait()
		time.Sleep(time.Second)
		impatient, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, _, err := r.Enter(impatient, Job{Workspace: "ws-x", Tenant: "greedy"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("enter with little patience: %v", err)
		}
		begin := time.Now()
		_, leave, err := r.Enter(t.Context(), Job{Workspace: "ws-a", Tenant: "ada"})
		if err != nil {
			t.Fatal(err)
		}
		leave()
		if took := time.Since(begin); took > time.Second {
			t.Errorf("a turn beside a greedy tenant took %v", took)
		}
		wg.Wait()
		// 600 requests at ten a second, of which twenty may come at once.
		if took := time.Since(r.begin); took < 57*time.Second || took > 61*time.Second {
			t.Errorf("all took %v", took)
		}
		if s := r.Stats(); s.Requests != 600 || s.Ready+s.Running != 0 {
			t.Errorf("%+v", s)
		}
	})
}
