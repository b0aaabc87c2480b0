package persist

import (
	"container/heap"
	"context"
	"errors"
	"hash/fnv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/object"
)

// Schedule says when workspaces are flushed. Zero fields have defaults.
type Schedule struct {
	// Interval is for how long a change waits at most, unless there is more to do than
	// Requests allow; default 30 s. A workspace is flushed once in it, at a moment of
	// its own, so that the flushes of many are spread evenly.
	Interval time.Duration
	// Requests bounds the requests to the object store, per second over some
	// seconds; default 50.
	Requests float64
	// Parallel is how many flushes run at once; default 4.
	Parallel int
	// Retry is the pause after a first failure; it doubles up to ten times Interval. Default 5 s.
	Retry time.Duration
}

// Job is a workspace whose time has come.
type Job struct {
	Workspace holt.WorkspaceID
	Tenant    holt.UserID
	Urgent    bool // asked for with Now or Sync
}

// Scheduler calls a function for each workspace that has changed: once for all changes of an
// interval, at once when asked, one call at a time for a workspace, and never more
// than the object store's budget allows. When that is short, tenants take turns, however
// many workspaces each has; most turns, not all, go to what is urgent.
type Scheduler struct {
	cfg  Schedule
	do   func(context.Context, Job) error
	wake chan struct{}
	over chan struct{} // closed when Run has ended

	mu      sync.Mutex // guards what is below
	tasks   map[holt.WorkspaceID]*task
	waiting dueHeap
	ready   [2]turns // what is not urgent, what is
	row     int      // urgent turns in a row
	running int
	tokens  float64 // requests that may be sent now
	filled  time.Time
	stats   ScheduleStats
}

// ScheduleStats tells what a scheduler has done.
type ScheduleStats struct {
	Dirty    int           // workspaces that wait for their moment
	Ready    int           // that wait for the budget
	Running  int           // that are flushed now
	Done     int64         // calls that succeeded
	Failed   int64         // calls that failed
	Merged   int64         // changes that another one's flush took along
	Requests int64         // to the object store
	Late     time.Duration // the longest wait of what is ready now
}

type taskState byte

const (
	taskWaiting taskState = iota // in the heap
	taskReady                    // in a row of turns
	taskRunning
)

type task struct {
	job      Job
	state    taskState
	due      time.Time
	index    int // in the heap
	failures int

	// What came while it was running.
	again       bool
	againUrgent bool

	callers, nextCallers []chan error // who waits for this call, or for the one after

	// Of Enter: there is no call, somebody waits for the turn.
	turn chan struct{}
}

// dueHeap has the task that is due first in front.
type dueHeap []*task

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].index, h[j].index = i, j }

// Push implements [heap.Interface].
func (h *dueHeap) Push(x any) {
	t := x.(*task)
	t.index = len(*h)
	*h = append(*h, t)
}

// Pop implements [heap.Interface].
func (h *dueHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return t
}

// turns are tasks of which the tenants take turns.
type turns struct {
	rows  map[holt.UserID][]*task
	order []holt.UserID // whose turn is next in front
	n     int
}

func (q *turns) push(t *task) {
	if q.rows == nil {
		q.rows = map[holt.UserID][]*task{}
	}
	row := q.rows[t.job.Tenant]
	if len(row) == 0 {
		q.order = append(q.order, t.job.Tenant)
	}
	q.rows[t.job.Tenant] = append(row, t)
	q.n++
}

func (q *turns) pop() *task {
	tenant := q.order[0]
	q.order = q.order[1:]
	row := q.rows[tenant]
	t := row[0]
	if row = row[1:]; len(row) == 0 {
		delete(q.rows, tenant)
	} else {
		q.rows[tenant] = row
		q.order = append(q.order, tenant)
	}
	q.n--
	return t
}

// remove takes a task out. It is in the row.
func (q *turns) remove(t *task) {
	row := q.rows[t.job.Tenant]
	for i := range row {
		if row[i] != t {
			continue
		}
		q.n--
		if len(row) == 1 {
			delete(q.rows, t.job.Tenant)
			for j, tenant := range q.order {
				if tenant == t.job.Tenant {
					q.order = append(q.order[:j:j], q.order[j+1:]...)
					return
				}
			}
		}
		q.rows[t.job.Tenant] = append(row[:i:i], row[i+1:]...)
		return
	}
}

// urgentInRow is how many urgent turns may come before one that is not.
const urgentInRow = 4

// burst is for how many seconds of requests may be sent at once after a pause.
const burst = 0.5

