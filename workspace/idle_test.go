package workspace

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/holt-ide/holt"
)

func TestIdle(t *testing.T) {
	t0 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	// quiet returns samples every 10 s for a minute, changed by edit.
	quiet := func(edit func(i int, s *sample)) []sample {
		var out []sample
		for i := range 7 {
			s := sample{at: t0.Add(time.Duration(i) * 10 * time.Second)}
			edit(i, &s)
			out = append(out, s)
		}
		return out
	}
	now := t0.Add(time.Minute)
	for name, c := range map[string]struct {
		samples []sample
		after   time.Duration
		want    bool
	}{
		"nothing happens":               {quiet(func(int, *sample) {}), time.Minute, true},
		"never":                         {quiet(func(int, *sample) {}), 0, false},
		"no samples":                    {nil, time.Minute, false},
		"watched too short":             {quiet(func(int, *sample) {})[1:], time.Minute, false},
		"one sample":                    {quiet(func(int, *sample) {})[:1], time.Second, false},
		"connection at the start":       {quiet(func(i int, s *sample) { s.Connections = b2i(i == 0) }), time.Minute, false},
		"connection now":                {quiet(func(i int, s *sample) { s.Connections = b2i(i == 6) }), time.Minute, false},
		"connection before the span":    {quiet(func(i int, s *sample) { s.Connections = b2i(i == 0) }), 30 * time.Second, true},
		"job in the middle":             {quiet(func(i int, s *sample) { s.Jobs = b2i(i == 3) }), time.Minute, false},
		"output within":                 {quiet(func(i int, s *sample) { s.LastIO = t0.Add(time.Second) }), time.Minute, false},
		"output before":                 {quiet(func(i int, s *sample) { s.LastIO = t0.Add(-time.Second) }), time.Minute, true},
		"used through the gateway":      {quiet(func(i int, s *sample) { s.touched = t0.Add(time.Second) }), time.Minute, false},
		"background noise of 1 %":       {quiet(func(i int, s *sample) { s.CPUSeconds = float64(i) * 0.1 }), time.Minute, true},
		"3 % of a core":                 {quiet(func(i int, s *sample) { s.CPUSeconds = float64(i) * 0.3 }), time.Minute, false},
		"one burst, quiet on average":   {quiet(func(i int, s *sample) { s.CPUSeconds = float64(b2i(i > 3)) }), time.Minute, true},
		"a long burst":                  {quiet(func(i int, s *sample) { s.CPUSeconds = 5 * float64(b2i(i > 3)) }), time.Minute, false},
		"keep-alives":                   {quiet(func(i int, s *sample) { s.NetBytes = uint64(i) * 500 }), time.Minute, true},
		"download":                      {quiet(func(i int, s *sample) { s.NetBytes = uint64(i) << 20 }), time.Minute, false},
		"counters of another machine":   {quiet(func(i int, s *sample) { s.CPUSeconds = float64(b2i(i < 3)) }), time.Minute, false},
		"longer than it was watched":    {quiet(func(int, *sample) {}), time.Hour, false},
		"less than a sampling interval": {quiet(func(int, *sample) {}), time.Second, true},
	} {
		if got := idle(c.samples, now, c.after); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A workspace that is left alone is suspended after its own time; one with a
// terminal, one that is touched and one that never idles are not.
func TestIdleWorkspacesAreSuspended(t *testing.T) {
	var ns atomic.Int64
	start := time.Now()
	w := newWorld(t, func(c *Config) {
		c.Now = func() time.Time { return start.Add(time.Duration(ns.Load())) }
		c.IdleAfter = time.Minute
	})
	never, longer := time.Duration(0), 10*time.Minute
	for name, after := range map[string]*time.Duration{"left": nil, "busy": nil, "touched": nil, "never": &never, "longer": &longer} {
		if _, err := w.m.Create(t.Context(), CreateRequest{Name: name, IdleAfter: after}); err != nil {
			t.Fatal(err)
		}
	}
	w.calm()
	w.node.Busy(w.row("busy").Sandbox, Activity{Connections: 1})
	for range 8 {
		ns.Add(int64(10 * time.Second))
		w.m.Touch(w.row("touched").ID)
		w.m.flushActivity(t.Context())
		if err := w.m.sampleAll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.calm()
	for name, want := range map[string]holt.State{"left": holt.Suspended, "busy": holt.Running, "touched": holt.Running, "never": holt.Running, "longer": holt.Running} {
		if got := w.row(name); got.State != want {
			t.Errorf("%s is %s, want %s", name, got.State, want)
		}
	}
	if got := w.row("touched").LastActiveAt; got.Before(start.Add(79 * time.Second)) {
		t.Errorf("last active at %v, want about %v", got, start.Add(80*time.Second))
	}
	evs, err := w.m.History(t.Context(), w.row("left").ID)
	if err != nil {
		t.Fatal(err)
	}
	told := false
	for _, e := range evs {
		told = told || e.Name == "idle" && e.Goal == holt.WantSuspended
	}
	if !told {
		t.Errorf("the history does not say why: %+v", evs)
	}

	// Waking it starts a new span: it is not suspended again at once.
	if _, err := w.m.Wake(t.Context(), w.row("left").ID); err != nil {
		t.Fatal(err)
	}
	w.calm()
	ns.Add(int64(10 * time.Second))
	if err := w.m.sampleAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.calm()
	if got := w.row("left"); got.State != holt.Running {
		t.Errorf("after waking it is %s", got.State)
	}
	w.invariant()
}
