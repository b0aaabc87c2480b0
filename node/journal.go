package node

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/persist/journal"
	guestwire "github.com/holt-ide/holt/wire/guest"
)

const (
	// replayPatience is how long a machine may take to take its documents back.
	replayPatience = 30 * time.Second
	// journalFull is how long a machine waits that may write no more.
	journalFull = 30 * time.Second
)

// watchJournal writes what happens to the machine's documents to the disk of the
// node, where a crash of the machine does not reach it.
func (m *machine) watchJournal(ctx context.Context) {
	const first, most = 50 * time.Millisecond, 5 * time.Second
	for wait := first; ; wait = min(2*wait, most) {
		err := m.agent.Journal(ctx, func(list []guestwire.JournalEntry) error {
			wait = first
			return m.node.journal.Append(m.rec.Workspace, m.toLog(list))
		})
		if holt.IsKind(err, holt.KindLimit) || holt.IsKind(err, holt.KindNoSpace) {
			m.node.notify(m, "journal-full", "what is typed is not written to the journal: "+bounded(err.Error()), false)
			wait = journalFull
		}
		select {
		case <-ctx.Done():
			return
		case <-m.sb.Done():
			return
		case <-time.After(wait):
			m.node.log.Debug("journal session ended", "sandbox", m.rec.Sandbox, "err", err)
		}
	}
}

// toLog returns what of a machine's entries is logged now. That a document is in its file
// and closed is logged when a revision has the file: until then the volume may be lost.
func (m *machine) toLog(list []guestwire.JournalEntry) []journal.Entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	var entries []journal.Entry
	for _, e := range list {
		switch {
		case e.Kind == guestwire.JournalSaved:
			m.saved()
			continue
		case e.Kind == guestwire.JournalDone && m.filing.Load() != nil:
			if m.closed == nil {
				m.closed = map[string]time.Time{}
			}
			m.closed[e.Path] = time.Now()
			continue
		}
		delete(m.closed, e.Path) // it was opened again
		entries = append(entries, journal.Entry{Document: e.Path, Kind: journal.Kind(e.Kind), Data: e.Data})
	}
	return entries
}

// filed tells the journal that a revision has the files as they were at a time.
func (m *machine) filed(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock() // until they are logged: what comes later must come after them
	var entries []journal.Entry
	for doc, closed := range m.closed {
		if closed.Before(at) {
			entries = append(entries, journal.Entry{Document: doc, Kind: journal.Done})
		}
	}
	if len(entries) == 0 {
		return
	}
	if err := m.node.journal.Append(m.rec.Workspace, entries); err != nil {
		m.node.log.Warn("close documents in the journal", "workspace", m.rec.Workspace, "err", err)
		return
	}
	for _, e := range entries {
		delete(m.closed, e.Document)
	}
}

// writeDocuments has the machine write what is in open documents. Its answer does not
// matter: what it does not write is in the journal.
func (m *machine) writeDocuments(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, freezePatience)
	defer cancel()
	if err := m.agent.WriteDocuments(ctx); err != nil {
		m.node.log.Debug("open documents were not written", "sandbox", m.rec.Sandbox, "err", err)
	}
}

// forgetJournal is for a machine that has its memory again: that has all that was
// typed until the snapshot, and what came later is what a rollback leaves behind.
func (n *Node) forgetJournal(ws holt.WorkspaceID) error { return n.journal.Discard(ws) }

// replayJournal gives a machine that begins with an empty memory what was typed in
// the one before and had not reached the files. A failure is told and costs nothing
// but that: the journal keeps it.
func (m *machine) replayJournal(ctx context.Context) {
	entries, err := m.node.journal.Read(m.rec.Workspace)
	restored := false
	if v, _, nerr := m.node.files.note(m.rec.Workspace); nerr == nil {
		restored = v.Restored != 0
	}
	if err == nil && len(entries) == 0 {
		m.replayed(restored)
		return
	}
	var result guestwire.JournalResult
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, replayPatience)
		defer cancel()
		result, err = m.agent.ReplayJournal(ctx, restored, func(yield func(guestwire.JournalEntry) bool) {
			for _, e := range entries {
				if !yield(guestwire.JournalEntry{Kind: guestwire.JournalKind(e.Kind), Path: e.Document, Data: e.Data}) {
					return
				}
			}
		})
	}
	if err == nil && len(result.Warnings) == 0 {
		if err = m.node.journal.Discard(m.rec.Workspace); err == nil {
			m.replayed(restored)
		}
	}
	switch {
	case err != nil:
		m.node.log.Error("replay journal", "workspace", m.rec.Workspace, "err", err)
		m.node.notify(m, "journal-kept", "what was typed last could not be brought back yet: "+bounded(err.Error()), false)
	case len(result.Warnings) > 0:
		m.node.notify(m, "journal-kept", "what was typed last could not be brought back yet: "+bounded(strings.Join(result.Warnings, "; ")), false)
	}
	if n := len(result.Written) + len(result.Beside); n > 0 {
		m.node.notify(m, "journal-replayed", fmt.Sprintf("what was typed last is in %s again", bounded(strings.Join(append(result.Written, result.Beside...), ", "))), false)
	}
}

// replayed forgets that the volume was made of a revision: its files have now what was
// typed since.
func (m *machine) replayed(restored bool) {
	if !restored {
		return
	}
	if err := m.node.files.change(m.rec.Workspace, func(v *volumeNote) { v.Restored = 0 }); err != nil {
		m.node.log.Warn("note that documents were brought back", "workspace", m.rec.Workspace, "err", err)
	}
}