// NewScheduler returns a scheduler that calls do. A call that returns an error is
// repeated later; [ErrQueued] is none.
func NewScheduler(cfg Schedule, do func(context.Context, Job) error) *Scheduler {
	if cfg.Interval == 0 {
		cfg.Interval = 30 * time.Second
	}
	if cfg.Requests == 0 {
		cfg.Requests = 50
	}
	if cfg.Parallel == 0 {
		cfg.Parallel = 4
	}
	if cfg.Retry == 0 {
		cfg.Retry = 5 * time.Second
	}
	return &Scheduler{cfg: cfg, do: do, wake: make(chan struct{}, 1), over: make(chan struct{}), tasks: map[holt.WorkspaceID]*task{}, tokens: cfg.Requests * burst, filled: time.Now()}
}

// Dirty notes that something in a workspace has changed: it is flushed within the interval.
func (s *Scheduler) Dirty(ws holt.WorkspaceID, tenant holt.UserID) {
	s.note(Job{Workspace: ws, Tenant: tenant}, nil)
}

// Now notes that somebody waits for a workspace to be flushed: it is as soon as possible.
func (s *Scheduler) Now(ws holt.WorkspaceID, tenant holt.UserID) {
	s.note(Job{Workspace: ws, Tenant: tenant, Urgent: true}, nil)
}

// Sync is Now, and returns when a call that began after it has ended, with that call's error.
func (s *Scheduler) Sync(ctx context.Context, ws holt.WorkspaceID, tenant holt.UserID) error {
	done := make(chan error, 1)
	s.note(Job{Workspace: ws, Tenant: tenant, Urgent: true}, done)
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// errForgotten is what callers of Sync get for a workspace that was given up.
var errForgotten = holt.Errorf(holt.KindNotFound, "the workspace is not flushed any more")

// Forget takes a workspace out. A call for it that runs goes on.
func (s *Scheduler) Forget(ws holt.WorkspaceID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tasks[ws]
	if t == nil {
		return
	}
	switch t.state {
	case taskWaiting:
		heap.Remove(&s.waiting, t.index)
	case taskReady:
		s.ready[class(t)].remove(t)
	case taskRunning:
		t.again = false
		answer(t.nextCallers, errForgotten)
		t.nextCallers = nil
		return
	}
	answer(t.callers, errForgotten)
	delete(s.tasks, ws)
}

// Stats returns what is to do and what was done.
func (s *Scheduler) Stats() ScheduleStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Dirty, st.Ready, st.Running = len(s.waiting), s.ready[0].n+s.ready[1].n, s.running
	now := time.Now()
	for i := range s.ready {
		for _, row := range s.ready[i].rows {
			st.Late = max(st.Late, now.Sub(row[0].due))
		}
	}
	return st
}

func class(t *task) int {
	if t.job.Urgent {
		return 1
	}
	return 0
}

func answer(callers []chan error, err error) {
	for _, c := range callers {
		c <- err
	}
}

// moment returns when a workspace is flushed that changes now.
func (s *Scheduler) moment(ws holt.WorkspaceID, now time.Time) time.Time {
	h := fnv.New64a()
	h.Write([]byte(ws)) // never fails
	phase := time.Duration(h.Sum64() % uint64(s.cfg.Interval))
	since := time.Duration((now.UnixNano() - int64(phase)) % int64(s.cfg.Interval))
	return now.Add(s.cfg.Interval - since)
}

func (s *Scheduler) note(j Job, caller chan error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	t := s.tasks[j.Workspace]
	if t == nil {
		t = &task{job: j, due: s.moment(j.Workspace, now)}
		if j.Urgent {
			t.due = now
		}
		s.tasks[j.Workspace] = t
		heap.Push(&s.waiting, t)
		s.poke()
	} else {
		s.stats.Merged++
	}
	switch {
	case t.state == taskRunning:
		t.again, t.againUrgent = true, t.againUrgent || j.Urgent
		if caller != nil {
			t.nextCallers = append(t.nextCallers, caller)
		}
		return
	case j.Urgent && !t.job.Urgent:
		if t.state == taskReady {
			s.ready[0].remove(t)
			t.job.Urgent = true
			s.ready[1].push(t)
			break
		}
		t.job.Urgent, t.due = true, now
		heap.Fix(&s.waiting, t.index)
		s.poke()
	case j.Urgent && t.state == taskWaiting && t.due.After(now): // it waits after a failure
		t.due = now
		heap.Fix(&s.waiting, t.index)
		s.poke()
	}
	if caller != nil {
		t.callers = append(t.callers, caller)
	}
}

func (s *Scheduler) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run makes the calls until ctx ends, and waits for those that run. They get ctx. It is
// called once.
func (s *Scheduler) Run(ctx context.Context) {
	defer close(s.over)
	var calls sync.WaitGroup
	defer calls.Wait()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(s.start(ctx, &calls))
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-timer.C:
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for ws, t := range s.tasks { // nobody waits for what is not going to be
		answer(t.callers, ctx.Err())
		answer(t.nextCallers, ctx.Err())
		t.callers, t.nextCallers = nil, nil
		if t.state != taskRunning {
			delete(s.tasks, ws)
		}
	}
	s.waiting, s.ready = nil, [2]turns{}
}

