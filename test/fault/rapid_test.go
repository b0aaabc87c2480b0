package fault

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	guestwire "github.com/holt-ide/holt/wire/guest"

	"github.com/holt-ide/holt/test/server"
)

// rounds of suspend and resume, each followed by a look at what lives.
const rounds = 100

// keeper fills its own memory with random bytes and says at SIGUSR1 what their
// sum is.
const keeper = `
import hashlib, os, signal, sys
data = os.urandom(int(sys.argv[1]))
def say(*_):
    with open("/dev/shm/sum.new", "w") as f:
        f.write(hashlib.sha256(data).hexdigest())
    os.rename("/dev/shm/sum.new", "/dev/shm/sum")
signal.signal(signal.SIGUSR1, say)
say()
while True:
    signal.pause()
`

const askKeeper = `rm /dev/shm/sum && kill -USR1 $(cat /dev/shm/keeper) && until [ -e /dev/shm/sum ]; do sleep 0.01; done; cat /dev/shm/sum`

// TestRapidSuspendResume freezes one machine a hundred times, with six tenths of
// its memory full of random bytes, and compares them with what they were.
func TestRapidSuspendResume(t *testing.T) {
	t.Parallel()
	s := server.Start(t, "--pool-size", "4g")
	w := newWitness(s)
	const memory = 192
	s.Must(t, "create", "main", "--memory", fmt.Sprint(memory, "m"), "--disk", "128m")
	s.Must(t, "exec", "main", "--", "sh", "-c", `python3 -c "$1" "$2" >/dev/null 2>&1 & echo $! >/dev/shm/keeper; until [ -e /dev/shm/sum ]; do sleep 0.01; done`,
		"keeper", keeper, fmt.Sprint(memory*6/10<<20))
	want := s.Sh(t, "main", askKeeper)
	alive := live(t, s, "main", "rapid")
	term := openTerminal(t, s, "main", 0)
	term.run("remembered=acorn; echo set-$remembered", "set-acorn")

	var suspends, resumes []time.Duration
	for i := range rounds {
		a := s.Holt(t, "suspend", "main")
		b := s.Holt(t, "resume", "main")
		if a.Code != 0 || b.Code != 0 {
			t.Fatalf("round %d: %s%s", i, a.Stderr, b.Stderr)
		}
		suspends, resumes = append(suspends, a.Took), append(resumes, b.Took)
		if got := s.Sh(t, "main", askKeeper); got != want {
			t.Fatalf("round %d: the memory has sum %s, it was %s", i, got, want)
		}
		if i%10 == 9 {
			if alive.check(t, s); t.Failed() {
				t.Fatalf("lost by round %d", i)
			}
		}
	}
	term.close()
	term = openTerminal(t, s, "main", term.seen)
	defer term.close()
	term.run("echo still-$remembered", "still-acorn")
	w.settle(t)
	t.Logf("%d rounds with %d MiB of random memory: suspend p50 %v p99 %v, resume p50 %v p99 %v",
		rounds, memory*6/10, quantile(suspends, 50), quantile(suspends, 99), quantile(resumes, 50), quantile(resumes, 99))
}

func quantile(d []time.Duration, percent int) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[min(len(d)-1, len(d)*percent/100)].Round(time.Millisecond)
}

// terminal is a viewer of a workspace's terminal "main".
type terminal struct {
	t       *testing.T
	session *guestwire.Session
	seen    uint64 // bytes of the terminal's output up to now
}

func openTerminal(t *testing.T, s *server.Server, name string, since uint64) *terminal {
	t.Helper()
	session, err := connect(t, s).Guest(name, true).Attach(t.Context(), "main", guestwire.Attach{Since: &since, Create: true, Cols: 100, Rows: 30})
	if err != nil {
		t.Fatalf("attach: %v", err)
	}
	return &terminal{t: t, session: session, seen: since}
}

func (m *terminal) close() { m.session.Abort() }

// run types a line and reads until want was printed.
func (m *terminal) run(line, want string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 30*time.Second)
	defer cancel()
	if err := m.session.Send(ctx, guestwire.Frame{Type: guestwire.TypeInput, Data: []byte(line + "\n")}); err != nil {
		m.t.Fatalf("type %q: %v", line, err)
	}
	var text strings.Builder
	for !strings.Contains(text.String(), want) {
		f, err := m.session.Receive(ctx)
		if err != nil {
			m.t.Fatalf("waiting for %q: %v; read %q", want, err, text.String())
		}
		if f.Type == guestwire.TypeOutput {
			text.Write(f.Data)
			m.seen = f.Seq + uint64(len(f.Data))
		}
	}
}
