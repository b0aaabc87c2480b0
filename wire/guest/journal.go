package guestwire

import (
	"encoding/binary"
	"errors"
)

// JournalKind is what a journal's entry does to those before it. The numbers are
// those of package persist/journal.
type JournalKind byte

// The kinds.
const (
	JournalState  JournalKind = 1 // the whole document: what came before is of no use any more
	JournalUpdate JournalKind = 2 // a change
	JournalMark   JournalKind = 3 // the file gets the text of here
	JournalDone   JournalKind = 4 // the file has the text, and the document is closed
	JournalSaved  JournalKind = 5 // somebody wrote a file, a document or not; nothing to be logged
)

// JournalEntry is something that happened to a document, on its way out of the
// sandbox, or back in. See "Journal session" in the package's documentation.
type JournalEntry struct {
	Seq  uint64 // number in the session, from 1; 0 on the way back
	Kind JournalKind
	Path string // absolute, with links followed
	Data []byte
}

// Bounds of a journal's entry, in bytes.
const (
	MaxJournalPath  = 4 << 10
	MaxJournalEntry = 24 << 20
)

var errJournalEntry = errors.New("this is no entry of a journal")

// Append adds the entry's encoding to b.
func (e *JournalEntry) Append(b []byte) []byte {
	b = binary.AppendUvarint(b, e.Seq)
	b = append(b, byte(e.Kind))
	b = append(binary.AppendUvarint(b, uint64(len(e.Path))), e.Path...)
	return append(b, e.Data...)
}

// DecodeJournalEntry reads an entry. The data is part of b.
func DecodeJournalEntry(b []byte) (JournalEntry, error) {
	var e JournalEntry
	seq, n := binary.Uvarint(b)
	if n <= 0 || n >= len(b) || len(b) > MaxJournalEntry {
		return e, errJournalEntry
	}
	e.Seq, e.Kind, b = seq, JournalKind(b[n]), b[n+1:]
	length, n := binary.Uvarint(b)
	if n <= 0 || length > MaxJournalPath || length > uint64(len(b)-n) || e.Kind < JournalState || e.Kind > JournalSaved {
		return e, errJournalEntry
	}
	e.Path, e.Data = string(b[n:n+int(length)]), b[n+int(length):]
	return e, nil
}

// JournalAck is the node's word that all entries up to a number are on its disk.
type JournalAck uint64

// Append adds the acknowledgement's encoding, 8 bytes, big endian, to b.
func (a JournalAck) Append(b []byte) []byte { return binary.BigEndian.AppendUint64(b, uint64(a)) }

// DecodeJournalAck reads an acknowledgement.
func DecodeJournalAck(b []byte) (JournalAck, error) {
	if len(b) != 8 {
		return 0, errors.New("this is no acknowledgement of a journal")
	}
	return JournalAck(binary.BigEndian.Uint64(b)), nil
}

// JournalResult is what became of a journal's documents when they came back.
type JournalResult struct {
	Documents int      `json:"documents"`          // how many came
	Written   []string `json:"written,omitempty"`  // paths of files that lacked something
	Beside    []string `json:"beside,omitempty"`   // files made because the document had begun anew meanwhile
	Warnings  []string `json:"warnings,omitempty"` // what could not be brought back, and why
}