// start begins the calls that may begin now, and returns after what time to look again.
func (s *Scheduler) start(ctx context.Context, calls *sync.WaitGroup) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.tokens = min(s.tokens+now.Sub(s.filled).Seconds()*s.cfg.Requests, max(s.cfg.Requests*burst, 1))
	s.filled = now
	for len(s.waiting) > 0 && !s.waiting[0].due.After(now) {
		t := heap.Pop(&s.waiting).(*task)
		t.state = taskReady
		s.ready[class(t)].push(t)
	}
	for s.ready[0].n+s.ready[1].n > 0 && s.running < s.cfg.Parallel && s.tokens >= 1 {
		t := s.next()
		if t.turn != nil {
			t.state = taskRunning
			s.running++
			s.tokens--
			close(t.turn)
			continue
		}
		t.state, t.again, t.againUrgent = taskRunning, false, false
		s.running++
		s.tokens--
		calls.Go(func() { s.call(ctx, t) })
	}
	pause := time.Hour
	if len(s.waiting) > 0 {
		pause = s.waiting[0].due.Sub(now)
	}
	if s.ready[0].n+s.ready[1].n > 0 && s.running < s.cfg.Parallel {
		pause = min(pause, time.Duration((1-s.tokens)/s.cfg.Requests*float64(time.Second))+time.Microsecond)
	}
	return max(pause, 0)
}

// next takes the task whose turn it is.
func (s *Scheduler) next() *task {
	urgent := s.ready[1].n > 0 && (s.ready[0].n == 0 || s.row < urgentInRow)
	if !urgent {
		s.row = 0
		return s.ready[0].pop()
	}
	s.row++
	return s.ready[1].pop()
}

func (s *Scheduler) call(ctx context.Context, t *task) {
	var requests atomic.Int64
	err := s.do(context.WithValue(ctx, requestsKey{}, &requests), t.job)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.poke()
	s.running--
	n := requests.Load()
	s.stats.Requests += n
	s.tokens -= float64(n - 1) // one was taken ahead
	answer(t.callers, err)
	t.callers, t.nextCallers = t.nextCallers, nil
	now := time.Now()
	if err != nil && !errors.Is(err, ErrQueued) {
		s.stats.Failed++
		t.job.Urgent = t.againUrgent
		t.due = now.Add(min(s.cfg.Retry<<min(t.failures, 20), 10*s.cfg.Interval))
		t.failures++
		if t.againUrgent {
			t.due = now
		}
	} else {
		s.stats.Done++
		t.failures = 0
		if !t.again {
			delete(s.tasks, t.job.Workspace)
			return
		}
		t.job.Urgent, t.due = t.againUrgent, s.moment(t.job.Workspace, now)
		if t.againUrgent {
			t.due = now
		}
	}
	t.state = taskWaiting
	heap.Push(&s.waiting, t)
}

// Enter waits for a turn of a workspace that somebody else flushes when it is time: within
// the same budget, and among the same tenants. The flush is to be made with the context that it returns,
// and leave to be called after it. KindUnavailable once Run has ended.
func (s *Scheduler) Enter(ctx context.Context, j Job) (turn context.Context, leave func(), err error) {
	t := &task{job: j, state: taskReady, due: time.Now(), turn: make(chan struct{})}
	s.mu.Lock()
	s.ready[class(t)].push(t)
	s.mu.Unlock()
	s.poke()
	requests := new(atomic.Int64)
	leave = sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.running--
		n := requests.Load()
		s.stats.Requests += n
		s.stats.Done++
		s.tokens -= float64(n - 1)
		s.poke()
	})
	select {
	case <-t.turn:
		return context.WithValue(ctx, requestsKey{}, requests), leave, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-s.over:
		err = holt.Errorf(holt.KindUnavailable, "the server is shutting down: files are flushed when it is back")
	}
	s.mu.Lock()
	waits := t.state == taskReady
	if waits {
		s.ready[class(t)].remove(t)
	}
	s.mu.Unlock()
	if !waits { // its turn came at the same moment
		leave()
	}
	return nil, nil, err
}

// requestsKey is where a context has the counter of requests.
type requestsKey struct{}

// counted counts requests to the object store for whom the context says.
type counted struct{ object.Store }

func count(ctx context.Context) {
	if n, ok := ctx.Value(requestsKey{}).(*atomic.Int64); ok {
		n.Add(1)
	}
}

// Put implements [object.Store].
func (c counted) Put(ctx context.Context, key object.Key, body []byte, cond object.Condition) (object.ETag, error) {
	count(ctx)
	return c.Store.Put(ctx, key, body, cond)
}

// Get implements [object.Store].
func (c counted) Get(ctx context.Context, key object.Key, r object.Range) (object.Object, error) {
	count(ctx)
	return c.Store.Get(ctx, key, r)
}
