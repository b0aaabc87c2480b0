package node

import (
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/sandbox"
	guestwire "github.com/holt-ide/holt/wire/guest"
	hostwire "github.com/holt-ide/holt/wire/host"
)

// alone returns a machine of a node that has nothing else.
func alone(t *testing.T) *machine {
	t.Helper()
	n := &Node{cfg: Config{Dir: t.TempDir()}, log: slog.New(slog.DiscardHandler), notices: make(chan hostwire.Notice, 4096)}
	if err := os.Mkdir(n.cfg.Dir+"/machines", 0o711); err != nil {
		t.Fatal(err)
	}
	return &machine{node: n, rec: record{Sandbox: holt.NewSandboxID(), Workspace: holt.NewWorkspaceID()}}
}

// noticed returns the texts of what was told, by name.
func (m *machine) noticed() map[string][]string {
	all := map[string][]string{}
	for {
		select {
		case n := <-m.node.notices:
			all[n.Name] = append(all[n.Name], n.Text)
		default:
			return all
		}
	}
}

// A guest that took its agent over may send a million events: the log keeps a
// few, says that it does not keep the others, and the stream goes on.
func TestEventsAreBounded(t *testing.T) {
	m := alone(t)
	synctest.Test(t, func(t *testing.T) {
		h := hearing{rate: allowance{burst: eventBurst, each: eventEach}}
		seq := uint64(0)
		flood := func(n int) {
			for range n {
				seq++
				if err := m.hear(&h, guestwire.Event{Seq: seq, Name: guestwire.EventDiskFull, Text: "full"}); err != nil {
					t.Fatal(err)
				}
			}
		}
		flood(1000)
		if got := m.noticed(); len(got["disk-full"]) != eventBurst || len(got["events-dropped"]) != 1 {
			t.Errorf("of 1000 events at once these were told: %v", got)
		}
		time.Sleep(10 * eventEach)
		flood(1000)
		if got := m.noticed(); len(got["disk-full"]) != 10 || len(got["events-dropped"]) != 0 {
			t.Errorf("of 1000 events ten seconds later these were told: %v", got)
		}
		time.Sleep(time.Hour)
		flood(eventBurst + 1)
		got := m.noticed()
		if len(got["disk-full"]) != eventBurst || len(got["events-dropped"]) != 1 || !strings.Contains(got["events-dropped"][0], strconv.Itoa(h.dropped)) {
			t.Errorf("after an hour these were told: %v", got)
		}
		if r := m.snapshotRecord(); r.Event != seq {
			t.Errorf("the stream stands at %d of %d", r.Event, seq)
		}
	})
}

// What the host observes cannot come from the agent.
func TestEventsOfOthersAreDropped(t *testing.T) {
	m := alone(t)
	h := hearing{rate: allowance{burst: eventBurst, each: eventEach}}
	for i, name := range []guestwire.EventName{"probe-refused", "egress-blocked", "exited", "", guestwire.EventThaw} {
		if err := m.hear(&h, guestwire.Event{Seq: uint64(i + 1), Name: name, Text: "forged"}); err != nil {
			t.Fatal(err)
		}
	}
	if got := m.noticed(); len(got) != 1 || len(got["events-dropped"]) != 1 || h.dropped != 4 {
		t.Errorf("forged events were told: %v", got)
	}
}

// observed is a sandbox that tells what the test lets it tell.
type observed struct {
	sandbox.Sandbox
	refusals chan sandbox.Refusal
}

func (o observed) Refusals() <-chan sandbox.Refusal { return o.refusals }
func (o observed) Done() <-chan struct{}            { return nil }

// A guest that is refused without pause fills neither the log nor hides what
// else it was refused.
func TestRefusalsAreTold(t *testing.T) {
	m := alone(t)
	synctest.Test(t, func(t *testing.T) {
		o := observed{refusals: make(chan sandbox.Refusal)}
		m.sb = o
		go m.watchRefusals(t.Context())
		for range 1000 {
			o.refusals <- sandbox.Refusal{Probe: "mount", Text: "mount a file system (mount)", Missed: 2}
		}
		o.refusals <- sandbox.Refusal{Probe: "reboot", Text: "restart the machine (reboot)"}
		synctest.Wait()
		want := []string{
			"a process tried to mount a file system (mount): refused (2 system calls before it came too fast to be looked at)",
			"a process tried to restart the machine (reboot): refused (1998 system calls before it came too fast to be looked at)",
		}
		if got := m.noticed(); len(got) != 1 || !slices.Equal(got["probe-refused"], want) {
			t.Errorf("told: %q", got)
		}
		time.Sleep(time.Minute)
		o.refusals <- sandbox.Refusal{Probe: "mount", Text: "mount a file system (mount)"}
		synctest.Wait()
		if got := m.noticed(); len(got["probe-refused"]) != 1 {
			t.Errorf("told a minute later: %q", got)
		}
	})
}
