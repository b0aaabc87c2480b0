// Package metatest is the suite that every implementation of package meta
// passes. Only tests import it.
package metatest

import (
	"testing"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/meta"
)

// Opener makes one empty database and returns a function that opens it, again
// and again, as after restarts of the program. Opened stores are closed by the
// suite.
type Opener func(t *testing.T) (open func(t *testing.T) meta.Store)

// Run runs the whole suite.
func Run(t *testing.T, fresh Opener) {
	for _, c := range []struct {
		name string
		test func(*testing.T, func(*testing.T) meta.Store)
	}{
		{"Create", testCreate},
		{"Names", testNames},
		{"Update", testUpdate},
		{"UpdateRace", testUpdateRace},
		{"CreateRace", testCreateRace},
		{"Touch", testTouch},
		{"List", testList},
		{"ListWhileCreating", testListWhileCreating},
		{"Count", testCount},
		{"EventsWithUpdate", testEventsWithUpdate},
		{"EventsOrder", testEventsOrder},
		{"EventsOf", testEventsOf},
		{"EventsPurge", testEventsPurge},
		{"Checkpoints", testCheckpoints},
		{"CheckpointRace", testCheckpointRace},
		{"Snapshots", testSnapshots},
		{"Tokens", testTokens},
		{"TokenRevokeRace", testTokenRevokeRace},
		{"TokenPurge", testTokenPurge},
		{"TokensOf", testTokensOf},
		{"Users", testUsers},
		{"LastAdmin", testLastAdmin},
		{"UserRemove", testUserRemove},
		{"Invitations", testInvitations},
		{"InvitationOfMember", testInvitationOfMember},
		{"Members", testMembers},
		{"Audit", testAudit},
		{"Idempotency", testIdempotency},
		{"IdempotencyRace", testIdempotencyRace},
		{"IdempotencyTakeOver", testIdempotencyTakeOver},
		{"Restart", testRestart},
		{"Closed", testClosed},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, fresh(t)) })
	}
	RunRevisions(t, fresh)
}

// start opens a store and closes it with the test.
func start(t *testing.T, open func(*testing.T) meta.Store) meta.Store {
	t.Helper()
	s := open(t)
	t.Cleanup(func() { s.Close() })
	return s
}

// sample returns a workspace with every field set, so that a column that is
// forgotten shows.
func sample(name string) meta.Workspace {
	at := time.Date(2026, 3, 1, 12, 30, 15, 123456000, time.UTC)
	return meta.Workspace{
		ID: holt.NewWorkspaceID(), Name: name, Owner: "ada", State: holt.Queued, Goal: holt.WantRunning,
		ImageRef: "default", Image: "sha256-abc", Limits: holt.Limits{CPUs: 1.5, Memory: 1 << 31, Disk: 1 << 40, Root: 7, Processes: 99, Bandwidth: 5},
		Git: "https://example.org/x.git", Egress: meta.EgressNone, Node: "n1", Sandbox: holt.NewSandboxID(),
		Snapshot: holt.NewSnapshotID(), SnapshotBytes: 1 << 33, SnapshotAt: at, PendingSnapshot: holt.NewSnapshotID(),
		ForkedFrom: holt.NewWorkspaceID(), FromSnapshot: "sn-from", Message: "it's \"fine\" \\ ünïcode\n?", Attempts: 2, Restarts: 3, RestartsSince: at.Add(time.Hour),
		IdleAfter: 30 * time.Minute, CreatedAt: at.Add(-time.Hour), LastActiveAt: at, Boots: 4,
	}
}

func create(t *testing.T, s meta.Store, w meta.Workspace, e ...meta.Event) meta.Workspace {
	t.Helper()
	got, err := s.Workspaces().Create(t.Context(), w, e...)
	if err != nil {
		t.Fatalf("create %s: %v", w.Name, err)
	}
	return got
}

func wantKind(t *testing.T, err error, k holt.Kind) {
	t.Helper()
	if holt.KindOf(err) != k {
		t.Fatalf("got error %v of kind %q, want kind %q", err, holt.KindOf(err), k)
	}
}
