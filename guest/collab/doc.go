// Package collab keeps the documents that people edit together: one [Room] for
// each open file, with a [ydoc.Doc] in it, and [Peer] values for those connected.
// It speaks the sync and awareness protocols of y-protocols.
//
// # Guarantees
//
// A room is the only writer of its file. Edits are written a moment after they
// stop, or a few moments after they began, as one step; end of line, byte order
// mark and mode of the file stay. What others do to the file, such as a checkout
// or a formatter, comes into the document as small edits: what they changed since
// our last write, moved to where it belongs in the text of now.
//
// A document is never made from text while somebody may hold an older state of it,
// for then the text would be there twice. Its state is kept in a file, which is
// always written before the text. Where that is lost the document starts anew with
// another epoch, and clients of the old epoch are refused until they drop theirs.
//
// Memory is bounded: rooms, peers, the size of a file, of a message, and of what
// waits for a slow peer, who is dropped and syncs again. The text has LF only;
// what is binary, not UTF-8, too large, or has CR by itself is refused with a
// reason, and edited as an ordinary file.
//
// # The journal
//
// What happens to a document also goes to the node, which writes it to its disk at
// once ([Rooms.Feed]): after a crash that takes the sandbox it is brought back by
// [Rooms.Replay]. A document enters it with its state; then come its changes, and
// before each write of the file a mark, so that later it is known from which text
// others changed the file; from time to time a state again, so that it stays short;
// and an end when the file has everything and nobody is there.
//
// # Messages
//
// One binary WebSocket message holds one of these; uint, bytes and string are
// those of package lib0.
//
//	uint 0  sync       uint 0, bytes: state vector     step 1: what the sender has
//	                   uint 1, bytes: update           step 2: the answer to that
//	                   uint 2, bytes: update           an edit
//	uint 1  awareness  bytes: uint: number, for each uint: client, uint: clock,
//	                   string: JSON of its state, or null when it is gone
//	uint 3  query      what the awareness of others is
//	uint 100 status    string: JSON of a [guestwire.DocumentStatus], server only
//	uint 101 journal   uint: how many sync messages with an update (step 2 or an
//	                   edit) of this connection are journalled, server only
//	uint 102 write     uint: number of the request, higher than those before; the
//	                   file is to be written now, with all edits before the message.
//	                   The server answers with the number of the last request that
//	                   is done
//
// The server sends a status, its step 1 and the awareness first. Edits and
// requests of a peer that only reads are ignored.
//
// What a client says about itself in its awareness is an object; its field user is
// set by the agent, to the [guestwire.User] that the gateway says it is.
//
// [Rooms.Meet] is a room without a document, of all who are in the workspace. It
// knows the messages awareness and query.
//
// A client that holds state names its epoch when it connects; one that does not
// begins with an empty state vector. The close codes are in package guestwire.
//
// # Locks
//
// Rooms.mu before Room.mu before outbox.mu; nothing else is locked under them.
//
// Package guest may import this one.
package collab
