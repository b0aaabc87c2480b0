// Package journal keeps what was typed into documents and is not in their files
// yet, outside the sandboxes in which the documents live.
//
// One file, the log, holds the entries of all workspaces of a node, so that one
// flush of the disk serves everybody who types at that moment. The log is bounded:
// when most of it is of no use any more, the rest is written to the next one.
//
//	DIR/log-N    the log; of several, the one with the highest number counts
//	DIR/.log-N…  the next one under construction; removed by [Open]
//
// # The log, version 1
//
// 16 bytes "holt-journal 1\n" and a zero, then records. Integers are little
// endian, uvarint is that of encoding/binary.
//
//	4      length of the body, 1 to [MaxRecord]
//	4      CRC-32C of the body
//	body   1 byte kind; uvarint length and bytes of the workspace's ID; the same
//	       for the name of the document; the rest is the entry's data
//
// What follows the last whole record was being written when the machine went down:
// nobody was told that it is there, and [Open] cuts it off. A record before that
// whose sum is wrong is left out, and named in the server's log.
//
// # Guarantees
//
// When [Journal.Append] returns nil, the entries survive a crash and a power
// failure. Entries of a document come back in the order of the calls. After an
// error of the disk nothing is appended until the log was begun anew, because what
// a failed flush left on the disk cannot be known.
//
// What the data means is the affair of those who write it. It comes out of a
// sandbox, so everything here is bounded: entries, documents, bytes per workspace.
package journal
